package workload

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// Suite is one thing to measure, in a folder for its files; it returns a RESULT line.
type Suite struct {
	Name string
	Run  func(dir string) (string, error)
}

// RunSuites runs those of the suites that are named in only, separated by commas, in a new
// folder within in, if that exists, and prints what they returned last.
func RunSuites(in, only string, suites []Suite) error {
	if _, err := os.Stat(in); err != nil {
		in = ""
	}
	dir, err := os.MkdirTemp(in, "pavise-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	wanted := strings.Split(only, ",")
	var results []string
	for _, s := range suites {
		if !slices.Contains(wanted, s.Name) {
			continue
		}
		result, err := s.Run(dir)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
		results = append(results, result)
	}
	for _, r := range results {
		fmt.Println(r)
	}
	return nil
}
