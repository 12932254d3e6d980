package parse

import "bytes"

const noHosts = "not a line of a hosts file, which begins with an address"

// readHosts reads a hosts file (hosts(5)): an address, then names, with comments behind
// a #. The names are the entries. The address is not looked at beyond being one: lists
// write 0.0.0.0, 127.0.0.1, :: and others alike.
func readHosts(in *input, out *emitter) error {
	return eachLine(in, out, hostsLine)
}

func hostsLine(line []byte, l *lines, out *emitter) error {
	line = trim(line)
	if len(line) == 0 || line[0] == '#' {
		return nil
	}
	out.begin(l.no)
	if l.long {
		out.unreadable(line, longLine)
		return nil
	}
	text, _, _ := bytes.Cut(line, []byte("#"))
	word, rest := field(text)
	switch {
	case !isHostsAddress(word):
		out.unreadable(line, noHosts)
		return nil
	case len(rest) == 0:
		out.unreadable(line, "an address without a name")
		return nil
	}
	for len(rest) > 0 {
		word, rest = field(rest)
		if isBoilerplate(word) {
			out.rep.Skipped++
			continue
		}
		if err := out.exact(word, out.bare); err != nil {
			return err
		}
	}
	return nil
}

// isHostsAddress takes a zone, which macOS writes: fe80::1%lo0 localhost.
func isHostsAddress(word []byte) bool {
	addr, zone, ok := bytes.Cut(word, []byte("%"))
	a, isAddr := parseAddr(addr)
	return isAddr && (!ok || a.Is6() && len(zone) > 0)
}

// isBoilerplate knows the names that every hosts file has, for the machine itself.
func isBoilerplate(word []byte) bool {
	var lower [32]byte
	if len(word) > len(lower) {
		return false
	}
	for i, c := range word {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	switch string(lower[:len(word)]) {
	case "localhost", "localhost.localdomain", "localhost4", "localhost6", "local", "broadcasthost", "0.0.0.0",
		"localhost4.localdomain4", "localhost6.localdomain6",
		"ip6-localhost", "ip6-loopback", "ip6-localnet", "ip6-mcastprefix", "ip6-allnodes", "ip6-allrouters", "ip6-allhosts":
		return true
	}
	return false
}
