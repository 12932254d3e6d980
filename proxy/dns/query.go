package dns

// asker is what an answer has to know of who asked.
type asker struct {
	id   uint16
	size int // of the largest answer, in octets
	// question as it came, in the case it came in: name, type, class. Empty if it could not
	// be read.
	question []byte
	qtype    int

	rd, ad, cd, do, edns bool
}

// query is a question as it came. It is read again and again into the same memory, and
// points into the packet.
type query struct {
	asker
	qclass int
	// key is the question in lower case, and an octet with DO and CD: what answers are kept
	// under.
	key    [maxName + 5]byte
	keyLen int
	// text is the canonical name.
	text    [maxName]byte
	textLen int
	// subnet is the EDNS option with the client's subnet, or empty.
	subnet []byte
}

// outcome says what is to be done with a packet.
type outcome uint8

const (
	proceed outcome = iota
	drop            // it is no question at all; answering could make a loop
	formErr
	notImp
	badVers
	badClass
	badType
)

const (
	keyDO = 1 << iota
	keyCD
	// maxExtra bounds the records behind the question: OPT, and a signature.
	maxExtra = 4
	// maxSubnet bounds the option: family, lengths, and an address.
	maxSubnet = 4 + 4 + 16
)

// name is the canonical name; valid until the next packet.
func (q *query) name() string { return borrow(q.text[:q.textLen]) }

// read reads a packet. size is the largest answer that can be sent: over UDP it is lowered
// to what the client can take.
func (q *query) read(p []byte, size int, udp bool) outcome {
	q.asker = asker{size: size}
	q.subnet = nil
	if len(p) < headerLen {
		return drop
	}
	flags := get16(p, 2)
	if flags&flagQR != 0 {
		return drop
	}
	q.id = u16(get16(p, 0))
	q.rd, q.ad, q.cd = flags&flagRD != 0, flags&flagAD != 0, flags&flagCD != 0
	if udp {
		q.size = min(size, 512)
	}
	if flags&opcodeMask != 0 {
		return notImp
	}
	if get16(p, 4) != 1 || get16(p, 6) != 0 || get16(p, 8) != 0 || get16(p, 10) > maxExtra {
		return formErr
	}
	off, ok := q.readQuestion(p)
	if !ok {
		return formErr
	}
	version := 0
	for range get16(p, 10) {
		if off, version, ok = q.readExtra(p, off, size, udp, version); !ok {
			return formErr
		}
	}
	if off != len(p) {
		return formErr
	}
	bits := byte(0)
	if q.do {
		bits |= keyDO
	}
	if q.cd {
		bits |= keyCD
	}
	q.key[q.keyLen] = bits
	q.keyLen++
	switch {
	case version != 0:
		return badVers
	case q.qclass != classIN:
		return badClass
	case q.qtype == 0, q.qtype == typeOPT, q.qtype >= 128 && q.qtype < typeANY:
		return badType // transfers, signatures of transactions and the like: RFC 6895 3.1
	}
	return proceed
}

// readQuestion reads name, type and class, and returns what is behind them. A pointer has
// nothing to point to yet.
func (q *query) readQuestion(p []byte) (int, bool) {
	off, t := headerLen, 0
	for {
		if off >= len(p) {
			return 0, false
		}
		n := int(p[off])
		if n == 0 {
			break
		}
		end := off + 1 + n
		if n > maxLabel || end > len(p) || end-headerLen > maxName-1 {
			return 0, false
		}
		if t > 0 {
			q.text[t] = '.'
			t++
		}
		q.key[off-headerLen] = p[off]
		for i := off + 1; i < end; i++ {
			c := lower[p[i]]
			if c == '.' {
				return 0, false // would read as two labels
			}
			q.key[i-headerLen] = c
			q.text[t] = c
			t++
		}
		off = end
	}
	if off+5 > len(p) {
		return 0, false
	}
	end := off + 5
	copy(q.key[off-headerLen:], p[off:end])
	q.textLen, q.keyLen = t, end-headerLen
	q.qtype, q.qclass = get16(p, off+1), get16(p, off+3)
	q.question = p[headerLen:end]
	return end, true
}

// readExtra reads a record behind the question.
func (q *query) readExtra(p []byte, off, size int, udp bool, version int) (next, v int, ok bool) {
	var room [maxName]byte
	root := off < len(p) && p[off] == 0
	_, off, ok = appendName(room[:0], p, off)
	if !ok || off+10 > len(p) {
		return 0, 0, false
	}
	end := off + 10 + get16(p, off+8)
	if end > len(p) {
		return 0, 0, false
	}
	if get16(p, off) != typeOPT {
		return end, version, true // a signature: it is between others
	}
	if q.edns || !root { // RFC 6891 6.1.1
		return 0, 0, false
	}
	q.edns = true
	if udp {
		q.size = min(size, max(512, get16(p, off+2)))
	}
	version = int(p[off+5])
	q.do = get16(p, off+6)&flagDO != 0
	for at := off + 10; at < end; {
		if at+4 > end || at+4+get16(p, at+2) > end {
			return 0, 0, false
		}
		n := 4 + get16(p, at+2)
		if get16(p, at) == optionECS {
			if n > maxSubnet {
				return 0, 0, false
			}
			q.subnet = p[at : at+n]
		}
		at += n
	}
	return end, version, true
}
