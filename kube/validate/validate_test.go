package validate

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pavise.dev/pavise/api"
)

func request(op admissionv1.Operation, kind, before, after string) *admissionv1.AdmissionRequest {
	r := &admissionv1.AdmissionRequest{
		UID: "7", Operation: op, Name: "a", Namespace: "shop",
		Kind: metav1.GroupVersionKind{Group: api.Group, Version: api.Version, Kind: kind},
	}
	r.Object.Raw, r.OldObject.Raw = []byte(after), []byte(before)
	return r
}

func object(meta, spec string) string {
	return fmt.Sprintf(`{"metadata":{"name":"a","namespace":"shop"%s},"spec":%s}`, meta, spec)
}

const (
	good    = `{"ingress":[{"action":"Allow","from":[{"cidrs":["10.0.0.0/8"]}]}]}`
	bad     = `{"ingress":[{"action":"Allow","from":[{"cidrs":["10.0.0.1/8"]}]}]}`
	worse   = `{"ingress":[{"action":"Allow","from":[{"cidrs":["10.0.0.1/8","10.0.0.2/8"]}]}]}`
	warned  = `{"ingress":[{"action":"Allow","http":[{"methods":["get"]}]}]}`
	unknown = `{"ingress":[{"action":"Allow","methds":["GET"]}]}`
)

func TestReview(t *testing.T) {
	create, change := admissionv1.Create, admissionv1.Update
	for _, c := range []struct {
		name string
		req  *admissionv1.AdmissionRequest
		want string // in the refusal; allowed where empty
		warn string
	}{
		{name: "good", req: request(create, "AccessPolicy", "", object("", good))},
		{name: "bad", req: request(create, "AccessPolicy", "", object("", bad)), want: "spec.ingress[0].from[0].cidrs[0]: PAV0206: 10.0.0.1/8 has host bits set; write 10.0.0.0/8"},
		{name: "warning", req: request(create, "AccessPolicy", "", object("", warned)), warn: "spec.ingress[0].http[0].methods[0]: PAV0402"},
		{name: "made wrong", req: request(change, "AccessPolicy", object("", good), object("", bad)), want: "PAV0206"},
		{name: "made worse", req: request(change, "AccessPolicy", object("", bad), object("", worse)), want: "PAV0206"},
		{name: "mended", req: request(change, "AccessPolicy", object("", bad), object("", good))},
		// An object that was stored while the webhook was away, and now has to go.
		{name: "finalizer removed", req: request(change, "AccessPolicy", object(`,"finalizers":["a/b"]`, bad), object(`,"finalizers":[]`, bad))},
		{name: "labelled", req: request(change, "AccessPolicy", object("", unknown), object(`,"labels":{"a":"b"}`, unknown))},
		{name: "reordered", req: request(change, "NetworkSet", object("", `{"cidrs":["x"],"domains":[]}`), object("", `{"domains":[],"cidrs":["x"]}`))},
		{name: "unreadable before and after", req: request(change, "ThreatFeed", object("", `{"expireAfter":"x"}`), object(`,"finalizers":[]`, `{"expireAfter":"x"}`))},
		{name: "status", req: func() *admissionv1.AdmissionRequest {
			r := request(change, "AccessPolicy", object("", good), object("", bad))
			r.SubResource = "status"
			return r
		}()},
		{name: "deleted", req: request(admissionv1.Delete, "AccessPolicy", object("", bad), "")},
		{name: "name of a NetworkPolicy", req: request(create, "AccessPolicy", "", `{"metadata":{"name":"np.web"},"spec":`+good+`}`), want: "metadata.name: PAV0101: names that begin with np. "},
		{name: "name of a port", req: request(create, "AccessPolicy", "", `{"metadata":{"name":"npp.web-80.a"},"spec":`+good+`}`), want: "npp."},
		{name: "name of a ClusterNetworkPolicy", req: request(create, "ClusterAccessPolicy", "", `{"metadata":{"name":"cnp.web"},"spec":{"tier":"Admin","ingress":[]}}`), want: "cnp."},
		{name: "a name like it", req: request(create, "AccessPolicy", "", `{"metadata":{"name":"npx.web"},"spec":`+good+`}`)},
		{name: "no namespace to refer to", req: request(create, "ClusterAccessPolicy", "", `{"metadata":{"name":"a"},"spec":{"tier":"Admin","ingress":[{"action":"Deny","from":[{"networkSets":["office"]}]}]}}`), want: "PAV0207"},
		{name: "file feed", req: request(create, "ThreatFeed", "", `{"metadata":{"name":"a"},"spec":{"url":"file:///etc/shadow"}}`), want: "spec.url: PAV0668: "},
		{name: "file header", req: request(create, "ThreatFeed", "", `{"metadata":{"name":"a"},"spec":{"url":"https://a.example.com","headers":[{"name":"k","valueFrom":{"file":"/etc/shadow"}}]}}`), want: "spec.headers[0].valueFrom.file: PAV0668: "},
		{name: "secret header", req: request(create, "ThreatFeed", "", `{"metadata":{"name":"a"},"spec":{"url":"https://a.example.com","headers":[{"name":"k","valueFrom":{"secretKeyRef":{"name":"a","key":"b"}}}]}}`)},
		{name: "unknown field", req: request(create, "AccessPolicy", "", object("", unknown)), want: "spec.ingress[0].methds: PAV0009"},
		{name: "other case", req: request(create, "AccessPolicy", "", object("", `{"Ingress":[]}`)), want: "spec.Ingress: PAV0009"},
		{name: "metadata of a newer API server", req: request(create, "AccessPolicy", "", object(`,"newField":1`, good))},
		{name: "wrong type", req: request(create, "AccessPolicy", "", object("", `{"ingress":7}`)), want: "PAV0011"},
		{name: "number out of range", req: request(create, "AccessPolicy", "", object("", `{"order":99999999999,"ingress":[]}`)), want: "PAV0011"},
		{name: "no object", req: request(create, "AccessPolicy", "", ""), want: "PAV0007"},
		{name: "too large", req: request(create, "AccessPolicy", "", strings.Repeat(" ", maxObject+1)), want: "PAV0002"},
		{name: "another kind", req: request(create, "Workload", "", object("", "{}")), want: "PAV0008"},
		{name: "nothing", req: nil, want: "PAV0007"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log bytes.Buffer
			v := New(Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
			got := v.Review(context.Background(), c.req)
			if c.req != nil && got.UID != c.req.UID {
				t.Errorf("UID %q: an API server takes no answer to another request", got.UID)
			}
			if got.Allowed != (c.want == "") || got.Allowed != (got.Result == nil) || got.Allowed != (log.Len() == 0) && c.req != nil {
				t.Errorf("allowed %v: %+v; log %s", got.Allowed, got.Result, &log)
			}
			if got.Result != nil && (!strings.Contains(got.Result.Message, c.want) || got.Result.Code != 422 || got.Result.Details == nil || len(got.Result.Details.Causes) == 0) {
				t.Errorf("refused with %+v, want %q", got.Result, c.want)
			}
			if warned := strings.Join(got.Warnings, "\n"); c.warn == "" && warned != "" || !strings.Contains(warned, c.warn) {
				t.Errorf("warned of %q, want %q", warned, c.warn)
			}
		})
	}
}

