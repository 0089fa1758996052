package metadata

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/jsontext"
)

// NothingServed begins the error_description of an answer where the bridge serves neither
// metadata nor a page of an authorization server.
const NothingServed = "Nothing is served at this path"

// NoLogin begins the error_description at the well-known URL of an endpoint that has no
// authorization server by intention. The doctor reads it.
const NoLogin = "This endpoint has no login"

// The beginnings of error_description in answers without a document.
const (
	noneHere         = "There is no such metadata here"
	unusableThere    = "What the server behind has as metadata cannot be used"
	unavailableThere = "The server behind cannot be asked right now"
)

// IsFailure reports whether an error_description is one that [Store.Serve] writes. The
// doctor uses it to see that the bridge has answered, and not the server.
func IsFailure(description string) bool {
	for _, begin := range []string{noneHere, unusableThere, unavailableThere} {
		if strings.HasPrefix(description, begin) {
			return true
		}
	}
	return false
}

const (
	bodyNotFound = `{"error":"not_found","error_description":"` + noneHere + `."}`
	bodyMethod   = `{"error":"method_not_allowed","error_description":"Use GET or HEAD."}`
)

// Serve answers a request for the well-known URL of the endpoint. suffix is the part of the
// escaped request path after [WellKnownPath]: the endpoint's path with or without a final
// slash, or "" or "/" for the root form.
//
// It answers in JSON: 200 with the document, and max-age with the rest of its TTL; 404 if
// the upstream has no document; 503 with Retry-After if the upstream could not be asked; 405
// for methods other than GET and HEAD. The caller sets the fields of CORS, and Vary.
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
	pub = s.asked(pub, r.URL.RawQuery)
	s.cache.expireRefetch(pub)
	switch e := s.lookup(r.Context(), pub); e.status {
	case found:
		query := e.doc.query
		if s.configured != nil {
			query = pub.Query // the configured document names the URL that the client uses
		}
		if query != "" && pub.trimmedPath() == "" {
			resource = pub.Origin + "/" // a URL with a query has a path, as clients write it
		}
		answerFound(w, r, e, e.doc.renderQuery(resource, query))
	case absent:
		answer(w, r, http.StatusNotFound, "no-store", bodyNotFound)
	case unusable:
		answerUnusable(w, r, e.reason)
	case unavailable:
		s.answerUnavailable(w, r, e.code, e.reason)
	}
}

// ServeRelay answers a request for the metadata of an authorization server with the
// upstream's own document, if that may be relayed. It returns false if it has written
// nothing. root is set for the endpoint that answers at the root of the site. before is
// called before the answer is written; it sets the fields of CORS, and Vary.
func (s *Store) ServeRelay(w http.ResponseWriter, r *http.Request, pub Public, path string, root bool, before func()) bool {
	if s.cfg.BridgeServer || s.configured != nil || s.cfg.Fetch == nil || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	for _, suffix := range s.up.relays(pub, root) {
		if suffix.public != strings.TrimSuffix(path, "/") {
			continue
		}
		if s.cache.lookup(r.Context(), pub.own()).status != absent {
			return false // the metadata of the resource leads to the authorization server
		}
		pub = pub.own()
		pub.named, pub.relay = target{path: suffix.upstream}, true
		switch e := s.cache.lookup(r.Context(), pub); e.status {
		case found:
			before()
			answerFound(w, r, e, e.doc.head)
			return true
		case unusable:
			before()
			answerUnusable(w, r, e.reason)
			return true
		case absent, unavailable:
		}
		return false
	}
	return false
}

// RelayPaths returns the paths, without a final slash, that [Store.ServeRelay] may answer for an
// endpoint whose public path is given.
func (s *Store) RelayPaths(public string, root bool) []string {
	var paths []string
	for _, suffix := range s.up.relays(Public{Path: public}, root) {
		paths = append(paths, suffix.public)
	}
	return paths
}

// ServeServer answers a request for the metadata of the bridged authorization server. The
// caller sets the fields of CORS, and Vary.
func (s *Store) ServeServer(w http.ResponseWriter, r *http.Request, pub Public, path string) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		answer(w, r, http.StatusMethodNotAllowed, "no-store", bodyMethod)
		return
	}
	e := s.cache.lookup(r.Context(), pub.own())
	if e.server == nil {
		s.answerUnavailable(w, r, e.code, e.reason)
		return
	}
	d, asked := e.server.documents[strings.TrimSuffix(path, "/")]
	switch {
	case !asked && e.status == unavailable:
		s.answerUnavailable(w, r, 0, e.reason) // path may belong to an issuer that is not known yet
	case !asked || d.status == absent:
		answer(w, r, http.StatusNotFound, "no-store", bodyNotFound)
	case d.status == found:
		answerFound(w, r, e, d.body)
	case d.status == unusable:
		answerUnusable(w, r, d.reason)
	default:
		s.answerUnavailable(w, r, d.code, d.reason)
	}
}

// ServeUnavailable answers 503: the upstream could not be asked.
func (s *Store) ServeUnavailable(w http.ResponseWriter, r *http.Request) {
	s.answerUnavailable(w, r, 0, "")
}

// answerFound sends a document, which is valid until its entry expires.
func answerFound(w http.ResponseWriter, r *http.Request, e entry, body []byte) {
	// No "public": without credentials in the request a shared cache may
	// store the answer anyway (RFC 9111 section 3), and with them it need not.
	age := max(0, time.Until(e.expires)) / time.Second
	answer(w, r, http.StatusOK, "max-age="+strconv.Itoa(int(age)), string(body))
}

// failure returns the body of an answer that says why there is no document. reason must be
// from a closed set, so that the body has no text of the upstream's.
func failure(code, description, reason, advice string) string {
	if reason != "" {
		description += ": " + reason
	}
	return string(jsontext.Marshal(struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{code, description + "." + advice}))
}

// answerUnusable answers 404: the upstream has a document, which is invalid. Trying again
// does not help.
func answerUnusable(w http.ResponseWriter, r *http.Request, reason string) {
	answer(w, r, http.StatusNotFound, "no-store", failure("not_found",
		unusableThere, reason, " The log of the bridge and `caddy mcp status` say more."))
}

// answerUnavailable asks the client to try again. code is a status of the upstream's after
// which clients continue their search, or 0 for 503.
func (s *Store) answerUnavailable(w http.ResponseWriter, r *http.Request, code int, reason string) {
	if code == 0 {
		code = http.StatusServiceUnavailable
	}
	if code != http.StatusBadGateway {
		wait := (s.cfg.RetryAfter + time.Second - 1) / time.Second
		w.Header().Set("Retry-After", strconv.Itoa(int(wait)))
	}
	answer(w, r, code, "no-store", failure("temporarily_unavailable", unavailableThere, reason, " Try again later."))
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
	// The status is sent, so an error can only mean that the client is gone.
	_, _ = w.Write([]byte(body))
}
