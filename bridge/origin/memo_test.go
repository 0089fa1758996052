package origin

import "testing"

// A memo returns what Parse returns, in any order of texts, and does not parse the last one again.
func TestMemo(t *testing.T) {
	var m Memo
	for _, text := range []string{"http://a.example/x?y", "http://a.example/x?y", "https://B.example:443", "nothing", "http://a.example/x?y", "", "http://[::1]:80/"} {
		for range 2 {
			got, err := m.Parse(text)
			want, wantErr := Parse(text)
			if got != want || err != wantErr {
				t.Errorf("Parse(%q): got %v, %v, want %v, %v", text, got, err, want, wantErr)
			}
		}
	}
	if got := testing.AllocsPerRun(100, func() { _, _ = m.Parse("http://[::1]:80/") }); got != 0 {
		t.Errorf("got %.0f allocations for the last text, want none", got)
	}
}
