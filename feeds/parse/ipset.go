package parse

import "bytes"

// readIpset reads what ipset save writes (ipset(8)), and lists of addresses in the
// manner of FireHOL's ipset and netset files.
//
// Only addresses are read: the members of a list:set are names of sets and would look
// like domains. nomatch makes an exception. A timeout is not looked at, since it counts
// from when the file was written, which is not in it.
func readIpset(in *input, out *emitter) error {
	return eachLine(in, out, ipsetLine)
}

func ipsetLine(line []byte, l *lines, out *emitter) error {
	line = trim(line)
	if len(line) == 0 || line[0] == '#' || line[0] == ';' {
		return nil
	}
	out.begin(l.no)
	if l.long {
		out.unreadable(line, longLine)
		return nil
	}
	word, rest := field(line)
	if hasPrefix(word, "-exist") || hasPrefix(word, "-!") {
		word, rest = field(rest)
	}
	switch string(word) {
	case "create", "-N", "flush", "-F", "COMMIT", "rename", "swap":
		return nil
	case "add", "-A":
	case "del", "-D", "destroy", "-X":
		out.unsupported(line, "a command that takes something out")
		return nil
	default:
		return out.address(line[:commentAt(line)])
	}
	if word, rest = field(rest); hasPrefix(word, "-exist") || hasPrefix(word, "-!") {
		_, rest = field(rest)
	}
	value, options := field(rest)
	out.e.Except = hasNomatch(options)
	if bytes.IndexByte(value, ',') >= 0 {
		out.unsupported(line, "a member with a port, an interface or a second address")
		return nil
	}
	if len(value) == 0 {
		out.unreadable(line, emptyName)
		return nil
	}
	return out.address(value)
}

// hasNomatch looks for the option, which can also be a word in a comment.
func hasNomatch(options []byte) bool {
	for len(options) > 0 {
		var word []byte
		if word, options = field(options); string(word) == "nomatch" {
			return true
		}
		if string(word) == "comment" && hasPrefix(options, `"`) {
			_, options, _ = bytes.Cut(options[1:], []byte(`"`))
			options = trim(options)
		}
	}
	return false
}
