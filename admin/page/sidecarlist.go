package page

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"pavise.dev/pavise/admin"
)

// sidecarList is a part of all sidecars.
type sidecarList struct {
	Form   *form
	Rows   []admin.Sidecar
	Pages  pager
	States []tally
}

func (s *site) sidecars(w http.ResponseWriter, r *http.Request) {
	l, ok := s.src.(admin.HasSidecars)
	if !ok {
		s.nothing(w, r, http.StatusNotFound, "Sidecars", "This process serves no sidecars. The control plane does.")
		return
	}
	f := &form{Path: "/sidecars", Button: "Show", Fields: []*field{
		{Kind: pick, Name: "state", Label: "State", Options: []string{"", inForce, "pending", "refused", "away"}},
		{Kind: text, Name: "text", Label: "Pod or workload", Hint: "a part of NAMESPACE/NAME"},
		{Kind: parameter, Name: "from"},
	}}
	f.read(r)
	all := slices.Clone(l.Sidecars())
	list := sidecarList{Form: f, States: states(all)}
	all = slices.DeleteFunc(all, func(x admin.Sidecar) bool {
		state, text := f.value("state"), f.value("text")
		return state != "" && x.State != state || !strings.Contains(x.Node, text) && !strings.Contains(x.Workload, text)
	})
	// Those with which something is wrong come first.
	slices.SortFunc(all, func(a, b admin.Sidecar) int {
		if well := a.State == inForce; well != (b.State == inForce) {
			return cmp.Compare(b2i(well), b2i(!well))
		}
		return cmp.Compare(a.Node, b.Node)
	})
	from, to, pages := window(f, "from", f.Path, "sidecars", len(all), pageSize)
	list.Rows, list.Pages = all[from:to], pages
	s.show(w, "sidecars", "/sidecars", "Sidecars", f, list)
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
