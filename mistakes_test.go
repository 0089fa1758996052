package mcpauthbridge_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// ofCaddy are mistakes that Caddy itself finds, in its own words, or that harm nothing.
var ofCaddy = map[string]string{
	"brace_on_next_line":  "Caddy says what it has met",
	"unknown_matcher":     "Caddy names the matcher",
	"catch_all_handle":    "the endpoint comes before handle",
	"respond":             "the endpoint comes before respond",
	"header_allow_origin": "the header is replaced where the endpoint answers",
}

// A mistake in a Caddyfile is refused, or gets a warning at load, in one line that names
// its cure. A file of testdata/mistakes has three parts between lines of hyphens: the
// mistake, the messages, and the Caddyfile without it, which loads without any message and
// is left out if the cure is elsewhere.
// One of the lines or words that the cure adds stands in the messages; a cure that only
// removes something has a message that says so. What is accepted without a message means
// the same as the third part. `-update` writes the messages.
func TestMistakes(t *testing.T) {
	testcaddy.AsWritten(t)
	t.Setenv("PATH", "/usr/bin:/bin") // which messages name
	t.Setenv("MCP_MAX", "1MB")
	t.Setenv("MCP_SERVERS", "github files")
	t.Setenv("BACKUP_KEY", "0123456789abcdef-backup")
	t.Setenv("CLIENT_SECRET", "0123456789abcdef-secret")
	files, err := filepath.Glob("testdata/mistakes/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no golden files")
	}
	names := make(map[string]bool)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		names[name] = true
		t.Run(name, func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			parts := strings.Split(string(raw), separator+"\n")
			if len(parts) != 3 {
				t.Fatalf("%d parts, want a Caddyfile, messages, and a Caddyfile", len(parts))
			}
			got := messagesOf(t, parts[0])
			if *update {
				parts[1] = strings.Join(got, "")
				if err := os.WriteFile(file, []byte(strings.Join(parts, separator+"\n")), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := strings.Join(got, ""); got != parts[1] {
				t.Errorf("got:\n%s\nwant:\n%s", got, parts[1])
			}
			if ofCaddy[name] != "" {
				return
			}
			fault := faultOf(got, parts[0], parts[2])
			if len(got) == 0 && adapt(t, parts[0]) == adapt(t, parts[2]) {
				fault = ""
			}
			if fault == "" && parts[2] != "" {
				if left := messagesOf(t, parts[2]); len(left) > 0 {
					fault = "the cure has a message:\n" + strings.Join(left, "")
				}
			}
			if fault != "" {
				t.Error(fault)
			}
		})
	}
	for name := range ofCaddy {
		if !names[name] {
			t.Errorf("there is no file %s", name)
		}
	}
}

// faultOf says what the messages for a mistake lack; nothing if they are as they should be.
func faultOf(messages []string, mistake, cure string) string {
	switch {
	case len(messages) == 0:
		return "the mistake is accepted, and nothing is said"
	case slices.Contains(messages, moreThanOneLine):
		return moreThanOneLine
	}
	text := strings.Join(messages, "")
	words := added(strings.Fields(cure), strings.Fields(mistake))
	lines := added(strings.Split(cure, "\n"), strings.Split(mistake, "\n"))
	switch {
	case slices.ContainsFunc(append(words, lines...), func(part string) bool { return hasPart(text, part) }):
	case len(words) > 0:
		return fmt.Sprintf("the messages name nothing of the cure %q", append(words, lines...))
	case !removal.MatchString(text):
		return "the messages do not say what to remove"
	}
	return ""
}

// added returns the parts that others do not have.
func added(parts, others []string) (more []string) {
	for _, part := range parts {
		if part = strings.TrimSpace(part); part != "" && part != "{" && part != "}" &&
			!slices.ContainsFunc(others, func(other string) bool { return strings.TrimSpace(other) == part }) {
			more = append(more, part)
		}
	}
	return more
}

// hasPart reports whether a text has a part of a Caddyfile that is not the part of a longer one.
func hasPart(text, part string) bool {
	return regexp.MustCompile("(^|[\\s\"'`(])" + regexp.QuoteMeta(part) + "($|[\\s\"'`),;.:?])").MatchString(text)
}

// removal is how a message says that something has to go, or has to be done elsewhere.
var removal = regexp.MustCompile(`\b(install|create|chmod|name the program|write its absolute path|replaced when the Caddyfile is read|set the environment variable|remove|drop|give one of|use one of|leave \S+ out|move it)\b`)

const moreThanOneLine = "the error has more than one line\n"

// messagesOf returns what a person reads who loads a Caddyfile, a line each: the error, or
// the warnings.
func messagesOf(t *testing.T, caddyfile string) (messages []string) {
	t.Helper()
	lines, err := testcaddy.LoadUnserved(t, caddyfile)
	if err != nil {
		if strings.Contains(err.Error(), "\n") {
			return []string{"error: " + strings.ReplaceAll(err.Error(), "\n", "\\n") + "\n", moreThanOneLine}
		}
		text := err.Error()
		// What is found when all routes are provisioned names whichever server was the last.
		if _, own, ok := strings.Cut(text, "tls.handshake_match.mcp_auth_bridge: "); ok {
			text = own
		}
		return []string{"error: " + text + "\n"}
	}
	for _, line := range lines {
		var entry map[string]any
		if json.Unmarshal([]byte(line), &entry) != nil || entry["level"] == "debug" || entry["level"] == "info" {
			continue
		}
		if logger, _ := entry["logger"].(string); !strings.Contains(logger, "mcp_auth_bridge") {
			continue
		}
		text := fmt.Sprintf("%s: %s", entry["level"], entry["msg"])
		var fields []string
		for name, value := range entry {
			if !slices.Contains([]string{"level", "ts", "logger", "msg"}, name) {
				fields = append(fields, fmt.Sprintf("; %s: %v", name, value))
			}
		}
		slices.Sort(fields)
		messages = append(messages, text+strings.Join(fields, "")+"\n")
	}
	return messages
}
