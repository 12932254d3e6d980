package admission

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "k8s.io/apimachinery/pkg/util/json"

	"pavise.dev/pavise/injector"
)

const (
	// maxBody bounds a request, in octets. The API server takes objects of 3 MiB at most, and
	// an update sends two.
	maxBody = 8 << 20
	// defaultConcurrent is how many requests are answered at once; each may hold maxBody a few
	// times over.
	defaultConcurrent = 16
	// patience is how long a request waits for its turn, and then for its octets. The webhook's
	// own timeout is 5 seconds in the chart.
	patience = 3 * time.Second
)

// Validator judges objects of pavise.dev.
type Validator interface {
	// Review returns what to answer; UID is filled in by the caller. It is called from
	// several goroutines.
	Review(ctx context.Context, r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse
}

// Config of a Handler.
type Config struct {
	// Injector returns the configuration in force. Required. It is called for each request.
	Injector func() injector.Config
	// Namespace returns a namespace with its labels, which is not changed. Required. An error
	// makes the answer 500, which failurePolicy decides about.
	Namespace func(ctx context.Context, name string) (*corev1.Namespace, error)
	// Native says that all nodes have native sidecars, see injector.HasNative.
	Native func() bool
	// Validator for /validate; without one there is no such path.
	Validator Validator
	// Concurrent is how many requests are answered at once. Default 16.
	Concurrent int
	// Stats are counted, if they are not nil.
	Stats *Stats
	// Logger is told of pods that were refused or skipped, and of failures. Default silent.
	Logger *slog.Logger
}

type server struct {
	Config
	slots chan struct{}
}

// Handler serves POST /inject and POST /validate.
func Handler(c Config) (http.Handler, error) {
	if c.Injector == nil || c.Namespace == nil {
		return nil, errors.New("admission: Config.Injector and Config.Namespace are required")
	}
	if c.Native == nil {
		c.Native = func() bool { return false }
	}
	if c.Concurrent <= 0 {
		c.Concurrent = defaultConcurrent
	}
	if c.Stats == nil {
		c.Stats = &Stats{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := &server{Config: c, slots: make(chan struct{}, c.Concurrent)}
	mux := http.NewServeMux()
	mux.Handle("POST /inject", s.answer("inject", s.inject))
	if c.Validator != nil {
		mux.Handle("POST /validate", s.answer("validate", s.validate))
	}
	return mux, nil
}

// failure is an answer that is none: an HTTP status with a line.
type failure struct {
	status int
	err    error
}

func (f *failure) Error() string { return f.err.Error() }

func failf(status int, format string, args ...any) error {
	return &failure{status, fmt.Errorf(format, args...)}
}

type review func(context.Context, *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, error)

// answer reads and writes reviews, a bounded number at once.
func (s *server) answer(path string, do review) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out, err := s.serve(w, r, do)
		if err == nil {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			if _, err = w.Write(out); err != nil { //nolint:gosec // JSON, which no browser asks for
				s.Logger.Warn("an answer was not taken", "path", path, "error", err)
			}
			return
		}
		status := http.StatusInternalServerError
		var f *failure
		if errors.As(err, &f) {
			status = f.status
		}
		s.Stats.count(path, "error", http.StatusText(status))
		s.Logger.Warn("a request was not answered", "path", path, "status", status, "error", err)
		http.Error(w, printable("pavise: "+err.Error()), status)
	})
}

func (s *server) serve(w http.ResponseWriter, r *http.Request, do review) ([]byte, error) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return nil, failf(http.StatusUnsupportedMediaType, "content type %.60q; right is application/json", r.Header.Get("Content-Type"))
	}
	wait, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-wait.Done():
		return nil, failf(http.StatusTooManyRequests, "%d requests are being answered already", cap(s.slots))
	}
	// Whoever sends slowly must not keep the place of others.
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(patience)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil, failf(http.StatusInternalServerError, "read deadline: %w", err)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, failf(http.StatusRequestEntityTooLarge, "a review of more than %d octets", maxBody)
	case err != nil:
		return nil, failf(http.StatusBadRequest, "the review broke off: %w", err)
	}
	var in admissionv1.AdmissionReview
	if err := kjson.Unmarshal(body, &in); err != nil {
		return nil, failf(http.StatusBadRequest, "not an AdmissionReview: %w", err)
	}
	if in.Kind != "AdmissionReview" || in.APIVersion != "admission.k8s.io/v1" || in.Request == nil || in.Request.UID == "" || len(in.Request.UID) > 256 {
		return nil, failf(http.StatusBadRequest, "%.60q of %.60q; right is an AdmissionReview of admission.k8s.io/v1 with a request that has a uid", in.Kind, in.APIVersion)
	}
	out, err := do(r.Context(), in.Request)
	if err != nil {
		return nil, err
	}
	out.UID = in.Request.UID
	return json.Marshal(admissionv1.AdmissionReview{TypeMeta: in.TypeMeta, Response: out})
}

func (s *server) validate(ctx context.Context, r *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, error) {
	out := s.Validator.Review(ctx, r)
	if out == nil {
		return nil, failf(http.StatusInternalServerError, "%s %s/%s: nobody judged it", r.Kind.Kind, r.Namespace, r.Name)
	}
	outcome := "refused"
	if out.Allowed {
		outcome = "allowed"
	}
	s.Stats.count("validate", outcome, "")
	return out, nil
}

func allow() *admissionv1.AdmissionResponse { return &admissionv1.AdmissionResponse{Allowed: true} }

func refuse(message string) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{Result: &metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: message,
	}}
}
