package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// contender is one bridge.
type contender struct {
	name string
	// pair is what it is compared in. The first contender of a pair is this module.
	pair string
	// script is what Node.js runs, below node_modules. Empty: Caddy.
	script string
	// before says that another build of Caddy runs it, that of -against.
	before bool
	// plain says that it is reverse_proxy alone, with which no limit is compared.
	plain bool
	// arguments of the script; a server is the command line of the program that it
	// runs, or the URL of the event stream.
	arguments func(port int, server string) []string
	env       func(port int) []string
	// path of the endpoint, with its query.
	path   func(server string) string
	header http.Header
}

// The pairs.
const (
	pairProgram = "program"
	pairSSE     = "HTTP+SSE"
	pairHTTP    = "HTTP"
)

// inspectorToken is what the Inspector's server asks its clients for.
const inspectorToken = "token-of-the-benchmark"

func mcpPath(string) string { return "/mcp" }

var contenders = []*contender{
	{name: "stdio", pair: pairProgram, path: mcpPath},
	{
		name: "mcp-proxy", pair: pairProgram, path: mcpPath, script: "mcp-proxy/dist/bin/mcp-proxy.mjs",
		arguments: func(port int, server string) []string {
			return []string{"--host", "127.0.0.1", "--port", strconv.Itoa(port), "--server", "stream", "--", server, asProgram}
		},
	},
	{
		name: "supergateway", pair: pairProgram, path: mcpPath, script: "supergateway/dist/index.js",
		arguments: func(port int, server string) []string {
			return []string{
				"--stdio", server + " " + asProgram, "--outputTransport", "streamableHttp", "--stateful",
				"--port", strconv.Itoa(port), "--logLevel", "none",
			}
		},
	},
	{name: "sse+http", pair: pairSSE, path: mcpPath},
	{
		name: "inspector", pair: pairSSE, script: "@modelcontextprotocol/inspector-server/build/index.js",
		arguments: func(int, string) []string { return nil },
		env: func(port int) []string {
			return []string{"HOST=127.0.0.1", "SERVER_PORT=" + strconv.Itoa(port), "MCP_PROXY_AUTH_TOKEN=" + inspectorToken}
		},
		path:   func(server string) string { return "/mcp?transportType=sse&url=" + server },
		header: http.Header{"X-Mcp-Proxy-Auth": {"Bearer " + inspectorToken}},
	},
	{name: "http", pair: pairHTTP, path: mcpPath},
	{name: "reverse_proxy", pair: pairHTTP, path: mcpPath, plain: true},
}

// compareBuilds replaces the packages of npm by another build of Caddy.
func compareBuilds() {
	var all []*contender
	for _, c := range contenders {
		if c.script != "" {
			continue
		}
		all = append(all, c)
		if !c.plain {
			before := *c
			before.name, before.before = "before", true
			all = append(all, &before)
		}
	}
	contenders = all
}

// own reports whether a contender is this module, in the build that is measured.
func (c *contender) own() bool { return c.script == "" && !c.before && !c.plain }

// machine is what contenders are started with.
type machine struct {
	*options
	dir, node, self string
	h2c             bool // clients speak HTTP/2
}

func (m *machine) script(c *contender) string {
	return filepath.Join(m.npm, "node_modules", filepath.FromSlash(c.script))
}

// packageVersion returns the version of the package of a contender.
func (m *machine) packageVersion(c *contender) string {
	var p struct{ Version string }
	for dir := filepath.Dir(m.script(c)); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		raw, err := os.ReadFile(filepath.Join(dir, "package.json"))
		if err == nil && json.Unmarshal(raw, &p) == nil && p.Version != "" {
			return p.Version
		}
	}
	return "?"
}

// command returns the command line of a contender that listens on a port.
func (m *machine) command(c *contender, port int, sse string) (*exec.Cmd, error) {
	server := m.self
	switch c.pair {
	case pairSSE:
		server = sse
	case pairHTTP:
		server = strings.TrimSuffix(sse, ssePath)
	}
	if c.script != "" {
		cmd := exec.Command(m.node, append([]string{m.script(c)}, c.arguments(port, server)...)...)
		cmd.Env = os.Environ()
		if c.env != nil {
			cmd.Env = append(cmd.Env, c.env(port)...)
		}
		return cmd, nil
	}
	path := filepath.Join(m.dir, fmt.Sprintf("%d.Caddyfile", port))
	if err := os.WriteFile(path, []byte(m.caddyfile(c, port, server)), 0o600); err != nil {
		return nil, err
	}
	binary := m.caddy
	if c.before {
		binary = m.against
	}
	cmd := exec.Command(binary, "run", "--config", path, "--adapter", "caddyfile")
	cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+m.dir, "XDG_DATA_HOME="+m.dir)
	if m.profile != "" {
		cmd.Env = append(cmd.Env, "GODEBUG=memprofilerate=8192") // small objects are in the profile, too
	}
	return cmd, nil
}

// caddyfile returns a configuration with nothing but the endpoint and the room that
// the benchmark needs. The admin API tells of memory.
func (m *machine) caddyfile(c *contender, port int, server string) string {
	directive := fmt.Sprintf("mcp_auth_bridge /mcp sse+%s", server)
	switch {
	case c.plain:
		directive = "reverse_proxy " + server
	case c.pair == pairHTTP:
		directive = "mcp_auth_bridge /mcp " + server
	case c.pair == pairProgram:
		directive = fmt.Sprintf("mcp_auth_bridge /mcp {\n\t\tstdio %q %s\n\t\tsessions {\n\t\t\tmax %d\n\t\t}\n\t}", server, asProgram, m.room())
	default:
		directive += fmt.Sprintf(" {\n\t\tsessions {\n\t\t\tmax %d\n\t\t}\n\t}", m.room())
	}
	protocols := ""
	if m.h2c {
		protocols = "\n\tservers {\n\t\tprotocols h1 h2c\n\t}"
	}
	return fmt.Sprintf(`{
	admin unix/%s
	persist_config off
	auto_https off%s
}
http://127.0.0.1:%d {
	bind 127.0.0.1
	%s
}
`, m.adminSocket(port), protocols, port, directive)
}

// room is how many sessions there may be.
func (m *machine) room() int { return m.sessions + 2*concurrency }

func (m *machine) adminSocket(port int) string {
	return filepath.Join(m.dir, fmt.Sprintf("%d.sock", port))
}
