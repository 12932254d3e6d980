package arch

import (
	"os/exec"
	"strings"
	"testing"
)

const module = "pavise.dev/pavise/"

// forbidden lists, for each folder, what nothing in it may depend on, however far down.
var forbidden = map[string][]string{
	"api":                {module + "policy", module + "xds", "github.com/envoyproxy/", "k8s.io/client-go"},
	"policy":             {module + "xds", module + "admin", "github.com/envoyproxy/", "k8s.io/client-go", "sigs.k8s.io/controller-runtime"},
	"admin":              {module + "xds", "github.com/envoyproxy/"},
	"admin/flows":        {module + "xds", "github.com/envoyproxy/"},
	"admin/anomaly":      {module + "xds", "github.com/envoyproxy/"},
	"admin/page":         {module + "xds", "github.com/envoyproxy/"},
	"admin/simulate":     {module + "xds", "github.com/envoyproxy/"},
	"internal/envoy":     {module + "api", module + "policy", module + "xds", "github.com/envoyproxy/go-control-plane"},
	"internal/watch":     {module + "api", module + "policy", module + "xds"},
	"xds":                {module + "admin", module + "proxy", "k8s.io/client-go"},
	"xds/relay":          {module + "admin", module + "proxy", "k8s.io/client-go"},
	"xds/matcher":        {module + "admin", "github.com/envoyproxy/go-control-plane/pkg", "google.golang.org/grpc/server"},
	"feeds":              {module + "policy", module + "xds", module + "admin", module + "proxy", "github.com/envoyproxy/", "k8s.io/client-go"},
	"feeds/snapshot":     {module + "api", module + "policy", module + "feeds/parse", module + "internal", "net/http"},
	"feeds/parse":        {module + "policy", module + "feeds/fetch"},
	"proxy/filter":       {module + "api", module + "policy", module + "xds", module + "feeds/parse", module + "internal", "net/http", "github.com/envoyproxy/"},
	"proxy/dns":          {module + "api", module + "policy", module + "xds", "net/http", "github.com/envoyproxy/"},
	"proxy/module":       {module + "api", module + "policy", module + "xds", "net/http", "google.golang.org/", "github.com/miekg/dns"},
	"proxy/extauthz":     {module + "xds", module + "admin"},
	"feeds/replica":      {module + "policy", module + "xds", module + "proxy", "google.golang.org/grpc"},
	"internal/policygen": {module + "xds", "github.com/envoyproxy/"},
	"proxy/probe":        {module + "api", module + "policy", module + "xds", "k8s.io/"},
	"injector":           {module + "policy", module + "xds", module + "kube", "github.com/envoyproxy/", "k8s.io/client-go/kubernetes"},
	"kube/netpol":        {module + "xds", "k8s.io/client-go"},
	"kube/validate":      {module + "xds", "k8s.io/client-go"},
	"kube/identity":      {module + "policy", module + "xds", module + "api"},
	"kube/certs":         {module + "policy", module + "xds", module + "api"},
	"kube/source":        {module + "admin", module + "proxy", module + "injector"},
}

// direct lists who may import a module at all.
var direct = map[string][]string{
	"github.com/envoyproxy/go-control-plane": {"xds", "proxy/extauthz", "benchmarks"},
	"github.com/miekg/dns":                   {"proxy/dns", "test", "benchmarks"},
	"github.com/google/nftables":             {"proxy/redirect"},
	"github.com/mdlayher/netlink":            {"proxy/redirect"},
	"github.com/vishvananda/":                {"test/netlab"},
	"github.com/prometheus/":                 {"proxy/health", "cmd"},
	"go.opentelemetry.io/":                   {"internal/decisions/otlp", "internal/tracing"},
	"runtime/cgo":                            {"proxy/module"},
	"github.com/spf13/cobra":                 {"cmd"},
	"github.com/vbauerster/mpb":              {"cmd"},
	"github.com/hashicorp/go-retryablehttp":  {"feeds/fetch"},
	"github.com/theory/jsonpath":             {"api", "feeds/parse"},
	"github.com/yl2chen/cidranger":           {"benchmarks"},
	"github.com/fsnotify/fsnotify":           {"internal/watch"},
	"k8s.io/client-go":                       {"kube", "injector", "deploy/install", "cmd", "test"},
	"sigs.k8s.io/controller-runtime":         {"kube", "cmd", "test"},
	"github.com/google/go-containerregistry": {"deploy/image", "test/cluster"},
}

// never lists what a folder may not import itself, whatever its dependencies do.
var never = map[string][]string{
	"policy":     {"net/http", "google.golang.org/grpc", "k8s.io/api/"},
	"api":        {"net/http", "google.golang.org/grpc"},
	"internal/":  {module + "cmd"},
	"xds":        {module + "cmd", "net/http"},
	"benchmarks": {module + "cmd"},
	// Nothing of ours: whoever reads snapshots should carry nothing else.
	"feeds/snapshot": {module},
	"proxy/names":    {module},
	"proxy/redirect": {module},
	"proxy/health":   {module},
}

func list(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %v: %v", args, err)
	}
	return strings.Fields(string(out))
}

func TestForbiddenDependencies(t *testing.T) {
	for folder, bad := range forbidden {
		for _, dep := range list(t, "-deps", "./"+folder) {
			for _, b := range bad {
				if strings.HasPrefix(dep, b) {
					t.Errorf("%s depends on %s", folder, dep)
				}
			}
		}
	}
}

func TestDirectImports(t *testing.T) {
	for _, line := range strings.Split(strings.Join(list(t, "-f", `{{.ImportPath}}{{range .Imports}},{{.}}{{end}}{{"\n"}}`, "./..."), "\n"), "\n") {
		parts := strings.Split(line, ",")
		folder := strings.TrimPrefix(parts[0], module)
		for _, imp := range parts[1:] {
			for of, bad := range never {
				for _, b := range bad {
					if folder != "xds/envoytest" && strings.HasPrefix(folder, of) && strings.HasPrefix(imp, b) {
						t.Errorf("%s imports %s", folder, imp)
					}
				}
			}
			for mod, allowed := range direct {
				if !strings.HasPrefix(imp, mod) {
					continue
				}
				ok := false
				for _, a := range allowed {
					ok = ok || folder == a || strings.HasPrefix(folder, a+"/")
				}
				if !ok {
					t.Errorf("%s imports %s, which belongs into %v", folder, imp, allowed)
				}
			}
		}
	}
}

// TestPackageComments: every package says what it is for, once.
func TestPackageComments(t *testing.T) {
	for _, line := range list(t, "-f", `{{.ImportPath}}={{len .Doc}}{{"\n"}}`, "./...") {
		if strings.HasSuffix(line, "=0") {
			t.Errorf("%s has no package comment", strings.TrimSuffix(line, "=0"))
		}
	}
}

// TestSidecarHasNoKubernetes: there is one sidecar for every pod, and it has no use for the
// libraries of the control plane.
func TestSidecarHasNoKubernetes(t *testing.T) {
	for _, dep := range list(t, "-deps", "-tags", "sidecar", "./cmd/pavise") {
		for _, bad := range []string{"k8s.io/client-go", "k8s.io/api/", "sigs.k8s.io/controller-runtime"} {
			if strings.HasPrefix(dep, bad) {
				t.Errorf("the binary of the sidecar depends on %s", dep)
			}
		}
	}
}
