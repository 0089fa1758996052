package record

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/content"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/probe"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/schema"
)

// maxNamed is how many members a finding names.
const maxNamed = 8

// NoteFaults records the faults of a document; what names the document. They are a
// failure if a fault is vital, or if the TypeScript SDK refuses the document, since most
// clients are built with it. Otherwise they are a warning.
func (r *Recorder) NoteFaults(s *report.Step, rule, what string, all []schema.Fault) {
	var refused, taken []string
	level := report.Warn
	for _, f := range all {
		if f.Vital {
			level = report.Fail
		}
		if f.Stops == schema.NoSDK {
			taken = append(taken, f.What)
			continue
		}
		refused = append(refused, f.String())
		if f.Stops&schema.TypeScript != 0 {
			level = report.Fail
		}
	}
	if len(refused) > 0 {
		r.Note(s, level, rule, "clients built with the SDKs in parentheses refuse %s: %s", what, several(refused))
	}
	if len(taken) > 0 {
		r.Warn(s, rule, "%s does not follow the specification, but most clients accept it: %s", what, several(taken))
	}
}

// several joins at most maxNamed names, and counts the others.
func several(names []string) string {
	if more := len(names) - maxNamed; more > 0 {
		names = append(slices.Clone(names[:maxNamed]), strconv.Itoa(more)+" more")
	}
	return strings.Join(names, "; ")
}

// Oddities returns what is wrong with the form of a JSON document that can be parsed.
// The answer should have the status. ranked are the SDKs that refuse another status, and
// typed those that refuse another media type.
func (r *Recorder) Oddities(a *probe.Answer, status int, ranked, typed schema.SDKs) []schema.Fault {
	var all []schema.Fault
	if a.Status != status {
		all = append(all, schema.Fault{What: fmt.Sprintf("the status is %d instead of %d", a.Status, status), Stops: ranked})
	}
	switch t := a.MediaType(); t {
	case "application/json":
	case "":
		all = append(all, schema.Fault{What: "there is no Content-Type", Stops: typed})
	default:
		all = append(all, schema.Fault{What: "it is sent as " + report.OrWord(r.Secrets.Text(t), "something") + " instead of application/json", Stops: typed})
	}
	if len(content.WithoutMark(a.Body)) < len(a.Body) {
		all = append(all, schema.Fault{What: "it begins with a byte order mark", Stops: schema.Go | schema.Python})
	}
	if !utf8.Valid(a.Body) {
		all = append(all, schema.Fault{What: "it is not in UTF-8", Stops: schema.Python})
	}
	return all
}

// OAuthError returns the error of an endpoint (RFC 6749 section 5.2) as it may be
// shown, after a colon, or "".
func (r *Recorder) OAuthError(a *probe.Answer) string {
	document, _ := a.Object()
	said := probe.TextOf(document, "error")
	if said == "" {
		return ""
	}
	return ": " + r.Secrets.Text(said) + " " + r.Secrets.Text(probe.TextOf(document, "error_description"))
}

// JudgeErrorForm checks the form of an error (RFC 6749 section 5.2). If it is wrong,
// users do not see the reason of the error.
func (r *Recorder) JudgeErrorForm(s *report.Step, a *probe.Answer) {
	if a.Err != nil || a.Status >= 500 {
		return
	}
	document, why := a.Object()
	if why != "" {
		r.Warn(s, "error.members", "the error %s, so clients cannot show the reason", r.Secrets.Text(why))
		return
	}
	all := schema.Error.Faults(document)
	if a.OK() {
		all = append(all, schema.Fault{What: "it comes with " + report.StatusText(a.Status) + " instead of 400"})
	}
	r.NoteFaults(s, "error.members", "the error", all)
}
