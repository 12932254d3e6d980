// Package parse turns the octets of a threat feed into entries.
//
// [Parse] reads a feed once, from its beginning to its end, and gives each prefix and
// each domain to a function, with the line it stands in. It holds a few hundred
// kilobytes, however long the feed is; the exceptions are a JSONPath that needs its
// document whole (8 MiB of it), and STIX and TAXII, which hold back up to 131,072
// objects, some 50 MB, so that a newer version of one can replace it.
//
// It decides what an entry says and not whether to believe it: that a feed lists
// 0.0.0.0/0 or com is for the guards. What cannot be read is counted and shown, never
// guessed. What makes a feed unbelievable as a whole (it is a web page, its JSON ends
// in the middle, the reader failed) is an [Error], and then the entries given so far
// are not a feed.
package parse
