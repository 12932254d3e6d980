package identity

import (
	"context"
	"fmt"
	"slices"
	"strings"

	authv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"pavise.dev/pavise/internal/secret"
)

// What the API server adds to a user that is a pod's service account.
const (
	extraPodName = "authentication.kubernetes.io/pod-name"
	extraPodUID  = "authentication.kubernetes.io/pod-uid"
	accountUser  = "system:serviceaccount:"
)

// review asks the API server. An error is ErrUnavailable; a no is an answer.
func (r *Reviewer) review(ctx context.Context, token secret.String) (*answer, error) {
	got, err := r.c.Reviews.Create(ctx, &authv1.TokenReview{
		Spec: authv1.TokenReviewSpec{Token: token.Reveal(), Audiences: []string{r.c.Audience}},
	}, metav1.CreateOptions{})
	if err != nil {
		// Not even that we may not ask is the client's fault.
		return nil, fmt.Errorf("%w: the API server: %s", ErrUnavailable, without(token, err.Error()))
	}
	if got == nil {
		return nil, fmt.Errorf("%w: the API server gave no review", ErrUnavailable)
	}
	a, why := r.read(&got.Status)
	if why == "" {
		if a.expires, err = expiry(token.Reveal()); err != nil {
			why = err.Error()
		}
	}
	if why != "" {
		return &answer{err: fmt.Errorf("%w: %s", ErrRefused, without(token, why))}, nil
	}
	return a, nil
}

// read takes the pod out of a review, or says why there is none.
func (r *Reviewer) read(s *authv1.TokenReviewStatus) (*answer, string) {
	switch {
	case s.Error != "":
		return nil, "the API server says: " + s.Error
	case !s.Authenticated:
		return nil, "the API server does not know it: it has expired, is for another audience than " + r.c.Audience + ", or its pod is gone"
	case !slices.Contains(s.Audiences, r.c.Audience):
		// An API server that knows nothing of audiences says yes and names none.
		return nil, "it is not for the audience " + r.c.Audience
	}
	account, ok := strings.CutPrefix(s.User.Username, accountUser)
	namespace, name, both := strings.Cut(account, ":")
	if !ok || !both || len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1123Subdomain(name)) > 0 {
		return nil, "it is not that of a service account"
	}
	pod, uid := s.User.Extra[extraPodName], s.User.Extra[extraPodUID]
	switch {
	case len(pod) != 1 || len(uid) != 1 || uid[0] == "" || len(uid[0]) > 128:
		return nil, "it is bound to no pod: use a projected token (serviceAccountToken) and no secret"
	case len(validation.IsDNS1123Subdomain(pod[0])) > 0:
		return nil, "its pod has no valid name"
	}
	return &answer{namespace: namespace, pod: pod[0], uid: uid[0]}, ""
}
