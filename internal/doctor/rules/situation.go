package rules

import (
	"net/url"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/urls"
)

// Situation is what the doctor saw in the end. The fixes depend on it.
type Situation struct {
	Target   *url.URL // URL of the server
	Upstream string   // URL of the upstream that the caller gave, or ""
	Page     string   // origin of the page that the caller named, or ""

	Bridged       bool   // mcp_auth_bridge is in front of the server
	Searched      bool   // the usual paths were tried
	Caddy         bool   // a Caddy is in front of the server
	Learned       string // origin of the server as it names itself, or ""
	RefusedOrigin bool   // mcp_auth_bridge refused the origin of the page
	Preflight     int    // status of the preflight; 0 if it has no answer
	Issuer        string // origin of the authorization server, or ""
}

// Cures returns the fixes of a finding, with the addresses of the server filled in.
func (s *Situation) Cures(f report.Finding) []report.Cure {
	fills := s.fills()
	var all []report.Cure
	for _, r := range byID[f.Rule].Cures {
		if !r.when(s, f.Facts) || strings.Contains(r.Text, "{"+Other+"}") && f.Facts[Other] == "" {
			continue
		}
		text := strings.NewReplacer("{"+Other+"}", f.Facts[Other], "{"+Fields+"}", f.Facts[Fields]).Replace(fills.Replace(r.Text))
		all = append(all, report.Cure{Where: r.Where, Text: text})
	}
	return all
}

// fills replaces the placeholders for addresses.
func (s *Situation) fills() *strings.Replacer {
	page := s.Page
	if page == "" {
		page = "<origin of the page>"
	}
	return strings.NewReplacer(
		"{url}", urls.WithoutQuery(s.Target), "{origin}", urls.Origin(s.Target), "{page}", page, "{host}", s.Target.Host,
		"{upstream}", s.dialled(), "{bridge}", s.bridge(), "{http}", s.withScheme("http"), "{https}", s.withScheme("https"),
		"{path}", s.path(), "{wellknown}", urls.WithoutQuery(urls.WellKnown(s.Target, "oauth-protected-resource")),
	)
}

// bridge says how mcp_auth_bridge comes in front of the server.
func (s *Situation) bridge() string {
	if s.Caddy {
		return "replace `reverse_proxy` with `mcp_auth_bridge " + s.dialled() + "`"
	}
	return "put Caddy with `mcp_auth_bridge " + s.dialled() + "` in front of the server"
}

// path returns the path of the endpoint.
func (s *Situation) path() string {
	if strings.Trim(s.Target.Path, "/") == "" {
		return "/mcp"
	}
	return safetext.Printable(s.Target.EscapedPath())
}

// withScheme returns the URL of the server with another scheme.
func (s *Situation) withScheme(scheme string) string {
	u := *s.Target
	u.Scheme = scheme
	return urls.WithoutQuery(&u)
}

// dials returns the URL of the upstream: the one that the caller gave, or the one that the
// server names. It is empty if neither is known.
func (s *Situation) dials() string {
	if s.Upstream == "" && s.Learned != "" {
		return s.Learned + s.Target.EscapedPath()
	}
	return s.Upstream
}

// dialled returns the upstream in the form that the directive mcp_auth_bridge takes.
func (s *Situation) dialled() string {
	u, err := url.Parse(s.dials())
	switch {
	case err != nil || u.Host == "":
		return "<upstream>"
	case u.Scheme == "http" && u.Path == s.Target.Path:
		return safetext.Printable(u.Host)
	case u.Path == s.Target.Path:
		return safetext.Printable(u.Scheme + "://" + u.Host)
	}
	return safetext.Printable(u.Scheme + "://" + u.Host + u.EscapedPath())
}
