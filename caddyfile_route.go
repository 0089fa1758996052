package mcpauthbridge

import (
	"encoding/json"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// route returns the route of the directive: for the endpoint, its metadata, and the paths of a
// bridged authorization server.
func (dir *directive) route() caddyhttp.Route {
	endpoint := dir.h.Endpoint
	paths := caddyhttp.MatchPath{endpoint, strings.TrimSuffix(endpoint, "/") + "/*"}
	if endpoint == "/" {
		paths = caddyhttp.MatchPath{"/*"}
	} else if c := dir.h.LegacySSE; c != nil {
		at := *c
		at.fill(endpoint)
		for _, path := range []string{at.Path, at.MessagePath} {
			if !strings.HasPrefix(path, endpoint+"/") {
				paths = append(paths, path)
			}
		}
	}
	sets := []caddy.ModuleMap{dir.endpointSet(paths)}
	if endpoint != "/" {
		discovery := dir.metadataSet(discoveryPaths)
		delete(discovery, "path_regexp")
		sets = append(sets, discovery)
	}
	if dir.h.bridgesServer() && endpoint != "/" {
		sets = append(sets, dir.serverSet(endpoint))
	}
	return caddyhttp.Route{
		MatcherSetsRaw: sets,
		HandlersRaw:    []json.RawMessage{caddyconfig.JSONModuleObject(dir.h, "handler", "mcp_auth_bridge", nil)},
	}
}

// endpointSet returns the directive's matcher for the paths of the endpoint. If the matcher has
// paths of its own, a request has to match both.
func (dir *directive) endpointSet(paths caddyhttp.MatchPath) caddy.ModuleMap {
	set := dir.metadataSet(paths)
	own, ok := dir.matcher["path"]
	if !ok {
		return set
	}
	var not caddyhttp.MatchNot
	if raw, ok := dir.matcher["not"]; ok {
		_ = json.Unmarshal(raw, &not)
	}
	notOwn := caddyhttp.MatchNot{MatcherSetsRaw: []caddy.ModuleMap{{"path": own}}}
	not.MatcherSetsRaw = append(not.MatcherSetsRaw, caddy.ModuleMap{"not": dir.helper.JSON(notOwn)})
	set["not"] = dir.helper.JSON(not)
	return set
}

// metadataSet returns the directive's matcher for the well-known paths. The paths of the matcher
// are left out, since they are meant for the endpoint.
func (dir *directive) metadataSet(paths caddyhttp.MatchPath) caddy.ModuleMap {
	set := caddy.ModuleMap{"path": dir.helper.JSON(paths)}
	for name, raw := range dir.matcher {
		if name != "path" {
			set[name] = raw
		}
	}
	return set
}

// serverSet returns the directive's matcher for a bridged authorization server. It has all paths
// but those of the endpoint: only the handler knows the server's paths, from its metadata.
func (dir *directive) serverSet(endpoint string) caddy.ModuleMap {
	set := caddy.ModuleMap{}
	for name, raw := range dir.matcher {
		if name != "path" && name != "path_regexp" {
			set[name] = raw
		}
	}
	var not caddyhttp.MatchNot
	if raw, ok := set["not"]; ok {
		_ = json.Unmarshal(raw, &not)
	}
	own := caddyhttp.MatchPath{endpoint, endpoint + "/*"}
	not.MatcherSetsRaw = append(not.MatcherSetsRaw, caddy.ModuleMap{"path": dir.helper.JSON(own)})
	set["not"] = dir.helper.JSON(not)
	return set
}
