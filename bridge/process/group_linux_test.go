package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/need"
)

// descriptors returns the pipes and process handles that are open.
func descriptors() (open []string) {
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && (strings.HasPrefix(target, "pipe:") || strings.Contains(target, "pidfd")) {
			open = append(open, e.Name()+" "+target)
		}
	}
	slices.Sort(open)
	return open
}

// children returns the children of this process, dead ones too.
func children(t testing.TB) (left []string) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range stats {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		text := string(stat)
		fields := strings.Fields(text[strings.LastIndex(text, ")")+1:])
		if fields[1] == fmt.Sprint(os.Getpid()) {
			left = append(left, text[:strings.LastIndex(text, ")")+3])
		}
	}
	return left
}

func TestAChildIsEndedInSteps(t *testing.T) {
	for _, tt := range []struct {
		name   string
		ignore []string
		want   string
		steps  int
	}{
		{name: "stdin", want: "exit status 7"},
		{name: "SIGTERM", ignore: []string{"eof"}, want: "exit status 8", steps: 1},
		{name: "SIGKILL", ignore: []string{"eof", "term"}, want: "signal: killed", steps: 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := child("signals", tt.ignore...)
			cfg.Grace = 100 * time.Millisecond
			switch tt.steps {
			case 0:
				cfg.Grace = testTimeout
			case 1:
				cfg.Grace = time.Second // in which the child has to see the signal, on a busy machine, too
			}
			p := start(t, cfg)
			receive(t, p)
			began := time.Now()
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took < time.Duration(tt.steps)*cfg.Grace {
				t.Errorf("%s took %v, less than %d times %v", tt.name, took, tt.steps, cfg.Grace)
			}
			ended(t, p, tt.want)
		})
	}
}

func TestAChildHasASessionOfItsOwn(t *testing.T) {
	d := describe(t, child("describe"))
	if d.Group != d.PID || d.Session != d.PID || d.Terminal {
		t.Errorf("group %d, session %d, terminal %t, want %d, %[4]d and none", d.Group, d.Session, d.Terminal, d.PID)
	}
}

// A child does not inherit listeners and other descriptors of this program.
func TestAChildInheritsNoDescriptor(t *testing.T) {
	cfg := child("leaky")
	cfg.Stderr = func(line []byte, _ int) { t.Errorf("stderr: %s", line) }
	d := describe(t, cfg)
	if len(d.Descriptors) != 3 {
		t.Errorf("descriptors %q, want 0, 1 and 2 alone", d.Descriptors)
	}
}

// If a process that left the group keeps writing, reading still ends, whether a goroutine waits for
// the pipe or none does.
func TestReadingEndsThoughTheWriterDoesNot(t *testing.T) {
	for name, read := range map[string]func(r *os.File, take func([]byte)){
		"without a goroutine": func(r *os.File, take func([]byte)) {
			over := make(chan struct{})
			startReading(r, take, func() { close(over) }).expire(0)
			<-over
		},
		"with a goroutine": func(r *os.File, take func([]byte)) {
			if err := r.SetReadDeadline(time.Now()); err != nil {
				t.Fatal(err)
			}
			readPipe(r, take)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			var writer sync.WaitGroup
			writer.Go(func() {
				for {
					if _, err := w.Write(make([]byte, maxRead)); err != nil {
						return
					}
				}
			})
			n := 0
			read(r, func(chunk []byte) {
				n += len(chunk)
				for range 100 {
					runtime.Gosched() // the pipe is filled again
				}
			})
			t.Logf("%d bytes read", n)
			if n > maxDrain+2*maxRead { // one read may be under way
				t.Errorf("%d bytes read, want %d at most", n, maxDrain+2*maxRead)
			}
			closeAll([]*os.File{r, w})
			writer.Wait()
		})
	}
}

