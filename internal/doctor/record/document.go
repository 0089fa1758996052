package record

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/probe"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/rules"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/schema"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/urls"
)

// Fetched is the result of fetching a metadata document.
type Fetched struct {
	*probe.Answer
	At       *url.URL
	Document map[string]json.RawMessage // nil if there is none
	// Rule and Why say why there is no document. Facts are for the cures.
	Rule, Why string
	Facts     report.Facts
	// left is the URL at another origin that a redirect led to; nil if none did.
	left *url.URL
}

// maxRedirects is how many redirects of a metadata URL are followed.
const maxRedirects = 3

// Fetch gets a metadata document as clients do: without credentials.
func (r *Recorder) Fetch(ctx context.Context, s *report.Step, name string, at *url.URL) Fetched {
	f := Fetched{At: at}
	for hop := 0; ; hop++ {
		h := http.Header{}
		h.Set("Accept", "application/json")
		h.Set("MCP-Protocol-Version", probe.HandshakeRevision)
		f.Answer = r.Send(ctx, s, probe.Request{Name: name, Method: http.MethodGet, URL: at, Header: h, Origin: r.Page, Private: hop == 0})
		if !f.Redirect() {
			break
		}
		to, err := at.Parse(f.Header.Get("Location"))
		if err != nil || hop == maxRedirects || urls.Misplaced(at, to) != "" || urls.Origin(to) != urls.Origin(at) && at.Scheme == "https" && to.Scheme != "https" {
			break
		}
		if !urls.Follows(at, to) {
			f.left = to
		}
		at, name = to, name+", redirected"
	}
	f.read(r)
	return f
}

// JudgeLeft checks whether a redirect led to another origin.
func (r *Recorder) JudgeLeft(s *report.Step, f Fetched, rule string) {
	if f.left != nil {
		r.Fail(s, rule, "%s redirects to another host, %s, where clients built with the TypeScript SDK do not follow", r.Secrets.Text(urls.WithoutQuery(f.At)), r.Secrets.Text(urls.Origin(f.left)))
	}
}

// read parses the answer, or sets Rule and Why.
func (f *Fetched) read(r *Recorder) {
	a := f.Answer
	obstacle, obstructed := r.obstacleOf(a)
	switch {
	case a.Slow:
		f.Rule, f.Why = "metadata.time", "gets no response in time"
	case a.Err != nil:
		f.Rule, f.Why = "metadata.reached", "gets no response ("+a.Error+")"
	case a.Redirect():
		f.Rule, f.Why = "metadata.redirect", "redirects to "+r.Secrets.Link(a.Header.Get("Location"))
	case obstructed:
		f.Rule = rules.Passes
		f.Why, f.Facts = r.obstacle(a, obstacle)
		f.Why = "gets " + f.Why
		return
	case a.Status == http.StatusUnauthorized:
		f.Rule, f.Why = "metadata.found", "requires login itself ("+report.StatusText(a.Status)+")"
	case !a.OK():
		f.Rule, f.Why = "metadata.found", "returns "+report.StatusText(a.Status)
	case a.Undecodable() != "":
		f.Rule, f.Why = "metadata.coding", r.Secrets.Text(a.Undecodable())
	case a.Broken != nil:
		f.Rule, f.Why = "metadata.found", "ends too early"
	case a.Large:
		f.Rule, f.Why = "metadata.size", "is larger than 1 MiB"
	default:
		f.parse(r)
	}
	if said := strings.TrimRight(f.Description(), ". "); said != "" {
		f.Why += " (" + r.Secrets.Text(said) + ")"
	}
	f.Facts = report.Facts{}
	if f.IsOwn() {
		f.Facts[rules.Own] = "yes"
	}
	if urls.Origin(f.At) != urls.Origin(r.Target) {
		f.Facts[rules.Other] = r.Secrets.Text(urls.Origin(f.At))
	}
}

func (f *Fetched) parse(r *Recorder) {
	var why string
	if f.Document, why = f.Object(); why == "" {
		return
	}
	f.Rule, f.Why = "metadata.json", r.Secrets.Text(why)
	f.Excerpt = r.Secrets.Show(string(f.Body), probe.ExcerptSize)
}

// Absent reports whether the answer is 404: clients then try the next place.
func (f *Fetched) Absent() bool { return f.Err == nil && f.Status == http.StatusNotFound }

// Without returns what is wrong with a member of the document, or "".
func (f *Fetched) Without(s schema.Schema, name string) string {
	return schema.FaultOf(s.Faults(f.Document), name)
}

// Text returns a member that is a string, or "".
func (f *Fetched) Text(name string) string {
	var s string
	_ = json.Unmarshal(f.Document[name], &s) // else it is empty
	return s
}

// Texts returns a member that is a list of strings, and whether there is such a list.
func (f *Fetched) Texts(name string) ([]string, bool) {
	var list []string
	raw, ok := f.Document[name]
	return list, ok && json.Unmarshal(raw, &list) == nil && list != nil
}

// Truth returns a member that is a boolean, or false.
func (f *Fetched) Truth(name string) bool {
	var b bool
	_ = json.Unmarshal(f.Document[name], &b) // else it is false
	return b
}

// JudgeType checks the form of a document that can be parsed: status, media type and
// encoding. Only some clients look at these.
func (r *Recorder) JudgeType(s *report.Step, f Fetched, rule string) {
	if odd := r.Oddities(f.Answer, http.StatusOK, schema.Go|schema.Python, schema.Go); len(odd) > 0 {
		r.NoteFaults(s, rule, r.Secrets.Text(urls.WithoutQuery(f.At)), odd)
	}
}

// JudgeBrowser checks whether a page can read a document.
func (r *Recorder) JudgeBrowser(s *report.Step, f Fetched, rule string) {
	if f.Browser == nil {
		return
	}
	if !f.Browser.Allowed {
		r.Note(s, r.PageLevel(), rule, "pages at %s cannot read %s: %s", r.Page, r.Secrets.Text(urls.WithoutQuery(f.At)), f.Browser.Why)
		return
	}
	r.Pass(s, rule, "pages can read it")
}
