package shared

import "net"

// maxUnreadShared bounds what waits at a server that clients share, as a multiple of
// what may wait for each of them (see maxUnread).
const maxUnreadShared = 8

// textUnread is the error that a client gets in place of an answer that was dropped.
const textUnread = "the answer is dropped: too much that was answered before is still unread"

// unread counts the bytes that wait for the clients of a shared server to read them. The
// server of a session waits while its client does not read. A shared server cannot, because
// all clients would have to wait for one, so an answer beyond the bounds becomes an error.
// The lock of the shared server guards it.
type unread struct {
	all int
	of  map[string]*unreadShare
}

// unreadShare is the part of one client: one owner of requests at one address.
type unreadShare struct {
	client string
	bytes  int
	calls  int // requests under way that it is of
}

// join has what waits for the client of a request be counted.
func (u *unread) join(k *call) {
	if k.own {
		return // the bridge reads at once
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

// leave ends that: the client has read what there is, or reads no more. What waits is
// dropped.
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

// keep counts n bytes of an answer that no client waits for yet, if there is room for
// it.
func (u *unread) keep(k *call, n, each int) bool {
	if u.all > 0 && u.all+n > maxUnreadShared*each {
		return false
	}
	k.kept = n
	u.all += n
	return true
}

// unkeep ends that.
func (u *unread) unkeep(k *call) {
	u.all -= k.kept
	k.kept = 0
}

// note counts n bytes more for the client of a request.
func (u *unread) note(k *call, n int) {
	if k.share != nil {
		k.share.bytes += n
		u.all += n
	}
}

// room reports whether n bytes more may wait for the client of a request; each is what
// may wait for one client. One message always may, as far as others leave room.
func (u *unread) room(k *call, n, each int) bool {
	if k.share == nil {
		return true
	}
	return (k.share.bytes == 0 || k.share.bytes+n <= each) && (u.all == 0 || u.all+n <= maxUnreadShared*each)
}

// hostOf is the address of a client without its port.
func hostOf(addr string) string {
	if host, _, err := net.SplitHostPort(addr); err == nil {
		return host
	}
	return addr
}
