package mcpauthbridge

import (
	"errors"
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// serveMiddleware lets the handlers that follow answer, and does to their
// answer what the transport does to an upstream's.
func (h *Handler) serveMiddleware(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, q *request) error {
	mw := &middlewareWriter{
		ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w},
		q:                     q,
		own:                   w.Header().Clone(),
	}
	q.Host = r.Host
	err := next.ServeHTTP(mw, r)
	if !mw.wroteHeader {
		if err == nil {
			mw.editHeader(http.StatusOK)
		} else if status := mw.editHeader(errorStatus(err)); mw.dropBody {
			w.Header().Del("Content-Length") // the site's error routes have a body
			// Wrapped, err would keep its status.
			return caddyhttp.Error(status, errors.New("refused by a handler that follows: "+err.Error()))
		}
	}
	return err
}

func errorStatus(err error) int {
	if handlerErr, ok := errors.AsType[caddyhttp.HandlerError](err); ok && handlerErr.StatusCode != 0 {
		return handlerErr.StatusCode
	}
	return http.StatusInternalServerError
}

// middlewareWriter edits the response header at the moment when it is
// written. It overrides every method that would write it.
type middlewareWriter struct {
	*caddyhttp.ResponseWriterWrapper
	q           *request
	own         http.Header // what stood there before the handlers that follow
	wroteHeader bool
	dropBody    bool
}

// WriteHeader implements http.ResponseWriter.
func (w *middlewareWriter) WriteHeader(status int) {
	if w.wroteHeader {
		return
	}
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.wroteHeader = true
		status = w.editHeader(status)
	}
	w.ResponseWriterWrapper.WriteHeader(status)
}

// editHeader applies the endpoint's policy to the header and returns the
// status to send.
func (w *middlewareWriter) editHeader(status int) int {
	h := w.Header()
	res := &http.Response{StatusCode: status, Header: h, Body: http.NoBody, Request: w.q.r}
	w.q.Status, w.q.Challenge = status, h["Www-Authenticate"]
	w.q.Edit(&w.q.Record, res)
	for _, name := range []string{"Access-Control-Allow-Origin", "Access-Control-Expose-Headers"} {
		if v := w.own[name]; v != nil {
			h[name] = v
		}
	}
	if w.own["Vary"] != nil && !hasVaryOrigin(h) {
		h["Vary"] = append(h["Vary"], "Origin")
	}
	w.q.varyByForwarded(h)
	w.dropBody = res.StatusCode != status
	return res.StatusCode
}

func hasVaryOrigin(h http.Header) bool {
	for _, v := range h["Vary"] {
		if v == "Origin" {
			return true
		}
	}
	return false
}

// Write implements http.ResponseWriter.
func (w *middlewareWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.dropBody {
		return len(p), nil
	}
	return w.ResponseWriterWrapper.Write(p)
}

// ReadFrom implements io.ReaderFrom; without it the wrapper's would write
// the header unedited.
func (w *middlewareWriter) ReadFrom(r io.Reader) (int64, error) {
	w.WriteHeader(http.StatusOK)
	if w.dropBody {
		return io.Copy(io.Discard, r)
	}
	return w.ResponseWriterWrapper.ReadFrom(r)
}

// FlushError implements the interface of http.ResponseController, for the
// same reason.
func (w *middlewareWriter) FlushError() error {
	w.WriteHeader(http.StatusOK)
	return http.NewResponseController(w.ResponseWriter).Flush()
}
