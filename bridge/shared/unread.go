package shared

import "net"

// maxUnreadShared bounds the unread bytes of all clients of a shared server, as a multiple of the
// bound for one client ([servers.MaxUnread]).
const maxUnreadShared = 8

// textUnread is the error that a client gets in place of an answer that was dropped.
const textUnread = "the answer is dropped: too much that was answered before is still unread"

// unread counts the bytes that the clients of a shared server have not read yet. The server of a
// session may wait for its client. If a shared server did, one client would hold up all others, so
// an answer beyond the bounds is replaced by an error. The lock of the server guards it.
type unread struct {
	all int
	of  map[string]*unreadShare
}

// unreadShare is the part of one client: one owner of requests at one address.
type unreadShare struct {
	client string
	bytes  int
	calls  int // requests of the client that are counted
}

// join begins to count the unread bytes of a request, with those of its client.
func (u *unread) join(k *call) {
	if k.own {
		return // the bridge itself reads at once
	}
	share := u.of[k.client]
	if share == nil {
		if u.of == nil {
			u.of = make(map[string]*unreadShare)
		}
		share = &unreadShare{client: k.client}
		u.of[k.client] = share
	}
	share.calls++
	k.share = share
}

// leave drops the events of a request that its client will not read, and ends the counting.
func (u *unread) leave(k *call) {
	u.note(k, -k.used-k.held)
	k.events, k.used, k.held = nil, 0, 0
	share := k.share
	if share == nil {
		return
	}
	k.share = nil
	if share.calls--; share.calls == 0 {
		delete(u.of, share.client)
	}
}

// keep counts the n bytes of the answer to a parked request. It returns false, and counts nothing,
// if there is no room. each is the bound for one client.
func (u *unread) keep(k *call, n, each int) bool {
	if u.all > 0 && u.all+n > maxUnreadShared*each {
		return false
	}
	k.kept = n
	u.all += n
	return true
}

// unkeep undoes keep.
func (u *unread) unkeep(k *call) {
	u.all -= k.kept
	k.kept = 0
}

// note adds n bytes, which may be negative, to those that the client of a request has not read.
func (u *unread) note(k *call, n int) {
	if k.share != nil {
		k.share.bytes += n
		u.all += n
	}
}

// room reports whether there is room for n more unread bytes of a request. each is the bound for
// one client. A client without unread bytes always has room, if the bound for all clients allows.
func (u *unread) room(k *call, n, each int) bool {
	if k.share == nil {
		return true
	}
	return (k.share.bytes == 0 || k.share.bytes+n <= each) && (u.all == 0 || u.all+n <= maxUnreadShared*each)
}

// hostOf returns the address of a client without its port.
func hostOf(addr string) string {
	if host, _, err := net.SplitHostPort(addr); err == nil {
		return host
	}
	return addr
}
