package filter

import (
	"net/http"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// maxWatched bounds, in bytes, a message that [Watch] looks at.
const maxWatched = 64 << 10

// Watch returns a writer to w that passes on all that it gets, and shows each message to see before
// the client has the whole message. Of an answer that cannot be read no message is shown. A message
// of more than 64 KiB is not shown, and neither is what follows it. header, which may be nil, is
// called before the header of the answer is sent.
func Watch(w http.ResponseWriter, see func(raw []byte), header func(http.Header)) *Writer {
	writer := &Writer{to: w, header: header}
	writer.mode = &watcher{see: see, writer: writer}
	return writer
}

// watcher is the mode of a writer that shows messages.
type watcher struct {
	see    func(raw []byte)
	writer *Writer
}

func (v *watcher) open(to http.ResponseWriter, status int, h http.Header) body {
	kind, err := kindOf(status, h)
	switch {
	case err != nil || kind == noMessages:
		return passed{to}
	case kind == inEvents:
		return &watchedEvents{watcher: v, passed: passed{to}}
	}
	return &watchedDocument{watcher: v, passed: passed{to}}
}

// document shows the messages of a JSON document.
func (v *watcher) document(text []byte) {
	if !message.IsBatch(text) {
		v.see(text)
		return
	}
	all, err := message.Elements(text, message.MaxBatch)
	if err != nil {
		return
	}
	for _, one := range all {
		v.see(one)
	}
}

// giveUp sends what is held of a body, and passes on what follows.
func (v *watcher) giveUp(to passed, held []byte) error {
	v.writer.body = to
	_, err := to.write(held)
	return err
}

// watchedDocument is a JSON document that is shown, and sent, when all of it was read.
type watchedDocument struct {
	*watcher
	passed
	held []byte
}

func (b *watchedDocument) write(p []byte) (int, error) {
	b.held = append(b.held, p...)
	if len(b.held) > maxWatched {
		return len(p), b.giveUp(b.passed, b.held)
	}
	return len(p), nil
}

func (b *watchedDocument) close() error {
	b.document(b.held)
	return b.giveUp(b.passed, b.held)
}

// watchedEvents is an event stream each event of which is shown, and sent, when it is complete.
type watchedEvents struct {
	*watcher
	passed
	splitter splitter
	err      error
}

func (b *watchedEvents) write(p []byte) (int, error) {
	if b.err == nil {
		b.err = b.splitter.send(b.to, p, maxWatched, b.event)
	}
	if b.err == ErrTooLarge {
		b.err = b.giveUp(b.passed, b.splitter.held)
	}
	if b.err != nil {
		return 0, b.err
	}
	return len(p), nil
}

// event shows the message of an event, and returns the event as it is.
func (b *watchedEvents) event(e event) ([]byte, error) {
	if data, _ := e.read(); data != nil {
		b.document(data)
	}
	return e.raw, nil
}

// close sends text after the last event, too: it may be of use to the client.
func (b *watchedEvents) close() error {
	if b.err != nil {
		return b.err
	}
	return b.giveUp(b.passed, b.splitter.held)
}
