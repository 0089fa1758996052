package bridge

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stdio"
)

// sessionHeader names the session (MCP specification 2025-03-26, "Session
// Management").
const sessionHeader = "Mcp-Session-Id"

// handshakeVersions are the revisions that begin with initialize, oldest first.
var handshakeVersions = []string{"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"}

// ServeHTTP is Streamable HTTP, with sessions (MCP specification 2025-03-26 to
// 2025-11-25) and without (2026-07-28). Origin, CORS and the size of the body are the
// caller's.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodPost:
		h.post(w, r)
	case http.MethodGet:
		h.get(w, r)
	case http.MethodDelete:
		h.delete(w, r)
	default:
		w.Header().Set("Allow", "GET, POST, DELETE")
		refuse(w, http.StatusMethodNotAllowed, nil, message.CodeInvalidRequest, "use GET, POST or DELETE")
	}
}

// refuse answers with a JSON-RPC error.
func refuse(w http.ResponseWriter, status int, id []byte, code int, text string) {
	writeJSON(w, status, message.Error(id, code, text))
}

// accepts reports whether an Accept field takes a media type.
func accepts(r *http.Request, want ...string) bool {
	accept := strings.ToLower(strings.Join(r.Header["Accept"], ","))
	if accept == "" {
		return true
	}
	for _, mediaType := range want {
		major, _, _ := strings.Cut(mediaType, "/")
		if !strings.Contains(accept, mediaType) && !strings.Contains(accept, "*/*") && !strings.Contains(accept, major+"/*") {
			return false
		}
	}
	return true
}

// session finds the session that a request names, and enters it. It answers where
// there is none: 404 has a client initialize again.
func (h *Hub) session(w http.ResponseWriter, r *http.Request, id []byte) *session {
	ids := r.Header[sessionHeader]
	if len(ids) != 1 || ids[0] == "" {
		if !h.refuseStranger(w, r, id) {
			refuse(w, http.StatusBadRequest, id, message.CodeServer, "the request needs one Mcp-Session-Id; begin with initialize")
		}
		return nil
	}
	s := h.find(ids[0])
	if s == nil || s.one || !h.owns(s, r) || !s.enter() {
		if !h.refuseStranger(w, r, id) {
			refuseGone(w, id)
		}
		return nil
	}
	return s
}

// refuseGone says that the session is over, or never was.
func refuseGone(w http.ResponseWriter, id []byte) {
	refuse(w, http.StatusNotFound, id, message.CodeServer, "there is no such session; begin again with initialize")
}

// knownVersion reports whether a request names a revision that is served. One
// without the field is of 2025-03-26, or of the session.
func knownVersion(r *http.Request) bool {
	lines := r.Header["Mcp-Protocol-Version"]
	if len(lines) == 0 {
		return true
	}
	for _, known := range handshakeVersions {
		if len(lines) == 1 && lines[0] == known {
			return true
		}
	}
	return false
}

// readPost reads the messages of a POST. It answers where there are none.
func readPost(w http.ResponseWriter, r *http.Request) (all []message.Message, batch, ok bool) {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) || mediaType != "application/json" {
		refuse(w, http.StatusUnsupportedMediaType, nil, message.CodeInvalidRequest, "the body has to be application/json")
		return nil, false, false
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		RefuseBody(w, err)
		return nil, false, false
	}
	all, err = readMessages(body)
	if err != nil {
		code := message.CodeInvalidRequest
		if errors.Is(err, message.ErrSyntax) {
			code = message.CodeParse
		}
		refuse(w, http.StatusBadRequest, nil, code, "the body "+err.Error())
		return nil, false, false
	}
	noteMessages(r, all)
	return all, message.IsBatch(body), true
}

func (h *Hub) post(w http.ResponseWriter, r *http.Request) {
	if !accepts(r, "application/json", "text/event-stream") {
		refuse(w, http.StatusNotAcceptable, nil, message.CodeInvalidRequest, "Accept has to list application/json and text/event-stream")
		return
	}
	all, batch, ok := readPost(w, r)
	if !ok {
		return
	}
	if isStateless(r, all) {
		h.postStateless(w, r, all, batch)
		return
	}
	first := all[0]
	if !knownVersion(r) {
		// No error of the stateless revisions: a client that knows both takes
		// this for a server of before, and initializes.
		refuse(w, http.StatusBadRequest, first.RawID, message.CodeServer,
			"unsupported protocol version; supported are "+strings.Join(handshakeVersions, ", "))
		return
	}
	if first.Kind == message.Request && first.Method == "initialize" {
		h.initialize(w, r, all)
		return
	}
	s := h.session(w, r, first.RawID)
	if s == nil {
		return
	}
	defer s.leave()
	s.post(w, r, all, batch)
}

