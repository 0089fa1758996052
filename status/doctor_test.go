package status

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor"
)

// runCommand runs `caddy mcp doctor` in this process.
func runCommand(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := doctorCommand()
	var out, log bytes.Buffer
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&out)
	cmd.SetErr(&log)
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(t.Context())
	return out.String(), log.String(), err
}

// Rule F3: the flags reach the walk, and the outcome is in the exit code.
func TestDoctorCommand(t *testing.T) {
	var got *http.Request
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			got = r
		}
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(server.Close)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("token-of-a-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	for _, token := range []string{"token-of-a-file", "@" + file, "-"} {
		got = nil
		out, _, err := runCommand(t, "token-of-a-file\n", server.URL+"/mcp", "--token", token, "-H", "X-Key: k3y: of the caller", "--origin", "https://app.example.com", "--json")
		if err == nil || err.Error() != "exiting with status 2" {
			t.Errorf("got error %v, want status 2", err)
		}
		var report doctor.Report
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if report.Version != doctor.Version || report.Origin != "https://app.example.com" || report.Verdict.State != doctor.Broken {
			t.Errorf("got %+v", report)
		}
		if got == nil || got.Header.Get("Authorization") != "Bearer token-of-a-file" || got.Header.Get("X-Key") != "k3y: of the caller" {
			t.Errorf("--token %s: the server got %v", token, got)
		}
		if strings.Contains(out, "token-of-a-file") || strings.Contains(out, "k3y") {
			t.Errorf("a secret is printed:\n%s", out)
		}
	}

	out, _, err := runCommand(t, "", gone.URL+"/mcp")
	if err == nil || err.Error() != "exiting with status 3" || !strings.HasPrefix(out, "UNREACHABLE  "+gone.URL) {
		t.Errorf("got error %v, want status 3\n%s", err, out)
	}
	if strings.Contains(out, "\x1b") {
		t.Errorf("colours are in what is no terminal: %q", out)
	}
}

// A certificate of a private CA is accepted with --ca and with --insecure, and a URL
// without scheme and path is completed.
func TestDoctorCertificates(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	at := strings.TrimPrefix(server.URL, "https://")
	for _, tc := range []struct {
		flags []string
		want  string
	}{
		{nil, "exiting with status 3"},
		{[]string{"--ca", file}, "exiting with status 2"},
		{[]string{"--insecure"}, "exiting with status 2"},
	} {
		out, _, err := runCommand(t, "", append([]string{at}, tc.flags...)...)
		if err == nil || err.Error() != tc.want || !strings.Contains(out, "  https://"+at+"/mcp\n") {
			t.Errorf("%v: got %v, want %s\n%s", tc.flags, err, tc.want, out)
		}
	}
}

// Wrong arguments are told apart from a broken server, and what may be secret
// in them is not repeated.
func TestDoctorCommandUsage(t *testing.T) {
	for _, args := range [][]string{
		{},
		{"https://a.example.com/mcp", "https://b.example.com/mcp"},
		{"ftp://a.example.com/s3cr3t"},
		{"https://a.example.com/mcp", "-H", "s3cr3t"},
		{"https://a.example.com/mcp", "-H", "A: s3cr3t\r\nB: x"},
		{"https://a.example.com/mcp", "--token", "@/does/not/exist"},
		{"https://a.example.com/mcp", "--timeout", "soon"},
		{"https://a.example.com/mcp", "--ca", "/does/not/exist"},
		{"https://a.example.com/mcp", "--ca", "doctor_test.go"},
	} {
		out, _, err := runCommand(t, "", args...)
		if err == nil || strings.HasPrefix(err.Error(), "exiting with") || strings.Contains(err.Error()+out, "HEALTHY") || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%q: got %v\n%s", args, err, out)
		}
	}
}

// Colours are for terminals, and not where NO_COLOR is set.
func TestDoctorColour(t *testing.T) {
	if inColour(new(bytes.Buffer)) {
		t.Error("a buffer is in colour")
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	if inColour(file) {
		t.Error("a file is in colour")
	}
	device, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = device.Close() })
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	if !inColour(device) {
		t.Error("a character device is not in colour")
	}
	t.Setenv("NO_COLOR", "1")
	if inColour(device) {
		t.Error("it is in colour in spite of NO_COLOR")
	}
}
