// Package snapshot holds what all feeds list in one file that is looked up where it
// lies: a Builder writes it, Open maps it, Contains and Lookup answer from it without
// allocating, and a Delta takes one version of it to the next.
//
// # What is where
//
// A file is a header, a table of sections, and the sections, each at a multiple of 64
// octets, little-endian, without pointers. The same feeds, entries, lines and Key give the
// same octets on every machine.
//
// Hot, asked for every connection:
//
//   - IPv4: the borders of what is listed, in order. An address is listed when an odd
//     number of borders is at or below it. A border is the low 15 bits of an address in a
//     list for its high 17 bits; four of them are compared with one subtraction, as in
//     DXR (Zec, Rizzo, Mikuc: "DXR: Towards a Billion Routing Lookups per Second in
//     Software", CCR 2012) the space is cut by its high bits first.
//   - IPv6: the same for the high 32 bits within 2000::/3, then a list for the next 32
//     and the low 64. What lies outside 2000::/3 is searched in the cold entries.
//   - Domains: a filter of ten bits for each name (blocked Bloom, four bits in one word),
//     a second for what long names end in, and where in the file each bucket of eight
//     names begins. One or two words of the filter answer for nearly every name that is
//     not listed.
//
// Cold, asked after a hit: the entries with feed, line and the entry around them, and
// the names themselves. A name that passes the filter is compared with those of its
// bucket, so a hit is exact.
//
// Names are hashed under a Key, so that somebody who fills a feed cannot choose names
// that meet in one bucket.
//
// Save replaces a file in one step. Diff writes what is different in the next version,
// arithmetic-coded, and Apply makes the next file of it, octet for octet.
//
// Every section has a checksum (CRC-32C), which Open verifies; a file that is cut short
// or altered does not open. The checksums find accidents; a file that comes from
// elsewhere is compared with its Digest, which is cryptographic. Reading stays within
// the file even if the checksums of a hostile file are right.
package snapshot
