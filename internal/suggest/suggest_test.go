package suggest

import (
	"strconv"
	"strings"
	"testing"
	"time"
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

type rule struct {
	Scope string `json:"scope,omitempty"`
}

type embedded struct {
	Scopes []string `json:"scopes,omitempty"`
}

// Duration is caddy.Duration, which this package does not know.
type Duration time.Duration

// UnmarshalJSON implements json.Unmarshaler.
func (d *Duration) UnmarshalJSON(data []byte) error {
	text := string(data)
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		*d = Duration(n)
		return nil
	}
	parsed, err := time.ParseDuration(strings.Trim(text, `"`))
	*d = Duration(parsed)
	return err
}

func TestDecode(t *testing.T) {
	type block struct {
		MaxForm int    `json:"max_form,omitempty"`
		Name    string `json:"name"`
		Fast    bool   `json:"fast,omitempty"`
		List    []rule `json:"list,omitempty"`
		embedded
		TTL Duration `json:"ttl,omitempty"`
	}
	for text, want := range map[string]string{
		`{"max_form":1}`:            "",
		`{"form":1}`:                "limits: the option \"form\" is called `max_form` now",
		`{"max_forms":1}`:           "limits: unrecognized option \"max_forms\"; did you mean `max_form`? The options are max_form, name, fast, list, scopes, ttl",
		`{"colour":1}`:              `limits: unrecognized option "colour"; the options are max_form, name, fast, list, scopes, ttl`,
		`{"max_form":"1"}`:          "limits max_form: must be a whole number without quotes, not a text",
		`{"max_form":1.5}`:          "limits max_form: must be a whole number without quotes, not 1.5",
		`{"name":["a"]}`:            "limits name: must be a text in quotes, not a list",
		`{"fast":"on"}`:             "limits fast: must be true or false, without quotes, not a text",
		`{"scopes":"a"}`:            "limits scopes: must be a list in brackets, [ ], not a text",
		`{"list":["a"]}`:            "limits list 0: must be an object with members such as scope, not a text",
		`{"list":[{"scpe":1}]}`:     "limits list 0: unrecognized option \"scpe\"; did you mean `scope`? The options are scope",
		`{"list":[{},{"scope":1}]}`: "limits list 1 scope: must be a text in quotes, not a number",
		`{"ttl":"60"}`:              `limits ttl: "60" must be a duration, such as "30s" or "10m"`,
		`{"ttl":60}`:                `limits ttl: 60 is a number of nanoseconds; write "60s" for seconds`,
		`{"ttl":60000000000}`:       "",
		`{"ttl":-1}`:                "",
		`[]`:                        "limits: must be an object with members such as max_form, name, fast, not a list",
		`{"MAX_FORM":"a","x":1`:     "limits: unexpected EOF",
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
