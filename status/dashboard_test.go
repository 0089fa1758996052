package status

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// dashboard is what the test looks at of a Grafana dashboard.
type dashboard struct {
	Templating struct {
		List []struct{ Name, Definition string }
	}
	Panels []struct {
		ID      int
		Title   string
		Type    string
		Targets []struct{ Expr, LegendFormat string }
	}
}

// metric is what the registry has of a name.
type metric struct {
	kind   string // as the registry calls it
	labels []string
}

// registered are the metrics of an endpoint, by name.
func registered(t *testing.T) map[string]metric {
	t.Helper()
	registry := prometheus.NewRegistry()
	if err := RegisterMetrics(registry, func() []Endpoint { return []Endpoint{measured("a")} }); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	have := make(map[string]metric)
	for _, family := range families {
		m := metric{kind: family.GetType().String()}
		for _, pair := range family.GetMetric()[0].GetLabel() {
			m.labels = append(m.labels, pair.GetName())
		}
		have[family.GetName()] = m
	}
	return have
}

// The forms of queries that the dashboard has.
var (
	dashboardQuantile = regexp.MustCompile(`^histogram_quantile\(0\.\d+, (.*)\)$`)
	dashboardSum      = regexp.MustCompile(`^(?:sum|max) by \(([a-z, ]+)\) \((.*)\)$`)
	dashboardRate     = regexp.MustCompile(`^rate\((.*)\[\$__rate_interval\]\)$`)
	dashboardSeries   = regexp.MustCompile(`^(caddy_[a-z_]+)\{endpoint=~"\$endpoint"\}$`)
	dashboardValues   = regexp.MustCompile(`^label_values\((caddy_[a-z_]+), ([a-z]+)\)$`)
	dashboardLegend   = regexp.MustCompile(`\{\{([^}]*)\}\}`)
)

// The dashboard shows every metric that there is and no other, by labels that it has;
// what only grows is shown as a rate, and what goes up and down as it is.
func TestDashboard(t *testing.T) {
	raw, err := os.ReadFile("../examples/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	have := registered(t)
	shown, ids, series := make(map[string]bool), make(map[int]bool), 0
	for _, panel := range d.Panels {
		if ids[panel.ID] || panel.Title == "" || panel.Type != "row" && len(panel.Targets) == 0 {
			t.Errorf("panel %d, %q: its id or title is no good, or it shows nothing", panel.ID, panel.Title)
		}
		ids[panel.ID] = true
		for _, target := range panel.Targets {
			series++
			name := checkQuery(t, panel.Title, target.Expr, target.LegendFormat, have)
			shown[name] = true
		}
	}
	for _, variable := range d.Templating.List {
		if m := dashboardValues.FindStringSubmatch(variable.Definition); m != nil {
			series += 2 // Grafana has it twice
			if !slices.Contains(have[m[1]].labels, m[2]) {
				t.Errorf("variable %s: there is no %s with %s", variable.Name, m[1], m[2])
			}
		}
	}
	if n := strings.Count(string(raw), "caddy_"); n != series {
		t.Errorf("%d metrics are named, of which %d are checked", n, series)
	}
	if got, want := slices.Sorted(maps.Keys(shown)), slices.Sorted(maps.Keys(have)); !slices.Equal(got, want) {
		t.Errorf("it shows\n%s\nthere are\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// checkQuery returns the metric that a query is about.
func checkQuery(t *testing.T, panel, expr, legend string, have map[string]metric) string {
	t.Helper()
	inner, quantile := expr, false
	if m := dashboardQuantile.FindStringSubmatch(inner); m != nil {
		inner, quantile = m[1], true
	}
	sum := dashboardSum.FindStringSubmatch(inner)
	if sum == nil {
		t.Errorf("%s: %s is no sum", panel, expr)
		return ""
	}
	by := strings.Split(sum[1], ", ")
	inner, rate := sum[2], false
	if m := dashboardRate.FindStringSubmatch(inner); m != nil {
		inner, rate = m[1], true
	}
	m := dashboardSeries.FindStringSubmatch(inner)
	if m == nil {
		t.Errorf("%s: %s is of no form that the dashboard has", panel, expr)
		return ""
	}
	name, part := m[1], ""
	for _, suffix := range []string{"_bucket", "_count", "_sum"} {
		if base, ok := strings.CutSuffix(name, suffix); ok && have[base].kind != "" {
			name, part = base, suffix
		}
	}
	about, ok := have[name]
	if !ok {
		t.Errorf("%s: there is no metric %s", panel, name)
		return ""
	}
	labels := about.labels
	if part == "_bucket" {
		labels = append(slices.Clip(labels), "le")
	}
	if (about.kind == "HISTOGRAM") != (part != "") || quantile != (part == "_bucket") || quantile != slices.Contains(by, "le") {
		t.Errorf("%s: %s is not how to ask for a histogram, or it is none", panel, expr)
	}
	if rate == (about.kind == "GAUGE") {
		t.Errorf("%s: %s takes a %s for another", panel, expr, about.kind)
	}
	for _, label := range by {
		if !slices.Contains(labels, label) {
			t.Errorf("%s: %s has no label %s", panel, name, label)
		}
	}
	for _, m := range dashboardLegend.FindAllStringSubmatch(legend, -1) {
		if !slices.Contains(by, m[1]) {
			t.Errorf("%s: the legend names %s, which the query does not keep", panel, m[1])
		}
	}
	return name
}
