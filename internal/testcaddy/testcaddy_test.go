package testcaddy

import (
	"fmt"
	"io"
	"net/http"
	"testing"
)

// Who asks after a reload asks the new configuration, and is answered.
func TestLoadEndsTheOldListeners(t *testing.T) {
	port := FreePort(t)
	site := func(i int) string { return fmt.Sprintf("http://%s {\n\trespond v%d\n}", Addr(port), i) }
	in := Run(t, site(0))
	for i := range 100 {
		if i%2 == 1 && in.TryLoad(site(i)+"\nhttp://256.0.0.1:1 {\n\tbind 256.0.0.1\n}") == nil {
			t.Fatal("a wrong configuration was loaded")
		}
		in.Load(site(i + 1))
		c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		res, err := c.Get("http://" + Addr(port))
		if err != nil {
			t.Fatalf("reload %d: %v", i, err)
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if want := fmt.Sprintf("v%d", i+1); err != nil || string(body) != want {
			t.Fatalf("reload %d: got %q, %v, want %q", i, body, err, want)
		}
	}
}
