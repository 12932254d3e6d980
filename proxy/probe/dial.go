package probe

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
)

// dial opens a connection to a port of the pod. All connections of this package are made here,
// and of the address that is asked for only the port counts: what a probe or a redirect says
// can lead nowhere else.
func (c *Config) dial(ctx context.Context, _, address string) (net.Conn, error) {
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port %.20q is no number", text)
	}
	if err := c.foreign(int(port)); err != nil {
		return nil, err
	}
	d := net.Dialer{KeepAlive: -1}
	return d.DialContext(ctx, "tcp", netip.AddrPortFrom(c.Target, uint16(port)).String())
}

// foreign returns an error for a port of the sidecar.
func (c *Config) foreign(port int) error {
	if slices.ContainsFunc(c.Own, func(own uint16) bool { return int(own) == port }) {
		return said(fmt.Sprintf("port %d belongs to the sidecar, and is not probed", port))
	}
	return nil
}

// address of a port as the application sees it in Host and :authority.
func (c *Config) address(port int32) string {
	return net.JoinHostPort(c.Target.String(), strconv.Itoa(int(port)))
}

// said is an error in words of this package.
type said string

func (s said) Error() string { return string(s) }
