package api

import (
	"cmp"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"go.yaml.in/yaml/v3"
)

// decoder fills Go values from YAML nodes by their json tags. It differs from
// encoding/json on purpose: a field it does not know, a value of another type or
// a field given twice is a problem with a line, it goes on after each, and an
// empty list stays apart from an absent one.
type decoder struct {
	*reporter
	base int // what to add to a node's line to get the file's
}

func (d *decoder) fail(n *yaml.Node, code, fix, format string, args ...any) {
	d.reportLine(d.base+n.Line, code, fix, format, args...)
}

func (d *decoder) decode(n *yaml.Node, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.decode(n, v.Elem())
	case reflect.Struct:
		if v.Type() == durationType {
			d.decodeDuration(n, v)
			return
		}
		d.decodeStruct(n, v)
	case reflect.Slice:
		d.decodeSlice(n, v)
	case reflect.Map:
		d.decodeMap(n, v)
	case reflect.String:
		if s, ok := d.text(n); ok {
			v.SetString(s)
		}
	case reflect.Int, reflect.Int32, reflect.Int64:
		if i, ok := d.integer(n, v.Type().Bits()); ok {
			v.SetInt(i)
		}
	case reflect.Bool:
		if b, ok := d.boolean(n); ok {
			v.SetBool(b)
		}
	default:
		// Only a new field of an API type gets here; TestEveryKindDecodes finds it.
		panic("api: no way to decode a " + v.Type().String())
	}
}

var objectMetaType = reflect.TypeFor[metav1.ObjectMeta]()

// readMeta are the fields of metadata that mean something here. The others are
// what an API server adds, and are accepted so that its output can be fed back.
var readMeta = map[string]bool{"name": true, "namespace": true, "labels": true, "annotations": true}

func (d *decoder) decodeStruct(n *yaml.Node, v reflect.Value) {
	if !d.expect(n, yaml.MappingNode, "fields") {
		return
	}
	meta := v.Type() == objectMetaType
	fields := fieldsOf(v.Type())
	var seen uint64
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name := key.Value
		at, known := fields.byName[name]
		if key.Kind != yaml.ScalarNode {
			d.fail(key, CodeType, "", "the name of a field has to be a text, not %s", describe(key))
			continue
		}
		if !known {
			d.unknown(key, name, v.Type(), fields)
			continue
		}
		d.in(name)
		info := &fields.list[at]
		switch {
		case seen&(1<<at) != 0:
			d.fail(key, CodeDuplicateKey, "keep one of them", "the field is given twice")
		case meta && !readMeta[name]:
		case isNull(value):
			// kubectl writes some of metadata as null; anywhere else it is most likely
			// a list that was left empty, and reads like a rule without the field.
			if !meta {
				d.fail(key, CodeNull, "give it a value or remove it", "the field has no value and is read as absent")
			}
		default:
			target := v.FieldByIndex(info.index)
			d.decode(value, target)
			if info.optional && !meta && writtenZero(value, target) {
				d.fail(key, CodeEmptyValue, "give it a value or remove it", "%s is not a value here", cmp.Or(value.Value, "an empty text"))
			}
		}
		seen |= 1 << at
		d.out()
	}
}

// unknown reports a field that a type does not have.
func (d *decoder) unknown(key *yaml.Node, name string, in reflect.Type, fields *structFields) {
	d.in(name)
	defer d.out()
	switch {
	case in == threatFeedType && name == "status":
		d.fail(key, CodeStatus, "remove it", "the status is written by Pavise and not read")
	case !d.ignored(name):
		d.fail(key, CodeUnknownField, fields.suggest(name), "there is no such field")
	}
}

// ignored are top-level fields that users don't write and printers of objects do.
func (d *decoder) ignored(name string) bool {
	return len(d.path) == 1 && (name == "status" || name == "spec")
}

// writtenZero reports an empty text or a 0 that was written for an optional field.
// In the struct it can't be told from an absent one, so exact: "" would come to
// ask for nothing at all.
func writtenZero(n *yaml.Node, v reflect.Value) bool {
	return v.Kind() == reflect.String && n.Tag == "!!str" && n.Value == "" ||
		(v.Kind() == reflect.Int32 || v.Kind() == reflect.Int64) && n.Value == "0"
}

