package status

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
)

// The parts of queries that the alert rules have.
var (
	alertSeries   = regexp.MustCompile(`(?:(rate|increase)\()?(caddy_[a-z_]+)(?:\{([^}]*)\})?`)
	alertSelector = regexp.MustCompile(`^([a-z]+)=~?"([^"]*)"$`)
	alertBy       = regexp.MustCompile(`by \(([a-z, ]+)\)`)
	alertLabel    = regexp.MustCompile(`\{\{ \$labels\.([a-z]+) \}\}`)
)

// labelWords are the values of the labels that the alert rules select by.
func labelWords() map[string][]string {
	words := map[string][]string{
		"code":   stats.Classes,
		"error":  stats.Errors,
		"result": slices.Concat(stats.Starts, stats.FetchResults, stats.CacheResults),
	}
	for _, a := range stats.Actions {
		words["action"] = append(words["action"], string(a))
	}
	for _, k := range stats.DenialKinds {
		words["kind"] = append(words["kind"], string(k))
	}
	for _, r := range stats.EndReasons {
		words["reason"] = append(words["reason"], string(r))
	}
	return words
}

// The alert rules ask for metrics that there are, by labels and values that these have,
// and name only labels that their result has.
func TestAlertRules(t *testing.T) {
	raw, err := os.ReadFile("../examples/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	decoder := yaml.NewDecoder(strings.NewReader(string(raw)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		t.Fatal(err)
	}
	have, words := registered(t), labelWords()
	if len(file.Groups) != 1 || len(file.Groups[0].Rules) < 5 {
		t.Fatalf("got %+v, want one group of rules", file.Groups)
	}
	for _, rule := range file.Groups[0].Rules {
		t.Run(rule.Alert, func(t *testing.T) {
			var by []string
			for _, m := range alertBy.FindAllStringSubmatch(rule.Expr, -1) {
				by = strings.Split(m[1], ", ")
			}
			found := alertSeries.FindAllStringSubmatch(rule.Expr, -1)
			if len(found) == 0 || !slices.Contains(by, "endpoint") {
				t.Errorf("%s names no metric, or does not tell endpoints apart", rule.Expr)
			}
			for _, m := range found {
				name := strings.TrimSuffix(m[2], "_count")
				about, ok := have[name]
				if !ok {
					t.Errorf("there is no metric %s", m[2])
					continue
				}
				if (m[1] == "") != (about.kind == "GAUGE") {
					t.Errorf("%s is a %s, which is not how the rule takes it", m[2], about.kind)
				}
				for _, label := range by {
					if !slices.Contains(about.labels, label) {
						t.Errorf("%s has no label %s", name, label)
					}
				}
				for selector := range strings.SplitSeq(m[3], ",") {
					s := alertSelector.FindStringSubmatch(selector)
					if s == nil {
						if m[3] != "" {
							t.Errorf("%s: %s is no selector that the test can read", m[2], selector)
						}
						continue
					}
					if !slices.Contains(about.labels, s[1]) {
						t.Errorf("%s has no label %s", name, s[1])
					}
					for value := range strings.SplitSeq(s[2], "|") {
						if !slices.Contains(words[s[1]], value) {
							t.Errorf("%s is never %s=%q", name, s[1], value)
						}
					}
				}
			}
			for _, text := range rule.Annotations {
				for _, m := range alertLabel.FindAllStringSubmatch(text, -1) {
					if !slices.Contains(by, m[1]) {
						t.Errorf("%q names the label %s, which the result does not have", text, m[1])
					}
				}
			}
			if rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
				t.Error("it has no severity, summary or description")
			}
		})
	}
}
