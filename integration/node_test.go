package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/integration"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/demo"
)

// report is what a driver says.
type report struct {
	Tools                 []string
	Whoami, Secret, Again string
	StepUps               []struct{ Tool, By string }
	First                 clientAnswer
	Challenged            []clientAnswer
	Statuses              []string
	Hosts                 []string
	Authorizations        []struct{ Scope, Resource string }
	Grants                []struct{ Grant, Resource string }
	Audiences             []string
	Sessions              int // how many ids of sessions the client has sent
}

type clientAnswer struct {
	Method, Challenge string
	Status            int
}

// drive runs a driver against an endpoint.
func drive(t *testing.T, f front, driver string, kind transport, options ...string) report {
	t.Helper()
	return driveAt(t, f.public, driver, kind, options...)
}

// driveAt runs a driver against an address.
func driveAt(t *testing.T, at, driver string, kind transport, options ...string) report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	args := append([]string{driver, at, map[transport]string{streamable: "streamable", legacySSE: "sse"}[kind]}, options...)
	cmd := exec.CommandContext(ctx, "node", args...)
	cmd.Dir = integration.NeedNode(t)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if stderr.Len() > 0 {
		t.Logf("%s says:\n%s", driver, stderr.Bytes())
	}
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	var r report
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatalf("%s: %v\n%s", driver, err, stdout.Bytes())
	}
	return r
}

// check asserts what holds of every login through a front.
func (r report) check(t *testing.T, f front, d *demo.Demo, kind transport) {
	t.Helper()
	if want := []string{"admin_secret", "echo", "steps", "whoami"}; !slices.Equal(r.Tools, want) {
		t.Errorf("got tools %q, want %q", r.Tools, want)
	}
	if r.Whoami != "alice" || r.Again != "alice" || r.Secret != secret {
		t.Errorf("the tools answered %q, %q, %q", r.Whoami, r.Secret, r.Again)
	}
	public, err := url.Parse(f.public)
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := url.Parse(d.Issuer())
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(r.Hosts)
	want := []string{public.Host, issuer.Host}
	slices.Sort(want)
	if !slices.Equal(r.Hosts, want) {
		t.Errorf("the client went to %q, want %q", r.Hosts, want)
	}
	if !slices.Equal(r.Audiences, []string{f.public}) {
		t.Errorf("the tokens are for %q, want %s", r.Audiences, f.public)
	}
	for _, a := range r.Authorizations {
		if a.Resource != f.public {
			t.Errorf("the client asked for a login at %q, want %s", a.Resource, f.public)
		}
	}
	for _, g := range r.Grants {
		if g.Resource != f.public {
			t.Errorf("the client asked for a token for %q, want %s", g.Resource, f.public)
		}
	}
	method := map[transport]string{streamable: "POST", legacySSE: "GET"}[kind]
	if r.First.Status != 401 || r.First.Method != method {
		t.Errorf("the first answer was %d to a %s, want 401 to a %s", r.First.Status, r.First.Method, method)
	}
	for _, a := range r.Challenged {
		if strings.Count(a.Challenge, "resource_metadata=") != 1 || !strings.Contains(a.Challenge, `resource_metadata="`+f.wellKnown()+`"`) {
			t.Errorf("%s was challenged %d\n%s\nwhich does not name %s", a.Method, a.Status, a.Challenge, f.wellKnown())
		}
	}
	if kind == streamable && !slices.Contains(r.Statuses, "DELETE 204") {
		t.Errorf("got %q, want the session deleted", r.Statuses)
	}
}

// has reports whether the client got a status with texts in its challenge.
func (r report) has(status int, texts ...string) bool {
	return slices.ContainsFunc(r.Challenged, func(a clientAnswer) bool {
		return a.Status == status && !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(a.Challenge, text) })
	})
}