func (d *decoder) decodeSlice(n *yaml.Node, v reflect.Value) {
	if !d.expect(n, yaml.SequenceNode, "a list") {
		return
	}
	list := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		d.at(i)
		if isNull(item) {
			d.fail(item, CodeEmptyValue, "give it a value or remove it", "the item of the list has no value")
		} else {
			d.decode(item, list.Index(i))
		}
		d.out()
	}
	v.Set(list)
}

func (d *decoder) decodeMap(n *yaml.Node, v reflect.Value) {
	if !d.expect(n, yaml.MappingNode, "NAME: VALUE pairs") {
		return
	}
	m := make(map[string]string, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		d.key(key.Value)
		_, twice := m[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode:
			d.fail(key, CodeType, "", "a name has to be a text, not %s", describe(key))
		case key.Tag != "!!str":
			d.fail(key, CodeQuote, "quote it: "+quote(key.Value), "a name has to be a text, not %s", describe(key))
		case twice:
			d.fail(key, CodeDuplicateKey, "keep one of them", "the name is given twice")
		case isNull(value):
			d.fail(value, CodeEmptyValue, `write "" for the empty text`, "it has no value")
		default:
			text, _ := d.text(value)
			m[key.Value] = text
		}
		d.out()
	}
	v.Set(reflect.ValueOf(m))
}

// expect reports a node of another kind than wanted.
func (d *decoder) expect(n *yaml.Node, kind yaml.Kind, want string) bool {
	if n.Kind == kind {
		return true
	}
	fix := ""
	switch {
	case kind == yaml.SequenceNode && n.Kind == yaml.ScalarNode:
		fix = fmt.Sprintf("write [%s]", printable(shorten(n.Value)))
	case n.Style&yaml.FlowStyle != 0:
		// [a] and {a: b} have no "- " to add or remove.
	case kind == yaml.SequenceNode && n.Kind == yaml.MappingNode:
		fix = "begin each item with \"- \""
	case kind == yaml.MappingNode && n.Kind == yaml.SequenceNode:
		fix = "remove the \"- \""
	}
	d.fail(n, CodeType, fix, "it has to be %s, not %s", want, describe(n))
	return false
}

// text reads a string. A date counts as one, as it does for Kubernetes; a number
// does not, because 1.10 and 0x10 would be other texts than what was written.
func (d *decoder) text(n *yaml.Node) (string, bool) {
	if n.Kind != yaml.ScalarNode {
		d.fail(n, CodeType, "", "it has to be a text, not %s", describe(n))
		return "", false
	}
	if n.Tag == "!!str" || n.Tag == "!!timestamp" {
		return n.Value, true
	}
	d.fail(n, CodeQuote, "quote it: "+quote(n.Value), "it has to be a text, not %s", describe(n))
	return "", false
}

// integer reads a plain decimal. YAML's other ways (017, 0x11, 1_7) differ between
// readers, and the same file has to mean the same everywhere.
func (d *decoder) integer(n *yaml.Node, bits int) (int64, bool) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" && n.Tag != "!!float" {
		fix := ""
		if _, err := strconv.ParseInt(n.Value, 10, 64); err == nil {
			fix = "remove the quotes"
		}
		d.fail(n, CodeType, fix, "it has to be a number, not %s", describe(n))
		return 0, false
	}
	digits := strings.TrimPrefix(n.Value, "-")
	for i := range digits {
		if digits[i] < '0' || digits[i] > '9' || digits[0] == '0' && len(digits) > 1 {
			d.fail(n, CodeNumber, "write the digits only", "%s is not a plain whole number", quote(n.Value))
			return 0, false
		}
	}
	i, err := strconv.ParseInt(n.Value, 10, bits)
	if err != nil {
		d.fail(n, CodeNumber, "", "%s is out of range", shorten(n.Value))
	}
	return i, err == nil
}

func (d *decoder) boolean(n *yaml.Node) (value, ok bool) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" {
		d.fail(n, CodeType, "write true or false", "it has to be true or false, not %s", describe(n))
		return false, false
	}
	return strings.EqualFold(n.Value, "true"), true
}

// describe says what a node is, in the words of messages.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "fields"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		switch n.Tag {
		case "!!null":
			return "nothing"
		case "!!int", "!!float":
			return "the number " + shorten(n.Value)
		case "!!bool":
			return n.Value
		}
		return "the text " + quote(n.Value)
	}
	return "this"
}
