// Package names is the table of the names that each address was answered for. The
// resolver writes it, in the agent's process; what decides on a connection reads it, in
// Envoy's: a rule by name so holds for a TCP connection that says no name of its own.
//
// It is a file of a fixed size that both map, 512 octets for an address, 4 MiB by default,
// all of it reserved when it is made. Learning a name takes about a microsecond, asking for
// an address less; neither allocates. The reader of Envoy's module is names.h, in C; the
// [Reader] here is for explain and for tests, which hold the two together.
//
// # How long a name holds
//
// As long as the answer may be kept, but at least MinTTL and at most MaxTTL, and then for
// Grace: an application resolves first and connects later, and many keep an address longer
// than they may. Cilium keeps a name for as long as a connection to its address lives
// (it calls them zombies), since it judges every packet; here only the beginning of a
// connection is judged, so five minutes are enough for pools that connect again.
//
// Times are seconds of CLOCK_BOOTTIME, which all processes of a machine share and nobody
// can set: with the clock of the day, a step forward would forget every name at once, a
// step back would keep them for hours. Processes in two time namespaces do not share it.
// The header names the boot, and after another one the table is made anew.
//
// # What it can hold
//
// The newest 8 names of an address, in 440 octets together; who can have other names
// answered with the same address can push a name out of it, and Stats counts that.
//
// An address has 8 places, chosen by a keyed hash. When all are taken by others, the one
// that is over goes first, else the one that was learnt longest ago. With the default size,
// pushing out an address by others that are learnt after it succeeds in
// 0.001 % of the cases after 1,000 others, in 5 % after 4,000, in half after 8,000; Stats
// counts that too. Who can read the file has the key, and needs eight.
//
// A name that is forgotten, or was never asked for here, is not there: a rule that allows by
// name then does not allow, and a rule that denies by name does not deny. The latter is no
// boundary against an application that connects to addresses it has from elsewhere.
//
// # The file
//
// A header of one page, then buckets of eight slots, a page each, all little-endian. A slot
// is a sequence number and what it guards (a seqlock): it is odd while the slot is written,
// and a reader takes what it read if the number was even and the same before and after. A
// reader waits for a writer only so long, and then knows no name.
//
// A file is put in its place whole and never shrinks. A new one comes by rename: readers
// compare what stands at the path with what they have open now and then, see
// [Reader.Stale].
package names
