package status

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
)

// AdminPath is the path of the answers in Caddy's admin API. All others begin with it.
const AdminPath = "/mcp_auth_bridge/"

// sessionsPath is the path of the sessions. Those of one session begin with it.
const sessionsPath = AdminPath + "sessions"

// version is the version of the answers. It changes if a member is removed or gets another
// meaning, and not if a member is added.
const version = 1

// API answers Caddy's admin API:
//
//	GET    /mcp_auth_bridge/                 all endpoints; ?endpoint= one of them
//	GET    /mcp_auth_bridge/sessions         the sessions that are open; ?endpoint= of one
//	GET    /mcp_auth_bridge/sessions/<id>    one of them
//	DELETE /mcp_auth_bridge/sessions/<id>    ends it
//
// Nothing in an answer is secret: no token, no session id, no query.
type API struct {
	// Endpoints returns the endpoints of the running configuration.
	Endpoints func() []Endpoint
}

// Serve answers a request of the admin API.
func (a API) Serve(w http.ResponseWriter, r *http.Request) error {
	path := strings.TrimPrefix(r.URL.Path, AdminPath)
	id, one := strings.CutPrefix(path, "sessions/")
	switch {
	case path == "":
		return a.showEndpoints(w, r)
	case path == "sessions", one && id == "":
		return a.showSessions(w, r)
	case one:
		return a.serveSession(w, r, id)
	}
	return errNoSuch
}

var errNoSuch = caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("not found")}

// allow refuses methods that are not listed.
func allow(w http.ResponseWriter, r *http.Request, methods ...string) error {
	for _, m := range methods {
		if r.Method == m {
			return nil
		}
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("method is not allowed")}
}

// chosen returns the endpoints that a request is about.
func (a API) chosen(r *http.Request) ([]Endpoint, error) {
	all := a.Endpoints()
	name, ok := r.URL.Query()["endpoint"]
	if !ok {
		return all, nil
	}
	for _, e := range all {
		if e.Name == name[0] {
			return []Endpoint{e}, nil
		}
	}
	return nil, errNoSuch
}

func writeJSON(w http.ResponseWriter, r *http.Request, value any) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.Method == http.MethodHead {
		return nil
	}
	return json.NewEncoder(w).Encode(value)
}

// answer is the answer for endpoints.
type answer struct {
	Version   int             `json:"version"`
	Time      time.Time       `json:"time"`
	Endpoints []endpointState `json:"endpoints"`
}

func (a API) showEndpoints(w http.ResponseWriter, r *http.Request) error {
	if err := allow(w, r, http.MethodGet, http.MethodHead); err != nil {
		return err
	}
	all, err := a.chosen(r)
	if err != nil {
		return err
	}
	return writeJSON(w, r, answerOf(all))
}

func answerOf(all []Endpoint) answer {
	a := answer{Version: version, Time: stamp(time.Now()), Endpoints: []endpointState{}}
	for _, e := range all {
		a.Endpoints = append(a.Endpoints, e.state())
	}
	return a
}

// sessionsAnswer is the answer for sessions.
type sessionsAnswer struct {
	Version  int            `json:"version"`
	Sessions []sessionState `json:"sessions"`
}

// sessionState is one session. Its id and its user are hashed.
type sessionState struct {
	ID        string          `json:"id"`
	Endpoint  string          `json:"endpoint"`
	Transport stats.Transport `json:"transport"`
	User      string          `json:"user,omitempty"`
	Protocol  string          `json:"protocol,omitempty"`
	Begun     time.Time       `json:"begun"`
	Used      time.Time       `json:"used"`
	Requests  int             `json:"requests"`
}

// sessions returns the sessions of the endpoint.
func (e *Endpoint) sessions() (all []sessionState) {
	if e.Sessions == nil {
		return nil
	}
	for _, s := range e.Sessions.List() {
		all = append(all, sessionState{
			ID: s.ID, Endpoint: e.Name, Transport: s.Transport, User: s.User, Protocol: s.Version,
			Begun: stamp(s.Begun), Used: stamp(s.Used), Requests: s.Active,
		})
	}
	return all
}

func (a API) showSessions(w http.ResponseWriter, r *http.Request) error {
	if err := allow(w, r, http.MethodGet, http.MethodHead); err != nil {
		return err
	}
	all, err := a.chosen(r)
	if err != nil {
		return err
	}
	shown := sessionsAnswer{Version: version, Sessions: []sessionState{}}
	for _, e := range all {
		shown.Sessions = append(shown.Sessions, e.sessions()...)
	}
	return writeJSON(w, r, shown)
}

// serveSession shows or ends one session.
func (a API) serveSession(w http.ResponseWriter, r *http.Request, id string) error {
	if err := allow(w, r, http.MethodGet, http.MethodHead, http.MethodDelete); err != nil {
		return err
	}
	for _, e := range a.Endpoints() {
		if e.Sessions == nil {
			continue
		}
		if r.Method == http.MethodDelete {
			if e.Sessions.EndSession(id) {
				w.WriteHeader(http.StatusNoContent)
				return nil
			}
			continue
		}
		for _, s := range e.sessions() {
			if s.ID == id {
				return writeJSON(w, r, sessionsAnswer{Version: version, Sessions: []sessionState{s}})
			}
		}
	}
	return errNoSuch
}

// stamp is a time as it is shown.
func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// Time returns a time as answers have it, or nil if it is zero.
func Time(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = stamp(t)
	return &t
}
