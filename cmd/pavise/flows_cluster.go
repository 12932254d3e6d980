//go:build !sidecar

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"pavise.dev/pavise/admin/flows"
)

// mostFollowed is how many sidecars are followed at a time.
const mostFollowed = 128

// clusterFlows adds to flows what asks the sidecars of a cluster.
func clusterFlows(f *pflag.FlagSet, o *flowsOptions) {
	c := registerCluster(f, "ask the sidecars of a cluster instead, those of -n or all")
	o.cluster = func(ctx context.Context, namespace string) (flowSource, error) {
		if !c.on {
			return nil, nil //nolint:nilnil // no cluster is what is wanted
		}
		return newSidecars(ctx, c.kubeconfig, namespace)
	}
}

// arguments are those of `pavise flows` in a sidecar.
func arguments(f *flows.Filter, more ...string) []string {
	args := []string{"flows", "--run-dir", sidecarRunDir, "-o", "json"}
	v := f.Values()
	for _, x := range flowsFlags {
		if s := v.Get(x.parameter); s != "" && x.parameter != "namespace" {
			args = append(args, "--"+x.flag+"="+s)
		}
	}
	if f.Audit {
		args = append(args, "--audit")
	}
	return append(args, more...)
}

// knowPeers reads who has which address. Who may not is told so, and sees addresses.
func (s *sidecars) knowPeers(ctx context.Context) {
	var err error
	if s.peers, err = readPeers(ctx, s.clients); err != nil {
		s.warn("the cluster, about the names of peers,", err)
	}
}

// byName takes the name of a peer out of a filter, since sidecars know addresses only, and
// returns what asks for it; nil where the filter names no peer.
func (s *sidecars) byName(f *flows.Filter) func(*flows.Flow) bool {
	wanted := f.Peer
	if !strings.Contains(wanted, "/") || s.peers == nil {
		return nil
	}
	f.Peer = ""
	return func(fl *flows.Flow) bool { return fl.Peer == wanted }
}

// describe adds what a sidecar does not know.
func (s *sidecars) describe(f *flows.Flow, pod sidecarPod) {
	f.WorkloadContext = pod.context
	s.peers.describe(f)
}

// Flows asks every sidecar, and gives the newest of all.
func (s *sidecars) Flows(ctx context.Context, f flows.Filter, limit int) (list []flows.Flow, more bool, err error) {
	s.knowPeers(ctx)
	most, named := limit, s.byName(&f)
	if named != nil {
		most = flows.MaxLimit // those of other peers are among them
	}
	err = askSidecars(ctx, s, arguments(&f, fmt.Sprintf("--limit=%d", most)), func(pod sidecarPod, part []flows.Flow) {
		more = more || len(part) == most
		for i := range part {
			if s.describe(&part[i], pod); named == nil || named(&part[i]) {
				list = append(list, part[i])
			}
		}
	})
	if err != nil {
		return nil, false, err
	}
	slices.SortStableFunc(list, func(a, b flows.Flow) int { return b.Last.Compare(a.Last) })
	return list[:min(limit, len(list))], more || len(list) > limit, nil
}

// Follow shows what all of them decide from now on.
func (s *sidecars) Follow(ctx context.Context, f flows.Filter, each func(flows.Event) error) error {
	if len(s.pods) > mostFollowed {
		return fmt.Errorf("there are %d sidecars, of which %d can be followed at a time; name a namespace with -n", len(s.pods), mostFollowed)
	}
	s.knowPeers(ctx)
	named := s.byName(&f)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	var failure error
	g := errgroup.Group{}
	for _, pod := range s.pods {
		g.Go(func() error {
			read, write := io.Pipe()
			go func() { _ = write.CloseWithError(s.run(ctx, pod, write, arguments(&f, "--follow")...)) }()
			lines := bufio.NewScanner(read)
			lines.Buffer(nil, 1<<20)
			for lines.Scan() {
				var e flows.Event
				if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
					continue // what is not JSON was said by somebody else
				}
				if s.describe(&e.Flow, pod); named != nil && !named(&e.Flow) {
					continue
				}
				mu.Lock()
				if err := each(e); err != nil && failure == nil {
					failure = err
					cancel()
				}
				mu.Unlock()
			}
			_ = read.Close()
			if err := lines.Err(); err != nil && ctx.Err() == nil {
				s.warn(pod.String(), err)
			}
			return nil
		})
	}
	_ = g.Wait()
	return failure
}
