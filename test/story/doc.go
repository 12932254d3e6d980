// Package story has the stories of the people that Pavise is for, each from the first symptom
// to the fix, as scripts of the commands that they type. What a script needs to know it takes
// from what the command before it has printed.
package story
