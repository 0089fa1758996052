package suggest

import (
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	names := []string{"endpoint", "to", "public_url", "hosts", "allow_origins", "allow_headers", "max_form", "max_request_body", "max_held_body"}
	for name, want := range map[string]string{
		"publc_url":                        "public_url",
		"pubilc_url":                       "public_url",
		"PUBLIC-URL":                       "public_url",
		"url":                              "public_url",
		"host":                             "hosts",
		"allowed_origins":                  "allow_origins",
		"allow_origin":                     "allow_origins",
		"origins":                          "allow_origins",
		"origin":                           "allow_origins",
		"max_body":                         "max_request_body",
		"the_public_url":                   "public_url",
		"flush_interval":                   "",
		"":                                 "",
		"_":                                "",
		"x":                                "",
		"tls":                              "",
		strings.Repeat("public_url", 1000): "",
	} {
		if got := Nearest(name, names); got != want {
			t.Errorf("%.40q: got %q, want %q", name, got, want)
		}
	}
}

func TestDecode(t *testing.T) {
	type block struct {
		MaxForm int    `json:"max_form,omitempty"`
		Name    string `json:"name"`
	}
	for text, want := range map[string]string{
		`{"max_form":1}`:        "",
		`{"form":1}`:            "limits: the option \"form\" is called `max_form` now",
		`{"max_forms":1}`:       "limits: unrecognized option \"max_forms\"; did you mean `max_form`? The options are max_form, name",
		`{"colour":1}`:          `limits: unrecognized option "colour"; the options are max_form, name`,
		`{"max_form":"1"}`:      "limits: json: cannot unmarshal string into Go struct field block.max_form of type int",
		`[]`:                    "limits: json: cannot unmarshal array into Go value of type suggest.block",
		`{"MAX_FORM":"a","x":1`: "limits: unexpected EOF",
	} {
		err := Decode([]byte(text), new(block), "limits", map[string]string{"form": "max_form"})
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

func FuzzNearest(f *testing.F) {
	for _, name := range []string{"publc_url", "origins", "_", "ü", "a_b"} {
		f.Add(name)
	}
	names := []string{"endpoint", "public_url", "allow_origins"}
	f.Fuzz(func(t *testing.T, name string) {
		for _, known := range names {
			if name == known && Nearest(name, names) != known {
				t.Errorf("%q is not its own nearest", name)
			}
		}
		if d := distance(name[:min(len(name), maxName)], "public_url"); d > max(maxName, len("public_url")) {
			t.Errorf("%q: distance %d", name, d)
		}
	})
}
