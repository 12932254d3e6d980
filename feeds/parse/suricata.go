package parse

import "bytes"

// readSuricata reads Suricata's reputation lists: address,category,score, with # for
// comments (Suricata's manual, "IP Reputation"). The score is 0 to 127; as a confidence,
// what is over 100 is 100. Categories are numbers of a file that we do not have, and
// are not looked at.
func readSuricata(in *input, out *emitter) error {
	return eachLine(in, out, suricataLine)
}

func suricataLine(line []byte, l *lines, out *emitter) error {
	line = trim(line)
	if len(line) == 0 || line[0] == '#' {
		return nil
	}
	out.begin(l.no)
	addr, score, ok := reputation(line)
	switch {
	case l.long:
		out.unreadable(line, longLine)
	case !ok:
		out.unreadable(line, "not an address, a category and a score of 0 to 127")
	case out.confident(score):
		return out.address(addr)
	}
	return nil
}

// reputation cuts a line at its two commas.
func reputation(line []byte) (addr []byte, score int, ok bool) {
	addr, rest, _ := bytes.Cut(line, []byte(","))
	category, rest, _ := bytes.Cut(rest, []byte(","))
	rest, _, _ = bytes.Cut(rest, []byte("#"))
	category, rest = trim(category), trim(rest)
	_, n := number(category, 3)
	score, k := number(rest, 3)
	return addr, score, n > 0 && n == len(category) && k > 0 && k == len(rest) && score <= 127
}