// TestAnswersAreBounded: an object of nonsense does not turn into a megabyte of messages, which the API
// server would not take.
func TestAnswersAreBounded(t *testing.T) {
	var rules []map[string]any
	for range 500 {
		rules = append(rules, map[string]any{
			"action": "Block" + strings.Repeat("é", 500),
			"http":   []any{map[string]any{"methods": []string{"get"}, "paths": []any{map[string]any{"exact": "/" + strings.Repeat("{", 5000)}}}},
		})
	}
	spec, err := json.Marshal(map[string]any{"ingress": rules})
	if err != nil {
		t.Fatal(err)
	}
	got := New(Config{}).Review(context.Background(), request(admissionv1.Create, "AccessPolicy", "", object("", string(spec))))
	if got.Allowed || len(got.Result.Details.Causes) != maxShown+1 || !strings.HasSuffix(got.Result.Message, " more problems") {
		t.Errorf("%d causes: %s", len(got.Result.Details.Causes), got.Result.Message)
	}
	if len(got.Warnings) != maxShown+1 || len(strings.Join(got.Warnings, "")) > 4096 || len(got.Result.Message) > 8192 {
		t.Errorf("%d warnings, a message of %d octets", len(got.Warnings), len(got.Result.Message))
	}
}

func FuzzReview(f *testing.F) {
	for _, spec := range []string{good, bad, warned, unknown} {
		f.Add("AccessPolicy", object("", spec))
	}
	f.Add("ThreatFeed", `{"metadata":{"name":"a"},"spec":{"url":"https://a","expireAfter":"1h"}}`)
	f.Fuzz(func(t *testing.T, kind, raw string) {
		got := New(Config{}).Review(context.Background(), request(admissionv1.Create, kind, "", raw))
		if got.Allowed == (got.Result != nil) {
			t.Errorf("%+v", got)
		}
		again := New(Config{}).Review(context.Background(), request(admissionv1.Update, kind, raw, raw))
		if json.Valid([]byte(raw)) && strings.HasPrefix(raw, `{"metadata"`) && !again.Allowed && got.Result.Details.Causes[0].Message[:7] != "PAV0008" {
			t.Errorf("a change of nothing is refused: %+v", again.Result)
		}
	})
}
