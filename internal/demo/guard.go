package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// adminTool is the tool that needs ScopeAdmin.
const adminTool = "admin_secret"

// maxBody bounds the body that the guard reads, in bytes.
const maxBody = 4 << 20

type subjectKey struct{}

// subjectOf returns who is logged in.
func subjectOf(ctx context.Context) string {
	subject, _ := ctx.Value(subjectKey{}).(string)
	if subject == "" {
		return "somebody"
	}
	return subject
}

// accessToken is what the guard reads of an access token (RFC 9068).
type accessToken struct {
	jwt.Claims
	Scope string `json:"scope"`
}

// guard lets requests with a good token through and answers the others as
// RFC 6750 section 3 has it: the status is that of the very request.
func (d *Demo) guard(next http.Handler, path string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, raw, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") || raw == "" {
			d.challenge(w, path, http.StatusUnauthorized, "", "", ScopeRead)
			return
		}
		token, err := d.verify(raw)
		if err != nil {
			d.challenge(w, path, http.StatusUnauthorized, "invalid_token", err.Error(), ScopeRead)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			http.Error(w, "body too large", http.StatusRequestEntityTooLarge)
			return
		}
		if need := neededScope(body); !slices.Contains(strings.Fields(token.Scope), need) {
			d.challenge(w, path, http.StatusForbidden, "insufficient_scope", "this needs "+need, need)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), subjectKey{}, token.Subject)))
	})
}

// neededScope is the scope that a message needs.
func neededScope(body []byte) string {
	var message struct {
		Method string `json:"method"`
		Params struct {
			Name string `json:"name"`
		} `json:"params"`
	}
	if json.Unmarshal(body, &message) == nil && message.Method == "tools/call" && message.Params.Name == adminTool {
		return ScopeAdmin
	}
	return ScopeRead
}

// verify checks an access token: signature, issuer, time and audience.
func (d *Demo) verify(raw string) (*accessToken, error) {
	parsed, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return nil, errors.New("this is no token of ours")
	}
	var token accessToken
	if err := parsed.Claims(d.as.publicKey(), &token); err != nil {
		return nil, errors.New("the signature is wrong")
	}
	if err := token.ValidateWithLeeway(jwt.Expected{Issuer: d.issuer, AnyAudience: d.resources(), Time: time.Now()}, 0); err != nil {
		switch {
		case errors.Is(err, jwt.ErrExpired):
			return nil, errors.New("the token expired")
		case errors.Is(err, jwt.ErrInvalidAudience):
			return nil, fmt.Errorf("the audience is not %s", strings.Join(d.resources(), " or "))
		}
		return nil, errors.New("the token is not valid here")
	}
	return &token, nil
}

// challenge answers 401 or 403.
func (d *Demo) challenge(w http.ResponseWriter, path string, status int, code, description, scope string) {
	h := w.Header()
	line := "Bearer "
	if code != "" {
		line += fmt.Sprintf(`error="%s", error_description="%s", `, code, description)
	}
	if d.opts.Challenge != ShapeBare {
		line += fmt.Sprintf(`resource_metadata="%s", `, d.metadataURL(path))
	}
	line += fmt.Sprintf(`scope="%s"`, scope)
	switch d.opts.Challenge {
	case ShapeNone:
	case ShapeSeveral:
		h.Add("WWW-Authenticate", `Negotiate`)
		h.Add("WWW-Authenticate", `Basic realm="old clients", charset="UTF-8" , `+line+`, DPoP algs="ES256"`)
	default:
		h.Add("WWW-Authenticate", line)
	}
	h.Set("Content-Type", "application/json")
	if code == "" {
		code, description = "unauthorized", "log in first"
	}
	body, err := json.Marshal(map[string]string{"error": code, "error_description": description})
	if err != nil {
		http.Error(w, "", http.StatusInternalServerError)
		return
	}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
