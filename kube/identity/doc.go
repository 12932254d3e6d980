// Package identity tells which pod a client is, by the service-account token that it shows.
//
// The token is one that the kubelet projects into the pod for the audience pavise alone. Whose
// it is, the API server says (TokenReview); nothing of the token is believed before that. It
// has to be bound to a pod: from the pod's name and its service account's namespace comes
// the node, NAMESPACE/POD. A token of the service account alone, which anybody with rights to
// the namespace's secrets may have, is nobody's.
//
// Answers are kept for ten minutes at the most and no longer than the token lives, by its
// SHA-256 and not by itself. So the API server may be away for a while, and those who were
// reviewed pass; others are told [ErrUnavailable], and try again. A pod that was deleted, as
// far as the control plane has seen it, is asked about anew.
//
// A review costs the API server a signature check and, here, one request; they are bounded in
// rate, in number at once, and in how many wait. Tokens are in no error and no log.
package identity
