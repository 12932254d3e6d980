package delta

// Outcome is what became of content that a client was given.
type Outcome string

const (
	// InForce: the client has acknowledged all of it.
	InForce Outcome = "in-force"
	// Refused: the client has refused a part of it.
	Refused Outcome = "refused"
	// Replaced: it was given other content, or none, before it had answered for all.
	Replaced Outcome = "replaced"
	// Away: the client is not connected, or left before it had answered.
	Away Outcome = "away"
)

// Push is somebody who wants to know what becomes of content that one client is given.
type Push interface {
	// Ended is called once, with the client's words if it refused. Locks are held: it must
	// not block, and call nothing of the Hub.
	Ended(o Outcome, words string)
}

// ended tells who wants to know. It is called with the lock held.
func (n *node) ended(o Outcome, words string) {
	if n.push != nil {
		n.push.Ended(o, words)
		n.push = nil
	}
}
