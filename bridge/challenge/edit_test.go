package challenge

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const public = "https://mcp.example.com" + wellKnown + "/mcp"

// mapping maps URLs of the host "up", and keeps all others.
func mapping(value string) (string, bool) {
	return public, strings.HasPrefix(value, "http://up/")
}

// editCase is an edit of lines. In in and want, PUB stands for the public URL,
// and a line feed parts two lines. An empty want is in.
type editCase struct {
	name     string
	edit     Edit
	in, want string
	// report is what the report says, as brief prints it.
	report string
}

// What the modes of the bridge ask for: map on any status, add on a 403, insert
// on a 401.
var (
	maps    = Edit{Map: mapping}
	adds    = Edit{Map: mapping, Metadata: public}
	inserts = Edit{Map: mapping, Metadata: public, Insert: true}
)

// Rules A3, A4 and A6: what an edit makes of the lines of a response.
var editCases = []editCase{
	// Rule A4: every place and form.
	{"only parameter", maps, `Bearer resource_metadata="http://up/x"`, `Bearer resource_metadata="PUB"`, "1 metadata bearer"},
	{"first", maps, `Bearer resource_metadata="http://up/x", scope="a"`, `Bearer resource_metadata="PUB", scope="a"`, "1 metadata bearer"},
	{"middle", maps, `Bearer error="e", resource_metadata="http://up/x", scope="a"`, `Bearer error="e", resource_metadata="PUB", scope="a"`, "1 metadata bearer"},
	{"last", maps, `Bearer error="e", resource_metadata="http://up/x"`, `Bearer error="e", resource_metadata="PUB"`, "1 metadata bearer"},
	{"without quotes", maps, `Bearer resource_metadata=http://up/x`, `Bearer resource_metadata="PUB"`, "1 metadata bearer"},
	{"without quotes first", maps, `Bearer resource_metadata=http://up/x, scope=a`, `Bearer resource_metadata="PUB", scope=a`, "1 metadata bearer"},
	{"without quotes before a space", maps, `Bearer resource_metadata=http://up/x scope=a`, `Bearer resource_metadata="PUB" scope=a`, "1 metadata bearer"},
	{"without quotes before a challenge without a comma", maps, `Bearer resource_metadata=http://up/x Basic realm="y"`, `Bearer resource_metadata="PUB" Basic realm="y"`, "1 metadata bearer"},
	{"without quotes before words", maps, `Bearer resource_metadata=http://up/x, a b c`, `Bearer resource_metadata="PUB", a b c`, "1 metadata bearer"},
	{"spaces round equals", maps, `Bearer resource_metadata = "http://up/x"`, `Bearer resource_metadata = "PUB"`, "1 metadata bearer"},
	{"tabs round equals", maps, "Bearer\tresource_metadata\t=\t\"http://up/x\"\t,\tscope=a", "Bearer\tresource_metadata\t=\t\"PUB\"\t,\tscope=a", "1 metadata bearer"},
	{"spaces round equals without quotes", maps, `Bearer resource_metadata = http://up/x , scope = a`, `Bearer resource_metadata = "PUB" , scope = a`, "1 metadata bearer"},
	{"upper-case name", maps, `BEARER RESOURCE_METADATA="http://up/x"`, `BEARER RESOURCE_METADATA="PUB"`, "1 metadata bearer"},
	{"escaped value", maps, `Bearer resource_metadata="http:\/\/up/x"`, `Bearer resource_metadata="PUB"`, "1 metadata bearer"},
	{"empty list elements", maps, `,, Bearer ,resource_metadata="http://up/x",,scope="a",`, `,, Bearer ,resource_metadata="PUB",,scope="a",`, "1 metadata bearer"},
	{"missing comma", maps, `Bearer realm="r" resource_metadata="http://up/x" scope="a"`, `Bearer realm="r" resource_metadata="PUB" scope="a"`, "1 metadata bearer"},
	{"white space at both ends", maps, `  Bearer resource_metadata="http://up/x"  `, `  Bearer resource_metadata="PUB"  `, "1 metadata bearer"},
	{"twice in a challenge", maps, `Bearer resource_metadata="http://up/x", resource_metadata="http://up/y"`, `Bearer resource_metadata="PUB", resource_metadata="PUB"`, "2 metadata bearer"},
	{"after inner quotes", maps, `Bearer error_description="no "x" here", resource_metadata="http://up/x"`, `Bearer error_description="no "x" here", resource_metadata="PUB"`, "1 metadata bearer"},
	{"after inner quotes and a list of words", maps, `Bearer error_description="no "x", y, z", resource_metadata="http://up/x"`, `Bearer error_description="no "x", y, z", resource_metadata="PUB"`, "1 metadata bearer"},
	{"before inner quotes", maps, `Bearer resource_metadata="http://up/x", error_description="no "x""`, `Bearer resource_metadata="PUB", error_description="no "x""`, "1 metadata bearer"},
	{"after a value of several words", maps, `Bearer error_description=The token is bad, resource_metadata="http://up/x"`, `Bearer error_description=The token is bad, resource_metadata="PUB"`, "1 metadata bearer"},
	{"after an empty value", maps, `Bearer realm=, resource_metadata="http://up/x"`, `Bearer realm=, resource_metadata="PUB"`, "1 metadata bearer"},
	{"after a token68", maps, `Bearer abc, resource_metadata="http://up/x"`, `Bearer abc, resource_metadata="PUB"`, "1 metadata bearer"},
	{"non-ascii bytes stay", maps, "Bearer realm=\"\xe9\xff\", resource_metadata=\"http://up/x\"", "Bearer realm=\"\xe9\xff\", resource_metadata=\"PUB\"", "1 metadata bearer"},
	{"tab in the value", maps, "Bearer resource_metadata=\"http://up/\tx\"", `Bearer resource_metadata="PUB"`, "1 metadata bearer"},
	{"unknown scheme", maps, `Newauth resource_metadata="http://up/x"`, `Newauth resource_metadata="PUB"`, "1 metadata"},
	{"dpop", maps, `DPoP algs="ES256", resource_metadata="http://up/x"`, `DPoP algs="ES256", resource_metadata="PUB"`, "1 metadata bearer"},
	{"first of several challenges", maps, `Bearer resource_metadata="http://up/x", Basic realm="r"`, `Bearer resource_metadata="PUB", Basic realm="r"`, "1 metadata bearer"},
	{"middle of several challenges", maps, `Basic realm="r", Bearer resource_metadata="http://up/x" , Negotiate dG9rZW4=`, `Basic realm="r", Bearer resource_metadata="PUB" , Negotiate dG9rZW4=`, "1 metadata bearer"},
	{"last of several challenges", maps, `Negotiate, Basic realm="r", Bearer resource_metadata="http://up/x"`, `Negotiate, Basic realm="r", Bearer resource_metadata="PUB"`, "1 metadata bearer"},
	{"several challenges with it", maps, `Bearer resource_metadata="http://up/x", DPoP resource_metadata="http://up/x"`, `Bearer resource_metadata="PUB", DPoP resource_metadata="PUB"`, "2 metadata bearer"},
	{"first of several lines", maps, "Bearer resource_metadata=\"http://up/x\"\nNegotiate", "Bearer resource_metadata=\"PUB\"\nNegotiate", "1 metadata bearer"},
	{"last of several lines", maps, "Negotiate\nBasic realm=\"r\"\nBearer resource_metadata=\"http://up/x\"", "Negotiate\nBasic realm=\"r\"\nBearer resource_metadata=\"PUB\"", "1 metadata bearer"},
	{"several lines with it", maps, "Bearer resource_metadata=\"http://up/x\"\nDPoP resource_metadata=\"http://up/x\"", "Bearer resource_metadata=\"PUB\"\nDPoP resource_metadata=\"PUB\"", "2 metadata bearer"},
	{"foreign stays", maps, `Bearer resource_metadata="https://other.example/x"`, ``, "0 metadata bearer"},
	{"foreign without quotes stays", maps, `Bearer resource_metadata=https://other.example/x`, ``, "0 metadata bearer"},
	{"foreign beside ours", maps, `Bearer resource_metadata="https://other.example/x", DPoP resource_metadata="http://up/x"`, `Bearer resource_metadata="https://other.example/x", DPoP resource_metadata="PUB"`, "1 metadata bearer"},
	{"no map", Edit{}, `Bearer resource_metadata="http://up/x"`, ``, "0 metadata bearer"},
	{"another parameter with the url stays", maps, `Bearer realm="http://up/x", resource="http://up/x"`, ``, "0 bearer"},
	{"extended name stays", maps, `Bearer resource_metadata*=UTF-8''http://up/x`, ``, "0 bearer"},
	{"parameter in a quoted string stays", maps, `Bearer error_description="send resource_metadata=\"http://up/x\""`, ``, "0 bearer"},
	{"no lines", maps, ``, ``, "0"},
	{"scheme only", maps, `Bearer`, ``, "0 bearer"},
	// Rule A3: what does not parse stays.
	{"unparsable stays", maps, `Bearer resource_metadata="http://up/x`, ``, "0 metadata [quoted string without an end]"},
	{"unparsable end stays", maps, `Bearer resource_metadata="http://up/x", Basic realm="y`, ``, "0 metadata [quoted string without an end]"},
	{"unparsable stays beside one that parses", maps, "Bearer realm=\"x\nBearer resource_metadata=\"http://up/x\"", "Bearer realm=\"x\nBearer resource_metadata=\"PUB\"", "1 metadata bearer [quoted string without an end]"},
	{"several unparsable", maps, "a=b\n{}\nBearer \x00", ``, "0 [parameter without a scheme unexpected character control character]"},
	{"unparsable gains nothing", adds, `Bearer realm="x`, ``, "0 [quoted string without an end]"},
	{"unparsable in front is passed over", adds, "Bearer realm=\"x\nDPoP algs=\"ES256\"", "Bearer realm=\"x\nDPoP algs=\"ES256\", resource_metadata=\"PUB\"", "0 added bearer [quoted string without an end]"},
	{"unparsable line with the parameter", inserts, "Bearer Resource_Metadata=\"http://up/x\nDPoP algs=\"ES256\"", ``, "0 metadata bearer [quoted string without an end]"},
	{"unparsable line with a control character", inserts, "Bearer resource_metadata=\"http://up/x\"\r", ``, "0 metadata [control character]"},
	{"unparsable and nothing else", inserts, `Bearer realm="x`, "Bearer resource_metadata=\"PUB\"\nBearer realm=\"x", "0 inserted [quoted string without an end]"},
	{"too long with the parameter", inserts, `Bearer realm="` + strings.Repeat("x", MaxLine) + `", resource_metadata="http://up/x"`, ``, "0 metadata [line too long]"},
	// Rule A6: the parameter is added.
	{"added", adds, `Bearer realm="r"`, `Bearer realm="r", resource_metadata="PUB"`, "0 added bearer"},
	{"added to a scheme alone", adds, `Bearer`, `Bearer resource_metadata="PUB"`, "0 added bearer"},
	{"added to a scheme alone before a comma", adds, `Bearer, Basic realm="r"`, `Bearer resource_metadata="PUB", Basic realm="r"`, "0 added bearer"},
	{"added to a scheme alone before spaces", adds, `Bearer  , Negotiate`, `Bearer resource_metadata="PUB"  , Negotiate`, "0 added bearer"},
	{"added before a trailing comma", adds, `Bearer realm="r" ,`, `Bearer realm="r", resource_metadata="PUB" ,`, "0 added bearer"},
	{"added after a token", adds, `Bearer error=invalid_token`, `Bearer error=invalid_token, resource_metadata="PUB"`, "0 added bearer"},
	{"added after an empty value", adds, `Bearer realm=`, `Bearer realm=, resource_metadata="PUB"`, "0 added bearer"},
	{"added after inner quotes", adds, `Bearer error_description="no "x""`, `Bearer error_description="no "x"", resource_metadata="PUB"`, "0 added bearer"},
	{"added where a comma follows the scheme", adds, `Bearer, realm="r"`, `Bearer, realm="r", resource_metadata="PUB"`, "0 added bearer"},
	{"added in front where a comma is missing", adds, `Bearer realm="r" Basic realm="s"`, `Bearer resource_metadata="PUB", realm="r" Basic realm="s"`, "0 added bearer"},
	{"added in front of words without quotes", adds, `Bearer error_description=The token is bad`, `Bearer resource_metadata="PUB", error_description=The token is bad`, "0 added bearer"},
	{"added to a scheme alone without a comma", adds, `Bearer Basic realm="s"`, `Bearer resource_metadata="PUB", Basic realm="s"`, "0 added bearer"},
	{"added to dpop", adds, `dpop algs="ES256"`, `dpop algs="ES256", resource_metadata="PUB"`, "0 added bearer"},
	{"added to the first of two", adds, `Bearer scope="a", DPoP algs="ES256"`, `Bearer scope="a", resource_metadata="PUB", DPoP algs="ES256"`, "0 added bearer"},
	{"added to dpop before Bearer", adds, `DPoP algs="ES256", Bearer scope="a"`, `DPoP algs="ES256", resource_metadata="PUB", Bearer scope="a"`, "0 added bearer"},
	{"added in the middle of a line", adds, `Basic realm="r", Bearer scope="a" , Negotiate`, `Basic realm="r", Bearer scope="a", resource_metadata="PUB" , Negotiate`, "0 added bearer"},
	{"added on a later line", adds, "Negotiate\nBasic realm=\"r\", Bearer\nDPoP", "Negotiate\nBasic realm=\"r\", Bearer resource_metadata=\"PUB\"\nDPoP", "0 added bearer"},
	{"added past a token68", adds, "Bearer abc==\nBearer scope=\"a\"", "Bearer abc==\nBearer scope=\"a\", resource_metadata=\"PUB\"", "0 added bearer"},
	{"not added to a token68", adds, `Bearer abc`, ``, "0 bearer"},
	{"not added to another scheme", adds, `Basic realm="Bearer"`, ``, "0"},
	{"not added to no line", adds, ``, ``, "0"},
	{"not added where it is", adds, `Bearer resource_metadata="https://other.example/x"`, ``, "0 metadata bearer"},
	{"not added where it was mapped", adds, `Bearer resource_metadata="http://up/x"`, `Bearer resource_metadata="PUB"`, "1 metadata bearer"},
	{"not added where another challenge has it", adds, "Bearer scope=\"a\", DPoP resource_metadata=\"http://up/x\"", "Bearer scope=\"a\", DPoP resource_metadata=\"PUB\"", "1 metadata bearer"},
	{"not added where a later line has it", adds, "Bearer scope=\"a\"\nNewauth resource_metadata=\"https://other.example/x\"", ``, "0 metadata bearer"},
	{"not added where it is empty", adds, `Bearer resource_metadata=`, ``, "0 metadata bearer"},
	{"not added where a quoted string swallowed it", adds, `Bearer realm="C:\", resource_metadata="http://up/x"`, ``, "0 metadata bearer"},
	{"not added where it is glued to a quoted string", adds, `Bearer realm="r"; Resource_Metadata="http://up/x"`, ``, "0 metadata bearer"},
	{"added where a message names it", adds, `Bearer error_description="see \"resource_metadata\""`, `Bearer error_description="see \"resource_metadata\"", resource_metadata="PUB"`, "0 added bearer"},
	{"added where inner quotes do not name it", adds, `Bearer error_description="see \"a\" and "b""`, `Bearer error_description="see \"a\" and "b"", resource_metadata="PUB"`, "0 added bearer"},
	{"not added behind what would swallow it", adds, `Bearer a="b" c="`, ``, "0 [quoted string without an end]"},
	{"metadata is escaped", Edit{Metadata: `https://x/"\`}, `Bearer`, `Bearer resource_metadata="https://x/\"\\"`, "0 added bearer"},
	// Rule A6: a challenge is inserted.
	{"inserted into nothing", inserts, ``, `Bearer resource_metadata="PUB"`, "0 inserted"},
	{"inserted before others", inserts, "Negotiate\nBasic realm=\"r\"", "Bearer resource_metadata=\"PUB\"\nNegotiate\nBasic realm=\"r\"", "0 inserted"},
	{"inserted without metadata", Edit{Insert: true}, `Negotiate`, ``, "0"},
	{"not inserted where it can be added", inserts, "Negotiate\nBearer", "Negotiate\nBearer resource_metadata=\"PUB\"", "0 added bearer"},
	{"not inserted beside a token68", inserts, `Bearer abc`, ``, "0 bearer"},
	{"not inserted beside a dpop token68", inserts, `DPoP abc==`, ``, "0 bearer"},
	{"not inserted where another scheme has it", inserts, `Newauth resource_metadata="http://up/x"`, `Newauth resource_metadata="PUB"`, "1 metadata"},
	{"inserted with a realm", Edit{Metadata: public, Insert: true, Realm: `the "tools"`}, `Negotiate`, "Bearer realm=\"the \\\"tools\\\"\", resource_metadata=\"PUB\"\nNegotiate", "0 inserted"},
	{"inserted with scopes", Edit{Metadata: public, Insert: true, Scope: []string{"a", "b:c"}}, ``, `Bearer scope="a b:c", resource_metadata="PUB"`, "0 inserted"},
	{"inserted with all", Edit{Metadata: public, Insert: true, Realm: "r", Scope: []string{"a"}}, ``, `Bearer realm="r", scope="a", resource_metadata="PUB"`, "0 inserted"},
	{"realm and scope are for insertion only", Edit{Metadata: public, Insert: true, Realm: "r", Scope: []string{"a"}}, `Bearer`, `Bearer resource_metadata="PUB"`, "0 added bearer"},
	{"no line break comes from the configuration", Edit{Metadata: "https://x\r\n/", Insert: true, Realm: "r\r\nSet-Cookie: a=b\x00", Scope: []string{"a\n", "b"}}, ``, `Bearer realm="rSet-Cookie: a=b", scope="a b", resource_metadata="https://x/"`, "0 inserted"},
	{"no line break comes from the map", Edit{Map: func(string) (string, bool) { return "https://x\r\n\x7f/\t\"", true }}, `Bearer resource_metadata=u`, "Bearer resource_metadata=\"https://x/\t\\\"\"", "1 metadata bearer"},
	{"mapped to nothing", Edit{Map: func(string) (string, bool) { return "", true }}, `Bearer resource_metadata=u, a=b`, `Bearer resource_metadata="", a=b`, "1 metadata bearer"},
}

// brief prints a report.
func brief(r Report) string {
	s := fmt.Sprint(r.Rewritten)
	for _, f := range []struct {
		set  bool
		name string
	}{{r.Added, "added"}, {r.Inserted, "inserted"}, {r.HasMetadata, "metadata"}, {r.HasBearer, "bearer"}} {
		if f.set {
			s += " " + f.name
		}
	}
	if len(r.Unparsed) > 0 {
		s += " " + fmt.Sprint(r.Unparsed)
	}
	return s
}

// lines parts the lines of an editCase.
func lines(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(strings.ReplaceAll(s, "PUB", public), "\n")
}

func TestApply(t *testing.T) {
	for _, tc := range editCases {
		t.Run(tc.name, func(t *testing.T) {
			in, want := lines(tc.in), lines(tc.want)
			if tc.want == "" {
				want = in
			}
			given := slices.Clone(in)
			got, r := apply(tc.edit, in)
			if !slices.Equal(got, want) {
				t.Errorf("Apply(%s)\ngot  %s\nwant %s", short(tc.in), short(strings.Join(got, "\n")), short(strings.Join(want, "\n")))
			}
			if got := brief(r); got != tc.report {
				t.Errorf("Apply(%s): got report %q, want %q", short(tc.in), got, tc.report)
			}
			if !slices.Equal(in, given) {
				t.Errorf("Apply(%s) changed what it was given to %q", short(tc.in), in)
			}
			if changed := !slices.Equal(got, in); !changed && len(in) > 0 && &got[0] != &in[0] {
				t.Errorf("Apply(%s) copied lines that it does not change", short(tc.in))
			}
			again, _ := apply(tc.edit, got)
			if !slices.Equal(again, got) {
				t.Errorf("Apply(%s) twice\ngot  %s\nwant %s", short(tc.in), short(strings.Join(again, "\n")), short(strings.Join(got, "\n")))
			}
		})
	}
}

// The slice that is given may have room behind its end, and it belongs to the
// response of the upstream.
func TestApplyLeavesTheSlice(t *testing.T) {
	for name, first := range map[string]string{
		"mapped":   `Bearer resource_metadata="http://up/x"`,
		"added":    `Bearer`,
		"inserted": `Negotiate`,
	} {
		t.Run(name, func(t *testing.T) {
			whole := []string{first, "Basic", "behind", "it"}
			given := slices.Clone(whole)
			got, _ := apply(inserts, whole[:2])
			if slices.Equal(got, whole[:2]) {
				t.Errorf("got %q, want a change", got)
			}
			got = append(got, "more")
			if !slices.Equal(whole, given) {
				t.Errorf("got %q, want %q after %q", whole, given, got)
			}
		})
	}
}

func TestApplyUnparsed(t *testing.T) {
	_, r := apply(maps, []string{`Bearer realm="x`, `Bearer`, strings.Repeat("A,", MaxChallenges+1)})
	if len(r.Unparsed) != 2 || !errors.Is(r.Unparsed[0], ErrUnterminatedQuote) || !errors.Is(r.Unparsed[1], ErrTooManyChallenges) {
		t.Errorf("got %v, want one error a line", r.Unparsed)
	}
}

func TestQuote(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"empty", ``, `""`},
		{"text", `a b`, `"a b"`},
		{"quote", `a"b`, `"a\"b"`},
		{"backslash", `a\b`, `"a\\b"`},
		{"both", `\"`, `"\\\""`},
		{"tab", "a\tb", "\"a\tb\""},
		{"line break", "a\r\nb: c", `"ab: c"`},
		{"other control characters", "\x00a\x1b\x1f\x7f", `"a"`},
		{"nothing else is escaped", "/'%<>{}\u00e9\xff", "\"/'%<>{}\u00e9\xff\""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Quote(tc.in); got != tc.want {
				t.Errorf("Quote(%q): got %s, want %s", tc.in, got, tc.want)
			}
		})
	}
}

// apply parses lines and edits them.
func apply(e Edit, lines []string) ([]string, Report) { return e.Apply(lines, ParseAll(lines)) }
