package command

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/edge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/upstreams"
)

// source is the place where the rules of an endpoint are configured.
type source struct {
	config, adapter, endpoint, host string
}

// guarded is an endpoint with authorize.
type guarded struct {
	path  string
	hosts []string // of its site; none: any
	cfg   json.RawMessage
	// shared is set if one MCP server answers several principals.
	shared bool
}

func (g guarded) String() string {
	if len(g.hosts) == 0 {
		return g.path
	}
	return strings.Join(g.hosts, ",") + g.path
}

// read returns the option authorize of the endpoint, and whether several principals share one MCP
// server there.
func (s source) read() (cfg *edge.Config, shared bool, err error) {
	raw, err := s.adapted()
	if err != nil {
		return nil, false, err
	}
	var tree any
	if err := json.Unmarshal(raw, &tree); err != nil {
		return nil, false, fmt.Errorf("--config %s: %w", s.config, err)
	}
	all := guards(tree, nil)
	found := slices.DeleteFunc(slices.Clone(all), func(g guarded) bool {
		return s.endpoint != "" && strings.TrimSuffix(g.path, "/") != strings.TrimSuffix(s.endpoint, "/") ||
			s.host != "" && len(g.hosts) > 0 && !slices.Contains(g.hosts, s.host)
	})
	switch {
	case len(all) == 0:
		return nil, false, fmt.Errorf("--config %s: no endpoint has authorize", s.config)
	case len(found) == 0:
		return nil, false, fmt.Errorf("--config %s: no such endpoint has authorize; there is %s", s.config, listed(all))
	}
	for _, g := range found[1:] {
		if string(g.cfg) != string(found[0].cfg) || g.shared != found[0].shared {
			return nil, false, fmt.Errorf("--config %s: several endpoints have authorize, %s; choose one with --endpoint and --host", s.config, listed(found))
		}
	}
	cfg = new(edge.Config)
	if err := json.Unmarshal(found[0].cfg, cfg); err != nil {
		return nil, false, fmt.Errorf("--config %s: authorize: %w", s.config, err)
	}
	return cfg, found[0].shared, nil
}

// adapted returns the configuration as JSON.
func (s source) adapted() ([]byte, error) {
	raw, err := os.ReadFile(s.config)
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	name := s.adapter
	if name == "" {
		if json.Valid(raw) {
			return raw, nil
		}
		name = "caddyfile"
	}
	adapter := caddyconfig.GetAdapter(name)
	if adapter == nil {
		return nil, fmt.Errorf("--adapter %s: there is no such adapter; write `--adapter caddyfile`, or leave it out", name)
	}
	out, _, err := adapter.Adapt(raw, map[string]any{"filename": s.config})
	return out, err
}

// guards returns the endpoints with authorize below a node of a configuration. hosts are those
// that the routes around it match.
func guards(node any, hosts []string) (all []guarded) {
	switch v := node.(type) {
	case []any:
		for _, e := range v {
			all = append(all, guards(e, hosts)...)
		}
	case map[string]any:
		if cfg, ok := v["authorize"]; ok && v["handler"] == "mcp_auth_bridge" {
			path, _ := v["endpoint"].(string)
			if path == "" {
				path = DefaultPath
			}
			raw, err := json.Marshal(cfg)
			if err != nil { // it was JSON before
				return nil
			}
			return []guarded{{path, hosts, raw, isShared(v["upstream"])}}
		}
		if matched := hostsOf(v["match"]); len(matched) > 0 {
			hosts = matched
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			all = append(all, guards(v[name], hosts)...)
		}
	}
	return all
}

// isShared reports whether the MCP server of an endpoint answers several principals, as those do
// that speak HTTP. upstream is the option of that name.
func isShared(upstream any) bool {
	options, _ := upstream.(map[string]any)
	protocol, _ := options["protocol"].(string)
	if protocol == "" {
		return true
	}
	info, err := caddy.GetModule("http.mcp_auth_bridge.upstreams." + protocol)
	if err != nil { // Caddy does not load this
		return false
	}
	_, ok := info.New().(upstreams.Proxied)
	return ok
}

// hostsOf returns the hosts of the matchers of a route.
func hostsOf(matchers any) (hosts []string) {
	sets, _ := matchers.([]any)
	for _, set := range sets {
		matcher, _ := set.(map[string]any)
		names, _ := matcher["host"].([]any)
		for _, name := range names {
			if text, ok := name.(string); ok {
				hosts = append(hosts, text)
			}
		}
	}
	return hosts
}

func listed(all []guarded) string {
	var names []string
	for _, g := range all {
		names = append(names, g.String())
	}
	return strings.Join(names, ", ")
}
