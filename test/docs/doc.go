// Package docs holds the documentation to what the code does: commands in it are run,
// tables in it are put to the code, names and links in it have to exist. There is no
// code here but tests.
package docs