// An empty pipe whose writer stays does not hold up the end, and what was written before is read.
func TestExpireReadsWhatIsThere(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll([]*os.File{r, w})
	var got []byte
	over := make(chan struct{})
	in := startReading(r, func(chunk []byte) { got = append(got, chunk...) }, func() { close(over) })
	if _, err := w.WriteString("last words"); err != nil {
		t.Fatal(err)
	}
	in.expire(0)
	<-over
	if string(got) != "last words" {
		t.Errorf("got %q", got)
	}
}

// orphan runs a child that starts another process, and returns the id of that process.
func orphan(t *testing.T, args ...string) (*Process, int) {
	t.Helper()
	cfg := child("leader", args...)
	cfg.Stderr = func([]byte, int) {}
	p := start(t, cfg)
	var pids []int
	if err := json.Unmarshal(receive(t, p), &pids); err != nil {
		t.Fatal(err)
	}
	return p, pids[0]
}

// gone reports whether a process has ended, reaped or not.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

// Processes that a child has started end with it, even if they hold the pipes.
func TestDescendantsEndWithTheChild(t *testing.T) {
	for _, tt := range []struct {
		name   string
		adopts bool // orphans are given to this process, as in a container
		end    func(*Process) error
	}{
		{name: "child leaves", end: func(p *Process) error { return p.Send([]byte("{}")) }},
		{name: "close", end: (*Process).Close},
		{name: "adopted", adopts: true, end: (*Process).Close},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.adopts {
				adopt(t, 1)
				defer adopt(t, 0)
			}
			p, pid := orphan(t)
			if err := tt.end(p); err != nil {
				t.Error(err)
			}
			if frames := rest(t, p); len(frames) > 0 {
				t.Errorf("frames %q", frames)
			}
			ended(t, p, "exit status 5")
			if !gone(pid) {
				t.Errorf("process %d is left", pid)
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			if left := children(t); len(left) > 0 {
				t.Errorf("children left: %v", left)
			}
		})
	}
}

