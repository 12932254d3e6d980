package page

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/admin/flows"
)

const (
	// mostValue bounds a parameter, in octets, where its field says nothing else.
	mostValue = 512
	// mostSuggested is how many values a field suggests.
	mostSuggested = 200
)

// kind of a field.
type kind string

const (
	text  kind = "text"
	pick  kind = "pick"
	area  kind = "area"
	check kind = "check"
	// parameter is no field that is seen: it is of a link, such as where a page begins.
	parameter kind = "parameter"
)

// field of a form.
type field struct {
	Kind        kind
	Name, Label string
	// Hint says what is possible.
	Hint string
	// Options of a pick; the first, which is empty, is any.
	Options []string
	// Suggest is what may be meant.
	Suggest []string
	// Seldom is asked for seldom, so that it is folded away while it is empty.
	Seldom bool
	// Wide takes more room, and Whole all that there is.
	Wide, Whole bool
	// Rows of an area; 3 if 0.
	Rows int
	// Most octets; mostValue if 0.
	Most int
	// Value was given, and Error is what is wrong with it.
	Value, Error string
}

// problem is what is wrong with a parameter; Field is empty where it has no field.
type problem struct{ Field, Label, Message string }

// form is sent to the page that shows it, by GET unless it says otherwise.
type form struct {
	Path, Button string
	Post         bool
	Fields       []*field
	Problems     []problem
	// Status of a page with problems; 400 if 0.
	Status int
	// Given is how many parameters were given.
	Given int
}

// Shown are the fields that are always seen, and More those that can be folded away.
func (f *form) Shown() []*field { return f.those(false) }

// More are the fields that are asked for seldom.
func (f *form) More() []*field { return f.those(true) }

func (f *form) those(seldom bool) (list []*field) {
	for _, x := range f.Fields {
		if x.Kind != parameter && x.Seldom == seldom {
			list = append(list, x)
		}
	}
	return list
}

// Opened says that something is filled in that could be folded away.
func (f *form) Opened() bool {
	return slices.ContainsFunc(f.More(), func(x *field) bool { return x.Value != "" || x.Error != "" })
}

// find is a field, or nil.
func (f *form) find(name string) *field {
	if i := slices.IndexFunc(f.Fields, func(x *field) bool { return x.Name == name }); i >= 0 {
		return f.Fields[i]
	}
	return nil
}

// value of a field, empty if there is none.
func (f *form) value(name string) string {
	if x := f.find(name); x != nil {
		return x.Value
	}
	return ""
}

// count is how many of the fields have a value.
func (f *form) count(names ...string) (n int) {
	for _, name := range names {
		if f.value(name) != "" {
			n++
		}
	}
	return n
}

// fail says what is wrong with a parameter.
func (f *form) fail(name, message string) {
	x := f.find(name)
	switch {
	case x == nil:
		f.Problems = append(f.Problems, problem{Label: visible(name), Message: message})
	case x.Kind == parameter:
		f.Problems = append(f.Problems, problem{Label: x.Name, Message: message})
	case x.Error == "":
		x.Error = message
		f.Problems = append(f.Problems, problem{x.Name, x.Label, message})
	}
}

// wrong takes the error of a part that was asked.
func (f *form) wrong(err error) {
	var fe *flows.FieldError
	var qe *admin.QueryError
	switch {
	case errors.As(err, &fe):
		f.fail(fe.Field, fe.Message)
	case errors.As(err, &qe):
		f.fail(qe.Field, qe.Message)
	default:
		f.fail("", err.Error())
	}
}

// read fills in the parameters of a request, and says what is wrong with those that are not
// one of the fields, given once, short enough and UTF-8. What is wrong is not filled in, but
// for what is too long.
func (f *form) read(r *http.Request) {
	v, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		f.fail("", "the parameters cannot be read: "+visible(err.Error()))
	}
	f.fill(v)
}

// fill does what read does.
func (f *form) fill(v url.Values) {
	names := make([]string, 0, len(v))
	for name := range v {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		x := f.find(name)
		most := mostValue
		if x != nil && x.Most > 0 {
			most = x.Most
		}
		f.Given++
		switch s := v[name][0]; {
		case len(f.Problems) > 20: // one would do
			return
		case x == nil:
			f.fail(name, "there is no such parameter")
		case len(v[name]) != 1:
			f.fail(name, fmt.Sprintf("it is given %d times; give it once", len(v[name])))
		case !utf8.ValidString(s):
			f.fail(name, "it is no UTF-8")
		case strings.ContainsRune(s, 0):
			f.fail(name, "it has a NUL in it")
		case len(s) > most:
			f.fail(name, fmt.Sprintf("it has %d octets; %d are possible", len(s), most))
		case x.Kind == pick && s != "" && !slices.Contains(x.Options, s):
			f.fail(name, "it is one of "+strings.Join(x.Options[1:], ", "))
		case x.Kind == check && s != "" && s != "true" && s != "false":
			f.fail(name, "it is true or false")
		default:
			x.Value = s
		}
	}
}

// number is the value of a field from 0 to most, 0 where it is empty or wrong.
func (f *form) number(name string, most int) int {
	s := f.value(name)
	if s == "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > most || strconv.Itoa(n) != s {
		f.fail(name, fmt.Sprintf("it is a number from 0 to %d", most))
		return 0
	}
	return n
}

// unplaced are the problems where the form is not shown.
func (f *form) unplaced() []problem {
	out := slices.Clone(f.Problems)
	for i := range out {
		out[i].Field = ""
	}
	return out
}

// again are the values of all fields but those named, to make a link of.
func (f *form) again(without ...string) url.Values {
	v := url.Values{}
	for _, x := range f.Fields {
		if x.Value != "" && !slices.Contains(without, x.Name) {
			v.Set(x.Name, x.Value)
		}
	}
	return v
}
