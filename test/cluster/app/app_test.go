package main

import (
	"context"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"pavise.dev/pavise/internal/freeport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ports returns ports that nobody listened on a moment ago.
func ports(t *testing.T, n int) []string {
	t.Helper()
	var found []string
	list, err := freeport.Find("", n)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		found = append(found, strconv.Itoa(p))
	}
	return found
}

// Would catch a protocol that serve and get do not both speak, and a serve that does not end.
func TestServeAndGet(t *testing.T) {
	p := ports(t, 4)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- serve(ctx, []string{"-name", "web", "-http", p[0], "-https", p[1], "-tcp", p[2], "-grpc", p[3]})
	}()
	for _, test := range []struct {
		args   []string
		want   string
		failed int
	}{
		{
			[]string{"-X", "POST", "-d", "text", "-H", "X-A: b", "-H", "Host: shop.example", "http://127.0.0.1:" + p[0] + "/p?q=1"},
			`"name\":\"web\",\"method\":\"POST\",\"host\":\"shop.example\",\"path\":\"/p?q=1\"`, 0,
		},
		{[]string{"http://127.0.0.1:" + p[0] + "?status=404"}, `"status":404`, 1},
		{[]string{"http://127.0.0.1:" + p[0] + "?status=99"}, `number from 200 to 599`, 1},
		{[]string{"-n", "2", "http://127.0.0.1:" + p[0] + "?size=3"}, `padding\":\"xxx\"`, 0},
		{[]string{"-timeout", "10ms", "http://127.0.0.1:" + p[0] + "?delay=1m"}, `deadline`, 1},
		{[]string{"-insecure", "https://127.0.0.1:" + p[1]}, `"x-app":"web"`, 0},
		{[]string{"https://127.0.0.1:" + p[1]}, `certificate`, 1},
		{[]string{"-d", "line", "tcp://127.0.0.1:" + p[2]}, `"body":"web line"`, 0},
		{[]string{"grpc://127.0.0.1:" + p[3]}, `"body":"SERVING"`, 0},
		{[]string{"dns://localhost"}, `127.0.0.1`, 0},
		{[]string{"gopher://localhost"}, `has to be http, https, tcp, grpc or dns`, 1},
	} {
		var out strings.Builder
		args := test.args
		if test.failed == 0 {
			args = append([]string{"-retry", "10s"}, args...) // the server may not listen yet
		}
		failed, err := get(t.Context(), args, &out)
		if err != nil || failed != test.failed || !strings.Contains(out.String(), test.want) {
			t.Errorf("%v: %d, %v: %s", test.args, failed, err, out.String())
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("serve: %v", err)
	}
}

func TestRunErrors(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"", "first argument"},
		{"walk", `"walk"`},
		{"sleep", "duration"},
		{"sleep soon", "soon"},
		{"get", "URL"},
		{"get -ca app_test.go http://a", "no certificate"},
		{"serve now", `"now" is no flag`},
	} {
		if _, err := run(t.Context(), strings.Fields(test.args)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v, want %s", test.args, err, test.want)
		}
	}
	if code, err := run(t.Context(), []string{"sleep", "1ms", "7"}); code != 7 || err != nil {
		t.Errorf("sleep with an exit code: %d, %v", code, err)
	}
}