// maxBatch bounds the messages of a batch: each may be a request to the server.
const maxBatch = 1000

var errBatchTooLong = errors.New("is a batch of too many messages")

// readMessages reads a body: one message, or a batch of 2025-03-26.
func readMessages(body []byte) ([]message.Message, error) {
	raws := [][]byte{body}
	if message.IsBatch(body) {
		var err error
		if raws, err = message.Batch(body); err != nil {
			return nil, err
		}
		if len(raws) > maxBatch {
			return nil, errBatchTooLong
		}
	}
	all := make([]message.Message, 0, len(raws))
	for _, raw := range raws {
		m, err := message.Parse(raw)
		if err != nil {
			return nil, err
		}
		m.Raw = message.Line(m.Raw)
		all = append(all, m)
	}
	return all, nil
}

// initialize starts a session. One whose initialize fails is none: there is no id
// and no server left (A8).
func (h *Hub) initialize(w http.ResponseWriter, r *http.Request, all []message.Message) {
	m := all[0]
	if len(all) > 1 {
		refuse(w, http.StatusBadRequest, m.RawID, message.CodeInvalidRequest, "initialize cannot be part of a batch")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), h.cfg.StartTimeout)
	defer cancel()
	s, err := h.open(ctx, r)
	if err != nil {
		h.refuseStart(w, m.RawID, err)
		return
	}
	rd := newReader()
	st, ok := s.ask(all, rd)
	if !ok {
		err = errPeerEnded
	} else {
		err = s.peer.Send(r.WithContext(ctx), m.Raw)
	}
	if err != nil {
		s.mu.Lock()
		s.stillborn = ctx.Err() == nil
		s.mu.Unlock()
		h.end(s, EndServer)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = &Refusal{Status: http.StatusGatewayTimeout}
		}
		if _, ok := errors.AsType[*Refusal](err); !ok {
			err = &Refusal{Status: http.StatusBadGateway}
		}
		s.refuseSend(w, r, m.RawID, err)
		return
	}
	answer, ok := s.wait(ctx, st, rd)
	if !ok {
		h.end(s, EndServer)
		refuse(w, http.StatusGatewayTimeout, m.RawID, message.CodeInternal, "the server did not answer in time")
		return
	}
	result, err := message.Parse(answer.raw)
	switch {
	case s.isEnded():
		refuse(w, http.StatusBadGateway, m.RawID, message.CodeInternal, "the server has ended")
		return
	case answer.refusal != nil:
		h.end(s, EndServer)
		answer.refusal.write(w, m.RawID)
		return
	case err != nil || result.Failed || !h.admit(s, result.Version):
		h.end(s, EndServer)
	default:
		w.Header().Set(sessionHeader, s.id)
		noteSession(r, s)
	}
	writeJSON(w, http.StatusOK, answer.raw)
}

// refuseStart says why no session can be had now.
func (h *Hub) refuseStart(w http.ResponseWriter, id []byte, err error) {
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		refusal.write(w, id)
		return
	}
	status, text := http.StatusBadGateway, "the server could not be started"
	switch {
	case errors.Is(err, ErrTooManySessions), errors.Is(err, ErrBackoff), errors.Is(err, ErrHubClosed):
		status, text = http.StatusServiceUnavailable, err.Error()
		wait := h.retryAfter()
		if errors.Is(err, ErrTooManySessions) {
			wait = 10 * time.Second
		}
		w.Header().Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
	default:
		h.cfg.Warn("server could not be started", err.Error())
	}
	refuse(w, status, id, message.CodeInternal, text)
}

// wait returns the one message that a stream ends with. What else the server says
// before that goes to the session's own stream.
func (s *session) wait(ctx context.Context, st *stream, rd *reader) (answer event, ok bool) {
	for {
		s.mu.Lock()
		for len(st.events) > 0 && !st.events[0].response {
			s.general.add(st.forget())
		}
		if len(st.events) > 0 {
			answer = st.forget()
			s.dropStream(st)
			s.mu.Unlock()
			return answer, true
		}
		s.mu.Unlock()
		select {
		case <-rd.wake:
		case <-ctx.Done():
			return answer, false
		}
	}
}

