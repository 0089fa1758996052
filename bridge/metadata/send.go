package metadata

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/content"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
)

// Why a document is not read.
var (
	errTooLarge = errors.New("is larger than max_metadata_size")
	errCoding   = errors.New("has a content coding that the bridge cannot read")
)

// get fetches a document from one place. The body is decoded as clients decode it: any media
// type, without content coding and byte order mark, and as UTF-8.
func (d *search) get(ctx context.Context, t target) (FetchResponse, outcome) {
	header := http.Header{"Accept": {"application/json"}, "Accept-Encoding": {"identity"}}
	res, out := d.send(ctx, t, FetchRequest{Method: http.MethodGet, Header: header, MaxBody: d.cfg.MaxSize})
	if out.status != found {
		return res, out
	}
	if res.Status != http.StatusOK {
		return res, outcome{status: absent}
	}
	if res.TooLarge {
		return res, unfit(DocumentInvalid, t.path, "", errTooLarge.Error())
	}
	body, err := content.Decode(res.Header, res.Body, d.cfg.MaxSize)
	var coding *content.CodingError
	switch {
	case errors.Is(err, content.ErrTooLarge):
		return res, unfit(DocumentInvalid, t.path, "", errTooLarge.Error())
	case errors.As(err, &coding):
		return res, unfit(DocumentInvalid, t.path, coding.Coding, errCoding.Error())
	case err != nil:
		return res, unfit(DocumentInvalid, t.path, "", err.Error())
	}
	res.Body = content.Legible(content.WithoutMark(body))
	if int64(len(res.Body)) > d.cfg.MaxSize {
		return res, unfit(DocumentInvalid, t.path, "", errTooLarge.Error())
	}
	return res, outcome{status: found}
}

// send sends a request and follows redirects that stay at the place that was asked and have
// no challenge. The status of the outcome is found if there is a response to look at.
func (d *search) send(ctx context.Context, t target, req FetchRequest) (FetchResponse, outcome) {
	source := t.path
	for range maxRedirects + 1 {
		if err := ctx.Err(); err != nil {
			return FetchResponse{}, ended(err, source)
		}
		req.Path, req.Origin, req.Public = t.path, t.origin, d.pub
		req.Header = req.Header.Clone()
		res, err := d.fetch(ctx, req)
		switch {
		case ctx.Err() != nil:
			return res, ended(ctx.Err(), source)
		case errors.Is(err, errPanic):
			return res, failed(source, "panic", 0)
		case err != nil:
			return res, failed(source, "no response", 0)
		case res.Status == http.StatusRequestTimeout, res.Status == http.StatusTooEarly,
			res.Status == http.StatusTooManyRequests:
			return res, failed(source, "asked to come back later", res.Status)
		case res.Status == http.StatusBadGateway:
			return res, failed(source, "server error", res.Status)
		case res.Status < 200, res.Status >= 500:
			return res, failed(source, "server error", 0)
		case res.Status < 300, res.Status >= 400:
			return res, outcome{status: found}
		}
		next, ok := d.redirect(t, req.Method, res)
		if !ok || req.MaxBody == 0 && len(ChallengeLines(res.Header)) > 0 { // it is asked for its challenge
			return res, unfit(RedirectRefused, source, res.Header.Get("Location"), "redirect to elsewhere")
		}
		t.path = next
	}
	return FetchResponse{}, unfit(RedirectRefused, source, "", "too many redirects")
}

// errPanic says that the transport has panicked.
var errPanic = errors.New("panic")

// fetch calls Config.Fetch and recovers from a panic of the transport.
func (d *search) fetch(ctx context.Context, req FetchRequest) (res FetchResponse, err error) {
	defer func() {
		if recover() != nil {
			err = errPanic
		}
	}()
	return d.cfg.Fetch(ctx, req)
}

// ended returns the outcome of a place that did not answer before ctx ended.
func ended(err error, source string) outcome {
	if errors.Is(err, context.Canceled) {
		return outcome{reason: closed} // the search was ended from here
	}
	return failed(source, "timeout", 0)
}

// redirect returns the request target of a redirect that stays at t. A client does not
// repeat a POST after a 301 or 302; for such a request only a redirect that adds or removes
// the final slash is followed (A10), under any name of the server.
func (d *search) redirect(t target, method string, res FetchResponse) (string, bool) {
	slashOnly := false
	switch res.Status {
	case http.StatusMovedPermanently, http.StatusFound:
		slashOnly = method != http.MethodGet
	case http.StatusSeeOther:
		if method != http.MethodGet {
			return "", false
		}
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return "", false
	}
	raw, _, _ := strings.Cut(res.Header.Get("Location"), "#")
	if raw == "" || !origin.CleanText(raw) || strings.HasPrefix(raw, "//") {
		return "", false
	}
	if u, err := origin.Parse(raw); err == nil {
		raw = u.Path + u.Query
		if u.Path == "" {
			raw = "/" + raw
		}
		use := origin.Fetch
		if sameButSlash(raw, t.path) {
			use = origin.Challenge
		}
		if t.origin != "" {
			if u.Origin() != t.origin {
				return "", false
			}
		} else if !d.up.names.Own(u, d.pub.seen(res.SentHost), use) {
			return "", false
		}
	}
	base, err := url.ParseRequestURI(t.path)
	if err != nil {
		return "", false
	}
	ref, err := url.Parse(raw)
	if err != nil || ref.Scheme != "" || ref.Host != "" || ref.User != nil {
		return "", false
	}
	next := base.ResolveReference(ref).RequestURI()
	return next, !slashOnly || sameButSlash(next, t.path)
}

// sameButSlash reports whether two request targets differ only in the final slash of the
// path.
func sameButSlash(a, b string) bool {
	pathA, queryA, _ := strings.Cut(a, "?")
	pathB, queryB, _ := strings.Cut(b, "?")
	return pathA != pathB && queryA == queryB && strings.TrimSuffix(pathA, "/") == strings.TrimSuffix(pathB, "/")
}

// jsonMedia reports whether a Content-Type is application/json or ends in +json.
func jsonMedia(value string) bool {
	media, _, err := mime.ParseMediaType(value)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return false
	}
	return media == "application/json" ||
		(strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json"))
}
