package docs_test

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// compose is what docs/containers.md uses of a compose file.
type compose struct {
	Services map[string]struct {
		Image       string   `yaml:"image"`
		Restart     string   `yaml:"restart"`
		Ports       []string `yaml:"ports"`
		Volumes     []string `yaml:"volumes"`
		Healthcheck struct {
			Test        []string `yaml:"test"`
			Interval    string   `yaml:"interval"`
			Timeout     string   `yaml:"timeout"`
			StartPeriod string   `yaml:"start_period"`
		} `yaml:"healthcheck"`
	} `yaml:"services"`
	Volumes map[string]any `yaml:"volumes"`
}

// The compose file of docs/containers.md starts the image that the page builds, mounts
// the Caddyfile where the image expects it, names only volumes and services that it has,
// and its health check requests a URL that a running Caddy answers.
func TestDocumentedCompose(t *testing.T) {
	const page = "docs/containers.md"
	decoder := yaml.NewDecoder(strings.NewReader(blocks(t, page, "yaml")[0]))
	decoder.KnownFields(true)
	var c compose
	if err := decoder.Decode(&c); err != nil {
		t.Fatal(err)
	}
	caddy := c.Services["caddy"]
	if !strings.Contains(read(t, page), "docker build -t "+caddy.Image+" .\n") {
		t.Errorf("the page does not build the image %s", caddy.Image)
	}
	if !slices.Contains(caddy.Volumes, "./Caddyfile:/etc/caddy/Caddyfile:ro") || !strings.Contains(read(t, "Dockerfile"), "/etc/caddy/Caddyfile") {
		t.Errorf("the Caddyfile is not mounted where the image reads it: %q", caddy.Volumes)
	}
	for _, volume := range caddy.Volumes {
		name, _, _ := strings.Cut(volume, ":")
		if _, ok := c.Volumes[name]; !ok && !strings.HasPrefix(name, ".") {
			t.Errorf("there is no volume %s", name)
		}
	}
	caddyfile := blocks(t, page, "caddyfile")[0]
	upstream := regexp.MustCompile(`mcp_auth_bridge (\S+):`).FindStringSubmatch(caddyfile)
	if _, ok := c.Services[upstream[1]]; !ok {
		t.Errorf("the upstream %s is no service", upstream[1])
	}

	check := caddy.Healthcheck.Test
	const address = "http://127.0.0.1:2019"
	path, ok := strings.CutPrefix(check[len(check)-1], address)
	if !ok {
		t.Fatalf("the health check requests %s, not the admin API", check[len(check)-1])
	}
	replaced, _ := onLoopback(t, caddyfile)
	admin := testcaddy.Addr(testcaddy.FreePort(t))
	testcaddy.Run(t, "{\n\tauto_https off\n\tadmin "+admin+"\n}\n"+replaced)
	if got := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, http.MethodGet, "http://"+admin+path, "")); got.Status != http.StatusOK {
		t.Errorf("GET %s of the admin API: got %d %s", path, got.Status, got.Body)
	}
}

// The units of the pages set what a service of systemd has, and a credential is read where
// systemd puts it.
func TestDocumentedUnits(t *testing.T) {
	known := []string{"LoadCredential", "AmbientCapabilities"}
	for _, file := range pages(t) {
		for _, text := range blocks(t, file, "ini") {
			lines := strings.Split(strings.TrimSpace(text), "\n")
			if lines[0] != "[Service]" {
				t.Errorf("%s: %q is not the section of a service", file, lines[0])
			}
			for _, line := range lines[1:] {
				key, value, ok := strings.Cut(line, "=")
				if !ok || !slices.Contains(known, key) {
					t.Errorf("%s: %q is not a line that the test knows", file, line)
				}
				if name, _, ok := strings.Cut(value, ":"); ok && key == "LoadCredential" && !strings.Contains(read(t, file), "{file./run/credentials/caddy.service/"+name+"}") {
					t.Errorf("%s: no Caddyfile reads the credential %s", file, name)
				}
			}
		}
	}
}
