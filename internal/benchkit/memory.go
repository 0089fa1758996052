package benchkit

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// Memory is what the runtime of a Caddy says of its memory (runtime.MemStats).
type Memory struct {
	Mallocs, TotalAlloc uint64 // objects and bytes that were allocated since the start
	HeapAlloc           uint64 // bytes of the heap that are in use, garbage among them
	StackInuse          uint64 // bytes of stacks
}

// Held returns what the heap and the stacks hold, in bytes.
func (m Memory) Held() float64 { return float64(m.HeapAlloc) + float64(m.StackInuse) }

// AskMemory asks the admin API at a URL. Asking allocates, too.
func AskMemory(ctx context.Context, client *http.Client, admin string) (Memory, error) {
	var vars struct {
		Stats Memory `json:"memstats"`
	}
	err := get(ctx, client, admin+"/debug/vars", func(body io.Reader) error { return json.NewDecoder(body).Decode(&vars) })
	return vars.Stats, err
}

// Collect has a Caddy collect its garbage, with what its pools hold.
func Collect(ctx context.Context, client *http.Client, admin string) error {
	for range collections {
		err := get(ctx, client, admin+"/debug/pprof/heap?gc=1", func(body io.Reader) error {
			_, err := io.Copy(io.Discard, body)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// collections is how many collections it takes: pools keep what they hold through two.
const collections = 3

func get(ctx context.Context, client *http.Client, url string, read func(io.Reader) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, res.Status)
	}
	return read(res.Body)
}
