// Command docsgen writes the pages of docs that are made from the sources, so that they
// cannot differ from them. `make docs` runs it; a test fails while a page is old.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

// pages are the files below docs and what makes them.
var pages = map[string]func() string{
	"problems.md": problems,
}

func main() {
	dir := flag.String("dir", "docs", "folder to write to; - prints")
	flag.Parse()
	for name, page := range pages {
		if *dir == "-" {
			fmt.Print(page())
			continue
		}
		if err := os.WriteFile(filepath.Join(*dir, name), []byte(page()), 0o644); err != nil { //nolint:gosec // a page for everybody
			fmt.Fprintln(os.Stderr, "docsgen:", err)
			os.Exit(1)
		}
	}
}
