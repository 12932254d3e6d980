package main

import (
	"fmt"
	"slices"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds"
)

// compiled is a folder all the way to what Envoy is given.
type compiled struct {
	set       *api.Set
	model     *policy.Model
	resources *xds.Resources
	problems  []api.Problem
	// beside is what the resources were made for.
	beside xds.Options
}

// offline is for those who start no Envoy: everything is there.
var offline = xds.Options{Resolver: xds.DefaultResolver, Module: true}

// usable reports whether nothing keeps it from being enforced.
func (c *compiled) usable() bool { return !api.HasErrors(c.problems) }

// compileFolder reads, compiles and translates a folder, as far as its problems let it. The
// feeds are asked where there are any and the module to ask them. What means the same as
// last, which may be nil, is not translated again.
func compileFolder(l *api.Loader, dir string, beside xds.Options, last *compiled) *compiled {
	c := &compiled{}
	c.set, c.problems = l.Load(dir)
	readable := c.usable()
	model, problems := policy.Compile(c.set)
	for _, p := range problems {
		// What could not be read makes warnings of what could: wait until it can.
		if readable || p.Severity == api.Error {
			c.problems = append(c.problems, p)
		}
	}
	api.SortProblems(c.problems)
	if !c.usable() {
		return c
	}
	c.model, c.beside = model, beside
	c.beside.Feeds = beside.Module && slices.ContainsFunc(c.set.ThreatFeeds, func(f *api.ThreatFeed) bool { return !f.Spec.Suspend })
	if last != nil && last.model.Digest == model.Digest && last.beside == c.beside {
		c.resources = last.resources
	} else {
		resources, err := xds.Translate(model, model.Workloads, c.beside)
		if err != nil {
			c.problems = append(c.problems, api.Problem{
				Code: "PAV0801", Severity: api.Error, File: dir,
				Message: "the rules cannot be given to Envoy: " + err.Error(),
			})
			return c
		}
		c.resources = resources
	}
	for _, name := range sortedKeys(c.resources.Stats) {
		s := c.resources.Stats[name]
		if s.Cuts > 0 {
			c.problems = append(c.problems, api.Problem{
				Code: "PAV0802", Severity: api.Warning, File: dir, Object: name,
				Message: fmt.Sprintf("%d rules could not be split by one field within bounds; Envoy asks %d lists one after the other, the longest of %d rules",
					s.Terms, s.Cuts+1, s.Longest),
				Fix: "give more of the rules a path or a host",
			})
		}
	}
	api.SortProblems(c.problems)
	return c
}
