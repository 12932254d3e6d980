package redirect

import (
	"bytes"
	"encoding/binary"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// comment finds the comment in what a rule carries for its owner: a type, a length and
// a value after another (libnftnl's udata). Whoever made the rule wrote it.
func comment(b []byte) string {
	for len(b) >= 2 && len(b)-2 >= int(b[1]) {
		if value := b[2 : 2+int(b[1])]; b[0] == byte(userdata.TypeComment) {
			return string(bytes.TrimRight(value, "\x00"))
		}
		b = b[2+int(b[1]):]
	}
	return ""
}

// decodeExprs reads the parts of a rule.
func decodeExprs(b []byte) ([]expr.Any, error) {
	list, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return nil, err
	}
	var exprs []expr.Any
	for list.Next() {
		list.Nested(func(ad *netlink.AttributeDecoder) error {
			var name string
			var data []byte
			for ad.Next() {
				switch ad.Type() {
				case unix.NFTA_EXPR_NAME:
					name = ad.String()
				case unix.NFTA_EXPR_DATA:
					data = ad.Bytes()
				}
			}
			exprs = append(exprs, decodeExpr(name, data))
			return nil
		})
	}
	return exprs, list.Err()
}

// decodeExpr reads a part of a kind that rules of ours have, and returns nil for what it
// cannot read, which is nothing of ours then.
func decodeExpr(name string, data []byte) expr.Any {
	var e expr.Any
	switch name {
	case "cmp":
		e = new(expr.Cmp)
	case "counter":
		e = new(expr.Counter)
	case "ct":
		e = new(expr.Ct)
	case "immediate":
		e = new(expr.Immediate)
	case "lookup":
		e = new(expr.Lookup)
	case "meta":
		e = new(expr.Meta)
	case "payload":
		e = new(expr.Payload)
	case "redir":
		e = new(expr.Redir)
	case "reject":
		e = new(expr.Reject)
	default:
		return nil
	}
	err := expr.Unmarshal(unix.NFPROTO_INET, data, e)
	if ct, ok := e.(*expr.Ct); ok && err == nil {
		err = sourceOf(ct, data)
	}
	if imm, ok := e.(*expr.Immediate); ok && err == nil && imm.Register == unix.NFT_REG_VERDICT {
		e = new(expr.Verdict)
		err = expr.Unmarshal(unix.NFPROTO_INET, data, e)
	}
	if err != nil {
		return nil
	}
	return e
}

// sourceOf reads the register that a ct expression sets something from, which the library
// writes and does not read.
func sourceOf(ct *expr.Ct, data []byte) error {
	ad, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return err
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		if ad.Type() == unix.NFTA_CT_SREG {
			ct.Register, ct.SourceRegister = ad.Uint32(), true
		}
	}
	return ad.Err()
}
