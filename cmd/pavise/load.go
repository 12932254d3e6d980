package main

import (
	"fmt"
	"slices"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds"
	"pavise.dev/pavise/xds/matcher"
)

// compiled is a folder all the way to what Envoy is given.
type compiled struct {
	set   *api.Set
	model *policy.Model
	// resources of each Envoy, by its name.
	resources map[string]*xds.Resources
	problems  []api.Problem
	target    target // that they were made for
}

// target is whom a folder is compiled for.
type target struct {
	xds.Options
	// each has an Envoy for each workload that has listeners, called NAMESPACE/NAME; else
	// one, called node, has them all.
	each bool
}

// offline is for those who start no Envoy: everything is there.
var offline = target{Options: xds.Options{Resolver: xds.DefaultResolver, Module: true}, each: true}

// usable reports whether nothing keeps it from being enforced.
func (c *compiled) usable() bool { return !api.HasErrors(c.problems) }

// compileFolder reads, compiles and translates a folder, as far as its problems let it. The
// feeds are asked where there are any and the module to ask them. What means the same as
// last, which may be nil, is not translated again.
func compileFolder(l *api.Loader, dir string, to target, last *compiled) *compiled {
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
	c.model, c.target = model, to
	c.target.Feeds = to.Module && slices.ContainsFunc(c.set.ThreatFeeds, inUse)
	if !to.each {
		c.problems = append(c.problems, onePlace(dir, model)...)
		if !c.usable() {
			return c
		}
	}
	if has := slices.ContainsFunc(c.set.ThreatFeeds, inUse); has && !to.Module {
		c.problems = append(c.problems, withoutModule(dir, model))
		if !c.usable() {
			return c
		}
	}
	if last != nil && last.model.Digest == model.Digest && last.target == c.target {
		c.resources = last.resources
	} else {
		resources, err := translate(model, c.target)
		if err != nil {
			c.problems = append(c.problems, api.Problem{
				Code: "PAV0801", Severity: api.Error, File: dir,
				Message: "the rules cannot be given to Envoy: " + err.Error(),
			})
			return c
		}
		c.resources = resources
	}
	for _, node := range sortedKeys(c.resources) {
		c.problems = append(c.problems, cutLists(dir, c.resources[node].Stats)...)
	}
	api.SortProblems(c.problems)
	return c
}

// translate makes the resources of each Envoy.
func translate(m *policy.Model, to target) (map[string]*xds.Resources, error) {
	if !to.each {
		r, err := xds.Translate(m, m.Workloads, to.Options)
		return map[string]*xds.Resources{node: r}, err
	}
	out := map[string]*xds.Resources{}
	for _, w := range m.Workloads {
		if len(w.Listeners) == 0 {
			continue
		}
		r, err := xds.Translate(m, []*policy.Workload{w}, to.Options)
		if err != nil {
			return nil, err
		}
		out[w.Key()] = r
	}
	return out, nil
}

// cutLists warns of trees that are lists in part.
func cutLists(dir string, stats map[string]matcher.Stats) (problems []api.Problem) {
	for _, name := range sortedKeys(stats) {
		if s := stats[name]; s.Cuts > 0 {
			problems = append(problems, api.Problem{
				Code: "PAV0802", Severity: api.Warning, File: dir, Object: name,
				Message: fmt.Sprintf("%d rules could not be split by one field within bounds; Envoy asks %d lists one after the other, the longest of %d rules",
					s.Terms, s.Cuts+1, s.Longest),
				Fix: "give more of the rules a path or a host",
			})
		}
	}
	return problems
}

// onePlace finds transparent workloads that one Envoy could not listen for.
func onePlace(dir string, m *policy.Model) (problems []api.Problem) {
	taken := map[uint16]string{}
	for _, w := range m.Workloads {
		for _, l := range w.Listeners {
			if l.Traffic != policy.Transparent {
				continue
			}
			if other, ok := taken[l.Address.Port()]; ok {
				problems = append(problems, api.Problem{
					Code: "PAV0804", Severity: api.Error, File: dir, Object: api.KindWorkload + " " + w.Key(), Field: "spec.transparent",
					Message: fmt.Sprintf("port %d is also that of workload %s, and on one machine only one of them can listen", l.Address.Port(), other),
					Fix:     "give each workload an agent of its own (pavise control-plane), or other ports",
				})
				continue
			}
			taken[l.Address.Port()] = w.Key()
		}
	}
	return problems
}

func inUse(f *api.ThreatFeed) bool { return !f.Spec.Suspend }

// withoutModule is an error where a workload is closed when nobody can ask the feeds.
func withoutModule(dir string, m *policy.Model) api.Problem {
	p := api.Problem{
		Code: "PAV0803", Severity: api.Warning, File: dir,
		Message: "there is no module (" + moduleFile + "), so the threat feeds are looked up and decide on no traffic",
		Fix:     "build it with `make build`, or name it with --module",
	}
	for _, w := range m.Workloads {
		if w.FeedsClosed {
			p.Severity, p.Object = api.Error, api.KindWorkload+" "+w.Key()
			p.Message = "there is no module (" + moduleFile + ") to ask the threat feeds, and the workload is closed when they cannot be asked"
			break
		}
	}
	return p
}
