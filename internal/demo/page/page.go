// Package page is a page that calls MCP endpoints from a browser, on an
// origin of its own, and shows step by step what a script can read of them.
package page

import (
	"embed"
	"encoding/json"
	"net/http"
)

//go:embed index.html page.js
var files embed.FS

// Target is one column of the page.
type Target struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	URL   string `json:"url"`            // of the endpoint
	Open  bool   `json:"open,omitempty"` // it asks for no login
	// StepUp adds a step: a tool that needs more scopes than the login asks for.
	StepUp bool `json:"step_up,omitempty"`
}

// Handler serves the page with a column for each target.
func Handler(targets ...Target) http.Handler {
	mux := http.NewServeMux()
	static := http.FileServerFS(files)
	mux.Handle("GET /{$}", static)
	mux.Handle("GET /page.js", static)
	mux.HandleFunc("GET /targets.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(targets)
	})
	return mux
}
