//go:build unix

package process

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// The capabilities that a switch of the user takes on Linux (capabilities(7)).
const capSetGID, capSetUID = 6, 7

// MaySwitchUser reports whether this program may start others as another user.
func MaySwitchUser() bool {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return os.Geteuid() == 0
	}
	for line := range strings.Lines(string(status)) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			has, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			return err == nil && has>>capSetGID&1 == 1 && has>>capSetUID&1 == 1
		}
	}
	return os.Geteuid() == 0
}

// IsSelf reports whether a user is the one that this program runs as.
func (c *Credential) IsSelf() bool {
	return int(c.UID) == os.Geteuid() && int(c.GID) == os.Getegid()
}

// Blocks returns what prevents the user from using an absolute path, by the bits of the modes: a
// directory above it, or the path itself. It returns "" if nothing does.
func (c *Credential) Blocks(path string) string {
	if c.UID == 0 {
		return ""
	}
	var all []string
	for at := filepath.Clean(path); ; at = filepath.Dir(at) {
		all = append(all, at)
		if at == filepath.Dir(at) {
			break
		}
	}
	for _, at := range slices.Backward(all) {
		info, err := os.Stat(at)
		if err != nil {
			return ""
		}
		owner, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return ""
		}
		bit := info.Mode().Perm()
		switch {
		case owner.Uid == c.UID:
			bit >>= 6
		case owner.Gid == c.GID || slices.Contains(c.Groups, owner.Gid):
			bit >>= 3
		}
		if bit&1 == 0 {
			return at
		}
	}
	return ""
}
