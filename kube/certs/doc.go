// Package certs makes the certificate authority and the serving certificate of the control
// plane, keeps them in one Secret, and rotates them so that no client is ever shown a
// certificate that it cannot verify yet.
//
// An authority lives a year. At half of it the next one is made and handed out beside it; only
// after a settling time, and when handing out has worked, does it sign. The one before stays in
// the bundle until it expires, its key does not. A serving certificate lives 30 days and is
// renewed after 20. Certificates begin five minutes early, for clocks that are behind.
//
// Every replica serves what is in the Secret and reads it again every half minute; one of them,
// the leader, writes. Two that think they lead do no harm: a write holds only for the version
// that was read, and whoever is late reads again. A Secret that cannot be read changes nothing,
// and is a problem in [Manager.Problem]; one that was deleted is written again as it was.
//
// The leader hands the bundle out: a ConfigMap in each namespace that is asked for, and the
// caBundle of the webhook configurations that are named, which it never makes. A ConfigMap of a
// namespace that is no longer asked for stays, since pods there may have it mounted; it has a
// label by which it is found.
//
// With certificates from elsewhere (internal/servertls) only the handing out is needed:
// Config.Given.
package certs
