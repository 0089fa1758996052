package session

import (
	"slices"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
)

// This file bounds what the streams of a session keep. All methods need the lock of the streams.

// maxFinished bounds the finished streams that are kept for a client whose connection broke.
const maxFinished = 16

// trim keeps the events of a session within [servers.Bounds.Buffer]. First it drops events that
// were read, then the oldest unread events of the general stream, then those of POSTs. It does
// not drop an unread answer, unless there are more than maxFinished finished streams.
func (b *streams) trim() {
	finished := 0
	for _, st := range b.posts {
		if st.done && st.reader == nil {
			finished++
		}
	}
	for i := 0; i < len(b.posts) && finished > maxFinished; {
		if st := b.posts[i]; st.done && st.reader == nil {
			b.discard(st)
			finished--
			continue
		}
		i++
	}
	all := b.all()
	total := 0
	for _, st := range all {
		total += st.used
	}
	bound := b.servers.Bounds().Buffer
	for _, st := range all {
		for total > bound && len(st.events) > 0 && st.first < st.read {
			total -= len(st.forget().Raw)
		}
	}
	for _, st := range all {
		for total > bound {
			e, ok := st.drop()
			if !ok {
				break
			}
			total -= len(e.Raw)
			b.refuseUnread(e)
		}
	}
}

// refuseUnread answers an event that no client will read with an error, if it is a request of
// the server.
func (b *streams) refuseUnread(e servers.Event) {
	if e.More != nil && e.More.Request {
		b.out.Post(message.NewError(e.More.ID, message.CodeInternal, "no client takes requests"))
	}
}

// discard removes a finished stream that no client reads.
func (b *streams) discard(st *stream) {
	for _, e := range st.events[st.read-st.first:] {
		b.refuseUnread(e)
	}
	b.remove(st)
}

// makeRoom reports whether an answer of n bytes may be kept. To make room it removes finished
// streams that no client reads, the oldest first. One answer may always be kept.
func (b *streams) makeRoom(n int) bool {
	for {
		unread := b.unread()
		if unread == 0 || unread+n <= servers.MaxUnread*b.servers.Bounds().Buffer {
			return true
		}
		i := slices.IndexFunc(b.posts, func(st *stream) bool { return st.done && st.reader == nil })
		if i < 0 {
			return false
		}
		b.discard(b.posts[i])
	}
}

// unread returns the bytes of all answers that no client has read yet, and of all messages that
// are being written to clients.
func (b *streams) unread() int {
	n := b.writing
	for _, st := range b.all() {
		for _, e := range st.events[max(st.read, st.first)-st.first:] {
			if e.Response {
				n += len(e.Raw)
			}
		}
	}
	return n
}

// setWriting notes how many bytes a reader is writing to its client.
func (b *streams) setWriting(rd *reader, n int) {
	b.writing += n - rd.writing
	rd.writing = n
	b.room.Broadcast()
}