// A dead process of the group that this one has to reap is waited for: one with several threads looks
// dead before it can be reaped.
func TestDeadChildOfTheGroupIsWaitedFor(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := os.StartProcess(exe, []string{exe, "-test.run=^$"}, &os.ProcAttr{Sys: &syscall.SysProcAttr{Setpgid: true}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hasExited(p.Pid, 0); err != nil {
		t.Fatal(err)
	}
	if !gone(p.Pid) || !groupLives(p.Pid) {
		t.Error("a dead child is not waited for")
	}
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	if groupLives(p.Pid) {
		t.Error("a reaped child is waited for")
	}
}

// adopt sets PR_SET_CHILD_SUBREAPER.
func adopt(t *testing.T, on uintptr) {
	t.Helper()
	const prSetChildSubreaper = 36
	if _, _, errno := syscall.Syscall(syscall.SYS_PRCTL, prSetChildSubreaper, on, 0); errno != 0 {
		t.Fatal(errno)
	}
}

// A process that left the group is not ended, and nothing waits for it.
func TestADescendantThatLeftTheGroupIsNotWaitedFor(t *testing.T) {
	p, pid := orphan(t, "setsid")
	send(t, p, []byte("{}"))
	rest(t, p)
	ended(t, p, "exit status 5")
	if gone(pid) {
		t.Errorf("process %d is gone", pid)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}

// If this program is killed the child ends, even if it ignores the end of its input.
func TestAChildEndsWithItsKilledParent(t *testing.T) {
	p := start(t, child("parent"))
	var pids []int
	if err := json.Unmarshal(receive(t, p), &pids); err != nil {
		t.Fatal(err)
	}
	if gone(pids[0]) {
		t.Fatal("the child has ended already")
	}
	if err := syscall.Kill(p.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ended(t, p, "signal: killed")
	mcptest.Poll(t, testTimeout, func() string {
		if gone(pids[0]) {
			return ""
		}
		return fmt.Sprintf("process %d is left", pids[0])
	})
}

// Dead processes that are never reaped are not waited for.
func TestDeadProcessesOfAGroupAreNotWaitedFor(t *testing.T) {
	p := start(t, child("echo"))
	if !groupLives(p.Pid()) {
		t.Error("a running group is said to be dead")
	}
	if err := syscall.Kill(p.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "done", p.Done())
	if groupLives(p.Pid()) {
		t.Error("a group that is gone is said to live")
	}
	if err := p.Err(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("ended with %v", err)
	}
}

// The steps that end a child become shorter if there is less time.
func TestTheStepsBecomeShorter(t *testing.T) {
	cfg := child("signals", "eof", "term")
	cfg.Grace, cfg.StepNow = testTimeout, func() time.Duration { return 10 * time.Millisecond }
	p := start(t, cfg)
	receive(t, p)
	began := time.Now()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took >= testTimeout {
		t.Errorf("it took %s", took)
	}
	ended(t, p, "signal: killed")
}

func TestAChildRunsAsAnotherUser(t *testing.T) {
	need.Root(t, "start a program as another user")
	dir, err := os.MkdirTemp("", "stdio")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // t.TempDir is for root alone
		t.Fatal(err)
	}
	exe := copyOf(t, child("describe").Command[0], filepath.Join(dir, "child"))
	for _, tt := range []struct {
		name string
		user Credential
	}{
		{name: "no groups", user: Credential{UID: 65534, GID: 65534}},
		{name: "groups", user: Credential{UID: 65534, GID: 65533, Groups: []uint32{7, 65532}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := child("describe")
			cfg.Command[0], cfg.Dir, cfg.User = exe, dir, &tt.user
			d := describe(t, cfg)
			if d.UID != int(tt.user.UID) || d.GID != int(tt.user.GID) || !d.Reopened {
				t.Errorf("uid %d, gid %d, reopened %t", d.UID, d.GID, d.Reopened)
			}
			var want []int
			for _, g := range tt.user.Groups {
				want = append(want, int(g))
			}
			if !slices.Equal(d.Groups, want) {
				t.Errorf("groups %v, want %v", d.Groups, want)
			}
		})
	}
	t.Run("ends", func(t *testing.T) {
		cfg := child("signals", "eof", "term")
		cfg.Command[0], cfg.Dir, cfg.User = exe, dir, &Credential{UID: 65534, GID: 65534}
		cfg.Grace = 50 * time.Millisecond
		p := start(t, cfg)
		receive(t, p)
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		ended(t, p, "signal: killed")
	})
	t.Run("may not run it", func(t *testing.T) {
		cfg := child("describe")
		cfg.Command[0], cfg.User = exe, &Credential{UID: 65534, GID: 65534}
		if err := os.Chmod(exe, 0o700); err != nil {
			t.Fatal(err)
		}
		before := descriptors()
		if p, err := Start(t.Context(), cfg); !errors.Is(err, os.ErrPermission) {
			t.Errorf("got %v, %v", p, err)
		}
		nothingLeft(t, before)
	})
}

// copyOf copies a program to a place where every user may run it.
func copyOf(t *testing.T, from, to string) string {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return to
}

// A start that fails because there are no more descriptors leaves none open.
func TestAFailedStartLeavesNoDescriptor(t *testing.T) {
	p := start(t, child("exhausted"))
	if got := rest(t, p); !slices.Equal(got, []string{`["nothing left"]`}) {
		t.Errorf("got %q", got)
	}
	ended(t, p, "")
}

// Rule D5: an idle process uses no thread of this program, which may have ten thousand.
func TestIdleProcessTakesNoThread(t *testing.T) {
	threads := func() int {
		entries, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	const processes = 48
	before := threads()
	for range processes {
		p, err := Start(t.Context(), child("signals"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = p.Close() }()
		receive(t, p)
	}
	if after := threads(); after-before > processes/2 {
		t.Errorf("%d processes take %d threads", processes, after-before)
	}
}
