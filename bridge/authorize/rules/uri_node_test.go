package rules

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/integration"
)

// uriPieces are what the URIs of the test are made of.
var uriPieces = []string{
	"a", "b", "/", "/", "/", "//", `\`, ".", "..", "/../", "/./", "%2e%2E", "%2F", "%5c", "%252f", "%41", "A", "\u00e9", "\uff41", "%C3%A9", "@", "?", "#", " ", "%20", "%", "%25", ";", "+", "localhost", "127.1", "[::1]", "x.example", "~",
}

var uriHeads = []string{"file:", "file:/", "file:///", "file://", "FILE:///a/", "http://", "https://", "https:", `https:\\`, "HTTPS://h/", "ws://", "db:", "db:/", "db://h/", "DB://", "", "file://localhost/", "file:///C:/", "file:c|/a/", "file://C|", "http://u:p@", "http://h:80", "http://h:080/", "https://h:443/", "ws://h:/", "https://h:8443/", "%66ile:///"}

// Rule E3: whatever Node makes of a URI, a rule that denies it holds. The SDK for TypeScript
// looks resources up by what the URL class makes of their URIs.
func TestNodeReadsURIs(t *testing.T) {
	folder := integration.NeedNode(t)
	chance := rand.New(rand.NewPCG(7, 7))
	uris := make([]string, 2000)
	for i := range uris {
		var b strings.Builder
		b.WriteString(uriHeads[chance.IntN(len(uriHeads))])
		for range 1 + chance.IntN(6) {
			b.WriteString(uriPieces[chance.IntN(len(uriPieces))])
		}
		uris[i] = b.String()
	}
	input, err := json.Marshal(uris)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", filepath.Join(folder, "uris.mjs"))
	cmd.Stdin = bytes.NewReader(input)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("node: %v\n%s", err, stderr.String())
	}
	var read [][]string
	if err := json.Unmarshal(output, &read); err != nil || len(read) != len(uris) {
		t.Fatalf("node: %v, %d of %d answers", err, len(read), len(uris))
	}
	readings := 0
	for i, uri := range uris {
		for _, reading := range read[i] {
			if strings.HasPrefix(reading+"#", "db:?") || strings.HasPrefix(reading+"#", "db:#") {
				continue // Node drops the slash of `db:/..`, which the URL standard keeps
			}
			readings++
			p := must(t, Config{Rules: []Rule{{Deny: true, Resources: []string{reading}}}})
			if p.Decide(scopes(""), resource(t, uri)).Allowed {
				t.Errorf("%q: Node makes %q of it, and it passes a rule that denies that", uri, reading)
			}
		}
	}
	if readings < len(uris) {
		t.Errorf("only %d readings of %d URIs", readings, len(uris))
	}
}
