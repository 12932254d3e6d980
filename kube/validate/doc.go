// Package validate answers the API server's question whether an object of Pavise may be
// stored: with the very checks, codes and texts of `pavise check`.
//
// The schemas of the custom resources refuse most mistakes before it is asked; what only code can
// say (regular expressions, paths that are never seen, references) is left to it. It stops nobody
// from mending: deletes, status updates and changes that leave the spec as it was are never
// refused, so finalizers can be removed from an object that is wrong.
//
// What it does not see is the text: an alias, a tag or an octal number is expanded by kubectl.
package validate
