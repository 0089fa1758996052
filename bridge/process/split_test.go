package process

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// split runs the splitter over data in chunks of the sizes that cuts names,
// and returns frames and reasons, in their order.
func split(t testing.TB, data, cuts []byte, limit int) (events []string) {
	var got [][]byte
	var begins, ends []string
	s := &splitter{
		max: limit,
		frame: func(frame []byte) error {
			if !messageOracle(frame) || !utf8.Valid(frame) {
				return message.ErrSyntax
			}
			got = append(got, frame)
			return nil
		},
		invalid: func(reason string) { got = append(got, []byte(reason)) },
		lost: func(begin, end []byte) {
			begins, ends = append(begins, string(begin)), append(ends, string(end))
		},
	}
	lost := lostOracle(data, limit)
	for i := 0; len(data) > 0; i++ {
		n := len(data)
		if len(cuts) > 0 {
			n = min(n, int(cuts[i%len(cuts)])+1)
		}
		chunk := bytes.Clone(data[:n])
		s.write(chunk)
		for j := range chunk {
			chunk[j] = 'X' // the buffer is used again
		}
		held := 0
		for _, part := range s.parts {
			held += len(part)
		}
		if held != s.size || held > limit {
			t.Errorf("%d bytes are held, %d counted, %d allowed", held, s.size, limit)
		}
		data = data[n:]
	}
	s.end()
	for i := range max(len(begins), len(lost)) {
		if len(begins) != len(lost) || !strings.HasPrefix(lost[i], begins[i]) || !strings.HasSuffix(lost[i], ends[i]) ||
			len(begins[i]) != min(len(lost[i]), edge) || len(ends[i]) != len(begins[i]) {
			t.Fatalf("told of %.100q and %.100q, want begins and ends of %.100q", begins, ends, lost)
		}
	}
	for _, event := range got { // only now, to see frames that are not the consumer's own
		events = append(events, string(event))
	}
	return events
}

// splitOracle does the same with the whole stream in memory.
func splitOracle(data []byte, limit int) (events []string) {
	for _, line := range bytes.Split(data, []byte("\n")) {
		text := bytes.Trim(line, " \t\r")
		switch {
		case len(line) > limit:
			events = append(events, InvalidTooLong)
		case len(text) == 0:
		case !utf8.Valid(line):
			events = append(events, InvalidUTF8)
		case !messageOracle(text):
			events = append(events, InvalidJSON)
		default:
			events = append(events, string(text))
		}
	}
	return events
}

// lostOracle returns the lines that are not messages.
func lostOracle(data []byte, limit int) (lines []string) {
	for _, line := range bytes.Split(data, []byte("\n")) {
		switch events := splitOracle(line, limit); {
		case len(events) == 1 && events[0] == InvalidTooLong:
			lines = append(lines, string(line))
		case len(events) == 1 && (events[0] == InvalidUTF8 || events[0] == InvalidJSON):
			lines = append(lines, string(bytes.Trim(line, " \t\r")))
		}
	}
	return lines
}

func messageOracle(text []byte) bool {
	return len(text) > 0 && (text[0] == '{' || text[0] == '[') && json.Valid(text)
}

var splitSeeds = []string{
	"", "\n", "{}", "{}\n", "\r\n{}\r\n", "{}\n[]\nx\n{\"a\":\"é\"}\n{\"a\":\"\xc3\"}\n{}",
	"[1,2,3,4,5,6,7,8,9]\n[]", " [1] \n\t{}\t\r\n\r\r\n", "{\"a\":\"" + strings.Repeat("x", 70_000) + "\"}\n[]\n",
	"[INFO] x\n{ a: 1 }\n", strings.Repeat("0123456789", 300) + "\n[]\n" + strings.Repeat("abc", 700), "[\"\\u00e9\\n\"]\n", "\xef\xbb\xbf{}\n{}\n", "[\x00]\n", "{}\v\n",
}

func TestAStreamIsCutIntoLines(t *testing.T) {
	for _, data := range splitSeeds {
		for _, limit := range []int{1, 2, 10, 19, 1500, 1 << 20} {
			want := splitOracle([]byte(data), limit)
			for _, cuts := range [][]byte{nil, {0}, {1}, {6, 0}, {255}} {
				if got := split(t, []byte(data), cuts, limit); !slices.Equal(got, want) {
					t.Errorf("%.40q, limit %d, cuts %v: got %.100q, want %.100q", data, limit, cuts, got, want)
				}
			}
		}
	}
}

