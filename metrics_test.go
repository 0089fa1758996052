package mcpauthbridge

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
)

// measured is an endpoint that has counted something of every kind.
func measured(t *testing.T, name string) *Handler {
	t.Helper()
	h := &Handler{
		name: name, app: &App{resolved: new(sync.Once)}, counts: bridge.NewCounts(),
		memory: new(atomic.Pointer[bridge.Memory]), hub: &pooledHub{Hub: bridge.NewHub(bridge.HubConfig{})},
	}
	h.app.resolved.Do(func() {}) // it has no place
	h.memory.Store(bridge.NewMemory())
	o := observer{h}
	h.counts.Begin()
	h.counts.End(http.MethodPost, http.StatusOK, time.Second, 1, 1)
	o.Challenged(new(bridge.Exchange), &bridge.Outcome{Action: bridge.ActionRelayed, Status: 401, Given: 401, Sent: []string{"Bearer"}})
	o.originRefused([]string{"https://x.example.com"}, "h")
	o.sessionBegun(bridge.SessionInfo{Transport: bridge.TransportSSE})
	o.sessionEnded(bridge.SessionInfo{Transport: bridge.TransportSSE}, bridge.EndIdle)
	o.serverStarted(true)
	o.serverEnded(true)
	return h
}

// Rule F1: labels are from closed sets, bounded by the configuration; endpoints share
// the collectors, and each load registers in a registry of its own.
func TestMetricsAreBounded(t *testing.T) {
	closed := map[string]bool{"received": true, "sent": true}
	for _, set := range [][]string{bridge.Methods, bridge.Classes, bridge.Schemes, bridge.Errors, bridge.Starts, bridge.Exits, bridge.CacheResults, bridge.FetchResults} {
		for _, word := range set {
			closed[word] = true
		}
	}
	for _, a := range bridge.Actions {
		closed[string(a)] = true
	}
	for _, r := range bridge.EndReasons {
		closed[string(r)] = true
	}
	for _, x := range bridge.Transports {
		closed[string(x)] = true
	}
	for _, f := range bridge.Failures {
		closed[string(f)] = true
	}
	endpoints := []*Handler{measured(t, "a"), measured(t, "b")}
	for load := range 2 {
		registry := prometheus.NewRegistry()
		if err := registerMetrics(registry, endpoints); err != nil {
			t.Fatalf("load %d: %v", load, err)
		}
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, family := range families {
			names = append(names, family.GetName())
			for _, metric := range family.GetMetric() {
				for _, label := range metric.GetLabel() {
					switch value := label.GetValue(); {
					case label.GetName() == "endpoint" && (value == "a" || value == "b"):
					case label.GetName() != "endpoint" && closed[value]:
					default:
						t.Errorf("%s has %s=%q", family.GetName(), label.GetName(), value)
					}
				}
			}
		}
		if got := documentedMetrics(t); !slices.Equal(got, names) {
			t.Errorf("README names\n%s\nthere are\n%s", strings.Join(got, "\n"), strings.Join(names, "\n"))
		}
	}
}

// documentedMetrics are the metrics that the README names, in order.
func documentedMetrics(t *testing.T) []string {
	t.Helper()
	raw, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile("`(caddy_mcp_auth_bridge_[a-z_]+)`").FindAllStringSubmatch(string(raw), -1)
	var all []string
	for _, m := range names {
		all = append(all, m[1])
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Endpoints that look alike are told apart.
func TestEndpointNames(t *testing.T) {
	var all []*Handler
	for range 3 {
		h := &Handler{Endpoint: "/mcp", place: new(atomic.Pointer[place])}
		h.place.Store(&place{hosts: map[string]bool{}})
		all = append(all, h)
	}
	all[2].base = publicBase{origin: "https://mcp.example.com"}
	nameEndpoints(all)
	if got := fmt.Sprint(all[0].name, " ", all[1].name, " ", all[2].name); got != "/mcp /mcp#2 https://mcp.example.com/mcp" {
		t.Errorf("got %s", got)
	}
}
