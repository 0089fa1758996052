package mcpauthbridge

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
)

func init() { caddy.RegisterModule(adminAPI{}) }

// adminPath is what the answers to the operator are below, in Caddy's admin API.
const adminPath = "/mcp_auth_bridge/"

// adminVersion is that of the answers. It changes with members that go or that mean
// something else, and not with new ones.
const adminVersion = 1

// adminAPI shows in Caddy's admin API what the endpoints remember:
//
//	GET    /mcp_auth_bridge/                 all endpoints; ?endpoint= one of them
//	GET    /mcp_auth_bridge/sessions         the sessions that are open; ?endpoint= of one
//	GET    /mcp_auth_bridge/sessions/<id>    one of them
//	DELETE /mcp_auth_bridge/sessions/<id>    ends it
//
// Nothing in an answer is secret: no token, no session id, no query.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.mcp_auth_bridge",
		New: func() caddy.Module { return new(adminAPI) },
	}
}

// Routes implements caddy.AdminRouter.
func (a adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: adminPath, Handler: caddy.AdminHandlerFunc(a.serve)}}
}

func (adminAPI) serve(w http.ResponseWriter, r *http.Request) error {
	path := strings.TrimPrefix(r.URL.Path, adminPath)
	id, one := strings.CutPrefix(path, "sessions/")
	switch {
	case path == "":
		return showEndpoints(w, r)
	case path == "sessions", one && id == "":
		return showSessions(w, r)
	case one:
		return serveSession(w, r, id)
	}
	return errNoSuch
}

var errNoSuch = caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("there is no such thing here")}

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
func chosen(r *http.Request) ([]*Handler, error) {
	all := endpointsNow()
	name, ok := r.URL.Query()["endpoint"]
	if !ok {
		return all, nil
	}
	for _, h := range all {
		if h.label() == name[0] {
			return []*Handler{h}, nil
		}
	}
	return nil, errNoSuch
}

func answerJSON(w http.ResponseWriter, r *http.Request, value any) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.Method == http.MethodHead {
		return nil
	}
	return json.NewEncoder(w).Encode(value)
}

// statusAnswer is the answer for all endpoints.
type statusAnswer struct {
	Version   int              `json:"version"`
	Time      time.Time        `json:"time"`
	Endpoints []endpointStatus `json:"endpoints"`
}

func showEndpoints(w http.ResponseWriter, r *http.Request) error {
	if err := allow(w, r, http.MethodGet, http.MethodHead); err != nil {
		return err
	}
	all, err := chosen(r)
	if err != nil {
		return err
	}
	return answerJSON(w, r, statusOfAll(all))
}

func statusOfAll(all []*Handler) statusAnswer {
	answer := statusAnswer{Version: adminVersion, Time: stamp(time.Now()), Endpoints: []endpointStatus{}}
	for _, h := range all {
		answer.Endpoints = append(answer.Endpoints, h.status())
	}
	return answer
}

// sessionsAnswer is the answer for sessions.
type sessionsAnswer struct {
	Version  int             `json:"version"`
	Sessions []sessionStatus `json:"sessions"`
}

// sessionStatus is one session. Ids are hashed, and so is whoever began it.
type sessionStatus struct {
	ID        string           `json:"id"`
	Endpoint  string           `json:"endpoint"`
	Transport bridge.Transport `json:"transport"`
	User      string           `json:"user,omitempty"`
	Protocol  string           `json:"protocol,omitempty"`
	Begun     time.Time        `json:"begun"`
	Used      time.Time        `json:"used"`
	Requests  int              `json:"requests"`
}

func (h *Handler) sessionStatuses() (all []sessionStatus) {
	if h.hub == nil {
		return nil
	}
	for _, s := range h.hub.List() {
		all = append(all, sessionStatus{
			ID: s.ID, Endpoint: h.label(), Transport: s.Transport, User: s.User, Protocol: s.Version,
			Begun: stamp(s.Begun), Used: stamp(s.Used), Requests: s.Active,
		})
	}
	return all
}

func showSessions(w http.ResponseWriter, r *http.Request) error {
	if err := allow(w, r, http.MethodGet, http.MethodHead); err != nil {
		return err
	}
	all, err := chosen(r)
	if err != nil {
		return err
	}
	answer := sessionsAnswer{Version: adminVersion, Sessions: []sessionStatus{}}
	for _, h := range all {
		answer.Sessions = append(answer.Sessions, h.sessionStatuses()...)
	}
	return answerJSON(w, r, answer)
}

// serveSession shows or ends one session.
func serveSession(w http.ResponseWriter, r *http.Request, id string) error {
	if err := allow(w, r, http.MethodGet, http.MethodHead, http.MethodDelete); err != nil {
		return err
	}
	for _, h := range endpointsNow() {
		if h.hub == nil {
			continue
		}
		if r.Method == http.MethodDelete {
			if h.hub.EndSession(id) {
				w.WriteHeader(http.StatusNoContent)
				return nil
			}
			continue
		}
		for _, s := range h.sessionStatuses() {
			if s.ID == id {
				return answerJSON(w, r, sessionsAnswer{Version: adminVersion, Sessions: []sessionStatus{s}})
			}
		}
	}
	return errNoSuch
}

// stamp is a time as it is shown.
func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// stampOf is stamp for a time that may be none.
func stampOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = stamp(t)
	return &t
}

// Interface guards
var _ caddy.AdminRouter = adminAPI{}
