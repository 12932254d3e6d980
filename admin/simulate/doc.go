// Package simulate says what a change of policies would do to recorded flows, before it is
// made: both sets are compiled, and the latest decision of each flow is put to both.
//
// It decides nothing itself: [policy.Listener.Evaluate] does. A record does not say
// everything that rules can ask, such as headers, the query, and the names that an address
// was resolved from. A rule that asks for these may or may not match. The recorded reason
// tells for the rules that were asked then, and what is left open is tried both ways. Where that
// leads to different verdicts the flow is uncertain, with the rules that asked. It is never
// counted as unchanged.
//
// What feeds decided stays as it was, and so does what was refused for its form: no policy
// is asked about either.
package simulate
