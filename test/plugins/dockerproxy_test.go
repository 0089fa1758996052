package main

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/lucaslorentz/caddy-docker-proxy/v2/config"
	"github.com/lucaslorentz/caddy-docker-proxy/v2/docker"
	"github.com/lucaslorentz/caddy-docker-proxy/v2/generator"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"go.uber.org/zap/zaptest"
	"go.yaml.in/yaml/v3"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// generate returns the Caddyfile that the plugin makes of containers with labels, at addresses
// of one network.
func generate(t *testing.T, containers map[string]map[string]string) string {
	t.Helper()
	client := &docker.ClientMock{NetworksData: []network.Summary{{Network: network.Network{ID: "caddy-id", Name: "caddy"}}}}
	for address, labels := range containers {
		client.ContainersData = append(client.ContainersData, container.Summary{
			Names:  []string{"/at-" + address},
			Labels: labels,
			NetworkSettings: &container.NetworkSettingsSummary{Networks: map[string]*network.EndpointSettings{
				"caddy": {IPAddress: netip.MustParseAddr(address), NetworkID: "caddy-id"},
			}},
		})
	}
	options := &config.Options{LabelPrefix: generator.DefaultLabelPrefix, ProcessCaddyfile: true, IngressNetworks: []string{"caddy"}}
	caddyfile, _ := generator.CreateGenerator([]docker.Client{client}, &docker.UtilsMock{
		MockGetCurrentContainerID: func() (string, error) { return "", os.ErrNotExist },
	}, options).GenerateCaddyfile(zaptest.NewLogger(t))
	return string(caddyfile)
}

// documentedLabels are the labels of the compose file on the page.
func documentedLabels(t *testing.T) map[string]string {
	t.Helper()
	var compose struct {
		Services map[string]struct {
			Labels map[string]string
		}
	}
	if err := yaml.Unmarshal([]byte(blocks(t, "caddy-docker-proxy", "yaml")[0]), &compose); err != nil {
		t.Fatal(err)
	}
	for _, service := range compose.Services {
		if len(service.Labels) > 0 {
			return service.Labels
		}
	}
	t.Fatalf("%s has no labels", recipesPage)
	return nil
}

// siteOf returns what is inside the site of a generated Caddyfile.
func siteOf(t *testing.T, caddyfile string) string {
	t.Helper()
	site, found := strings.CutPrefix(caddyfile, "mcp.example.com {\n")
	site, ended := strings.CutSuffix(site, "}\n")
	if !found || !ended {
		t.Fatalf("the Caddyfile is not one site:\n%s", caddyfile)
	}
	return site
}

// The labels of the page become a Caddyfile that works, in front of a container and in front
// of a program beside Caddy.
func TestDockerProxy(t *testing.T) {
	labels := documentedLabels(t)
	if got, want := generate(t, map[string]map[string]string{"172.17.0.2": labels}), recipes(t, "caddy-docker-proxy")[0]; got != want {
		t.Errorf("the labels become\n%s\nthe page says\n%s", got, want)
	}
	site := siteOf(t, generate(t, map[string]map[string]string{"127.0.0.1": labels}))
	if !strings.Contains(site, "127.0.0.1:3000") {
		t.Fatalf("the container is not in the Caddyfile:\n%s", site)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ofProgram := siteOf(t, generate(t, map[string]map[string]string{"127.0.0.1": {
		"caddy": "mcp.example.com", "caddy.mcp_auth_bridge": "/mcp",
		"caddy.mcp_auth_bridge.stdio": self + " -test.run=^$", "caddy.mcp_auth_bridge.stdio.env": mcptest.ChildServer + "=1",
	}}))
	drive(t, front{http: strings.ReplaceAll(site, "127.0.0.1:3000", "UP"), program: ofProgram})
}

// Replicas have the same labels. With the address in the option `to` they become one endpoint
// with two addresses; on the line of the directive they become two endpoints at one path,
// which Caddy refuses. docs/recipes.md says so.
func TestDockerProxyReplicas(t *testing.T) {
	labels := documentedLabels(t)
	replicas := func(labels map[string]string) string {
		return generate(t, map[string]map[string]string{"127.0.0.1": labels, "127.0.0.2": labels})
	}
	both := replicas(labels)
	if strings.Count(both, "mcp_auth_bridge") != 1 || !strings.Contains(both, "127.0.0.1:3000") || !strings.Contains(both, "127.0.0.2:3000") {
		t.Errorf("the replicas are not one endpoint:\n%s", both)
	}
	if err := testcaddy.Validate(t, both); err != nil {
		t.Errorf("%v\n%s", err, both)
	}
	twice := replicas(map[string]string{"caddy": "mcp.example.com", "caddy.mcp_auth_bridge": "/mcp {{upstreams 3000}}"})
	if _, err := testcaddy.LoadUnserved(t, twice); err == nil {
		t.Errorf("Caddy accepts\n%s", twice)
	} else if !strings.Contains(err.Error(), "/mcp") {
		t.Errorf("the error does not name the path: %v", err)
	}
}

// Two containers with endpoints of their own share a site.
func TestDockerProxyTwoServers(t *testing.T) {
	labels := func(path string) map[string]string {
		return map[string]string{"caddy": "mcp.example.com", "caddy.mcp_auth_bridge": path, "caddy.mcp_auth_bridge.to": "{{upstreams 3000}}"}
	}
	both := generate(t, map[string]map[string]string{"127.0.0.1": labels("/a/mcp"), "127.0.0.2": labels("/b/mcp")})
	if strings.Count(both, "mcp.example.com") != 1 || strings.Count(both, "mcp_auth_bridge") != 2 {
		t.Errorf("the servers do not share a site:\n%s", both)
	}
	if _, err := testcaddy.LoadUnserved(t, both); err != nil {
		t.Errorf("%v\n%s", err, both)
	}
}

// A container in no network of Caddy's has no address. Its site is left out with an error in
// the log, and the others stay.
func TestDockerProxyWithoutNetwork(t *testing.T) {
	lost := documentedLabels(t)
	lost["caddy_ingress_network"] = "another"
	others := map[string]string{"caddy": "other.example.com", "caddy.respond": "other"}
	got := generate(t, map[string]map[string]string{"127.0.0.1": lost, "127.0.0.2": others})
	if strings.Contains(got, "mcp_auth_bridge") || !strings.Contains(got, "other.example.com") {
		t.Errorf("got\n%s", got)
	}
}
