package process

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// frameOf returns a JSON message of about that many bytes.
func frameOf(size int) []byte {
	text := `{"jsonrpc":"2.0","id":1,"result":{"content":[`
	for len(text) < size-200 {
		text += `{"type":"text","text":"` + strings.Repeat(`some words and a quote: \"é\". `, min(64, (size-len(text))/40+1)) + `","n":1.5},`
	}
	return []byte(text + `{}]}}`)
}

func BenchmarkRoundTrip(b *testing.B) {
	for _, size := range []int{100, 10_000, 4 << 20} {
		frame := frameOf(size)
		b.Run(fmt.Sprint(len(frame)), func(b *testing.B) {
			p := start(b, child("echo"))
			b.ReportAllocs()
			b.SetBytes(int64(len(frame)))
			for b.Loop() {
				send(b, p, frame)
				if got, ok := <-p.Frames(); !ok || len(got) != len(frame) {
					b.Fatal("no echo")
				}
			}
		})
	}
}

func BenchmarkStartClose(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		p, err := Start(b.Context(), child("exit", "0"))
		if err != nil {
			b.Fatal(err)
		}
		if err := p.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSplit(b *testing.B) {
	for _, size := range []int{100, 10_000, 4 << 20} {
		stream := append(frameOf(size), '\n')
		stream = bytes.Repeat(stream, max(1, maxRead/len(stream)))
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := &splitter{max: DefaultMaxFrame, frame: func([]byte) error { return nil }, invalid: func(r string) { b.Fatal(r) }}
			b.ReportAllocs()
			b.SetBytes(int64(len(stream)))
			for b.Loop() {
				for rest := stream; len(rest) > 0; {
					n := min(len(rest), maxRead)
					s.write(rest[:n])
					rest = rest[n:]
				}
			}
		})
	}
}
