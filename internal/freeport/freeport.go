// Package freeport finds ports for the servers that tests start, where these have to be told one.
package freeport

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// The ports that are looked at. They are below those that the system gives to connections and to
// whoever asks for any port (32768 and up on Linux), so that nobody is given one of them between
// when it is found and when the server listens.
const first, last = 20_000, 31_999

// tries bounds how many are looked at for one.
const tries = 200

// Find returns n different TCP ports on which nobody listens at an address, such as 127.0.0.1 or,
// for all addresses, an empty one.
func Find(address string, n int) (ports []int, err error) {
	var held []net.Listener
	defer func() {
		for _, l := range held {
			_ = l.Close() // it was never used
		}
	}()
	for range n * tries {
		if len(ports) == n {
			return ports, nil
		}
		port := first + rand.N(last-first+1) //nolint:gosec // no secret
		l, lerr := (&net.ListenConfig{}).Listen(context.Background(), "tcp", net.JoinHostPort(address, strconv.Itoa(port)))
		if lerr != nil {
			err = lerr // somebody has it, or the address is not ours
			continue
		}
		held, ports = append(held, l), append(ports, port)
	}
	return nil, fmt.Errorf("no free port at %q: %w", address, err)
}
