package bridge

import (
	"slices"
	"strings"
)

// Target is what a request path is to an endpoint.
type Target uint8

// The targets.
const (
	// TargetNone is a path that does not belong to the endpoint.
	TargetNone Target = iota
	// TargetEndpoint is the endpoint itself, with or without a final slash.
	TargetEndpoint
	// TargetMessage is the message path of an HTTP+SSE upstream.
	TargetMessage
	// TargetLegacy is the event stream of HTTP+SSE that is offered beside the
	// endpoint.
	TargetLegacy
	// TargetLegacyMessage is the path that clients of that stream post messages to.
	TargetLegacyMessage
	// TargetUnknownMessage is a path below the message path that the upstream has not announced.
	TargetUnknownMessage
)

// goesUpstream reports whether the upstream gets requests for the target as they are.
func (t Target) goesUpstream() bool { return t == TargetEndpoint || t == TargetMessage }

// Path is a path that an endpoint answers. A guard in front of the endpoint has to cover all of
// them.
type Path struct {
	// Path is as in url.URL: decoded, and compared case-sensitively.
	Path string
	// Below is true if every path that begins with Path is answered.
	Below bool

	target Target
}

// Paths lists the paths that the endpoint answers: Match accepts these and no
// others. The endpoint itself comes first.
func (e *Endpoint) Paths() []Path { return slices.Clone(e.paths) }

// paths computes what Match accepts.
func (c *Config) paths() []Path {
	paths := []Path{{Path: c.Path, target: TargetEndpoint}}
	if c.Path != "/" {
		paths = append(paths, Path{Path: c.Path + "/", target: TargetEndpoint})
	}
	if c.LegacyPath != "" {
		if c.Kind == KindSSE {
			paths = append(paths, Path{Path: c.LegacyPath, target: TargetEndpoint})
		} else {
			paths = append(paths, Path{Path: c.LegacyPath, target: TargetLegacy}, Path{Path: c.LegacyMessage, target: TargetLegacyMessage})
		}
	}
	if c.Kind == KindSSE {
		message := Path{Path: c.messages(), target: TargetMessage}
		if c.sealsMessages() {
			message.Path, message.Below = message.Path+"/", true
		}
		paths = append(paths, message)
	}
	return paths
}

// messages is the path that messages of an SSE upstream are posted to, or below it.
func (c *Config) messages() string { return strings.TrimSuffix(c.Path, "/") + messageSegment }

// sealsMessages reports whether message paths are tokens.
func (c *Config) sealsMessages() bool { return c.MessagePath == "" || c.OwnedMessages }

// Match returns what a path is to the endpoint, and the path to request from the upstream. Paths
// are compared case-sensitively.
func (e *Endpoint) Match(path string) (Target, string) {
	for i := range e.paths {
		p := &e.paths[i]
		if path != p.Path && !(p.Below && strings.HasPrefix(path, p.Path)) {
			continue
		}
		switch {
		case p.target == TargetEndpoint:
			return TargetEndpoint, e.cfg.UpstreamPath
		case p.Below:
			return e.openMessage(path[len(p.Path):])
		case p.target == TargetMessage:
			return TargetMessage, e.cfg.MessagePath
		}
		return p.target, ""
	}
	return TargetNone, ""
}

// openMessage returns the upstream's message path that is sealed in token. It is not known yet
// if it depends on the owner.
func (e *Endpoint) openMessage(token string) (Target, string) {
	if e.cfg.OwnedMessages {
		return TargetMessage, ""
	}
	if sealer, err := e.cfg.Sealer(); err == nil {
		if to, ok := sealer.Open(token, e.cfg.SealScope()); ok {
			return TargetMessage, to
		}
	}
	return TargetUnknownMessage, ""
}