// post takes the messages of one POST to the server.
func (s *session) post(w http.ResponseWriter, r *http.Request, all []message.Message, batch bool) {
	if batch && s.version > "2025-03-26" {
		refuse(w, http.StatusBadRequest, nil, message.CodeInvalidRequest, "this protocol version has no batches")
		return
	}
	rd := newReader()
	st, ok := s.forward(w, r, all, rd)
	switch {
	case !ok:
	case st == nil:
		w.WriteHeader(http.StatusAccepted)
	default:
		s.serve(w, r, st, rd, batch)
	}
}

// forward sends the messages of one POST on, and returns the stream of the answers
// to the requests among them, which rd reads. It answers where the server does not
// take them.
func (s *session) forward(w http.ResponseWriter, r *http.Request, all []message.Message, rd *reader) (st *stream, ok bool) {
	var requests []message.Message
	for _, m := range all {
		if m.Kind == message.Request {
			requests = append(requests, m)
		}
	}
	id := all[0].RawID
	if len(requests) > 0 {
		if st, ok = s.ask(requests, rd); !ok {
			if s.isEnded() { // since the request has found it
				refuseGone(w, id)
				return nil, false
			}
			refuse(w, http.StatusBadRequest, id, message.CodeInvalidRequest, "the id is in use, or too many requests are under way")
			return nil, false
		}
	}
	for _, m := range all {
		if err := s.peer.Send(r, m.Raw); err != nil {
			if st != nil {
				s.unask(st, requests)
			}
			s.refuseSend(w, r, id, err)
			return nil, false
		}
	}
	for _, m := range all {
		if m.Cancels != "" {
			s.cancelled(m.Cancels)
		}
	}
	return st, true
}

// refuseSend answers a request that could not be sent on.
func (s *session) refuseSend(w http.ResponseWriter, r *http.Request, id []byte, err error) {
	refusal, ok := errors.AsType[*Refusal](err)
	switch {
	case ok:
		refusal.write(w, id)
	case s.isEnded(), errors.Is(err, errPeerEnded):
		if !s.hub.refuseStranger(w, r, id) {
			refuseGone(w, id)
		}
	case errors.Is(err, stdio.ErrFrameTooLong):
		(&Refusal{Status: http.StatusRequestEntityTooLarge}).write(w, id)
	default:
		refuse(w, http.StatusServiceUnavailable, id, message.CodeInternal, "the server takes no messages now")
	}
}

// check asks a server that decides on each request whether it takes one that it does
// not get itself. It returns true where the request is answered.
func (s *session) check(w http.ResponseWriter, r *http.Request) (done bool) {
	c, ok := s.peer.(checker)
	if !ok {
		return false
	}
	err := c.Check(r)
	if err != nil {
		s.refuseSend(w, r, nil, err)
	}
	return err != nil
}

func (h *Hub) get(w http.ResponseWriter, r *http.Request) {
	if !accepts(r, "text/event-stream") {
		refuse(w, http.StatusNotAcceptable, nil, message.CodeInvalidRequest, "Accept has to list text/event-stream")
		return
	}
	s := h.session(w, r, nil)
	if s == nil {
		return
	}
	defer s.leave()
	if s.check(w, r) {
		return
	}
	rd := newReader()
	st, ok := s.resume(r.Header.Get("Last-Event-Id"), rd)
	if !ok {
		refuse(w, http.StatusBadRequest, nil, message.CodeInvalidRequest, "the events after Last-Event-ID are not kept any more")
		return
	}
	s.serve(w, r, st, rd, true)
}

// resume has rd read the stream that an event id belongs to, from what follows it;
// no id: the session's own stream, from what nobody has read.
func (s *session) resume(last string, rd *reader) (st *stream, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last == "" {
		return s.general, s.general.attach(rd, s.general.read)
	}
	number, seq, _ := strings.Cut(last, "-")
	n, err := strconv.Atoi(number)
	at, err2 := strconv.Atoi(seq)
	if err != nil || err2 != nil || at < 0 || last != eventID(n, at) {
		return nil, false
	}
	if n == 0 {
		st = s.general
	}
	for _, other := range s.streams {
		if other.number == n {
			st = other
		}
	}
	return st, st != nil && st.attach(rd, at+1)
}

// eventID is the id of an event on a stream.
func eventID(number, seq int) string { return strconv.Itoa(number) + "-" + strconv.Itoa(seq) }