// steppedUp asserts that the 403 of the tool for admins made the client ask
// for more, and that it was the SDK or the application that did.
func (r report) steppedUp(t *testing.T, by string) {
	t.Helper()
	if !r.has(401, `scope="`+demo.ScopeRead+`"`) || !r.has(403, `error="insufficient_scope"`, `scope="`+demo.ScopeAdmin+`"`) {
		t.Errorf("got challenges %+v", r.Challenged)
	}
	if len(r.StepUps) == 0 || r.StepUps[0].Tool != "admin_secret" || r.StepUps[0].By != by {
		t.Errorf("stepped up %+v, want for admin_secret by the %s", r.StepUps, by)
	}
	if len(r.Authorizations) < 2 || slices.Contains(strings.Fields(r.Authorizations[0].Scope), demo.ScopeAdmin) ||
		!slices.Contains(strings.Fields(r.Authorizations[1].Scope), demo.ScopeAdmin) {
		t.Errorf("the client asked for %+v, want %s the second time", r.Authorizations, demo.ScopeAdmin)
	}
}

const (
	sdkV1 = "client-v1.mjs"
	sdkV2 = "client-v2.mjs"
)

// Rules A1, A3, C1, C3, D1, D2: the clients of both TypeScript SDKs log in and
// are stepped up, on both transports. The first SDK widens no scope where it
// can refresh, and neither does anything about a 403 over SSE; there the
// application acts on the same challenge.
func TestNodeLogin(t *testing.T) {
	integration.NeedNode(t)
	for _, tc := range []struct {
		driver  string
		kind    transport
		options []string
		by      string
	}{
		{sdkV1, streamable, nil, "application"},
		{sdkV1, streamable, []string{"--no-refresh-token"}, "sdk"},
		{sdkV1, legacySSE, nil, "application"},
		{sdkV2, streamable, nil, "sdk"},
		{sdkV2, legacySSE, nil, "application"},
	} {
		t.Run(strings.Join(append([]string{tc.driver, string(tc.kind)}, tc.options...), "/"), func(t *testing.T) {
			f := plainFront(t)
			d := run(t, f, tc.kind, demo.Options{AutoConsent: true}, "")
			r := drive(t, f, tc.driver, tc.kind, tc.options...)
			r.check(t, f, d, tc.kind)
			r.steppedUp(t, tc.by)
		})
	}
}

// Rules A4, A6, C1, C2: the login starts whatever the upstream's challenge
// looks like.
func TestNodeLoginChallenges(t *testing.T) {
	integration.NeedNode(t)
	for name, tc := range map[string]struct {
		opts    demo.Options
		stepsUp []string // the SDKs that can read the challenge of the 403
	}{
		"bare":                    {demo.Options{Challenge: demo.ShapeBare}, []string{sdkV1, sdkV2}},
		"none":                    {demo.Options{Challenge: demo.ShapeNone}, nil},
		"several":                 {demo.Options{Challenge: demo.ShapeSeveral}, nil}, // they read a field only where it begins with Bearer
		"metadata at an odd path": {demo.Options{MetadataPath: "/meta/data"}, []string{sdkV1, sdkV2}},
	} {
		for _, driver := range []string{sdkV1, sdkV2} {
			t.Run(name+"/"+driver, func(t *testing.T) {
				f := prefixFront(t)
				tc.opts.AutoConsent = true
				d := run(t, f, streamable, tc.opts, "")
				r := drive(t, f, driver, streamable, "--no-refresh-token")
				r.check(t, f, d, streamable)
				if slices.Contains(tc.stepsUp, driver) {
					r.steppedUp(t, "sdk")
				} else if len(r.StepUps) != 0 {
					t.Errorf("stepped up %+v", r.StepUps)
				}
			})
		}
	}
}

// Rules A1, A2, D4: the token expires in the middle of a session; the SDK
// refreshes it and the session goes on.
func TestNodeTokenExpires(t *testing.T) {
	integration.NeedNode(t)
	for _, driver := range []string{sdkV1, sdkV2} {
		for _, kind := range transports {
			t.Run(driver+"/"+string(kind), func(t *testing.T) {
				f := plainFront(t)
				d := run(t, f, kind, demo.Options{AutoConsent: true, TokenLifetime: lifetime}, "")
				r := drive(t, f, driver, kind, "--until-expired")
				r.check(t, f, d, kind)
				if !r.has(401, `error="invalid_token"`, "the token expired") {
					t.Errorf("got challenges %+v", r.Challenged)
				}
				var grants []string
				for _, g := range r.Grants {
					grants = append(grants, g.Grant)
				}
				if !slices.Contains(grants, "refresh_token") {
					t.Errorf("got grants %q, want a refresh", grants)
				}
			})
		}
	}
}
