package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds"
)

// Server is what hands resources to Envoys; [xds.Server] is one. Resources are shared between
// nodes and not to be changed.
type Server interface {
	Set(ctx context.Context, node string, r *xds.Resources) error
	Forget(node string)
}

// Config says how a Fleet translates and whom it tells.
type Config struct {
	// Server is required.
	Server Server
	// Options for every node. Feeds is set by the Fleet: where there is the module, and a feed
	// that is not suspended.
	Options xds.Options
	// Messages keeps what resources were marshalled from, for a Server that needs it; an
	// [xds.Server] does not, and it is most of the memory.
	Messages bool
	// Translations is how many workloads are translated at once. Default GOMAXPROCS.
	Translations int
	// Stage is told of each part of an update as it begins, compile and set, and returns what
	// is called when it has ended. Nil is nobody.
	Stage func(ctx context.Context, name string) (end func())
	// Logger is told what each update came to; nil is silent.
	Logger *slog.Logger
}

// Update is how things are, and who came and went since the last.
type Update struct {
	// Set is whole. An object that did not change has the pointer it had.
	Set *api.Set
	// Nodes are those that came, or that stand beside another workload than before: node to
	// NAMESPACE/NAME of the workload.
	Nodes map[string]string
	// Left are nodes that are gone. A node in both is a new one of that name.
	Left []string
}

// Fleet is safe for concurrent use; calls of Apply take turns, and readers do not wait for them.
type Fleet struct {
	config   Config
	log      *slog.Logger
	turn     sync.Mutex // of Apply, for what follows
	compiler *policy.Compiler
	records  map[id]*record
	begun    bool                // there was an update before
	pending  map[string]struct{} // nodes that could not be set
	failures map[string]failure  // by workload

	mu        sync.RWMutex // for what follows
	set       *api.Set
	model     *policy.Model
	selected  map[policy.PolicyRef][]*policy.Workload // made on demand
	nodes     map[string]string                       // node to workload
	beside    map[string]map[string]struct{}          // workload to nodes
	resources map[string]*given                       // by workload
}

// given is what the nodes of a workload have.
type given struct {
	digest    string
	options   xds.Options
	resources *xds.Resources
}

// New returns a Fleet without nodes.
func New(c Config) *Fleet {
	c.Translations = cmp.Or(max(c.Translations, 0), runtime.GOMAXPROCS(0))
	f := &Fleet{
		config: c, log: c.Logger, compiler: policy.NewCompiler(),
		records: map[id]*record{}, pending: map[string]struct{}{}, failures: map[string]failure{},
		set: &api.Set{}, model: &policy.Model{},
		nodes: map[string]string{}, beside: map[string]map[string]struct{}{}, resources: map[string]*given{},
	}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	return f
}

// Apply takes over an update, and returns when every node that it concerns was handed to the
// server. An error is that the context ended or that the server did not take a node; what is
// missing is made up for by the next call. What is wrong with objects is in the report.
func (f *Fleet) Apply(ctx context.Context, u Update) (*Report, error) {
	f.turn.Lock()
	defer f.turn.Unlock()
	start := time.Now()
	for _, node := range u.Left {
		f.leave(node)
	}
	joined := f.join(u.Nodes)
	end := f.stage(ctx, "compile")
	t, err := f.settle(ctx, u.Set)
	end()
	if err != nil {
		for _, node := range joined {
			f.pending[node] = struct{}{}
		}
		return nil, err
	}
	f.begun = true
	changed := f.commit(t)
	for _, node := range joined {
		f.pending[node] = struct{}{}
	}
	for _, key := range changed {
		for node := range f.beside[key] {
			f.pending[node] = struct{}{}
		}
	}
	r := f.report(t)
	r.Translated = len(changed)
	end = f.stage(ctx, "set")
	r.Set, err = f.push(ctx)
	end()
	f.log.Debug("update", "workloads", len(t.model.Workloads), "translated", r.Translated, "set", r.Set,
		"problems", len(r.Problems), "held", len(r.Held), "took", time.Since(start))
	return r, err
}

func (f *Fleet) leave(node string) {
	f.mu.Lock()
	key, known := f.nodes[node]
	f.part(node, key)
	f.mu.Unlock()
	delete(f.pending, node)
	if known {
		f.config.Server.Forget(node)
	}
}

// part takes a node from its workload. The caller holds mu.
func (f *Fleet) part(node, key string) {
	delete(f.nodes, node)
	delete(f.beside[key], node)
	if len(f.beside[key]) == 0 {
		delete(f.beside, key)
	}
}

// join takes over the nodes, and returns those that came or moved.
func (f *Fleet) join(nodes map[string]string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for node, key := range nodes {
		if was, known := f.nodes[node]; known {
			if was == key {
				continue
			}
			f.part(node, was)
		}
		f.nodes[node] = key
		if f.beside[key] == nil {
			f.beside[key] = map[string]struct{}{}
		}
		f.beside[key][node] = struct{}{}
		out = append(out, node)
	}
	return out
}

// commit makes what was settled what is in force, and returns the workloads whose nodes are to
// be given something else.
func (f *Fleet) commit(t *trial) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.model != t.model {
		f.selected = nil
	}
	f.set, f.model = t.set, t.model
	var changed []string
	for key, g := range t.made {
		if t.held[key] == "" {
			f.resources[key] = g
			changed = append(changed, key)
		}
	}
	for key := range f.resources {
		// Those of a workload that is gone serve its nodes as long as there are any.
		if f.beside[key] == nil && t.workload(key) == nil {
			delete(f.resources, key)
		}
	}
	for _, r := range f.records {
		if r.problem() == nil && !r.gone {
			r.good, r.unknown = r.object, false
		}
	}
	return changed
}

func (f *Fleet) stage(ctx context.Context, name string) func() {
	if f.config.Stage == nil {
		return func() {}
	}
	return f.config.Stage(ctx, name)
}

// push hands every pending node what its workload has. A node whose workload has nothing, or is
// not there, waits.
func (f *Fleet) push(ctx context.Context) (int, error) {
	var errs []error
	n := 0
	for _, node := range slices.Sorted(maps.Keys(f.pending)) {
		if ctx.Err() != nil {
			return n, errors.Join(append(errs, fmt.Errorf("%d nodes are left to be set: %w", len(f.pending), context.Cause(ctx)))...)
		}
		g := f.resources[f.nodes[node]]
		if g != nil {
			if err := f.config.Server.Set(ctx, node, g.resources); err != nil {
				errs = append(errs, fmt.Errorf("set node %s: %w", node, err))
				continue
			}
			n++
		}
		delete(f.pending, node)
	}
	return n, errors.Join(errs...)
}
