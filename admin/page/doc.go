// Package page is what a browser shows of the admin endpoint: what is in force and what is
// not, why a request is decided as it is, what happened lately.
//
// Pages are rendered on the server, from templates and one style sheet that are part of the
// binary. There is no script and nothing of another origin. Every page is read by GET, but for
// the simulation, whose form is too long for an address and is sent by POST. Nothing is changed by
// either, and a form that another site has a browser send is refused.
//
// Everything that is shown may have been chosen by an attacker: hosts, paths, names of feeds.
// It is escaped by html/template, isolated by bdi elements, cut to a bound, and what would not
// be seen or would turn the direction of text around is written as an escape (see visible).
// Every list is paged, and every parameter is bounded. Pages that take processor time, or read
// files, are made two at a time, for up to 20 seconds.
//
// The package decides nothing about who may read: whoever mounts the Handler does. Behind a TCP
// port of the loopback, the Host header has to be checked there, or any site can read it by
// having its own name resolve to 127.0.0.1.
package page
