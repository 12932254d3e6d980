// Package feeds keeps threat feeds: it fetches them when they are due, reads and checks
// what came, keeps the last good of each on disk, and compiles all of them into one
// snapshot.
//
// A Manager does that in a folder of its own, which no other Manager may use at the same
// time:
//
//	lock              held while a Manager is open
//	snapshot          what is in force; readers map it
//	feeds/NAME/
//	  state.json      what is known of the feed, and the name of its body
//	  body-DIGEST     the last good body, as it was fetched
//	  changes/…       what each refresh added and removed
//
// Every file is replaced by renaming, and state.json names the body that it belongs to, so
// a crash at any moment leaves one version or the other. Who only wants to look reads
// the folder with ReadStatus and snapshot.Open, without the lock.
//
// The last good stands: a fetch that fails, a body that a guard refuses, a disk that is
// full change the status of a feed and nothing that is in force.
package feeds
