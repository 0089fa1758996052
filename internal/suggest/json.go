package suggest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Decode decodes a JSON object into the struct that to points to. A member that the struct
// does not have is an error that names the member which was meant: its new name, if renamed
// has the old one, or the nearest. block is the name of the object in errors.
func Decode(data []byte, to any, block string, renamed map[string]string) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(to)
	if err == nil {
		return nil
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(data, &members) != nil {
		return fmt.Errorf("%s: %w", block, err)
	}
	known := fields(reflect.TypeOf(to).Elem())
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, name) }) {
			continue
		}
		return errors.New(Unknown(block, name, known, renamed))
	}
	return fmt.Errorf("%s: %w", block, err)
}

// Unknown is what to say of an option that a block does not have.
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

// fields returns the names of the members that a struct takes.
func fields(t reflect.Type) (names []string) {
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "" && name != "-" {
			names = append(names, name)
		}
	}
	return names
}
