package replica

import (
	"path/filepath"
	"strings"
	"testing"

	"pavise.dev/pavise/feeds/snapshot"
)

// TestCheck: what must not be in force, whoever says so.
func TestCheck(t *testing.T) {
	for _, c := range []struct {
		content
		says string
	}{
		{content{n: 300}, ""},
		{content{}, ""},
		{content{n: 3, action: "Alert"}, ""},
		{content{n: 3, action: "Quarantine"}, `action "Quarantine"`},
		{content{n: 3, lists: []string{"127.0.0.1"}}, "127.0.0.1"},
		{content{n: 3, lists: []string{"::1"}}, "::1"},
		{content{n: 3, lists: []string{"localhost"}}, "localhost"},
		{content{n: 3, lists: []string{"169.254.169.254"}}, "169.254.169.254"},
		{content{n: 3, lists: []string{"192.0.2.53"}}, "192.0.2.53"},
		{content{n: 3, lists: []string{"2001:db8::53"}}, "2001:db8::53"},
		{content{n: 3, lists: []string{"cluster.local"}}, "api.cluster.local"},
		{content{n: 3, lists: []string{"other.local", "10.0.0.1"}}, ""}, // guards that can be switched off
	} {
		path := filepath.Join(t.TempDir(), "s")
		build(t, path, c.content)
		s, err := snapshot.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		err = check(s, []string{"192.0.2.53", "2001:db8::53%eth0", "api.cluster.local"})
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v", c.content, err)
		}
	}
}
