package doctor

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
)

// fetched is an attempt at a metadata document.
type fetched struct {
	*answer
	at       *url.URL
	document map[string]json.RawMessage // nil where there is none
	// rule and why say what is wrong where there is none.
	rule, why string
}

// maxRedirects bounds those of a metadata URL.
const maxRedirects = 3

// fetch gets a metadata document the way clients do: without credentials.
func (w *walk) fetch(ctx context.Context, s *Step, name string, at *url.URL) fetched {
	f := fetched{at: at}
	for hop := 0; ; hop++ {
		h := http.Header{}
		h.Set("Accept", "application/json")
		h.Set("MCP-Protocol-Version", legacyRevision)
		f.answer = w.send(ctx, s, request{name: name, method: http.MethodGet, url: at, header: h, origin: w.page, private: hop == 0})
		if !f.redirect() {
			break
		}
		to, err := at.Parse(f.header.Get("Location"))
		if err != nil || hop == maxRedirects || misplaced(at, to) != "" || originOf(to) != originOf(at) && at.Scheme == "https" && to.Scheme != "https" {
			break
		}
		at, name = to, name+", redirected"
	}
	f.read(w)
	return f
}

// read parses the answer, or says what is wrong with it.
func (f *fetched) read(w *walk) {
	a := f.answer
	switch {
	case a.slow:
		f.rule, f.why = "metadata.time", "is not answered in time"
	case a.err != nil:
		f.rule, f.why = "metadata.found", "has no answer ("+a.Error+")"
	case a.redirect():
		f.rule, f.why = "metadata.redirect", "redirects to "+w.secrets.link(a.header.Get("Location"))
	case a.Status == http.StatusUnauthorized || a.Status == http.StatusForbidden:
		f.rule, f.why = "metadata.found", "asks for a login itself ("+http.StatusText(a.Status)+")"
	case !a.ok():
		f.rule, f.why = "metadata.found", "is answered with "+statusText(a.Status)
	case !a.Whole:
		f.rule, f.why = "metadata.size", "is larger than 256 KiB, which clients do not read"
	default:
		f.parse(w)
	}
}

func (f *fetched) parse(w *walk) {
	if err := json.Unmarshal(f.body, &f.document); err == nil && f.document != nil {
		return
	}
	f.document = nil
	f.rule, f.why = "metadata.json", "is no JSON object but "+orWord(w.secrets.text(f.mediaType()), "a body without Content-Type")
	f.Excerpt = plain(cut(w.secrets.hide(string(f.body)), excerptSize))
}

// absent reports whether the answer is a plain no, after which clients try the
// next place without a word.
func (f *fetched) absent() bool { return f.err == nil && f.Status == http.StatusNotFound }

// text returns a member that is a string.
func (f *fetched) text(name string) string {
	var s string
	_ = json.Unmarshal(f.document[name], &s) // else it is empty
	return s
}

// texts returns a member that is a list of strings, and whether there is one.
func (f *fetched) texts(name string) ([]string, bool) {
	var list []string
	raw, ok := f.document[name]
	return list, ok && json.Unmarshal(raw, &list) == nil
}

// truth returns a member that is a boolean.
func (f *fetched) truth(name string) bool {
	var b bool
	_ = json.Unmarshal(f.document[name], &b) // else it is false
	return b
}

// judgeType looks at what clients only frown at.
func (w *walk) judgeType(s *Step, f fetched) {
	if !f.isJSON() {
		w.warn(s, "metadata.json", "%s is sent as %s instead of application/json", w.secrets.text(linkOf(f.at)), orWord(w.secrets.text(f.mediaType()), "nothing"))
	}
}

// judgeBrowser looks at whether a page reads a document.
func (w *walk) judgeBrowser(s *Step, f fetched, rule string) {
	if f.Browser == nil {
		return
	}
	if !f.Browser.Allowed {
		w.note(s, w.pageLevel(), rule, "a page at %s cannot read %s: %s", w.page, w.secrets.text(linkOf(f.at)), f.Browser.Why)
		return
	}
	w.pass(s, rule, "a page reads it")
}
