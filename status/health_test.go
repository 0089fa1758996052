package status

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
)

// Rule F2: the state of an endpoint is that of its worst problem, and the problems are told
// in words, the worst first. Rule E9: an endpoint that refuses is healthy, but not one that
// accepts no credentials for an hour because the issuer cannot be asked.
func TestHealth(t *testing.T) {
	now := time.Now()
	old := now.Add(-25 * time.Hour)
	down := Upstream{Address: "127.0.0.1:1", Failing: &now, Why: "refused"}
	for name, tt := range map[string]struct {
		state endpointState
		want  health
		texts []string
	}{
		"unused":            {endpointState{}, healthy, nil},
		"answers":           {endpointState{Upstreams: []Upstream{{Address: "a", Healthy: true}}}, healthy, nil},
		"down":              {endpointState{Upstreams: []Upstream{down}}, failing, []string{"upstream 127.0.0.1:1 does not answer (refused)"}},
		"one of two down":   {endpointState{Upstreams: []Upstream{down, {Address: "a", Healthy: true}}}, attention, []string{"upstream 127.0.0.1:1 does not answer (refused)"}},
		"unhealthy":         {endpointState{Upstreams: []Upstream{{Address: "a"}}}, failing, []string{"upstream a fails Caddy's health checks"}},
		"foreign metadata":  {endpointState{Metadata: []Metadata{{Foreign: "x", LastError: "y"}, {Foreign: "z"}}}, failing, []string{"OAuth metadata names another resource, so clients refuse it"}},
		"no metadata":       {endpointState{Metadata: []Metadata{{LastError: "y"}}}, failing, []string{"OAuth metadata is not available"}},
		"old metadata":      {endpointState{Metadata: []Metadata{{LastError: "y", Known: true}}}, attention, []string{"OAuth metadata cannot be refreshed"}},
		"absent metadata":   {endpointState{Metadata: []Metadata{{Absent: true}}}, healthy, nil},
		"refused":           {endpointState{Refused: []refusedState{{Last: now}}}, attention, []string{"1 refused origin"}},
		"refused long ago":  {endpointState{Refused: []refusedState{{Last: old}}}, healthy, nil},
		"useless challenge": {endpointState{Last: []challengeState{{Last: now, Reason: stats.ReasonUnknown}, {Last: now, Action: stats.ActionMissing}}}, attention, []string{"2 challenges without a metadata URL"}},
		"good challenge":    {endpointState{Last: []challengeState{{Last: now, Action: stats.ActionRewritten}, {Last: now, Reason: stats.ReasonPublic}}}, healthy, nil},
		"two problems":      {endpointState{Notices: []noticeState{{Last: now}, {Last: now}}, Upstreams: []Upstream{down}}, failing, []string{"upstream 127.0.0.1:1 does not answer (refused)", "2 notices"}},
		"program ready":     {endpointState{Program: &programState{State: programReady}}, healthy, nil},
		"program backs off": {endpointState{Program: &programState{State: programBackoff, Failed: 3, Last: &exitState{At: old, Cause: stats.ExitCrashed, Status: "exit status 3"}}}, failing, []string{"the stdio server ended soon after its start, 3 times in a row (crashed, exit status 3)"}},
		"wait is over":      {endpointState{Program: &programState{State: programReady, Failed: 3}}, failing, []string{"the stdio server ended soon after its start, 3 times in a row"}},
		"two of three":      {endpointState{Program: &programState{State: programReady, Failed: 2}}, healthy, nil},
		"no end is known":   {endpointState{Program: &programState{State: programBackoff, Failed: 3}}, failing, []string{"the stdio server ended soon after its start, 3 times in a row"}},
		"program is slow":   {endpointState{Program: &programState{State: programStarting, Since: &now}}, attention, []string{"the stdio server has not answered since its start"}},
		"program ended":     {endpointState{Program: &programState{State: programReady, Last: &exitState{At: now.Add(-59 * time.Minute), Cause: stats.ExitKilled, Status: "signal: killed"}}}, attention, []string{"the stdio server ended (killed, signal: killed)"}},
		"denies":            {endpointState{Denials: []denialState{{Last: now, Kind: stats.DenialForever}, {Last: now, Kind: stats.DenialToken}}}, healthy, nil},
		"no issuer":         {endpointState{Denials: []denialState{{Last: now, Kind: stats.DenialScope}, {Last: now, Kind: stats.DenialIssuer, Cause: "refused"}}, Issuers: []issuerState{{Issuer: "i"}}}, failing, []string{"no credentials were accepted in the last hour, because the issuer cannot be asked (refused)"}},
		"none for long":     {endpointState{Denials: []denialState{{Last: now, Kind: stats.DenialIssuer, Reason: "too_busy"}}, Accepted: &old}, failing, []string{"no credentials were accepted in the last hour, because the issuer cannot be asked (too_busy)"}},
		"issuer's fault":    {endpointState{Denials: []denialState{{Last: now, Kind: stats.DenialFault, Cause: "invalid_client"}}}, failing, []string{"no credentials were accepted in the last hour, because the issuer cannot be asked (invalid_client)"}},
		"no exchange":       {endpointState{Accepted: &now, Issuers: []issuerState{{Issuer: "i", Use: stats.IssuerExchange, Error: "away"}}}, attention, []string{"issuer i does not exchange tokens (away)"}},
		"some get in":       {endpointState{Denials: []denialState{{Last: now, Kind: stats.DenialIssuer}}, Accepted: &now}, healthy, nil},
		"no keys":           {endpointState{Accepted: &now, Issuers: []issuerState{{Issuer: "i", Use: stats.IssuerKeys, Error: "away"}, {Issuer: "i", Use: stats.IssuerTokens, Error: "away"}}}, attention, []string{"the keys of issuer i cannot be fetched (away)", "issuer i cannot be asked about opaque tokens (away)"}},
		"no issuer, before": {endpointState{Denials: []denialState{{Last: old, Kind: stats.DenialIssuer}}}, healthy, nil},
		"ended long ago":    {endpointState{Program: &programState{State: programReady, Last: &exitState{At: now.Add(-61 * time.Minute)}}}, healthy, nil},
	} {
		t.Run(name, func(t *testing.T) {
			tt.state.judge(now)
			var got []string
			for _, p := range tt.state.Problems {
				got = append(got, p.Text)
			}
			if tt.state.Problems == nil {
				t.Error("the list of problems is null in JSON")
			}
			if tt.state.State != tt.want || !slices.Equal(got, tt.texts) {
				t.Errorf("got %s, %q, want %s, %q", tt.state.State, got, tt.want, tt.texts)
			}
		})
	}
}

// Rule F2: `caddy mcp status` begins with what fails.
func TestStatusOrder(t *testing.T) {
	p := &printer{now: time.Now()}
	p.print(&answer{Endpoints: []endpointState{
		{Endpoint: "a", State: healthy, Address: "localhost:1", Upstream: "http"},
		{Endpoint: "b", State: failing, Address: "npx", Upstream: "stdio"},
		{Endpoint: "c", State: attention},
		{Endpoint: "d", State: healthy},
	}})
	var order string
	for line := range strings.Lines(p.b.String()) {
		order += strings.Fields(line)[1]
	}
	if order != "ENDPOINTbcad" || !strings.Contains(p.b.String(), "failing    b         npx (stdio)") || !strings.Contains(p.b.String(), "localhost:1 (http)") {
		t.Errorf("got %s\n%s", order, &p.b)
	}
}
