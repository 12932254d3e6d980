package main

import (
	"fmt"
	"os"
	"strings"
)

// mapping is what is resident of the mappings of one file, or of those without one, in kB.
type mapping struct{ rss, pss, private float64 }

// readMaps adds up the mappings of a process by the files they are of.
func readMaps(pid int) (map[string]mapping, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return nil, err
	}
	out := map[string]mapping{}
	name := ""
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if !strings.HasSuffix(f[0], ":") { // a range of addresses begins a mapping
			if name = ""; len(f) > 5 {
				name = strings.Join(f[5:], " ")
			}
			continue
		}
		m := out[name]
		switch f[0] {
		case "Rss:":
			m.rss += number([]byte(f[1]))
		case "Pss:":
			m.pss += number([]byte(f[1]))
		case "Private_Clean:", "Private_Dirty:":
			m.private += number([]byte(f[1]))
		}
		out[name] = m
	}
	return out, nil
}

func total(maps map[string]mapping) (sum mapping) {
	return of(maps, func(string) bool { return true })
}

// of adds up the mappings of some files.
func of(maps map[string]mapping, file func(string) bool) (sum mapping) {
	for name, m := range maps {
		if file(name) {
			sum.rss += m.rss
			sum.pss += m.pss
			sum.private += m.private
		}
	}
	return sum
}

// isLibrary and isSnapshot know the module's files; one that was replaced has a mark
// behind its name.
func isLibrary(name string) bool  { return strings.Contains(name, "libpavise.so") }
func isSnapshot(name string) bool { return strings.Contains(name, ".snapshot") }
