package snapshot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
)

// Match says which names an entry stands for.
type Match uint8

const (
	// Self is the name itself.
	Self Match = 1 << iota
	// Below is every name below it.
	Below
)

// Builder collects what the feeds list and writes it as one file. It holds about as much
// memory as the file has octets. A Builder is for one goroutine and one file.
type Builder struct {
	feeds []Feed
	v4    v4Builder
	v6    v6Builder
	names nameBuilder
	key   Key
}

// NewBuilder begins a file of these feeds; entries name them by their place.
func NewBuilder(feeds []Feed, key Key) (*Builder, error) {
	if len(feeds) > MaxFeeds {
		return nil, fmt.Errorf("%d feeds: a snapshot holds %d", len(feeds), MaxFeeds)
	}
	return &Builder{feeds: feeds, key: key, names: nameBuilder{key: newHashKey(key)}}, nil
}

var errFeed = errors.New("an entry of a feed that the snapshot does not have")

// AddPrefix adds an entry of a feed. The prefix is masked; an IPv4-mapped one is an error,
// since it means the IPv4 one and has to be given as that.
func (b *Builder) AddPrefix(feed int, p netip.Prefix, line uint32) error {
	if uint(feed) >= uint(len(b.feeds)) {
		return errFeed
	}
	a := p.Addr()
	switch {
	case !p.IsValid() || a.Zone() != "" || a.Is4In6():
		return fmt.Errorf("line %d: %s is no prefix that a snapshot holds", line, p)
	case a.Is4():
		return b.v4.add(a, p.Bits(), uint16(feed), line)
	default:
		return b.v6.add(a, p.Bits(), uint16(feed), line)
	}
}

// AddDomain adds an entry of a feed: a name in lower case, ACE, without a dot at its
// end. It is copied.
func (b *Builder) AddDomain(feed int, name []byte, m Match, line uint32) error {
	return b.addName(feed, name, uint8(m), line)
}

// AddException takes a name and every name below it out of one feed.
func (b *Builder) AddException(feed int, name []byte, line uint32) error {
	if err := b.addName(feed, name, uint8(Self|Below)|flagExcept, line); err != nil {
		return err
	}
	b.feeds[feed].Exceptions = true
	return nil
}

func (b *Builder) addName(feed int, name []byte, flags uint8, line uint32) error {
	if uint(feed) >= uint(len(b.feeds)) {
		return errFeed
	}
	if len(name) == 0 || len(name) > maxName || flags&uint8(Self|Below) == 0 {
		return fmt.Errorf("line %d: a name of %d octets: a snapshot holds 1 to %d", line, len(name), maxName)
	}
	if name[0] == '.' || name[len(name)-1] == '.' || emptyLabel(name) {
		return fmt.Errorf("line %d: the name %q has an empty label", line, name)
	}
	b.names.add(name, flags, uint16(feed), line)
	return nil
}

// Info says what a file holds.
type Info struct {
	Digest Digest
	Size   int64
	// IPv4 and IPv6 entries and Names that are listed, once for each feed that lists them.
	IPv4, IPv6, Names int64
}

// WriteTo writes the file, which has to be empty, and leaves the Builder empty.
func (b *Builder) WriteTo(f io.WriterAt) (Info, error) {
	w := newWriter(f)
	w.head.key = b.key
	feeds, err := json.Marshal(b.feeds)
	if err != nil {
		return Info{}, err
	}
	w.begin(secFeeds)
	w.write(feeds)
	info := Info{IPv4: b.v4.write(w), IPv6: b.v6.write(w)}
	info.Names, err = b.names.write(w)
	if err != nil {
		return Info{}, err
	}
	if info.Digest, err = w.finish(); err != nil {
		return Info{}, fmt.Errorf("write snapshot: %w", err)
	}
	info.Size = int64(w.at)
	return info, nil
}
