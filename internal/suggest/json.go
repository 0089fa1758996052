package suggest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Decode decodes a JSON object into the struct that to points to. For a member that the struct
// does not have it returns an error with the member that was meant: the new name, if renamed has
// the old one, or else the nearest name. For a value of the wrong type the error names the member
// and the type. block is the name of the object in errors.
func Decode(data []byte, to any, block string, renamed map[string]string) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(to)
	if err == nil {
		return nanoseconds(data, reflect.TypeOf(to).Elem(), block)
	}
	if json.Valid(data) {
		if found := explain(data, reflect.TypeOf(to).Elem(), block, renamed); found != nil {
			return found
		}
	}
	return fmt.Errorf("%s: %w", block, err)
}

// nanoseconds refuses a duration that is a small number without a unit. JSON counts durations in
// nanoseconds, and whoever writes 60 means seconds.
func nanoseconds(data []byte, of reflect.Type, block string) error {
	const least = 1e6 // a millisecond
	var members map[string]json.RawMessage
	if json.Unmarshal(data, &members) != nil {
		return nil
	}
	for _, f := range fields(of) {
		n, err := strconv.ParseInt(string(members[f.name]), 10, 64)
		if err == nil && isDuration(f.of) && n > 0 && n < least {
			return fmt.Errorf("%s %s: %d is a number of nanoseconds; write \"%[3]ds\" for seconds", block, f.name, n)
		}
	}
	return nil
}

// isDuration reports whether a type is caddy.Duration, which takes numbers and texts.
func isDuration(t reflect.Type) bool {
	return t.Kind() == reflect.Int64 && t.Name() == "Duration" && reads(t)
}

// unmarshaler is implemented by types that read their JSON by themselves.
var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// reads reports whether a type reads its JSON by itself.
func reads(t reflect.Type) bool { return reflect.PointerTo(t).Implements(unmarshaler) }

// explain says which member of a value does not fit a type, and what it must be. It returns nil
// if it finds none. at names the value.
func explain(data json.RawMessage, of reflect.Type, at string, renamed map[string]string) error {
	if of.Kind() == reflect.Pointer {
		return explain(data, of.Elem(), at, renamed)
	}
	own := reads(of)
	if !own && of.Kind() == reflect.Struct {
		if found, isObject := explainObject(data, of, at, renamed); isObject {
			return found
		}
	}
	if !own && of.Kind() == reflect.Slice && of.Elem().Kind() != reflect.Uint8 {
		var elements []json.RawMessage
		if json.Unmarshal(data, &elements) == nil {
			for i, element := range elements {
				if found := explain(element, of.Elem(), at+" "+strconv.Itoa(i), nil); found != nil {
					return found
				}
			}
			return nil
		}
	}
	err := json.Unmarshal(data, reflect.New(of).Interface())
	var wrong *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case isDuration(of):
		return fmt.Errorf("%s: %s must be a duration, such as \"30s\" or \"10m\"", at, data)
	case errors.As(err, &wrong) && wrong.Field == "":
		return fmt.Errorf("%s: must be %s, not %s", at, wanted(of), given(wrong.Value))
	case own && strings.HasPrefix(err.Error(), lastWord(at)): // which names its place already
		return fmt.Errorf("%s%w", at[:len(at)-len(lastWord(at))], err)
	}
	return fmt.Errorf("%s: %w", at, err)
}

// explainObject is explain for a struct. isObject is false if the value is no object.
func explainObject(data json.RawMessage, of reflect.Type, at string, renamed map[string]string) (found error, isObject bool) {
	var members map[string]json.RawMessage
	if json.Unmarshal(data, &members) != nil || members == nil {
		return nil, false
	}
	known := fields(of)
	for _, name := range slices.Sorted(maps.Keys(members)) {
		i := slices.IndexFunc(known, func(f field) bool { return strings.EqualFold(f.name, name) })
		if i < 0 {
			names := make([]string, 0, len(known))
			for _, f := range known {
				names = append(names, f.name)
			}
			return errors.New(Unknown(at, name, names, renamed)), true
		}
		if found := explain(members[name], known[i].of, at+" "+known[i].name, nil); found != nil {
			return found, true
		}
	}
	return nil, true
}

func lastWord(s string) string { return s[strings.LastIndexByte(s, ' ')+1:] }

// wanted says what JSON a type takes.
func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a text in quotes"
	case reflect.Bool:
		return "true or false, without quotes"
	case reflect.Slice, reflect.Array:
		return "a list in brackets, [ ]"
	case reflect.Struct:
		names := make([]string, 0, t.NumField())
		for _, f := range fields(t) {
			names = append(names, f.name)
		}
		return "an object with members such as " + strings.Join(names[:min(len(names), 3)], ", ")
	case reflect.Map:
		return "an object, { }"
	case reflect.Int, reflect.Int64, reflect.Uint, reflect.Uint64, reflect.Int32, reflect.Uint32:
		return "a whole number without quotes"
	}
	return "a value of type " + t.Kind().String()
}

// given names a value as encoding/json does, with an article.
func given(value string) string {
	switch kind, text, _ := strings.Cut(value, " "); {
	case text != "":
		return text
	case kind == "bool":
		return "true or false"
	case kind == "string":
		return "a text"
	case kind == "array":
		return "a list"
	case kind == "object":
		return "an object"
	default:
		return "a " + kind
	}
}

// Unknown returns the text of an error for an option that a block does not have.
func Unknown(block, name string, known []string, renamed map[string]string) string {
	if now := renamed[name]; now != "" {
		return fmt.Sprintf("%s: the option %q is called `%s` now", block, name, now)
	}
	ask := "the"
	if near := Nearest(name, known); near != "" {
		ask = fmt.Sprintf("did you mean `%s`? The", near)
	}
	return fmt.Sprintf("%s: unrecognized option %q; %s options are %s", block, name, ask, strings.Join(known, ", "))
}

// field is a member that a struct takes.
type field struct {
	name string
	of   reflect.Type
}

// fields returns the members that a struct takes, with those of the structs embedded in it.
func fields(t reflect.Type) (all []field) {
	if t.Kind() != reflect.Struct {
		return nil
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case name != "":
			all = append(all, field{name, f.Type})
		case f.Anonymous && f.Type.Kind() == reflect.Struct:
			all = append(all, fields(f.Type)...)
		}
	}
	return all
}
