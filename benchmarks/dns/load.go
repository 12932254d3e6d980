package main

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// workload is one kind of questions.
type workload interface {
	name() string
	// questions writes those of a round into a file; once is set where none may be asked
	// twice.
	questions(l *lab, round int) (file string, once bool, err error)
	// warm says whether all questions are to be asked before.
	warm() bool
	// code is the response code that the server is to give to all of them.
	code(server string) string
}

// blocked are the names that are blocked, in random order.
type blocked struct{}

func (blocked) name() string { return "blocked" }
func (blocked) warm() bool   { return true } // for CoreDNS, which caches them too
func (blocked) questions(l *lab, round int) (string, bool, error) {
	return shuffled(l, "blocked", round)
}

func (blocked) code(server string) string {
	if server == "pavise" || server == "other" || server == "unbound" {
		return "NXDOMAIN"
	}
	return "NOERROR" // a file of hosts gives 0.0.0.0
}

// cached are names that the upstream was asked for before.
type cached struct{}

func (cached) name() string { return "cached" }
func (cached) warm() bool   { return true }
func (cached) questions(l *lab, round int) (string, bool, error) {
	return shuffled(l, "fine", round)
}

func (cached) code(string) string { return "NOERROR" }

func shuffled(l *lab, kind string, round int) (string, bool, error) {
	list := names(kind, l.o.names)
	r := rand.New(rand.NewPCG(7, uint64(round)))
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	file, err := writeQuestions(l, kind, len(list), func(i int) string { return list[i] })
	return file, false, err
}

// forwarded are names that nobody was asked for.
type forwarded struct{}

func (forwarded) name() string { return "forwarded" }
func (forwarded) warm() bool   { return false }
func (forwarded) questions(l *lab, round int) (string, bool, error) {
	const perSecond = 250_000 // more than is answered
	file, err := writeQuestions(l, "new", l.o.seconds*perSecond, func(i int) string {
		return fmt.Sprintf("host%d.round%d.new%d.example", i, round, i%100)
	})
	return file, true, err
}

func (forwarded) code(string) string { return "NOERROR" }

func writeQuestions(l *lab, kind string, n int, at func(i int) string) (string, error) {
	path := filepath.Join(l.dir, kind+".txt")
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b := bufio.NewWriter(f)
	for i := range n {
		_, _ = b.WriteString(at(i))
		_, _ = b.WriteString(" A\n")
	}
	if err := b.Flush(); err != nil {
		return "", err
	}
	return path, f.Close()
}

// load is what dnsperf says of one run.
type load struct {
	answers, lost float64
	perSecond     float64
	latency       time.Duration // average
	codes         string        // response codes and how often they came
}

var responseCodes = regexp.MustCompile(`Response codes:\s+(.+)`)

var dnsperfSays = map[string]*regexp.Regexp{
	"answers": regexp.MustCompile(`Queries completed:\s+(\d+)`),
	"lost":    regexp.MustCompile(`Queries lost:\s+(\d+)`),
	"qps":     regexp.MustCompile(`Queries per second:\s+([\d.]+)`),
	"latency": regexp.MustCompile(`Average Latency \(s\):\s+([\d.]+)`),
}

// dnsperf asks a server for so long, or the whole file once.
func dnsperf(ctx context.Context, l *lab, s *server, file string, seconds int, once bool) (load, error) {
	args := []string{
		"-s", "127.0.0.1", "-p", strconv.Itoa(s.port), "-d", file, "-e", "-q", strconv.Itoa(l.o.depth),
		"-c", strconv.Itoa(l.o.clients), "-T", "1", "-t", "2",
	}
	if l.o.buffer > 0 {
		args = append(args, "-b", strconv.Itoa(l.o.buffer))
	}
	if once {
		args = append(args, "-n", "1")
	}
	if seconds > 0 {
		args = append(args, "-l", strconv.Itoa(seconds))
	}
	var out []byte
	err := pinned(loadCore, func() (err error) {
		cmd := exec.CommandContext(ctx, "dnsperf", args...)
		cmd.SysProcAttr = ownSession()
		out, err = cmd.CombinedOutput()
		return err
	})
	if err != nil {
		return load{}, fmt.Errorf("dnsperf: %w: %s", err, out)
	}
	said := map[string]float64{}
	for what, pattern := range dnsperfSays {
		m := pattern.FindSubmatch(out)
		if m == nil {
			return load{}, fmt.Errorf("dnsperf says nothing of %s: %s", what, out)
		}
		if said[what], err = strconv.ParseFloat(string(m[1]), 64); err != nil {
			return load{}, err
		}
	}
	codes := responseCodes.FindSubmatch(out)
	if codes == nil {
		return load{}, fmt.Errorf("dnsperf says nothing of response codes: %s", out)
	}
	return load{said["answers"], said["lost"], said["qps"], time.Duration(said["latency"] * 1e9), string(codes[1])}, nil
}
