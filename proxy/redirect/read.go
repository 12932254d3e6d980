package redirect

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// maxReads is how often reading is begun anew because somebody changed the rules.
const maxReads = 5

// Current is what is in force in the table.
type Current struct {
	// Found says whether there is a table at all.
	Found bool
	// Counters are those of the rules that drop or refuse, and of what others put into
	// the table. They begin at zero whenever Apply changes something.
	Counters []Counter

	dormant bool
	sets    []heldSet
	chains  []heldChain
}

// Counter is how often a rule matched.
type Counter struct {
	Chain, Rule    string
	Packets, Bytes uint64
}

// held* are what the kernel has; nothing in them is known to be ours.
type heldSet struct {
	name  string
	flags uint32
	kind  uint32 // as in SetDatatype.GetNFTMagic
	spans []span
}

type heldChain struct {
	name, kind string
	hook       uint32
	priority   int32
	drops      bool
	rules      []heldRule
}

type heldRule struct {
	name  string
	exprs []expr.Any // nil in place of one that no rule of ours has
}

// read reads the table as it was at one moment: rules, sets and chains come in answers of
// their own, and are taken only if nothing changed from the first to the last.
func (s *session) read() (*Current, error) {
	for range maxReads {
		before, err := s.generation()
		if err != nil {
			return nil, err
		}
		now, err := s.readOnce()
		after, errAfter := s.generation()
		switch {
		case errAfter != nil:
			return nil, errAfter
		case before != after: // an error may come from the change
		default:
			return now, err
		}
	}
	return nil, ErrBusy
}

// generation is the number of the kernel's last change to any table of the namespace.
func (s *session) generation() (uint32, error) {
	answer, err := s.ask(unix.NFT_MSG_GETGEN, nftables.TableFamilyUnspecified, 0, nil)
	if err != nil {
		return 0, err
	}
	var id uint32
	for _, m := range answer {
		err = errors.Join(err, attributes(m, func(ad *netlink.AttributeDecoder) {
			if ad.Type() == unix.NFTA_GEN_ID {
				id = ad.Uint32()
			}
		}))
	}
	return id, err
}

func (s *session) readOnce() (*Current, error) {
	table, err := s.conn.ListTableOfFamily(Table, nftables.TableFamilyINet)
	if errors.Is(err, unix.ENOENT) {
		return &Current{}, nil
	}
	if err != nil {
		return nil, err
	}
	now := &Current{Found: true, dormant: table.Flags != 0}
	if err := s.readSets(now, table); err != nil {
		return nil, err
	}
	return now, s.readChains(now)
}

// readSets reads the sets, and of those that could be ours the elements. What others put
// into the table may be of any kind, and must not keep us from replacing it.
func (s *session) readSets(now *Current, table *nftables.Table) error {
	answer, err := s.inTable(unix.NFT_MSG_GETSET)
	if err != nil {
		return err
	}
	for _, m := range answer {
		var h heldSet
		if err := attributes(m, func(ad *netlink.AttributeDecoder) {
			switch ad.Type() {
			case unix.NFTA_SET_NAME:
				h.name = ad.String()
			case unix.NFTA_SET_FLAGS:
				h.flags = ad.Uint32()
			case unix.NFTA_SET_KEY_TYPE:
				h.kind = ad.Uint32()
			}
		}); err != nil {
			return fmt.Errorf("a set cannot be read: %w", err)
		}
		if h.flags == unix.NFT_SET_INTERVAL {
			list, err := s.conn.GetSetElements(&nftables.Set{Table: table, Name: h.name})
			if err != nil {
				return fmt.Errorf("set %s cannot be read: %w", quote(h.name), err)
			}
			h.spans = spansOf(list)
		}
		now.sets = append(now.sets, h)
	}
	return nil
}

func (s *session) readChains(now *Current) error {
	chains, err := s.conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return err
	}
	rules, err := s.readRules()
	if err != nil {
		return err
	}
	for _, c := range chains {
		if c.Table == nil || c.Table.Name != Table {
			continue
		}
		h := heldChain{name: c.Name, kind: string(c.Type), rules: rules[c.Name]}
		if c.Hooknum != nil && c.Priority != nil {
			h.hook, h.priority = uint32(*c.Hooknum), int32(*c.Priority)
		}
		h.drops = c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop
		now.chains = append(now.chains, h)
		for _, r := range h.rules {
			for _, e := range r.exprs {
				if counter, ok := e.(*expr.Counter); ok {
					now.Counters = append(now.Counters, Counter{c.Name, r.name, counter.Packets, counter.Bytes})
				}
			}
		}
	}
	return nil
}

// readRules reads the rules of every chain. The library's own reading leaves out without
// a word what it does not know, and a rule with one condition more would look like ours.
func (s *session) readRules() (map[string][]heldRule, error) {
	answer, err := s.inTable(unix.NFT_MSG_GETRULE)
	if err != nil {
		return nil, err
	}
	rules := map[string][]heldRule{}
	for _, m := range answer {
		var chain string
		var r heldRule
		var bad error
		err := attributes(m, func(ad *netlink.AttributeDecoder) {
			switch ad.Type() {
			case unix.NFTA_RULE_CHAIN:
				chain = ad.String()
			case unix.NFTA_RULE_USERDATA:
				r.name = comment(ad.Bytes())
			case unix.NFTA_RULE_EXPRESSIONS:
				r.exprs, bad = decodeExprs(ad.Bytes())
			}
		})
		if err := errors.Join(err, bad); err != nil {
			return nil, fmt.Errorf("a rule of chain %q cannot be read: %w", chain, err)
		}
		rules[chain] = append(rules[chain], r)
	}
	return rules, nil
}

// inTable asks for all things of a kind that are in our table.
func (s *session) inTable(kind uint16) ([]netlink.Message, error) {
	// The name of the table has the same number in each kind of question.
	request, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.NFTA_TABLE_NAME, Data: []byte(Table + "\x00")}})
	if err != nil {
		return nil, err
	}
	return s.ask(kind, nftables.TableFamilyINet, netlink.Dump, request)
}

// ask sends one question of nf_tables and returns the answers.
func (s *session) ask(kind uint16, family nftables.TableFamily, flags netlink.HeaderFlags, data []byte) ([]netlink.Message, error) {
	return s.raw.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind), Flags: netlink.Request | flags},
		// struct nfgenmsg: family, version 0, resource 0.
		Data: append([]byte{byte(family), unix.NFNETLINK_V0, 0, 0}, data...),
	})
}

// attributes calls fn for each attribute of a message of nf_tables.
func attributes(m netlink.Message, fn func(*netlink.AttributeDecoder)) error {
	const header = 4 // struct nfgenmsg
	if len(m.Data) < header {
		return fmt.Errorf("an answer of %d octets is too short", len(m.Data))
	}
	ad, err := netlink.NewAttributeDecoder(m.Data[header:])
	if err != nil {
		return err
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		fn(ad)
	}
	return ad.Err()
}
