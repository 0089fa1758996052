package safetext

import (
	"strings"
	"testing"
)

// What an operator needs of a program's stderr stays, and what may be a secret does not.
func TestOutput(t *testing.T) {
	var secrets Secrets
	secrets.Add("s3cr3t-value")
	secrets.Add("s3cr3t-value-that-is-longer")
	for line, want := range map[string]string{
		"Error: Cannot find module '/usr/lib/node_modules/npm/lib/cli.js'":                                                      "Error: Cannot find module '/usr/lib/node_modules/npm/lib/cli.js'",
		"    at Module._load (node:internal/modules/cjs/loader:1140:15)":                                                        "    at Module._load (node:internal/modules/cjs/loader:1140:15)",
		"npm error A complete log of this run can be found in: /home/me/.npm/_logs/2025-11-29T01_23_45_678Z-debug-0.log":        "npm error A complete log of this run can be found in: /home/me/.npm/_logs/2025-11-29T01_23_45_678Z-debug-0.log",
		"[2025-11-29T01:23:45.678Z] ready":                                                                                      "[2025-11-29T01:23:45.678Z] ready",
		"npm warn exec The following package was not found and will be installed: @modelcontextprotocol/server-x@2025.9.25-rc1": "npm warn exec The following package was not found and will be installed: @modelcontextprotocol/server-x@2025.9.25-rc1",
		"connecting with s3cr3t-value":                                                                                          "connecting with [redacted]",
		"connecting with s3cr3t-value-that-is-longer":                                                                           "connecting with [redacted]",
		`C:\Users\me\AppData\server-2025.11.29.log`:                                                                             `C:\Users\me\AppData\server-2025.11.29.log`,
		"API_KEY=hunter2":                                  "API_KEY=[redacted]",
		`{"password": "hunter2", "user": "me"}`:            `{"password": "[redacted]", "user": "me"}`,
		"Authorization: Bearer abc.def":                    "Authorization: Bearer [redacted]",
		"sent bearer abcdef123":                            "sent bearer [redacted]",
		"key sk-proj-1234567890abcdefghij":                 "key [redacted]",
		"jwt eyJhbGciOiJI.eyJzdWIi.c2ln":                   "jwt [redacted]",
		"GET https://me:pw@api.example.com/v1/x?key=1 404": "GET https://api.example.com/v1/x 404",
		"KeyError: 'token'":                                "KeyError: 'token'",
		"\xff bad":                                         "\uFFFD bad",
	} {
		if got := secrets.Output(line); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", line, got, want)
		}
	}
	if got := secrets.Output(strings.Repeat("x ", 4000)); len(got) > MaxOutput+3 {
		t.Errorf("got %d bytes", len(got))
	}
}

// A value that a program was given is never in what is shown, whatever stands around it.
func FuzzOutput(f *testing.F) {
	const value = "Zq7-secret-Value"
	f.Add("TOKEN=", " more")
	f.Add("https://h/", "?x=1")
	f.Add("https://", "@h/")
	f.Add("eyJ", "\xff")
	f.Add("/home/", "/x")
	f.Fuzz(func(t *testing.T, before, after string) {
		if strings.Contains(before+after, "Zq7") { // it is not the program's value then
			return
		}
		var secrets Secrets
		secrets.Add(value)
		got := secrets.Output(before + value + after)
		if strings.Contains(got, value) || len(got) > 8*MaxOutput {
			t.Errorf("got %q", got)
		}
	})
}
