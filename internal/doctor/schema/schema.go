// Package schema says which members the documents of OAuth must have, of which types,
// and which SDKs refuse a document because of a member.
package schema

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/urls"
)

// SDKs is a set of SDKs. Most clients are built with one of them.
type SDKs uint8

// The SDKs. What they refuse was read from their sources: the schemas of the TypeScript
// SDK 1.32 and 2.4, the structs of the Go SDK 1.8, and the models of the Python SDK.
const (
	TypeScript SDKs = 1 << iota
	Go
	Python

	NoSDK  SDKs = 0
	anySDK      = TypeScript | Go | Python
)

// String returns the names of the SDKs, separated by commas.
func (s SDKs) String() string {
	var names []string
	for i, name := range []string{"TypeScript", "Go", "Python"} {
		if s&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// form is the type of a member.
type form string

// The types of members.
const (
	text    form = "a string"
	link    form = "a URL"
	texts   form = "a list of strings"
	links   form = "a list of URLs"
	integer form = "a whole number"
	truth   form = "true or false"
)

// member describes one member of a document, and which SDKs refuse the document because
// of it.
type member struct {
	name string
	form form
	// required is true if the specification requires the member.
	required bool
	// vital is true if no client can go on without the member.
	vital bool
	// typed are the SDKs that refuse a value of another type. TypeScript also refuses
	// null then.
	typed SDKs
	// needed are the SDKs that refuse a document without the member. Go and Python
	// then also refuse an empty list, and Go an empty string.
	needed SDKs
	// parsed are the SDKs that parse the string, and refuse it if it is empty or not a
	// URL.
	parsed SDKs
	// nulls are the SDKs other than TypeScript that refuse null.
	nulls SDKs
	// blank are the SDKs of parsed that accept an empty string.
	blank SDKs
	// converted is true if the SDKs accept null and a number in a string. TypeScript
	// then accepts every value that JavaScript converts to a number.
	converted bool
}

// Schema describes a document.
type Schema struct {
	members []member
	// full is true if the document must not have empty lists (RFC 9728 section 3.2,
	// RFC 8414 section 3.2).
	full bool
}

// Fault is one way in which a document differs from the specification.
type Fault struct {
	Name string
	// What says what is wrong. It does not contain the value of the member.
	What string
	// Required is true if the specification requires the member. Vital is true if no
	// client can go on without it.
	Required, Vital bool
	// Stops are the SDKs that refuse the document because of the fault.
	Stops SDKs
}

// String returns what is wrong, with the SDKs that refuse it in brackets.
func (f Fault) String() string {
	if f.Stops == NoSDK {
		return f.What
	}
	return f.What + " (" + f.Stops.String() + ")"
}

// Faults returns what is wrong with the members of a document, in the order of the
// schema.
func (s Schema) Faults(document map[string]json.RawMessage) []Fault {
	var all []Fault
	for _, m := range s.members {
		if f, ok := m.judge(document[m.name], s.full); ok {
			all = append(all, f)
		}
	}
	return all
}

// judge returns what is wrong with the value of a member, and whether anything is. raw
// is empty if the member is missing.
func (m member) judge(raw json.RawMessage, full bool) (Fault, bool) {
	is := func(what string, stops SDKs) (Fault, bool) {
		return Fault{Name: m.name, What: m.name + " is " + what, Required: m.required, Vital: m.vital, Stops: stops}, true
	}
	kind := KindOf(raw)
	switch {
	case kind == "":
		if !m.required {
			return Fault{}, false
		}
		return is("missing", m.needed)
	case kind == "null" && m.converted:
		return is("null", NoSDK)
	case kind == "null":
		return is("null", m.typed&TypeScript|m.needed|m.nulls)
	}
	another := func() (Fault, bool) { return is(kind+", not "+string(m.form), m.typed) }
	switch m.form {
	case text, link:
		var value string
		switch err := json.Unmarshal(raw, &value); {
		case err != nil:
			return another()
		case value == "":
			return is("an empty string", m.parsed&^m.blank|m.needed&Go)
		case m.form == link && !urls.Absolute(value):
			return is("not an absolute URL", m.parsed)
		}
	case texts, links:
		var values []json.RawMessage
		if json.Unmarshal(raw, &values) != nil {
			return another()
		}
		if len(values) == 0 && (full || m.required) {
			return is("an empty list", m.needed&^TypeScript)
		}
		for _, one := range values {
			var value string
			if KindOf(one) != "a string" || json.Unmarshal(one, &value) != nil {
				refuse := m.typed
				if KindOf(one) == "null" {
					refuse &^= Go
				}
				return is("a list with "+KindOf(one)+" in it, not "+string(m.form), refuse)
			}
			if m.form == links && !urls.Absolute(value) {
				return is("a list with something in it that is not an absolute URL", m.parsed)
			}
		}
	case integer:
		return m.judgeNumber(raw, kind, is)
	case truth:
		if kind != "a boolean" {
			return another()
		}
	}
	return Fault{}, false
}

// judgeNumber is judge for a member that is a number.
func (m member) judgeNumber(raw json.RawMessage, kind string, is func(string, SDKs) (Fault, bool)) (Fault, bool) {
	written := string(raw)
	if kind == "a string" && m.converted {
		_ = json.Unmarshal(raw, &written) // else it is no number
		if _, err := strconv.ParseInt(written, 10, 64); err == nil {
			return is("a string, not "+string(m.form), NoSDK)
		}
	}
	if kind != "a number" {
		refuse := m.typed
		if m.converted && becomesNumber(raw) {
			refuse &^= TypeScript
		}
		return is(kind+", not "+string(m.form), refuse)
	}
	if _, err := strconv.ParseInt(written, 10, 64); err != nil {
		return is("not a whole number", m.typed&^TypeScript)
	}
	return Fault{}, false
}

// becomesNumber reports whether JavaScript converts a value to a number. It converts
// booleans, empty strings, strings with a number, empty lists, and lists with one value
// that it converts and that is not a boolean.
func becomesNumber(raw json.RawMessage) bool {
	switch KindOf(raw) {
	case "a number", "null":
		return true
	case "a string":
		var written string
		_ = json.Unmarshal(raw, &written) // else it is empty
		_, err := strconv.ParseFloat(strings.TrimSpace(written), 64)
		return err == nil || strings.TrimSpace(written) == ""
	case "a boolean":
		return true
	case "a list":
		var values []json.RawMessage
		if json.Unmarshal(raw, &values) != nil || len(values) > 1 {
			return false
		}
		return len(values) == 0 || KindOf(values[0]) != "a boolean" && becomesNumber(values[0])
	}
	return false
}

// KindOf names the type of a JSON value. It returns "" if there is no value.
func KindOf(raw json.RawMessage) string {
	if len(raw) == 0 {
		return ""
	}
	switch raw[0] {
	case 'n':
		return "null"
	case 't', 'f':
		return "a boolean"
	case '"':
		return "a string"
	case '[':
		return "a list"
	case '{':
		return "an object"
	}
	return "a number"
}

// Without returns the faults of all members except those with the names.
func Without(all []Fault, names ...string) []Fault {
	var rest []Fault
	for _, f := range all {
		if !slices.Contains(names, f.Name) {
			rest = append(rest, f)
		}
	}
	return rest
}

// FaultOf returns what is wrong with the member with the name, or "".
func FaultOf(all []Fault, name string) string {
	for _, f := range all {
		if f.Name == name {
			return f.What
		}
	}
	return ""
}
