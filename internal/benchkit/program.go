package benchkit

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

// ProgramMode is the variable of the environment that has a program of bench/ be the server of a
// session. Its main function has to call Program if it is set.
const ProgramMode = "BENCH_PROGRAM"

// Program answers on standard output what comes on standard input. A call answers with
// the number of the process, or does what its argument asks for:
//
//   - fork: starts another process that holds the pipes, and answers with its number;
//   - stubborn: takes no notice of the end of its input and of SIGTERM any more;
//   - hang: gives no answer;
//   - die: ends without an answer.
func Program() {
	if os.Getenv(ProgramMode) == "hold" {
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP)
		select {}
	}
	stubborn := false
	in := bufio.NewReader(os.Stdin)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			if stubborn {
				time.Sleep(time.Hour)
			}
			return
		}
		var m struct {
			ID     json.RawMessage
			Method string
			Params struct{ Do string }
		}
		if json.Unmarshal(line, &m) != nil || m.ID == nil {
			continue
		}
		result := fmt.Sprintf(`{"pid":%d}`, os.Getpid())
		switch {
		case m.Method == "initialize":
			result = `{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"s","version":"1"}}`
		case m.Params.Do == "hang":
			continue
		case m.Params.Do == "die":
			os.Exit(1)
		case m.Params.Do == "stubborn":
			signal.Ignore(syscall.SIGTERM)
			stubborn = true
		case m.Params.Do == "fork":
			cmd := exec.Command(os.Args[0])
			cmd.Env = []string{ProgramMode + "=hold"}
			cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
			if cmd.Start() != nil {
				os.Exit(98)
			}
			result = fmt.Sprintf(`{"pid":%d}`, cmd.Process.Pid)
		}
		_, _ = fmt.Printf(`{"jsonrpc":"2.0","id":%s,"result":%s}`+"\n", m.ID, result)
	}
}
