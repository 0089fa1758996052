package mcpauthbridge

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// members are an object of a configuration in JSON.
type members = map[string]any

// stand is a configuration with one endpoint.
type stand struct {
	listen, host, prefix string
	match                members // beside the host
	endpoint             members
}

// proxy returns the endpoint's proxy, and makes one where it has none.
func (s *stand) proxy() members {
	p, ok := s.endpoint["reverse_proxy"].(members)
	if !ok {
		p = members{"upstreams": []any{members{"dial": "127.0.0.1:1"}}}
		s.endpoint["reverse_proxy"] = p
	}
	return p
}

func (s *stand) dial(address string) { s.proxy()["upstreams"] = []any{members{"dial": address}} }

// routes returns the routes of a server with the endpoint, as often as it is to be there.
func (s *stand) routes(times int) []any {
	match := members{"host": []string{s.host}}
	maps.Copy(match, s.match)
	handlers := []any{s.endpoint}
	if s.prefix != "" {
		handlers = []any{members{"handler": "rewrite", "strip_path_prefix": s.prefix}, s.endpoint}
	}
	var list []any
	for range times {
		list = append(list, members{"match": []any{match}, "handle": handlers})
	}
	return list
}

// load loads a configuration, in JSON, of one server.
func load(t *testing.T, listen string, routes []any, more members) error {
	t.Helper()
	return loadWith(t, t.TempDir(), listen, routes, more)
}