func FuzzFrames(f *testing.F) {
	for i, data := range splitSeeds {
		f.Add([]byte(data), []byte{byte(i), 3}, uint16(10*i))
	}
	f.Fuzz(func(t *testing.T, data, cuts []byte, limit uint16) {
		want := splitOracle(data, int(limit)+1)
		if got := split(t, data, cuts, int(limit)+1); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// The memory that holds a line does not grow beyond the limit.
func TestOneLineIsHeldAtMost(t *testing.T) {
	reasons := 0
	s := &splitter{max: 100, invalid: func(string) { reasons++ }, frame: func([]byte) error { t.Error("a frame"); return nil }}
	chunk := bytes.Repeat([]byte("["), 1<<20)
	allocs := testing.AllocsPerRun(100, func() { s.write(chunk) })
	if allocs > 0 || reasons != 1 || len(s.parts) > 0 {
		t.Errorf("%v allocations, %d reports, %d pieces held", allocs, reasons, len(s.parts))
	}
}

// A line that is not a message is reported whole, however the stream is cut. A message that is
// framed by Content-Length is reported with its field, once, unless a message came before.
func TestALineThatIsNoMessageIsReportedWhole(t *testing.T) {
	const answer = `{"jsonrpc":"2.0","id":1,"result":{}}`
	framed := func(text string) string { return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(text), text) }
	for name, tc := range map[string]struct {
		in            string
		frames, stray []string
	}{
		"noise":                          {"ready\n" + answer + "\n", []string{answer}, []string{"ready"}},
		"a byte order mark":              {"\ufeff" + answer + "\r\n", nil, []string{"\ufeff" + answer}},
		"framed":                         {framed(answer), []string{answer}, []string{"Content-Length: 36", framed(answer)}},
		"framed with two fields":         {"Content-Length: 36\r\nContent-Type: x\r\n\r\n" + answer, []string{answer}, []string{"Content-Length: 36", "Content-Type: x", framed(answer)}},
		"framed twice":                   {framed(answer) + framed(answer), []string{answer}, []string{"Content-Length: 36", framed(answer), answer + "Content-Length: 36"}},
		"framed, with a line end":        {framed(answer) + "\n", []string{answer}, []string{"Content-Length: 36", framed(answer)}},
		"framed, behind a message":       {answer + "\n" + framed(answer), []string{answer, answer}, []string{"Content-Length: 36"}},
		"framed, behind a banner":        {"ready\n" + framed(answer), []string{answer}, []string{"ready", "Content-Length: 36", framed(answer)}},
		"a field and something else":     {"Content-Length: 14\r\n\r\n{\"status\":200}\n" + answer + "\n", []string{`{"status":200}`, answer}, []string{"Content-Length: 14"}},
		"a field alone":                  {"Content-Length: 36\r\n" + answer + "\n", []string{answer}, []string{"Content-Length: 36"}},
		"a field and a text":             {"Content-Length: 36\r\n\r\nabc\n" + answer + "\n", []string{answer}, []string{"Content-Length: 36", "abc"}},
		"a field that is longer than it": {"Content-Length: 99\r\n\r\n" + answer + "\n", []string{answer}, []string{"Content-Length: 99"}},
	} {
		t.Run(name, func(t *testing.T) {
			for size := range len(tc.in) + 1 {
				if size == 0 {
					continue
				}
				var frames, stray []string
				s := &splitter{
					max: 1 << 10,
					frame: func(b []byte) error {
						if !messageOracle(b) {
							return message.ErrSyntax
						}
						frames = append(frames, string(b))
						return nil
					},
					invalid: func(string) {},
					stray:   func(b []byte, _ error) { stray = append(stray, string(b)) },
				}
				for rest := tc.in; rest != ""; {
					n := min(len(rest), size)
					s.write([]byte(rest[:n]))
					rest = rest[n:]
				}
				s.end()
				if !slices.Equal(frames, tc.frames) || !slices.Equal(stray, tc.stray) {
					t.Fatalf("in pieces of %d: got messages %q and lines %q, want %q and %q", size, frames, stray, tc.frames, tc.stray)
				}
			}
		})
	}
}
