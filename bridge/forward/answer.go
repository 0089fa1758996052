// Package forward passes the answer of an upstream on to a client, as Caddy's reverse_proxy
// does: the same header fields, trailers and flushes, with less work and less memory.
package forward

import (
	"io"
	"mime"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"
)

// Immediately is the interval that flushes each write.
const Immediately time.Duration = -1

// Answer writes an answer of an upstream to w: the header, the body, the trailers. It closes
// the body. interval is how often what is written is flushed, as [Interval] returns it. If the
// body cannot be read to its end or cannot be written, Answer returns the error, and what the
// client has got is not complete.
func Answer(w http.ResponseWriter, res *http.Response, interval time.Duration) error {
	header := w.Header()
	copyHeader(header, res)
	announced := len(res.Trailer)
	if announced > 0 {
		names := make([]string, 0, announced)
		for name := range res.Trailer {
			names = append(names, name)
		}
		header.Add("Trailer", strings.Join(names, ", "))
	}
	w.WriteHeader(res.StatusCode)
	err := copyBody(w, res, interval)
	_ = res.Body.Close() // fills in the trailers
	if err != nil || len(res.Trailer) == 0 {
		return err
	}
	// Without it net/http would announce the length of a short body, and a body with a length
	// has no trailers.
	_ = http.NewResponseController(w).Flush()
	prefix := ""
	if len(res.Trailer) != announced {
		prefix = http.TrailerPrefix
	}
	for name, values := range res.Trailer {
		for _, value := range values {
			header.Add(prefix+name, value)
		}
	}
	return nil
}

// Interval returns how often what is written of an answer is flushed. A negative interval is
// after each write, and 0 never. interval is what the operator has set. incremental is true if
// the upstream asks for an incremental answer (RFC 10036).
func Interval(res *http.Response, interval time.Duration, incremental bool) time.Duration {
	if incremental || res.ContentLength == -1 || isEventStream(res.Header) {
		return Immediately
	}
	return interval
}

const eventStream = "text/event-stream"

// isEventStream reports whether the client gets an event stream. A type that belongs to the
// connection is not passed on, and so does not count.
func isEventStream(h http.Header) bool {
	value := h.Get("Content-Type")
	// Most answers are of another type, which is seen without parsing it.
	if value = strings.TrimSpace(value); len(value) < len(eventStream) || !strings.EqualFold(value[:len(eventStream)], eventStream) {
		return false
	}
	mediaType, _, err := mime.ParseMediaType(value)
	return err == nil && mediaType == eventStream && !connectionFields(h)["Content-Type"]
}

// isHopByHop reports whether a field is not passed on, whatever Connection names: those of
// reverse_proxy.
func isHopByHop(name string) bool {
	switch name {
	case "Alt-Svc", "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// copyHeader adds the header of an answer to the header that a client gets. It leaves the
// header of the answer as it is.
func copyHeader(to http.Header, res *http.Response) {
	named := connectionFields(res.Header)
	delete(to, "Server")
	count := 1
	for _, values := range to {
		count += len(values)
	}
	for _, values := range res.Header {
		count += len(values)
	}
	lines := make([]string, 0, count) // one allocation for the values of all fields
	lines = add(to, lines, "Via", via(res))
	for name, values := range res.Header {
		if len(values) == 0 || isHopByHop(name) || named != nil && named[name] {
			continue
		}
		lines = add(to, lines, textproto.CanonicalMIMEHeaderKey(name), values...)
	}
}

// add adds values to a field. It puts all values of the field behind lines, which it returns.
func add(to http.Header, lines []string, name string, values ...string) []string {
	from := len(lines)
	lines = append(append(lines, to[name]...), values...)
	to[name] = lines[from:len(lines):len(lines)]
	return lines
}

// connectionFields returns the names of the fields that belong to the connection.
func connectionFields(h http.Header) map[string]bool {
	lines := h["Connection"]
	if len(lines) == 0 {
		return nil
	}
	named := make(map[string]bool)
	for _, line := range lines {
		for name := range strings.SplitSeq(line, ",") {
			if name = textproto.TrimString(name); name != "" {
				named[textproto.CanonicalMIMEHeaderKey(name)] = true
			}
		}
	}
	return named
}

// via is the line that this server adds to Via.
func via(res *http.Response) string {
	if res.ProtoMajor == 1 && res.ProtoMinor == 1 && res.Proto == "HTTP/1.1" {
		return "1.1 Caddy"
	}
	prefix := ""
	if !strings.HasPrefix(strings.ToUpper(res.Proto), "HTTP/") {
		prefix = res.Proto[:strings.Index(res.Proto, "/")+1]
	}
	return prefix + strconv.Itoa(res.ProtoMajor) + "." + strconv.Itoa(res.ProtoMinor) + " Caddy"
}

// copyBody copies the body of an answer.
func copyBody(w http.ResponseWriter, res *http.Response, interval time.Duration) error {
	var to io.Writer = w
	if interval != 0 {
		f := newFlusher(w, interval)
		defer f.stop()
		to = f
	}
	b := bufferFor(res)
	defer b.release()
	for {
		n, err := res.Body.Read(b.bytes)
		if n > 0 {
			written, failed := to.Write(b.bytes[:n])
			if failed != nil {
				return failed
			}
			if written != n {
				return io.ErrShortWrite
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		b.fit(n)
	}
}
