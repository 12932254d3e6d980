// Package hostile holds the requests that have broken systems like this one, each put to
// a live Envoy under a policy as a user writes it. There is no code here but tests.
//
// A row says who asks for what, byte for byte, and the verdict that is right. It holds
// when Envoy answers so, tells the client and the log the reason, when
// [policy.Listener.Evaluate] says the same, and when the workload saw what was allowed
// and nothing else, in the form that was decided on.
package hostile
