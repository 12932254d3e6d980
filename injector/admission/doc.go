// Package admission serves the injector, and what judges policies, to an API server.
//
// [Handler] answers POST /inject and POST /validate with AdmissionReview v1. It keeps nothing
// between requests and writes to nobody, so dry runs are like any other. What it cannot answer
// well, such as a namespace that is not known yet, it answers with an HTTP error: then the
// webhook's failurePolicy decides, as it does when nobody answers.
//
// It must be served over TLS, where the API server calls it; it does not know its callers, and
// tells them nothing but what follows from their own request and the labels of a namespace.
package admission
