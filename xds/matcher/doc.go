// Package matcher translates a policy program into Envoy's matcher trees
// (xds.type.matcher.v3), the form in which the cost of a decision does not grow
// with the number of rules.
//
// First match wins, and Envoy's trees know no order: the builder splits a list of
// terms by one dimension at a time (path, host, source, …), and gives each branch, in
// order, the terms that apply there. A branch in which nothing matches falls back
// to shorter prefixes and at last to the terms that do not care for the dimension, so
// a branch repeats only those of them that come before one of its own.
//
// Repetition is bounded: where splitting a list would grow it past a factor, another
// dimension is taken, and where none fits the list is cut in two that are asked one
// after the other. [Stats] says how far that went.
//
// Three properties of Envoy's matchers carry this, tested in this package against
// the real one: a nested matcher that matches nothing sends a list on to its next
// entry, a map or trie to its next shorter key, and a tree to its on_no_match.
package matcher
