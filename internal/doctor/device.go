package doctor

import (
	"context"
	"net/http"
	"net/url"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/probe"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/schema"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/urls"
)

// deviceGrant is the grant type of the device flow (RFC 8628 section 3.4).
const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

// askDevice asks for device codes, as clients without a browser do. The user has to do
// nothing: the codes expire.
func (f *flow) askDevice(ctx context.Context) {
	s := f.s
	h := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}}
	form := url.Values{"client_id": {f.id}}
	if scope := f.scope(); scope != "" {
		form.Set("scope", scope)
	}
	a := f.Send(ctx, s, probe.Request{Name: "device authorization", Method: http.MethodPost, URL: f.issuer.doc.device, Header: h, Body: form.Encode(), Secret: true})
	document, why := a.Object()
	for _, name := range []string{"device_code", "user_code"} {
		f.Secrets.Add(probe.TextOf(document, name))
	}
	switch {
	case a.Err != nil:
		f.Warn(s, "device.answer", "the device authorization endpoint does not respond: %s", a.Error)
	case f.Obstructed(s, report.Warn, "the device authorization", a):
	case !a.OK() && probe.TextOf(document, "error") != "":
		f.Pass(s, "device.answer", "the device flow is not enabled for this client%s", f.OAuthError(a))
	case !a.OK():
		f.Warn(s, "device.answer", "the device authorization endpoint returns %s", report.StatusText(a.Status))
	case why != "":
		f.Warn(s, "device.members", "the response of the device authorization endpoint %s: clients cannot read it", f.Secrets.Text(why))
	default:
		f.judgeDevice(s, a)
	}
}

// judgeDevice checks the answer with device codes. The device flow is only one of several ways
// to log in, so its faults are warnings.
func (f *flow) judgeDevice(s *report.Step, a *probe.Answer) {
	document, _ := a.Object()
	all := append(schema.Device.Faults(document), f.Oddities(a, http.StatusOK, schema.NoSDK, schema.NoSDK)...)
	for _, name := range []string{"verification_uri", "verification_uri_complete"} {
		raw := probe.TextOf(document, name)
		u, err := url.Parse(raw)
		if err != nil || !urls.Absolute(raw) {
			continue // the schema has found that
		}
		if why := urls.Misplaced(f.issuer.doc.device, u); why != "" {
			f.Warn(s, "device.url", "%s is a URL that %s: %s", name, why, f.Secrets.Link(raw))
		}
	}
	if len(all) == 0 {
		f.Pass(s, "device.members", "the device flow starts")
		return
	}
	f.NoteFaults(s, "device.members", "the response of the device authorization endpoint", all)
}
