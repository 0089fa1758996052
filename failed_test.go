package mcpauthbridge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	logstest "go.uber.org/zap/zaptest/observer"
)

// F1: a failed request is answered by the bridge, and told without secrets, only where
// Caddy would answer with the status alone. Error routes get their error.
func TestSettle(t *testing.T) {
	routes := func(handlers ...caddyhttp.MiddlewareHandler) caddyhttp.RouteList {
		return caddyhttp.RouteList{{Handlers: handlers}}
	}
	answers := &caddyhttp.HTTPErrorConfig{Routes: routes(&caddyhttp.StaticResponse{})}
	inside := &caddyhttp.Subroute{Routes: routes(&caddyhttp.Subroute{Errors: answers})}
	bad := caddyhttp.Error(http.StatusBadGateway, errors.New("malformed HTTP response \"sid-1234567\""))
	for _, tc := range []struct {
		name    string
		server  *caddyhttp.Server
		err     error
		settled bool
	}{
		{"no error routes", &caddyhttp.Server{Routes: routes(&caddyhttp.Subroute{})}, bad, true},
		{"no error", &caddyhttp.Server{}, nil, true},
		{"client's fault", &caddyhttp.Server{}, caddyhttp.Error(http.StatusNotFound, errors.New("x")), false},
		{"unknown server", nil, bad, false},
		{"handle_errors", &caddyhttp.Server{Errors: answers}, bad, false},
		{"subroute in a subroute", &caddyhttp.Server{Routes: routes(inside)}, bad, false},
		{"named route", &caddyhttp.Server{NamedRoutes: map[string]*caddyhttp.Route{"x": &routes(inside)[0]}}, bad, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			core, logs := logstest.New(zapcore.DebugLevel)
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/mcp?q=secret-query", nil)
			r.Header.Set("Mcp-Session-Id", "sid-1234567")
			if tc.server != nil {
				r = r.WithContext(context.WithValue(r.Context(), caddyhttp.ServerCtxKey, tc.server))
			}
			w := httptest.NewRecorder()
			err := settle(zap.New(core), "/mcp", w, r, tc.err)
			switch {
			case !tc.settled && (!errors.Is(err, errors.Unwrap(tc.err)) || logs.Len() > 0):
				t.Errorf("got %v and %d lines, want the error and none", err, logs.Len())
			case tc.settled && err != nil:
				t.Errorf("got %v", err)
			case tc.settled && tc.err != nil:
				line := fmt.Sprint(logs.All()[0].ContextMap())
				if w.Code != http.StatusBadGateway || !strings.Contains(line, "malformed HTTP response") || strings.Contains(line, "sid-1234567") || strings.Contains(line, "secret") {
					t.Errorf("got %d and %s", w.Code, line)
				}
			}
		})
	}
}
