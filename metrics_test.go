package mcpauthbridge

import (
	"fmt"
	"net/http"
	"os"
	"reflect"
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
	h.counts.Begin()
	h.counts.End(http.MethodPost, http.StatusOK, time.Second, 1, 1)
	h.counts.Challenged(&bridge.Outcome{Action: bridge.ActionRelayed, Status: 401, Given: 401, Sent: []string{"Bearer"}})
	h.counts.Refused()
	h.counts.SessionBegun(bridge.TransportSSE)
	h.counts.SessionEnded(bridge.TransportSSE, bridge.EndIdle)
	h.counts.Start("restarted")
	h.counts.Exit(true)
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
			t.Errorf("the page names\n%s\nthere are\n%s", strings.Join(got, "\n"), strings.Join(names, "\n"))
		}
	}
}

// documentedMetrics are the metrics that the the page names, in order.
func documentedMetrics(t *testing.T) []string {
	t.Helper()
	raw, err := os.ReadFile("docs/status.md")
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

// Each name on the page with an underscore is one of an answer, a word of a closed set
// or a metric, and each action and reason is on it.
func TestDocumentedStatus(t *testing.T) {
	raw, err := os.ReadFile("docs/status.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{
		"mcp_auth_bridge": true, "mcp_auth_bridge_status": true, "legacy_sse": true, "allow_origins": true, "basic_auth": true, "forward_auth": true,
	}
	for _, value := range []any{endpointStatus{}, countsStatus{}, challengeOf{}, metadataStatus{}, upstreamStatus{}} {
		of := reflect.TypeOf(value)
		for i := range of.NumField() {
			name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
			known[name] = true
		}
	}
	for _, name := range documentedMetrics(t) {
		known[name] = true // TestMetricsAreBounded compares them
	}
	for _, word := range bridge.Exits {
		known[word] = true
	}
	for _, a := range bridge.Actions {
		known[string(a)] = true
		if !strings.Contains(string(raw), "`"+string(a)+"`") {
			t.Errorf("there is no %s on the page", a)
		}
	}
	for _, r := range []bridge.Reason{
		bridge.ReasonPolicy, bridge.ReasonPublic, bridge.ReasonForeign, bridge.ReasonUnparsable, bridge.ReasonUnknown, bridge.ReasonScheme, bridge.ReasonStatus, bridge.ReasonHost,
	} {
		known[string(r)] = true
		if !strings.Contains(string(raw), "`"+string(r)+"`") {
			t.Errorf("there is no %s on the page", r)
		}
	}
	for _, m := range regexp.MustCompile("`([a-z]+(?:_[a-z]+)+)`").FindAllStringSubmatch(string(raw), -1) {
		if !known[m[1]] {
			t.Errorf("the page has %s, which nothing is called", m[1])
		}
	}
}
