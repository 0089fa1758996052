package process

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// childArg is the first argument of a test binary that runs as a child. The mode comes next.
const childArg = "stdio-test-child"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == childArg {
		time.AfterFunc(2*time.Minute, func() { os.Exit(99) }) // whatever happens to the test
		modes[os.Args[2]](os.Args[3:])
		os.Exit(0)
	}
	os.Exit(runTests(m))
}

// childEnv keeps the race detector's pause at exit and the coverage's warning
// from the children.
var childEnv = []string{"GORACE=atexit_sleep_ms=0"}

func runTests(m *testing.M) int {
	if testing.CoverMode() != "" {
		dir, err := os.MkdirTemp("", "stdio")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		childEnv = append(childEnv, "GOCOVERDIR="+dir)
	}
	return m.Run()
}

// modes are what a child does; it exits with status 0 after that.
var modes = map[string]func(args []string){
	"exit":      func(args []string) { os.Exit(number(args[0])) },
	"raw":       childRaw,
	"echo":      childEcho,
	"describe":  childDescribe,
	"flood":     childFlood,
	"noise":     childNoise,
	"deaf":      childDeaf,
	"mute":      childMute,
	"signals":   childSignals,
	"last":      childLast,
	"leader":    childLeader,
	"hold":      childHold,
	"exhausted": childExhausted,
	"leaky":     childLeaky,
	"parent":    childParent,
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

// say writes a frame.
func say(v any) {
	line, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	if _, err := os.Stdout.Write(append(line, '\n')); err != nil {
		os.Exit(90)
	}
}

// childRaw writes its first argument as it is and exits with the second as
// status.
func childRaw(args []string) {
	_, _ = io.WriteString(os.Stdout, args[0])
	os.Exit(number(args[1]))
}

// childEcho answers each line with itself.
func childEcho([]string) {
	in := bufio.NewReaderSize(os.Stdin, 64<<10)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		_, _ = os.Stdout.Write(line)
	}
}

// description is what a child sees of itself.
type description struct {
	Env, Args          []string
	Dir                string
	UID, GID, PID      int
	Groups             []int
	Group, Session     int
	Terminal, Reopened bool
	Descriptors        []string
}

func childDescribe([]string) {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	groups, _ := os.Getgroups()
	d := description{
		Env: os.Environ(), Args: os.Args[3:], Dir: dir,
		UID: os.Getuid(), GID: os.Getgid(), PID: os.Getpid(), Groups: groups,
	}
	describeMore(&d)
	say(d)
}

// childFlood writes that many frames and reports on stderr how many bytes it
// wrote when it gets no further.
func childFlood(args []string) {
	var written atomic.Int64
	go func() {
		for last := int64(-1); ; time.Sleep(300 * time.Millisecond) {
			if now := written.Load(); now == last {
				fmt.Fprintln(os.Stderr, now)
				return
			} else {
				last = now
			}
		}
	}()
	pad := strings.Repeat("x", 4000)
	for i := range number(args[0]) {
		n, err := fmt.Printf(`{"i":%d,"pad":%q}`+"\n", i, pad)
		if err != nil {
			os.Exit(91)
		}
		written.Add(int64(n))
	}
}

// childNoise writes that many lines to stderr, then a frame, and waits for
// its end.
func childNoise(args []string) {
	out := bufio.NewWriterSize(os.Stderr, 64<<10)
	for i := range number(args[0]) {
		fmt.Fprintf(out, "line %d %080d\n", i, i)
	}
	_ = out.Flush()
	say([]string{"loud"})
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// childDeaf never reads, until a signal ends it.
func childDeaf([]string) {
	say([]string{"ready"})
	select {}
}

// childMute closes its stdout and stays.
func childMute([]string) {
	_ = os.Stdout.Close()
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(6)
}

// childSignals exits with 7 at EOF on stdin and 8 on SIGTERM, unless told to
// ignore one of them.
func childSignals(args []string) {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	ignore := strings.Join(args, " ")
	say([]string{"ready"})
	if !strings.Contains(ignore, "eof") {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(7)
		}()
	}
	for range term {
		if !strings.Contains(ignore, "term") {
			os.Exit(8)
		}
	}
}

// childLast reads to EOF and then says how much it read.
func childLast([]string) {
	n, _ := io.Copy(io.Discard, os.Stdin)
	fmt.Fprintln(os.Stderr, n)
}

// childLeader starts a process that keeps its pipes, names it, and exits with
// status 5 when told to.
func childLeader(args []string) {
	cmd := exec.Command(os.Args[0], childArg, "hold")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if len(args) > 0 {
		cmd.SysProcAttr = ownSession()
	}
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	_, _ = os.Stdin.Read(make([]byte, 1))
	os.Exit(5)
}

// childHold ignores SIGTERM and SIGHUP, writes its process id and does not exit.
func childHold([]string) {
	signal.Ignore(syscall.SIGTERM, syscall.SIGHUP)
	say([]int{os.Getpid()})
	select {}
}
