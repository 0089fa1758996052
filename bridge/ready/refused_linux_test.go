package ready

import (
	"os"
	"path/filepath"
	"testing"
)

// The system cannot wait for a file on a disk. There is no File for it then: one that is not
// known would have the number of another, and end the wait of that.
func TestFileThatIsRefused(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if got, err := New(int(f.Fd()), func() {}); got != nil || err == nil {
		t.Errorf("got %v, %v; want an error alone", got, err)
	}
}
