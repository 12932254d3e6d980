package redirect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// patience bounds one call where its context does not.
	patience = 10 * time.Second
	// bufferSize is what the largest plan needs, which is one message to the kernel:
	// 10,000 CIDRs are 20,000 elements of at most 48 octets.
	bufferSize = 4 << 20
	// chunk is how many elements go into one attribute, which has at most 64 KiB.
	chunk = 1000
)

var (
	// ErrPermission says that the process may not see or set rules.
	ErrPermission = errors.New("not permitted")
	// ErrUnsupported says that the kernel lacks a part that the rules need.
	ErrUnsupported = errors.New("not supported by this kernel")
	// ErrBusy says that somebody else changed the rules again and again meanwhile.
	ErrBusy = errors.New("the rules are being changed by somebody else")
)

// Kernel is where rules are put in force. It keeps nothing between calls, and is safe for
// concurrent use; two Apply at once leave the rules of one of them.
type Kernel struct {
	// NetNS is a file descriptor of the network namespace; 0 is that of
	// the calling thread.
	NetNS int
	// Logger is told what was changed; silent when nil.
	Logger *slog.Logger
}

func (k *Kernel) logger() *slog.Logger {
	if k.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return k.Logger
}

// Apply puts a plan in force, and reports whether anything had to be changed. The whole
// table is replaced in one transaction: at every moment either the old rules are in force
// or the new ones, and after an error the old.
func (k *Kernel) Apply(ctx context.Context, p *Plan) (changed bool, err error) {
	err = k.with(ctx, "set the rules", func(s *session) error {
		now, err := s.read()
		if err != nil {
			return err
		}
		differences := p.Compare(now)
		if len(differences) == 0 {
			k.logger().Debug("redirect rules unchanged")
			return nil
		}
		if err := s.replace(p); err != nil {
			return err
		}
		changed = true
		k.logger().Info("redirect rules set", "before", summary(differences))
		return nil
	})
	return changed, err
}

// Clear takes the table away, and reports whether there was one. Connections that were
// redirected stay so until they end.
func (k *Kernel) Clear(ctx context.Context) (changed bool, err error) {
	err = k.with(ctx, "clear the rules", func(s *session) error {
		now, err := s.read()
		if err != nil || !now.Found {
			return err
		}
		s.remove()
		if err := s.conn.Flush(); err != nil {
			return err
		}
		changed = true
		k.logger().Info("redirect rules cleared")
		return nil
	})
	return changed, err
}

// Current reads what is in force.
func (k *Kernel) Current(ctx context.Context) (now *Current, err error) {
	err = k.with(ctx, "read the rules", func(s *session) error {
		now, err = s.read()
		return err
	})
	return now, err
}

// Check returns how what is in force differs from a plan; nothing if it does not. It needs
// the same permission as Apply: netfilter shows rules to nobody else.
func (k *Kernel) Check(ctx context.Context, p *Plan) ([]Difference, error) {
	now, err := k.Current(ctx)
	if err != nil {
		return nil, err
	}
	return p.Compare(now), nil
}

// session is one connection to netfilter.
type session struct {
	conn *nftables.Conn
	raw  *netlink.Conn
}

// with runs fn with a connection and says what an error means.
func (k *Kernel) with(ctx context.Context, what string, fn func(*session) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := ctx.Err()
	if err == nil {
		err = k.connected(ctx, fn)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil: // what was under way says only that its time was up
		err = context.Cause(ctx)
	}
	return fmt.Errorf("redirect: %s: %w", what, explain(err))
}

func (k *Kernel) connected(ctx context.Context, fn func(*session) error) error {
	s := new(session)
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithNetNSFd(k.NetNS), nftables.WithSockOptions(func(c *netlink.Conn) error {
		s.raw = c
		if err := c.SetWriteBuffer(bufferSize); err != nil {
			return err
		}
		return c.SetReadBuffer(bufferSize)
	}))
	if err != nil {
		return err
	}
	s.conn = conn
	defer func() { _ = conn.CloseLasting() }()
	stop := context.AfterFunc(ctx, func() { _ = s.raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	return fn(s)
}

// explain says what an error of the kernel means and what would mend it.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: grant CAP_NET_ADMIN over the network namespace (on Kubernetes: securityContext "+
			"capabilities add NET_ADMIN, and runAsUser 0, as another user gets no capability): %w", ErrPermission, err)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP),
		errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EPROTONOSUPPORT):
		// No such expression or chain; no nf_tables; no NAT there; no IPv6 at all; no netfilter.
		return fmt.Errorf("%w: it needs Linux 5.2 or newer with nf_tables, NAT in the inet family, redir, reject and ct "+
			"(modules nf_tables, nft_chain_nat, nft_redir, nft_reject_inet, nft_ct): %w", ErrUnsupported, err)
	}
	return err
}

// remove adds to the batch what takes the table away, whether there is one or not.
func (s *session) remove() {
	t := &nftables.Table{Name: Table, Family: nftables.TableFamilyINet}
	s.conn.AddTable(t)
	s.conn.DelTable(t)
}

// replace sends one batch that takes the table away and makes it anew.
func (s *session) replace(p *Plan) error {
	s.remove()
	table := s.conn.AddTable(&nftables.Table{Name: Table, Family: nftables.TableFamilyINet})
	for i := range p.Sets {
		if err := s.addSet(table, &p.Sets[i]); err != nil {
			return fmt.Errorf("set %s: %w", p.Sets[i].Name, err)
		}
	}
	for _, c := range p.Chains {
		policy := nftables.ChainPolicyAccept
		if c.Drops {
			policy = nftables.ChainPolicyDrop
		}
		chain := s.conn.AddChain(&nftables.Chain{
			Name: c.Name, Table: table, Type: nftables.ChainType(c.Type), Policy: &policy,
			Hooknum: nftables.ChainHookRef(hooks[c.Hook]), Priority: nftables.ChainPriorityRef(nftables.ChainPriority(c.Priority)),
		})
		for _, r := range c.Rules {
			s.conn.AddRule(&nftables.Rule{
				Table: table, Chain: chain, Exprs: r.exprs,
				UserData: userdata.AppendString(nil, userdata.TypeComment, r.Name),
			})
		}
	}
	return s.conn.Flush()
}

var hooks = map[string]nftables.ChainHook{
	"output":     unix.NF_INET_LOCAL_OUT,
	"prerouting": unix.NF_INET_PRE_ROUTING,
}

func (s *session) addSet(table *nftables.Table, set *Set) error {
	to := &nftables.Set{Table: table, Name: set.Name, KeyType: set.Type, Interval: true}
	if err := s.conn.AddSet(to, nil); err != nil {
		return err
	}
	for list := elements(set.spans); len(list) > 0; {
		n := min(chunk, len(list))
		if err := s.conn.SetAddElements(to, list[:n]); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}
