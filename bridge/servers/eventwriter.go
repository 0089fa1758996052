package servers

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/ratewriter"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// Source is the sequence of messages for one HTTP response.
type Source interface {
	// Take returns the messages that the client has not been given yet, the sequence
	// number of the first, and whether nothing follows.
	Take() (batch []Event, seq int, over bool)
	// Wake is signalled when Take returns something new.
	Wake() <-chan struct{}
	// Prime is called before a client that waits is given an id to resume with ([EventWriter]).
	Prime()
	// Alone decides whether a response that is the only message so far is sent as JSON, without
	// an event stream. It returns the HTTP status for that, or 0 for an event stream.
	Alone(e Event, seq int, over bool) (status int)
}

// EventWriter writes messages to a client: as JSON, or as server-sent events.
type EventWriter struct {
	w      http.ResponseWriter
	to     *ratewriter.Writer // to w
	bounds func() Bounds
	Number int  // of the stream, in the ids of its events
	begun  bool // the header was sent
	Plain  bool // events have no ids
	// Resumable makes a stream without a message for [primeAfter] begin with an event that has an
	// id and no data. With it a client whose connection breaks can ask for the messages that come
	// after (MCP specification 2025-11-25, "Streamable HTTP").
	Resumable bool
}

// primeAfter is how long a stream that can be resumed may be without a message before its client
// gets an id. The specification says that servers should send it at once. Then every answer would
// be an event stream, also those that come too soon for a connection to break.
const primeAfter = 5 * time.Second

// Pump writes the messages of a source, until nothing follows or the client leaves. It writes a
// comment if there was no message for [Bounds.KeepAlive]. A resumable stream that has not begun
// gets an event without data first, after [primeAfter].
func (o *EventWriter) Pump(ctx context.Context, from Source) {
	idle := o.bounds().KeepAlive
	if o.Resumable && !o.begun {
		idle = min(idle, primeAfter)
	}
	keepAlive := time.NewTimer(idle)
	defer keepAlive.Stop()
	for {
		batch, seq, over := from.Take()
		if !o.begun && len(batch) == 1 && batch[0].Response {
			if status := from.Alone(batch[0], seq, over); status != 0 {
				if refusal := batch[0].Refusal(); refusal != nil {
					refusal.Write(o.w, batch[0].More.ID)
					return
				}
				o.Answer(status, batch[0].Raw)
				return
			}
		}
		if (len(batch) > 0 || over) && !o.begun && o.Begin() != nil {
			return
		}
		for i, e := range batch {
			if o.event(seq+i, e.Raw) != nil {
				return
			}
		}
		if over {
			return
		}
		if len(batch) > 0 {
			if o.to.Flush() != nil {
				return
			}
			keepAlive.Reset(o.bounds().KeepAlive)
			continue
		}
		o.to.CaughtUp()
		select {
		case <-from.Wake():
		case <-ctx.Done():
			return
		case <-keepAlive.C:
			if o.idle(from) != nil {
				return
			}
			keepAlive.Reset(o.bounds().KeepAlive)
		}
	}
}

// Answer writes one message as the whole answer.
func (o *EventWriter) Answer(status int, raw []byte) {
	header := o.w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(raw)))
	o.w.WriteHeader(status)
	_, _ = o.to.Write(raw)
}

// Begin sends the header of an event stream.
func (o *EventWriter) Begin() error {
	o.begun = true
	header := o.w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-cache, no-transform")
	header.Set("X-Accel-Buffering", "no")
	o.w.WriteHeader(http.StatusOK)
	return o.to.Flush()
}

// event writes one message, which has no line end.
func (o *EventWriter) event(seq int, raw []byte) error {
	var head bytes.Buffer
	if !o.Plain {
		head.WriteString("id: ")
		head.WriteString(EventID(o.Number, seq))
		head.WriteByte('\n')
	}
	head.WriteString("event: message\ndata: ")
	b := bufio.NewWriterSize(o.to, 4<<10)
	_, _ = b.Write(head.Bytes())
	_, _ = b.Write(raw)
	_, _ = b.WriteString("\n\n")
	return b.Flush()
}

// idle writes to a client that waits: a comment, so that proxies do not close the connection, or
// the first event of a stream that can be resumed.
func (o *EventWriter) idle(from Source) error {
	text := ": \n\n"
	if !o.begun {
		if o.Resumable {
			from.Prime()
			text = "id: " + EventID(o.Number, -1) + "\ndata: \n\n"
		}
		if err := o.Begin(); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(o.to, text); err != nil {
		return err
	}
	return o.to.Flush()
}

// Event is one message on a stream. A session keeps many of them, so an event is small beside
// the bytes of the message.
type Event struct {
	Raw      []byte
	More     *Details // nil for most messages
	Response bool
	Failed   bool // it is a response with an error
}

// Details are what has to be known of some messages beside their bytes: of requests of the
// server, of responses to initialize, and of refusals.
type Details struct {
	ID      []byte // of a request of the server, or of a refused request, as it is written
	Request bool   // it is a request of the server
	Version string // of a response to initialize
	// Refusal is why the response is an error. It is nil if the server has not refused the
	// HTTP request.
	Refusal *upstream.Refusal
}

// DetailsOf returns the details of a message, or nil if it needs none. cause is the refusal
// because of which a response is an error; nil if there is none.
func DetailsOf(m *message.Message, cause *upstream.Refusal) *Details {
	if m.Kind != message.Request && m.Version == "" && cause == nil {
		return nil
	}
	return &Details{ID: m.RawID, Request: m.Kind == message.Request, Version: m.Version, Refusal: cause}
}

// Refusal returns why the response is an error; nil if the server has not refused the
// request.
func (e *Event) Refusal() *upstream.Refusal {
	if e.More == nil {
		return nil
	}
	return e.More.Refusal
}

// Version returns the version in a response to initialize.
func (e *Event) Version() string {
	if e.More == nil {
		return ""
	}
	return e.More.Version
}

// EventID is the id of an event on a stream. If seq is -1 it is the id of the event without data in
// front of event 0, which is the number of the stream alone.
func EventID(number, seq int) string {
	if seq < 0 {
		return strconv.Itoa(number)
	}
	return strconv.Itoa(number) + "-" + strconv.Itoa(seq)
}

// Announce writes the event `endpoint` of HTTP+SSE, with the URL that the client posts messages to.
func (o *EventWriter) Announce(address string) error {
	if _, err := io.WriteString(o.to, "event: endpoint\ndata: "+address+"\n\n"); err != nil {
		return err
	}
	return o.to.Flush()
}
