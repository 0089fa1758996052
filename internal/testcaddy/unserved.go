package testcaddy

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func init() { caddy.RegisterModule(new(starter)) }

// appName is the name of the app whose start LoadUnserved calls.
const appName = "mcp_auth_bridge"

// LoadUnserved adapts and provisions a Caddyfile and starts its endpoints, but opens no
// listener and asks for no certificate: the Caddyfile may name any host and port. It
// returns the log lines.
func LoadUnserved(t testing.TB, caddyfile string) ([]string, error) {
	t.Helper()
	adapted, err := Adapt(caddyfile)
	if err != nil {
		return nil, err
	}
	raw, err := prepared(adapted, t.TempDir())
	if err != nil {
		return nil, err
	}
	var members map[string]json.RawMessage
	var apps map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(members["apps"], &apps); err != nil {
		return nil, err
	}
	apps["test_starter"] = json.RawMessage("{}")
	if members["apps"], err = json.Marshal(apps); err != nil {
		return nil, err
	}
	if raw, err = json.Marshal(members); err != nil {
		return nil, err
	}
	var cfg caddy.Config
	if err := json.Unmarshal(raw, &cfg); err != nil {
		return nil, err
	}
	sink.reset()
	startError = nil
	if err := caddy.Validate(&cfg); startError == nil && err != nil {
		return nil, err
	}
	return sink.lines(), startError
}

// startError is why the endpoints did not start. A test process has one configuration at
// a time.
var startError error

// starter starts the endpoints when the configuration is provisioned.
type starter struct{}

// CaddyModule returns the Caddy module information.
func (*starter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "test_starter", New: func() caddy.Module { return new(starter) }}
}

// Provision loads what the endpoints need, and starts them.
func (*starter) Provision(ctx caddy.Context) error {
	if _, startError = ctx.App("http"); startError != nil {
		return startError
	}
	app, err := ctx.App(appName)
	if err != nil {
		startError = err
		return err
	}
	starting, ok := app.(caddy.App)
	if !ok {
		return errors.New("not an app")
	}
	startError = starting.Start()
	return startError
}

// Start implements caddy.App.
func (*starter) Start() error { return nil }

// Stop implements caddy.App.
func (*starter) Stop() error { return nil }
