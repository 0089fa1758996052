package metadata

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	bodyNotFound    = `{"error":"not_found","error_description":"There is no such metadata here."}`
	bodyUnavailable = `{"error":"temporarily_unavailable","error_description":"The server behind cannot be asked right now. Try again later."}`
	bodyMethod      = `{"error":"method_not_allowed","error_description":"Use GET or HEAD."}`
)

// Serve answers a request for the well-known URL of the endpoint. suffix is what
// follows [WellKnownPath] in the escaped request path as written: the endpoint's
// path with or without a final slash, or "" or "/" for the root form.
//
// It answers 200 with the document and with max-age as what is left of its TTL,
// 404 where the upstream definitely has none, 503 with Retry-After where that
// could not be found out, and 405 for other methods than GET and HEAD; always as
// JSON. The fields of CORS and Vary are the caller's.
func (s *Store) Serve(w http.ResponseWriter, r *http.Request, pub Public, suffix string) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		answer(w, r, http.StatusMethodNotAllowed, "no-store", bodyMethod)
		return
	}
	resource, ok := pub.resource(suffix)
	if !ok {
		answer(w, r, http.StatusNotFound, "no-store", bodyNotFound)
		return
	}
	s.reconsider(pub)
	switch e := s.lookup(r.Context(), pub); e.status {
	case found:
		s.answerFound(w, r, e, e.doc.render(resource))
	case absent:
		answer(w, r, http.StatusNotFound, "no-store", bodyNotFound)
	case unavailable:
		s.answerUnavailable(w, r)
	}
}

// answerFound sends a document that is good until its entry expires.
func (s *Store) answerFound(w http.ResponseWriter, r *http.Request, e entry, body []byte) {
	// No "public": without credentials in the request a shared cache may
	// store the answer anyway (RFC 9111 section 3), and with them it need not.
	age := max(0, time.Until(e.expires)) / time.Second
	answer(w, r, http.StatusOK, "max-age="+strconv.Itoa(int(age)), string(body))
}

// answerUnavailable says to come back.
func (s *Store) answerUnavailable(w http.ResponseWriter, r *http.Request) {
	wait := (s.cfg.RetryAfter + time.Second - 1) / time.Second
	w.Header().Set("Retry-After", strconv.Itoa(int(wait)))
	answer(w, r, http.StatusServiceUnavailable, "no-store", bodyUnavailable)
}

// resource returns the resource identifier for a metadata URL: a client compares
// it with the URL from which it derived that one (RFC 9728 section 3.3).
func (p Public) resource(suffix string) (string, bool) {
	if suffix == "" || suffix == "/" {
		return p.URL(), true
	}
	if p.Path == "/" || suffix[0] != '/' {
		return "", false
	}
	if suffix == p.Path || suffix == p.Path+"/" {
		return p.Origin + suffix, true
	}
	got, err := url.PathUnescape(strings.TrimSuffix(suffix, "/"))
	if err != nil {
		return "", false
	}
	want, err := url.PathUnescape(p.Path)
	if err != nil || got != want {
		return "", false
	}
	return p.Origin + suffix, true
}

func answer(w http.ResponseWriter, r *http.Request, status int, cache, body string) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", cache)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	// The status is out: a client that is gone is all that can go wrong here.
	_, _ = w.Write([]byte(body))
}
