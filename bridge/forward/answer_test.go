package forward

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// writer notes what is done to it.
type writer struct {
	header http.Header
	did    []string
	fails  error // of Write
}

func (w *writer) Header() http.Header { return w.header }

func (w *writer) WriteHeader(status int) { w.did = append(w.did, http.StatusText(status)) }

func (w *writer) Write(p []byte) (int, error) {
	if w.fails != nil {
		return 0, w.fails
	}
	w.did = append(w.did, string(p))
	return len(p), nil
}

func (w *writer) FlushError() error {
	w.did = append(w.did, "flush")
	return nil
}

// body returns pieces, each by a read, and then err. It waits before each.
type body struct {
	pieces []string
	wait   time.Duration
	err    error
	joined bool // the last piece comes with err
	sizes  []int
	closed func()
}

func (b *body) Read(p []byte) (int, error) {
	b.sizes = append(b.sizes, len(p))
	time.Sleep(b.wait)
	if len(b.pieces) == 0 {
		return 0, b.err
	}
	n := copy(p, b.pieces[0])
	if b.pieces = b.pieces[1:]; len(b.pieces) == 0 && b.joined {
		return n, b.err
	}
	return n, nil
}

func (b *body) Close() error {
	if b.closed != nil {
		b.closed()
	}
	return nil
}

func answer(b *body, length int64) *http.Response {
	return &http.Response{StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: b, ContentLength: length}
}

// A1: what is written of an answer is flushed in time, and no more often than it has to be.
func TestFlushes(t *testing.T) {
	const late = 100 * time.Millisecond
	events := []string{"1", "2", "3"}
	for name, tc := range map[string]struct {
		b        body
		interval time.Duration
		want     []string
	}{
		"not at all":                 {body{pieces: events}, 0, []string{"OK", "1", "2", "3"}},
		"at once":                    {body{pieces: events}, Immediately, []string{"OK", "1", "flush", "2", "flush", "3", "flush"}},
		"at once, with the end":      {body{pieces: events, joined: true}, Immediately, []string{"OK", "1", "flush", "2", "flush", "3", "flush"}},
		"at once, all with the end":  {body{pieces: events[:1], joined: true}, Immediately, []string{"OK", "1", "flush"}},
		"the header of a slow body":  {body{pieces: events[:1], wait: late, joined: true}, Immediately, []string{"OK", "flush", "1", "flush"}},
		"at once, no body":           {body{}, Immediately, []string{"OK", "flush"}},
		"in time, no body":           {body{}, late, []string{"OK"}},
		"in time":                    {body{pieces: events}, late, []string{"OK", "1", "2", "3"}},
		"in time, slow":              {body{pieces: events, wait: late + late/2}, late, []string{"OK", "flush", "1", "flush", "2", "flush", "3", "flush"}},
		"in time, several at a time": {body{pieces: events, wait: late * 2 / 3}, late, []string{"OK", "1", "flush", "2", "3", "flush"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tc.b.err = io.EOF
				w := &writer{header: http.Header{}}
				if err := Answer(w, answer(&tc.b, -1), tc.interval); err != nil {
					t.Error(err)
				}
				time.Sleep(10 * late) // nothing is flushed after it
				synctest.Wait()
				if !slices.Equal(w.did, tc.want) {
					t.Errorf("got %q, want %q", w.did, tc.want)
				}
			})
		})
	}
}

// An event stream holds a large buffer only while it has much to say. Other bodies do not change
// theirs, so that they are written in the same pieces as by reverse_proxy.
func TestSizesOfBuffers(t *testing.T) {
	much, little := strings.Repeat("x", smallSize), "x"
	events := http.Header{"Content-Type": {eventStream}}
	for name, tc := range map[string]struct {
		header http.Header
		pieces []string
		length int64
		want   []int
	}{
		"events":             {events, []string{little, little}, -1, []int{smallSize, smallSize, smallSize}},
		"plenty":             {events, []string{much, much, little, little}, -1, []int{smallSize, largeSize, largeSize, smallSize, smallSize}},
		"all but small":      {events, []string{much[1:], little}, -1, []int{smallSize, smallSize, smallSize}},
		"events of a length": {events, []string{much, little}, smallSize + 1, []int{largeSize, largeSize, largeSize}},
		"short":              {nil, []string{little}, 1, []int{smallSize, smallSize}},
		"long":               {nil, []string{little, little}, largeSize, []int{largeSize, largeSize, largeSize}},
		"of no known length": {nil, []string{little, much, little}, -1, []int{largeSize, largeSize, largeSize, largeSize}},
	} {
		t.Run(name, func(t *testing.T) {
			b := &body{pieces: tc.pieces, err: io.EOF}
			res := answer(b, tc.length)
			if tc.header != nil {
				res.Header = tc.header
			}
			if err := Answer(&writer{header: http.Header{}}, res, 0); err != nil {
				t.Error(err)
			}
			if !slices.Equal(b.sizes, tc.want) {
				t.Errorf("got %v, want %v", b.sizes, tc.want)
			}
		})
	}
}

