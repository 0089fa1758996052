package status

import (
	"crypto/sha256"
	_ "embed" // of the page
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

var (
	//go:embed page/page.html
	pageHTML string
	//go:embed page/page.css
	pageCSS string
	//go:embed page/page.js
	pageJS string

	page = strings.NewReplacer("{{style}}", pageCSS, "{{script}}", pageJS).Replace(pageHTML)

	// policy lets the page run its own script and nothing else. The page may connect to
	// any host, because endpoints and authorization servers may be anywhere.
	policy = "default-src 'none'; script-src " + hashOf(pageJS) + "; style-src " + hashOf(pageCSS) +
		"; connect-src http: https:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)

// hashOf is the source expression of an inline script or style, as in
// https://www.w3.org/TR/CSP3/#grammardef-hash-source.
func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// ServePage answers with a page that shows the endpoints, or with what the page shows if the
// request has the query `json`. known has to say that the request names this server by a
// name that no page elsewhere can have.
func (a API) ServePage(w http.ResponseWriter, r *http.Request, known bool) error {
	h := w.Header()
	for name, value := range map[string]string{
		"Cache-Control": "no-store", "Content-Security-Policy": policy, "Cross-Origin-Opener-Policy": "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
	} {
		h.Set(name, value)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		return caddyhttp.Error(http.StatusMethodNotAllowed, errors.New("the status page is for reading"))
	}
	state := r.URL.Query().Has("json")
	if !fromItself(r, state) {
		return caddyhttp.Error(http.StatusForbidden, errors.New("the status page was asked for by another site"))
	}
	if !known {
		return caddyhttp.Error(http.StatusForbidden, errors.New("the status page was asked for by a name that the configuration does not have: put it into the address of the site, or the proxy before it into trusted_proxies"))
	}
	if state {
		return writeJSON(w, r, answerOf(a.Endpoints()))
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	if r.Method == http.MethodHead {
		return nil
	}
	_, err := io.WriteString(w, page)
	return err
}

// fromItself reports whether a request comes from the page itself, or from a user who opens the
// page. A link on another site may lead to the page, which then opens in its own window. No other
// site can load a part of the page, or read what it shows.
func fromItself(r *http.Request, state bool) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
		return true
	}
	opens := r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
	return !state && opens
}
