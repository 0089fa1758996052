package testcaddy

import (
	"encoding/json"
	"net"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func init() { caddy.RegisterModule(new(listenerWatch)) }

// listenerWatch is a listener wrapper that says when a listener is closed. Caddy's reload returns
// before the listeners of the old configuration are: a connection that comes meanwhile reaches the
// old configuration, or is reset.
type listenerWatch struct{}

// CaddyModule returns the Caddy module information.
func (*listenerWatch) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.listeners.test_watch", New: func() caddy.Module { return new(listenerWatch) }}
}

// WrapListener implements caddy.ListenerWrapper.
func (*listenerWatch) WrapListener(l net.Listener) net.Listener {
	w := &watchedListener{Listener: l, closed: make(chan struct{})}
	listeners.Lock()
	defer listeners.Unlock()
	if listeners.open == nil {
		listeners.open = make(map[*watchedListener]bool)
	}
	listeners.open[w] = true
	return w
}

// listeners are those of Caddy's HTTP servers that are not closed.
var listeners struct {
	sync.Mutex
	open map[*watchedListener]bool
}

func openListeners() map[*watchedListener]bool {
	listeners.Lock()
	defer listeners.Unlock()
	open := make(map[*watchedListener]bool, len(listeners.open))
	for w := range listeners.open {
		open[w] = true
	}
	return open
}

type watchedListener struct {
	net.Listener
	once   sync.Once
	closed chan struct{}
}

func (w *watchedListener) Close() error {
	err := w.Listener.Close() // returns when no Accept holds it any more
	w.once.Do(func() {
		listeners.Lock()
		defer listeners.Unlock()
		delete(listeners.open, w)
		close(w.closed)
	})
	return err
}

// watchListeners adds the wrapper to all HTTP servers of a configuration.
func watchListeners(cfg map[string]any) {
	apps, _ := cfg["apps"].(map[string]any)
	http, _ := apps["http"].(map[string]any)
	servers, _ := http["servers"].(map[string]any)
	for _, server := range servers {
		if server, ok := server.(map[string]any); ok {
			wrappers, _ := server["listener_wrappers"].([]any)
			server["listener_wrappers"] = append(wrappers, map[string]any{"wrapper": "test_watch"})
		}
	}
}

// load gives Caddy a configuration, and waits until only the one that holds then listens.
func (in *Instance) load(raw json.RawMessage) error {
	in.t.Helper()
	before := openListeners()
	err := caddy.Load(raw, true)
	late := time.After(20 * time.Second)
	for w := range openListeners() {
		if before[w] == (err != nil) {
			continue // of the new one that was loaded, or of the old one that stays
		}
		select {
		case <-w.closed:
		case <-late:
			in.t.Fatalf("20 s after a reload Caddy still listens on %s as before", w.Addr())
		}
	}
	return err
}