// loadWith is load with a storage.
func loadWith(t *testing.T, storage, listen string, routes []any, more members) error {
	t.Helper()
	server := members{"listen": []string{listen}, "routes": routes, "automatic_https": members{"disable": true}}
	maps.Copy(server, more)
	raw, err := json.Marshal(members{
		"admin":   members{"disabled": true, "config": members{"persist": false}},
		"storage": members{"module": "file_system", "root": storage},
		"logging": members{"logs": members{"default": members{"writer": members{"output": "test_sink"}}}},
		"apps":    members{"http": members{"servers": members{"main": server}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = caddy.Stop() })
	return caddy.Load(raw, true)
}

// identified returns the only endpoint of a configuration.
func (s *stand) identified(t *testing.T) (key, scope string) {
	t.Helper()
	if err := load(t, s.listen, s.routes(1), nil); err != nil {
		t.Fatal(err)
	}
	all := endpointsNow()
	if len(all) != 1 || all[0].key == "" || all[0].scope == "" {
		t.Fatalf("got %d endpoints", len(all))
	}
	return all[0].key, all[0].scope
}

// kindsOfEndpoints are endpoints with something that outlives a request or a reload.
var kindsOfEndpoints = map[string]members{
	"memory alone":         {},
	"legacy_sse":           {"legacy_sse": members{}},
	"sse":                  {"upstream": members{"protocol": "sse"}},
	"authorization server": {"authorization_server": members{"mode": "bridge"}},
	"stdio":                {"upstream": members{"protocol": "stdio", "command": []string{"/bin/cat"}}},
}

// standing returns an endpoint of a kind.
func standing(t *testing.T, kind, listen string) *stand {
	t.Helper()
	s := &stand{listen: listen, host: "a.localhost", match: members{}, endpoint: members{"handler": "mcp_auth_bridge", "endpoint": "/mcp"}}
	copied, err := json.Marshal(kindsOfEndpoints[kind])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(copied, &s.endpoint); err != nil {
		t.Fatal(err)
	}
	if kind != "stdio" {
		s.proxy()
	}
	return s
}

// decides are the ways in which two endpoints may differ so that their requests go
// elsewhere, or as somebody else. Each makes an endpoint its first or its second form.
var decides = map[string]struct {
	kinds string // "http": of those with a proxy; "stdio": of programs; empty: of all
	make  func(t *testing.T, s *stand, second bool)
	// everywhere: what differs may differ between replicas of one configuration.
	everywhere bool
}{
	"host":           {"", func(_ *testing.T, s *stand, second bool) { s.host = either(second, "a.localhost", "b.localhost") }, false},
	"address listen": {"", func(t *testing.T, s *stand, second bool) { s.listen = either(second, s.listen, otherListen(t)) }, true},
	"prefix":         {"", func(_ *testing.T, s *stand, second bool) { s.prefix = either(second, "/a", "/b") }, false},
	"a prefix":       {"", func(_ *testing.T, s *stand, second bool) { s.prefix = either(second, "", "/b") }, false},
	"path":           {"", func(_ *testing.T, s *stand, second bool) { s.endpoint["endpoint"] = either(second, "/mcp", "/other") }, false},
	"public_url": {"", func(_ *testing.T, s *stand, second bool) {
		s.endpoint["public_url"] = either(second, "https://a.example", "https://b.example")
	}, false},
	"hosts": {"", func(_ *testing.T, s *stand, second bool) {
		s.endpoint["hosts"] = []string{either(second, "a.example", "b.example")}
	}, false},
	"matcher": {"", func(_ *testing.T, s *stand, second bool) {
		s.match["header"] = members{"X-Tenant": []string{either(second, "a", "b")}}
	}, true},
	"matcher that negates": {"", func(_ *testing.T, s *stand, second bool) {
		s.match["not"] = []any{members{"header": members{"X-Tenant": []string{either(second, "a", "b")}}}}
	}, true},
	"matcher with {env.*}": {"", func(t *testing.T, s *stand, second bool) {
		t.Setenv("IDENTITY_TEST", either(second, "a", "b"))
		s.match["expression"] = "{env.IDENTITY_TEST} != ''"
	}, true},

	"tcp":  {"http", func(_ *testing.T, s *stand, second bool) { s.dial(either(second, "127.0.0.1:1", "127.0.0.1:2")) }, false},
	"unix": {"http", func(_ *testing.T, s *stand, second bool) { s.dial(either(second, "unix//run/a", "unix//run/b")) }, false},
	"another {env.*} of one value": {"http", func(t *testing.T, s *stand, second bool) {
		t.Setenv("IDENTITY_A", "127.0.0.1:1")
		t.Setenv("IDENTITY_B", "127.0.0.1:1")
		s.dial(either(second, "{env.IDENTITY_A}", "{env.IDENTITY_B}"))
	}, false},
	"one {env.*} of another value": {"http", func(t *testing.T, s *stand, second bool) {
		t.Setenv("IDENTITY_A", either(second, "127.0.0.1:1", "127.0.0.1:2"))
		s.dial("{env.IDENTITY_A}")
	}, false},
	"one file with another value": {"http", func(t *testing.T, s *stand, second bool) {
		file := filepath.Join(filepath.Dir(t.TempDir()), "address") // the same at each call
		if err := os.WriteFile(file, []byte(either(second, "127.0.0.1:1", "127.0.0.1:2")), 0o600); err != nil {
			t.Fatal(err)
		}
		s.dial("{file." + file + "}")
	}, false},
	"one more": {"http", func(_ *testing.T, s *stand, second bool) {
		if s.dial("127.0.0.1:1"); second {
			s.proxy()["upstreams"] = []any{members{"dial": "127.0.0.1:1"}, members{"dial": "127.0.0.1:2"}}
		}
	}, false},
	"dynamic a": {"http", func(_ *testing.T, s *stand, second bool) {
		delete(s.proxy(), "upstreams")
		s.proxy()["dynamic_upstreams"] = members{"source": "a", "name": either(second, "a.internal", "b.internal"), "port": "3000"}
	}, false},
	"dynamic srv": {"http", func(_ *testing.T, s *stand, second bool) {
		delete(s.proxy(), "upstreams")
		s.proxy()["dynamic_upstreams"] = members{"source": "srv", "name": either(second, "_a._tcp.internal", "_b._tcp.internal")}
	}, false},
	"dynamic with {env.*}": {"http", func(t *testing.T, s *stand, second bool) {
		t.Setenv("IDENTITY_A", either(second, "a.internal", "b.internal"))
		delete(s.proxy(), "upstreams")
		s.proxy()["dynamic_upstreams"] = members{"source": "a", "name": "{env.IDENTITY_A}", "port": "3000"}
	}, false},
	"header_up": {"http", func(_ *testing.T, s *stand, second bool) {
		s.headerUp("Authorization", either(second, "Bearer a", "Bearer b"))
	}, false},
	"header_up Host": {"http", func(_ *testing.T, s *stand, second bool) {
		s.headerUp("Host", either(second, "a.internal", "b.internal"))
	}, false},
	"header_up with {env.*}": {"http", func(t *testing.T, s *stand, second bool) {
		t.Setenv("IDENTITY_A", either(second, "a", "b"))
		s.headerUp("X-Tenant", "{env.IDENTITY_A}")
	}, true},
	"name of a header_up with {env.*}": {"http", func(t *testing.T, s *stand, second bool) {
		t.Setenv("IDENTITY_A", either(second, "a", "b"))
		s.headerUp("X-{env.IDENTITY_A}", "x")
	}, true},
	"transport": {"http", func(_ *testing.T, s *stand, second bool) {
		s.proxy()["transport"] = members{"protocol": "http", "tls": members{"server_name": either(second, "a.internal", "b.internal")}}
	}, false},
	"TLS": {"http", func(_ *testing.T, s *stand, second bool) {
		if second {
			s.proxy()["transport"] = members{"protocol": "http", "tls": members{}}
		}
	}, false},
	"rewrite": {"http", func(_ *testing.T, s *stand, second bool) {
		s.proxy()["rewrite"] = members{"uri": either(second, "/a{path}", "/b{path}")}
	}, false},
	"load_balancing": {"http", func(_ *testing.T, s *stand, second bool) {
		s.proxy()["load_balancing"] = members{"selection_policy": members{"policy": either(second, "first", "random")}}
	}, false},
	"handle_response": {"http", func(_ *testing.T, s *stand, second bool) {
		s.proxy()["handle_response"] = []any{members{"routes": []any{members{"handle": []any{members{"handler": "static_response", "body": either(second, "a", "b")}}}}}}
	}, false},
	"path at the upstream": {"http", func(_ *testing.T, s *stand, second bool) {
		upstream, ok := s.endpoint["upstream"].(members)
		if !ok {
			upstream = members{"protocol": "http"}
		}
		upstream["path"] = either(second, "/a", "/b")
		s.endpoint["upstream"] = upstream
	}, false},

	"command": {"stdio", func(_ *testing.T, s *stand, second bool) {
		s.endpoint["upstream"].(members)["command"] = []string{"/bin/cat", either(second, "a", "b")}
	}, false},
	"env": {"stdio", func(_ *testing.T, s *stand, second bool) {
		s.endpoint["upstream"].(members)["env"] = []string{"TENANT=" + either(second, "a", "b")}
	}, false},
	"env with {env.*}": {"stdio", func(t *testing.T, s *stand, second bool) {
		t.Setenv("IDENTITY_A", either(second, "a", "b"))
		s.endpoint["upstream"].(members)["env"] = []string{"TENANT={env.IDENTITY_A}"}
	}, true},
	"env that is handed on": {"stdio", func(t *testing.T, s *stand, second bool) {
		t.Setenv("IDENTITY_A", either(second, "a", "b"))
		s.endpoint["upstream"].(members)["env"] = []string{"IDENTITY_A"}
	}, true},
	"dir": {"stdio", func(_ *testing.T, s *stand, second bool) {
		s.endpoint["upstream"].(members)["dir"] = either(second, "/", "/tmp")
	}, false},
}

func (s *stand) headerUp(name, value string) {
	s.proxy()["headers"] = members{"request": members{"set": members{name: []string{value}}}}
}

func either(second bool, a, b string) string {
	if second {
		return b
	}
	return a
}

func otherListen(t *testing.T) string { return testcaddy.Addr(testcaddy.FreePort(t)) }

// concerns reports whether a way to differ is one of endpoints of a kind.
func concerns(kinds, kind string) bool {
	return kinds == "" || (kinds == "stdio") == (kind == "stdio")
}

// Rule D5b: endpoints are told apart by everything that decides where their requests go
// and as whom, whatever it is that would be shared; and what is the same stays the same.
func TestEndpointsAreToldApart(t *testing.T) {
	for kind := range kindsOfEndpoints {
		for name, tc := range decides {
			if !concerns(tc.kinds, kind) {
				continue
			}
			t.Run(kind+"/"+name, func(t *testing.T) {
				listen := otherListen(t)
				form := func(second bool) (key, scope string) {
					s := standing(t, kind, listen)
					tc.make(t, s, second)
					return s.identified(t)
				}
				firstKey, firstScope := form(false)
				secondKey, secondScope := form(true)
				if firstKey == secondKey {
					t.Error("both have one identity")
				}
				if got := firstScope == secondScope; got != tc.everywhere {
					t.Errorf("message paths of one are the other's: %t, want %t", got, tc.everywhere)
				}
				if key, scope := form(false); key != firstKey || scope != firstScope {
					t.Error("the same configuration has another identity when it is loaded again")
				}
			})
		}
	}
}

// Rule D7: what decides neither where requests go nor as whom ends nothing.
func TestUnrelatedOptionsKeepTheIdentity(t *testing.T) {
	for kind := range kindsOfEndpoints {
		for name, tc := range map[string]struct {
			kinds string
			make  func(s *stand)
		}{
			"cors":      {"", func(s *stand) { s.endpoint["cors"] = members{"allow_origins": []string{"https://x.example"}} }},
			"limits":    {"", func(s *stand) { s.endpoint["limits"] = members{"max_message": 1 << 20} }},
			"challenge": {"", func(s *stand) { s.endpoint["challenge"] = members{"mode": "relay"} }},
			"metadata":  {"", func(s *stand) { s.endpoint["metadata"] = members{"resource_name": "x"} }},
			"root":      {"", func(s *stand) { s.endpoint["root_metadata"] = true }},
			"paths":     {"authorization server", func(s *stand) { s.endpoint["authorization_server"].(members)["paths"] = []string{"/x"} }},
			"legacy":    {"legacy_sse", func(s *stand) { s.endpoint["legacy_sse"].(members)["path"] = "/mcp/old" }},
			"sessions":  {"legacy_sse", func(s *stand) { s.endpoint["sessions"] = members{"max": 3, "idle_timeout": "1m"} }},
			"guard":     {"stdio", func(s *stand) { s.endpoint["upstream"].(members)["allow_unauthenticated"] = true }},
			"health checks": {"http", func(s *stand) {
				s.proxy()["health_checks"] = members{"passive": members{"fail_duration": "1m"}}
			}},
			"flush_interval": {"http", func(s *stand) { s.proxy()["flush_interval"] = -1 }},
			"times": {"http", func(s *stand) {
				s.proxy()["transport"] = members{"protocol": "http", "dial_timeout": "7s", "response_header_timeout": "1m"}
			}},
		} {
			if tc.kinds == "http" && kind == "stdio" || tc.kinds != "" && tc.kinds != "http" && tc.kinds != kind {
				continue
			}
			t.Run(kind+"/"+name, func(t *testing.T) {
				listen := otherListen(t)
				before, scope := standing(t, kind, listen).identified(t)
				s := standing(t, kind, listen)
				tc.make(s)
				if key, again := s.identified(t); key != before || again != scope {
					t.Error("got another identity")
				}
			})
		}
	}
}

// The same of a Caddyfile, whose options also decide what the route of the endpoint matches.
func TestUnrelatedLinesKeepTheIdentity(t *testing.T) {
	port := testcaddy.FreePort(t)
	identified := func(matcher, lines string) string {
		testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\nhttp://a.localhost:%d {\n\tbind 127.0.0.1\n\t@m header X-Tenant a\n\t@n {\n\theader X-Tenant b\n\tpath /mcp\n\t}\n\tmcp_auth_bridge %s localhost:1 {\n\t\t%s\n\t}\n}", port, matcher, lines))
		all := endpointsNow()
		if len(all) != 1 {
			t.Fatalf("got %d endpoints", len(all))
		}
		return all[0].key
	}
	keys := make(map[string]string)
	for _, matcher := range []string{"/mcp", "/Other", "@m", "@n"} {
		want := identified(matcher, "")
		if other := keys[want]; other != "" {
			t.Errorf("%s and %s have one identity", matcher, other)
		}
		keys[want] = matcher
		for _, lines := range []string{
			"legacy_sse", "legacy_sse /old/sse", "legacy_sse /Old/sse /new", "metadata off", "root_metadata", "authorization_server bridge", "challenge relay",
			"authorization_server bridge\nlegacy_sse /old/sse", "limits {\nmax_message 1MiB\n}", "legacy_sse\nsessions {\nmax 2\n}", "cors off",
		} {
			if got := identified(matcher, lines); got != want {
				t.Errorf("%s: %q makes another identity", matcher, lines)
			}
		}
	}
}

// Rule D5b: one configuration never attaches two endpoints to one object.
func TestEqualEndpointsAreRefused(t *testing.T) {
	for kind := range kindsOfEndpoints {
		t.Run(kind, func(t *testing.T) {
			s := standing(t, kind, otherListen(t))
			err := load(t, s.listen, s.routes(2), nil)
			if err == nil {
				t.Fatal("two equal endpoints were loaded")
			}
			wants := []string{"http://a.localhost:", "/mcp\" and ", "/mcp#2\"", "remove one of them"}
			if kind == "legacy_sse" { // which finds out itself that they have one path
				wants = []string{`"/mcp/sse" belongs to two endpoints`}
			}
			for _, want := range wants {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error lacks %q: %v", want, err)
				}
			}
			if n := len(endpointsNow()); n != 0 {
				t.Errorf("%d endpoints are left", n)
			}
			if err := load(t, s.listen, s.routes(1), nil); err != nil {
				t.Errorf("one of them: %v", err)
			}
		})
	}
}

// A named route is one endpoint, however often it is invoked.
func TestNamedRouteIsOneEndpoint(t *testing.T) {
	s := standing(t, "legacy_sse", otherListen(t))
	invoke := func(host string) any {
		return members{"match": []any{members{"host": []string{host}}}, "handle": []any{members{"handler": "invoke", "name": "mcp"}}}
	}
	named := members{"named_routes": members{"mcp": members{"handle": []any{s.endpoint}}}}
	if err := load(t, s.listen, []any{invoke("a.localhost"), invoke("b.localhost")}, named); err != nil {
		t.Fatal(err)
	}
	if n := len(endpointsNow()); n != 1 {
		t.Errorf("got %d endpoints, want 1", n)
	}
}
