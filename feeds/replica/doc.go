// Package replica brings the snapshot of the feeds from the process that compiles it to
// every process that asks it, and keeps it current there.
//
// A Store takes each snapshot as it is compiled, keeps the last few, and makes a delta from
// each of them to the newest. A Handler serves them. A Follower keeps a copy of the newest
// in a folder, at Dir/feeds.snapshot, for anybody there to map. A Follower that hands what
// it loads to a Store of its own is a relay.
//
// # On the wire
//
// Three resources, read with GET or HEAD over HTTP/1.1 or HTTP/2:
//
//	/feeds/current              what is in force, as JSON; revalidated
//	/feeds/snapshot/HEX         a snapshot, which never changes; with ranges
//	/feeds/delta/FROM/TO        a delta between two, which never changes; with ranges
//
// HEX, FROM and TO are the 64 hexadecimal digits of a snapshot.Digest. The document is
//
//	{"digest":"sha256:HEX","size":N,"deltas":[{"from":"sha256:…","to":"sha256:…","size":N}]}
//
// and has the ETag W/"HEX", so who has a snapshot asks with If-None-Match whether there is
// another, and with ?wait=SECONDS is told when there is (RFC 9110 13.1.2, RFC 6202 2). What
// never changes says so to caches (RFC 8246). Nothing in it is particular to one client: any
// cache, or a folder of an object store with these names, can stand in between.
//
// # What is believed
//
// A digest of the document is believed as far as its server is: it decides what is in
// force, so it is to be reached over TLS, a unix socket or loopback. Nothing else is: what
// comes is what the digest names, of the size that was announced, and has passed a check of
// its own, or it does not take the place of what is there. A server can withhold what is
// new and tell an old snapshot as the newest; the age in Status and the digest say so.
//
// # What it costs
//
// Downloads go to disk as they come, through one buffer. Proving a file reads all of it
// twice; applying a delta takes 12 MB for a file of 20 MB and 22 MB for one of 65 MB, which
// are given back. With Config.Worker both are done by another process, which may take a
// bounded amount of memory and a bounded time, and whose end, if it crashes, changes nothing
// here. Without it, a hostile delta can make this process hold some times the size of the
// snapshot.
//
// # What not to do
//
// Who asks is not checked by the Handler: put what authenticates before it. Never write to
// feeds.snapshot or let two programs share a folder: files are replaced by renaming, and
// readers have them mapped.
package replica
