package status

import (
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/hub"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
)

// measured is an endpoint that has counted something of every kind.
func measured(name string) Endpoint {
	e := Endpoint{Name: name, Counts: stats.NewCounts(), Memory: stats.NewMemory(), Sessions: hub.New(hub.Config{})}
	e.Counts.Begin()
	e.Counts.End(http.MethodPost, http.StatusOK, time.Second, 1, 1)
	e.Counts.Challenged(&stats.Outcome{Action: stats.ActionRelayed, Status: 401, Given: 401, Sent: []string{"Bearer"}})
	e.Counts.Denied(stats.DenialScope)
	e.Counts.Refused()
	e.Counts.SessionBegun(stats.TransportSSE)
	e.Counts.SessionEnded(stats.TransportSSE, stats.EndIdle)
	e.Counts.Start("restarted")
	e.Counts.Exit(true)
	return e
}

// Rule F1: labels are from closed sets, bounded by the configuration; endpoints share
// the collectors, and each load registers in a registry of its own.
func TestMetricsAreBounded(t *testing.T) {
	closed := map[string]bool{"received": true, "sent": true}
	for _, set := range [][]string{stats.Methods, stats.Classes, stats.Schemes, stats.Errors, stats.Starts, stats.Exits, stats.CacheResults, stats.FetchResults} {
		for _, word := range set {
			closed[word] = true
		}
	}
	for _, a := range stats.Actions {
		closed[string(a)] = true
	}
	for _, k := range stats.DenialKinds {
		closed[string(k)] = true
	}
	for _, r := range stats.EndReasons {
		closed[string(r)] = true
	}
	for _, x := range stats.Transports {
		closed[string(x)] = true
	}
	for _, f := range stats.Failures {
		closed[string(f)] = true
	}
	endpoints := []Endpoint{measured("a"), measured("b")}
	for load := range 2 {
		registry := prometheus.NewRegistry()
		if err := RegisterMetrics(registry, func() []Endpoint { return endpoints }); err != nil {
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

// documentedMetrics are the metrics that the page names, in order.
func documentedMetrics(t *testing.T) []string {
	t.Helper()
	raw, err := os.ReadFile("../docs/status.md")
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

// Each name on the page with an underscore is one of an answer, a word of a closed set
// or a metric, and each action and reason is on it.
func TestDocumentedStatus(t *testing.T) {
	raw, err := os.ReadFile("../docs/status.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{
		"mcp_auth_bridge": true, "mcp_auth_bridge_status": true, "legacy_sse": true, "allow_origins": true, "public_url": true, "reverse_proxy": true, "basic_auth": true, "forward_auth": true, "trusted_proxies": true,
	}
	for _, value := range []any{endpointState{}, countsState{}, challengeState{}, programState{}, exitState{}, denialState{}, issuerState{}, Metadata{}, Upstream{}} {
		of := reflect.TypeOf(value)
		for i := range of.NumField() {
			name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
			known[name] = true
		}
	}
	for _, name := range documentedMetrics(t) {
		known[name] = true // TestMetricsAreBounded compares them
	}
	for _, word := range stats.Exits {
		known[word] = true
	}
	for _, k := range stats.DenialKinds {
		known[string(k)] = true
		if !strings.Contains(string(raw), "`"+string(k)+"`") {
			t.Errorf("there is no %s on the page", k)
		}
	}
	for _, a := range stats.Actions {
		known[string(a)] = true
		if !strings.Contains(string(raw), "`"+string(a)+"`") {
			t.Errorf("there is no %s on the page", a)
		}
	}
	for _, f := range stats.Failures {
		known[string(f)] = true
		if !strings.Contains(string(raw), "`"+string(f)+"`") {
			t.Errorf("there is no %s on the page", f)
		}
	}
	for _, r := range []stats.Reason{
		stats.ReasonPolicy, stats.ReasonPublic, stats.ReasonForeign, stats.ReasonUnparsable, stats.ReasonUnknown, stats.ReasonScheme, stats.ReasonStatus, stats.ReasonHost,
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
