package testcaddy

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(new(starter))
	caddy.RegisterModule(new(holder))
}

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
	cfg, err := withApp(raw, "test_starter")
	if err != nil {
		return nil, err
	}
	sink.reset()
	startError = nil
	if err := caddy.Validate(cfg); startError == nil && err != nil {
		return nil, err
	}
	return sink.lines(), startError
}

// withApp returns a configuration with one more app.
func withApp(raw []byte, name string) (*caddy.Config, error) {
	var members map[string]json.RawMessage
	var apps map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(members["apps"], &apps); err != nil {
		return nil, err
	}
	apps[name] = json.RawMessage("{}")
	var err error
	if members["apps"], err = json.Marshal(apps); err != nil {
		return nil, err
	}
	if raw, err = json.Marshal(members); err != nil {
		return nil, err
	}
	cfg := new(caddy.Config)
	return cfg, json.Unmarshal(raw, cfg)
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

// Provision adapts and provisions a Caddyfile, and returns the only server of it. Nothing is
// started, and no listener is opened. The configuration ends with the test.
func Provision(t testing.TB, caddyfile string) *caddyhttp.Server {
	t.Helper()
	adapted, err := Adapt(caddyfile)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := prepared(adapted, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := withApp(raw, "test_holder")
	if err != nil {
		t.Fatal(err)
	}
	held, release := make(chan *caddyhttp.App, 1), make(chan struct{})
	holding = func(app *caddyhttp.App) {
		held <- app
		<-release
	}
	ended := make(chan error, 1)
	go func() { ended <- caddy.Validate(cfg) }()
	select {
	case err := <-ended:
		t.Fatal(err)
	case app := <-held:
		t.Cleanup(func() {
			close(release)
			<-ended
		})
		for _, server := range app.Servers {
			return server
		}
	}
	t.Fatal("there is no server")
	return nil
}

// holding is called when the configuration of Provision is provisioned.
var holding func(*caddyhttp.App)

// holder keeps a configuration that is provisioned.
type holder struct{}

// CaddyModule returns the Caddy module information.
func (*holder) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "test_holder", New: func() caddy.Module { return new(holder) }}
}

// Provision provisions the servers, and returns when the test has ended.
func (*holder) Provision(ctx caddy.Context) error {
	app, err := ctx.App("http")
	if err == nil {
		holding(app.(*caddyhttp.App))
	}
	return err
}

// Start implements caddy.App.
func (*holder) Start() error { return nil }

// Stop implements caddy.App.
func (*holder) Stop() error { return nil }