// serve writes a stream to a client, whose reader is rd: as JSON where it is one
// answer alone, else as events. It ends with the stream, with the client, or when another request takes
// the stream over; the stream itself stays for a client that comes back.
func (s *session) serve(w http.ResponseWriter, r *http.Request, st *stream, rd *reader, events bool) {
	defer func() {
		s.mu.Lock()
		st.detach(rd)
		s.hold(rd, 0)
		s.mu.Unlock()
	}()
	out := &eventWriter{w: w, to: newPatientWriter(w, s.hub.cfg.Stall), number: st.number}
	if events && out.begin() != nil {
		return
	}
	s.pump(r, st, rd, out)
}

// pump writes what comes on a stream.
func (s *session) pump(r *http.Request, st *stream, rd *reader, out *eventWriter) {
	quiet := time.NewTimer(s.hub.cfg.KeepAlive)
	defer quiet.Stop()
	for {
		batch, seq, over := s.take(st, rd)
		if !out.begun && over && len(batch) == 1 && seq == 0 && batch[0].response {
			s.spend(st) // first: the client's next request need not find it kept
			if refusal := batch[0].refusal; refusal != nil {
				refusal.write(out.w, batch[0].id)
				return
			}
			out.answer(http.StatusOK, batch[0].raw)
			return
		}
		if len(batch) > 0 && !out.begun && out.begin() != nil {
			return
		}
		for i, e := range batch {
			if out.event(seq+i, e.raw) != nil {
				return
			}
		}
		if over {
			if !out.begun {
				_ = out.begin() // there is no answer to a request that was cancelled
			}
			return
		}
		if len(batch) > 0 {
			if out.to.Flush() != nil {
				return
			}
			quiet.Reset(s.hub.cfg.KeepAlive)
			continue
		}
		select {
		case <-rd.wake:
		case <-r.Context().Done():
			return
		case <-quiet.C:
			if out.comment() != nil {
				return
			}
			quiet.Reset(s.hub.cfg.KeepAlive)
		}
	}
}

// take returns what a reader has not been given yet, with the sequence number of
// the first, and whether nothing follows for it.
func (s *session) take(st *stream, rd *reader) (batch []event, seq int, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if rd.gone {
		return nil, 0, true
	}
	seq = max(st.read, st.first)
	size := 0
	for _, e := range st.events[seq-st.first:] {
		if len(batch) > 0 && size+len(e.raw) > maxTake {
			break
		}
		size += len(e.raw)
		batch = append(batch, e)
	}
	s.hold(rd, size)
	st.read = seq + len(batch)
	for s.one && st.first < st.read { // nobody comes back for them
		st.forget()
	}
	return batch, seq, st.done && st.read == st.end()
}

// eventWriter writes server-sent events.
type eventWriter struct {
	w      http.ResponseWriter
	to     *patientWriter // to w
	number int
	begun  bool
	plain  bool // events have no ids
}

// answer writes one answer alone.
func (o *eventWriter) answer(status int, raw []byte) {
	header := o.w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(raw)))
	o.w.WriteHeader(status)
	_, _ = o.to.Write(raw)
}

// begin sends the header.
func (o *eventWriter) begin() error {
	o.begun = true
	header := o.w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-cache, no-transform")
	header.Set("X-Accel-Buffering", "no")
	o.w.WriteHeader(http.StatusOK)
	return o.to.Flush()
}

// event writes one message, which has no line end.
func (o *eventWriter) event(seq int, raw []byte) error {
	var head bytes.Buffer
	if !o.plain {
		head.WriteString("id: ")
		head.WriteString(eventID(o.number, seq))
		head.WriteByte('\n')
	}
	head.WriteString("event: message\ndata: ")
	b := bufio.NewWriterSize(o.to, 4<<10)
	_, _ = b.Write(head.Bytes())
	_, _ = b.Write(raw)
	_, _ = b.WriteString("\n\n")
	return b.Flush()
}

// comment keeps a quiet connection open.
func (o *eventWriter) comment() error {
	if !o.begun {
		if err := o.begin(); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(o.to, ": \n\n"); err != nil {
		return err
	}
	return o.to.Flush()
}

func (h *Hub) delete(w http.ResponseWriter, r *http.Request) {
	s := h.session(w, r, nil)
	if s == nil {
		return
	}
	defer s.leave()
	if s.check(w, r) {
		return
	}
	h.end(s, EndClient)
	w.WriteHeader(http.StatusNoContent)
}