// A1: a body that breaks off, or cannot be written, is no answer, and is closed.
func TestAnswerThatBreaksOff(t *testing.T) {
	broken, gone := errors.New("broken"), errors.New("gone")
	for _, interval := range []time.Duration{0, Immediately, time.Hour} {
		for _, tc := range []struct {
			read, write, want error
			did               []string
		}{
			{broken, nil, broken, []string{"OK", "1"}},
			{io.EOF, gone, gone, []string{"OK"}},
			{broken, gone, gone, []string{"OK"}},
		} {
			closed := 0
			w := &writer{header: http.Header{}, fails: tc.write}
			res := answer(&body{pieces: []string{"1"}, err: tc.read, closed: func() { closed++ }}, -1)
			res.Trailer = http.Header{"X-End": {"1"}}
			err := Answer(w, res, interval)
			did := slices.DeleteFunc(w.did, func(s string) bool { return s == "flush" })
			if !errors.Is(err, tc.want) || closed != 1 || !slices.Equal(did, tc.did) || w.header["X-End"] != nil {
				t.Errorf("got %v, closed %d times, %q, %v; want %v, %q", err, closed, did, w.header, tc.want, tc.did)
			}
		}
	}
}

// A1: trailers are passed on, whether they were announced or not.
func TestTrailers(t *testing.T) {
	for _, tc := range []struct {
		announced, come []string
		want            http.Header
	}{
		{nil, nil, http.Header{}},
		{[]string{"A"}, []string{"A"}, http.Header{"Trailer": {"A"}, "A": {"1", "2"}}},
		{nil, []string{"A"}, http.Header{"Trailer:A": {"1", "2"}}},
		{[]string{"A"}, []string{"A", "B"}, http.Header{"Trailer": {"A"}, "Trailer:A": {"1", "2"}, "Trailer:B": {"1", "2"}}},
	} {
		b := &body{pieces: []string{"{}"}, err: io.EOF}
		res := answer(b, -1)
		for _, name := range tc.announced {
			res.Trailer = http.Header{name: nil}
		}
		b.closed = func() {
			for _, name := range tc.come {
				if res.Trailer == nil {
					res.Trailer = http.Header{}
				}
				res.Trailer[name] = []string{"1", "2"}
			}
		}
		w := &writer{header: http.Header{}}
		if err := Answer(w, res, 0); err != nil {
			t.Error(err)
		}
		delete(w.header, "Via")
		if !reflect.DeepEqual(w.header, tc.want) || slices.Contains(w.did, "flush") != (len(tc.come) > 0) {
			t.Errorf("announced %v, come %v: got %v, %q", tc.announced, tc.come, w.header, w.did)
		}
	}
}

func TestInterval(t *testing.T) {
	for _, tc := range []struct {
		contentType string
		length      int64
		incremental bool
		want        time.Duration
	}{
		{"application/json", 2, false, time.Second},
		{"application/json", -1, false, Immediately},
		{"application/json", 2, true, Immediately},
		{"text/event-stream", 2, false, Immediately},
		{" Text/Event-Stream ; charset=utf-8", 2, false, Immediately},
		{"text/event-stream; charset", 2, false, time.Second}, // which reverse_proxy does not recognize
		{"text/event-streams", 2, false, time.Second},
		{"", 2, false, time.Second},
	} {
		res := &http.Response{Header: http.Header{"Content-Type": {tc.contentType}}, ContentLength: tc.length}
		if got := Interval(res, time.Second, tc.incremental); got != tc.want {
			t.Errorf("%+v: got %v", tc, got)
		}
	}
}

// asProxies does what reverse_proxy does to the header, in its order.
func asProxies(to http.Header, res *http.Response) {
	from := res.Header.Clone()
	for _, line := range from["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = textproto.TrimString(name); name != "" {
				from.Del(name)
			}
		}
	}
	for _, name := range []string{
		"Alt-Svc", "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
	} {
		from.Del(name)
	}
	delete(to, "Server")
	to.Add("Via", via(res))
	for name, values := range from {
		for _, v := range values {
			to.Add(name, v)
		}
	}
}

// A1: the header is what reverse_proxy makes of it. The header of the answer, which placeholders
// show, stays as it is.
func FuzzHeader(f *testing.F) {
	f.Add("X-A", "1", "close, x-a ,,", "Via", "1.0 x", "Server", 1, 1, "HTTP/1.1")
	f.Add("Via", "1", "", "Te", "trailers", "Via", 2, 0, "HTTP/2.0")
	f.Add("x y", "1", "x y", "Set-Cookie", "a", "Set-Cookie", 1, 0, "HTTP/1.0")
	f.Add("", "", "keep-alive", "x-lower", "", "X-Lower", 3, 0, "gRPC/x")
	f.Fuzz(func(t *testing.T, name, value, connection, second, other, own string, major, minor int, proto string) {
		res := &http.Response{Proto: proto, ProtoMajor: major, ProtoMinor: minor, Header: http.Header{
			name: {value, other}, "Connection": {connection, value}, second: {other}, "X-None": {}, "Content-Length": {"2"},
		}}
		before := res.Header.Clone()
		got := http.Header{own: {"own"}, "Server": {"Caddy"}, "Vary": {"Origin"}}
		want := got.Clone()
		copyHeader(got, res)
		asProxies(want, res)
		// Names that differ only in case are added in any order.
		for _, h := range []http.Header{got, want} {
			for _, values := range h {
				slices.Sort(values)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		for k := range maps.Keys(before) {
			if !slices.Equal(res.Header[k], before[k]) {
				t.Errorf("the header of the answer has become %q", res.Header)
			}
		}
	})
}
