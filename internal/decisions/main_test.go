package decisions

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"unsafe"

	"go.uber.org/goleak"

	"pavise.dev/pavise/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func begin(s string) uintptr { return uintptr(unsafe.Pointer(unsafe.StringData(s))) }
func end(s string) uintptr   { return begin(s) + uintptr(len(s)) }

// memory is a sink that keeps what it gets, and does what the test says.
type memory struct {
	mu     sync.Mutex
	got    []*Record
	sizes  []int
	closed bool
	// write may be nil.
	write func(context.Context, []*Record) (int, error)
}

func (m *memory) Write(ctx context.Context, batch []*Record) (int, error) {
	n, err := len(batch), error(nil)
	if m.write != nil {
		n, err = m.write(ctx, batch)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.got = append(m.got, batch[:n]...)
	m.sizes = append(m.sizes, n)
	return n, err
}

func (m *memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

func (m *memory) isClosed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closed
}

func (m *memory) records() []*Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]*Record(nil), m.got...)
}

// hangs is a Write that hangs until the channel is closed, whatever the context says.
func hangs(until <-chan struct{}) func(context.Context, []*Record) (int, error) {
	return func(_ context.Context, batch []*Record) (int, error) {
		<-until
		return len(batch), nil
	}
}

func newLog(t *testing.T, o Options) *Log {
	t.Helper()
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// start runs a log; what it returns ends it and gives its error.
func start(l *Log) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	return func() error { cancel(); return <-done }
}

// balanced checks that every decision is accounted for, exactly.
func balanced(t *testing.T, l *Log) Stats {
	t.Helper()
	s := l.Stats()
	for _, o := range s.Outputs {
		sum := Tally{Allow: s.SampledOut}
		for _, x := range []Tally{s.Folding, o.Written, o.Queued} {
			sum.addAll(x)
		}
		for _, d := range Drops {
			sum.addAll(o.Dropped[d])
		}
		if sum != s.Added {
			t.Errorf("%s accounts for %+v of %+v added: %+v", o.Name, sum, s.Added, s)
		}
	}
	return s
}

func allowed(i int) Record {
	return Record{
		Time: noon, Workload: "shop/web", Listener: "shop/web/http", Verdict: policy.Allowed, Reason: "default-allow",
		Source: "192.0.2.1:" + strconv.Itoa(1024+i%60000), Host: "shop.example", Path: "/" + strconv.Itoa(i),
	}
}

func denied(i int) Record {
	r := allowed(i)
	r.Verdict, r.Reason = policy.Denied, "default-deny:shop/web"
	return r
}
