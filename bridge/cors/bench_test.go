package cors

import (
	"net/http"
	"testing"
)

var benchOrigins = []struct {
	name, origin string
	allocs       float64 // of Decide and SetHeaders: the array of the values
}{
	{"exact", "https://app.example.com", 1},
	{"pattern", "https://a.b.example.org", 1},
	{"own", "http://192.168.1.5:8080", 1},
}

func benchPolicy(t testing.TB) *Policy {
	return mustNew(t, Config{AllowOrigins: []string{"https://app.example.com", "https://*.example.org"}})
}

// Each response gets one array for its two values, and nothing else is
// allocated. Values that responses shared would be edited in place by servers.
func TestAllocations(t *testing.T) {
	p := benchPolicy(t)
	for _, c := range benchOrigins {
		t.Run(c.name, func(t *testing.T) {
			h := make(http.Header, 4)
			r := lan.from(c.origin)
			if got := testing.AllocsPerRun(100, func() { p.Decide(r) }); got != 0 {
				t.Errorf("Decide allocates %v times; want 0", got)
			}
			if got := testing.AllocsPerRun(100, func() { p.SetHeaders(h, c.origin) }); got != c.allocs {
				t.Errorf("SetHeaders allocates %v times; want %v", got, c.allocs)
			}
		})
	}
}

func BenchmarkDecideAndSetHeaders(b *testing.B) {
	p := benchPolicy(b)
	for _, c := range benchOrigins {
		b.Run(c.name, func(b *testing.B) {
			h := make(http.Header, 4)
			r := lan.from(c.origin)
			b.ReportAllocs()
			for b.Loop() {
				if p.Decide(r) != Allow {
					b.Fatal("refused")
				}
				p.SetHeaders(h, c.origin)
			}
		})
	}
}
