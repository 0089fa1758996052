package message

import (
	"bytes"
	"encoding/json"
	"regexp"
)

// lastID is an id as the last member of an object, at the end of a text.
var lastID = regexp.MustCompile(`[,{]\s*"id"\s*:\s*("(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*)\s*\}\s*$`)

// Lost returns the id, as it is written, of a response that is not valid JSON, or of which only
// the first and the last bytes are known. It returns nil if it does not find the id, or if the
// text may be something other than a response.
func Lost(begin, end []byte) []byte {
	id, response := beginOf(begin)
	if !response {
		return nil
	}
	if id == nil {
		m := lastID.FindSubmatch(end)
		if m == nil {
			return nil
		}
		id = m[1]
	}
	var key Key
	if !json.Valid(id) || key.read(id) != nil || key == "" {
		return nil
	}
	return id
}

// beginOf reads the first members of a text. response is set if they are those of a response.
func beginOf(text []byte) (id []byte, response bool) {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			break
		}
		if name == "result" || name == "error" {
			response = true
		}
		var value json.RawMessage
		// A value that ends where the text ends may be longer.
		broken := d.Decode(&value) != nil || d.InputOffset() >= int64(len(text))
		if name == "method" && (broken || string(value) != "null") { // some write every member
			return nil, false
		}
		if broken {
			break
		}
		if name == "id" {
			if id != nil {
				return nil, false
			}
			id = value
		}
	}
	return id, response
}
