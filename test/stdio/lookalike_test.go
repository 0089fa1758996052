package stdio_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// laxServer has the test binary be a stateless server on its standard input and output
// whose JSON reader ignores case, as encoding/json does.
const laxServer = "MCP_AUTH_BRIDGE_TEST_LAX"

// serveLax is that server. A call of "slow" is not answered; one of "peek" tells the ids
// of the calls under way, as a server may that says too much; one of "echo" says what it
// is told to. A cancelled call is answered, and says so.
func serveLax() {
	var slow []string
	lines := bufio.NewScanner(os.Stdin)
	answer := func(id json.RawMessage, text string) {
		quoted, _ := json.Marshal(text)
		fmt.Printf(`{"jsonrpc":"2.0","id":%s,"result":{"resultType":"complete","content":[{"type":"text","text":%s}]}}`+"\n", id, quoted)
	}
	for lines.Scan() {
		var m struct {
			ID     json.RawMessage
			Method string
			Params struct {
				Name      string
				Arguments struct{ Text string }
				RequestID json.RawMessage
			}
		}
		if json.Unmarshal(lines.Bytes(), &m) != nil {
			continue
		}
		switch {
		case m.Method == "server/discover":
			fmt.Printf(`{"jsonrpc":"2.0","id":%s,"result":{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}}`+"\n", m.ID)
		case m.Method == "notifications/cancelled":
			answer(m.Params.RequestID, "cancelled")
		case m.Params.Name == "slow":
			slow = append(slow, string(m.ID))
		case m.Params.Name == "peek":
			answer(m.ID, strings.Join(slow, " "))
		default:
			answer(m.ID, m.Params.Arguments.Text)
		}
	}
}

// D5c: in front of a program that all clients share, and that ignores case, no client
// answers, cancels or renames another's request, although it knows the id of it there.
func TestClientsOfASharedProgramCannotForgeMembers(t *testing.T) {
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, strings.Replace(mcptest.SiteOfProgram(t, port, "", ""), mcptest.ChildServer, laxServer, 1))
	c, waits := mcptest.NewClient(t), mcptest.NewClient(t)
	c.Timeout = 20 * time.Second
	url := "http://" + testcaddy.Addr(port) + "/mcp"
	const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`
	call := func(owner, id, name, envelope, params string) *http.Request {
		return mcptest.NewRequest(t, http.MethodPost, url, `{"jsonrpc":"2.0","id":`+id+envelope+`,"method":"tools/call","params":{"name":"`+name+`","arguments":{"text":"forged"}`+params+`,`+meta+`}}`,
			"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", name, "Authorization", "Bearer "+owner)
	}
	victim := make(chan string, 1)
	go func() {
		res, err := waits.Do(call("victim", "77", "slow", "", ""))
		if err != nil {
			victim <- err.Error()
			return
		}
		defer func() { _ = res.Body.Close() }()
		body, _ := io.ReadAll(res.Body)
		victim <- string(body)
	}()
	id := ""
	for deadline := time.Now().Add(20 * time.Second); id == ""; {
		var got struct {
			Result struct{ Content []struct{ Text string } }
		}
		if a := mcptest.Do(t, c, call("attacker", "1", "peek", "", "")); json.Unmarshal([]byte(a.Body), &got) != nil || len(got.Result.Content) != 1 {
			t.Fatalf("got %d %s", a.Status, a.Body)
		}
		if id = got.Result.Content[0].Text; time.Now().After(deadline) {
			t.Fatal("the call is not under way")
		}
	}
	if n := len(id); n != 14 {
		t.Errorf("the id is %s, which can be guessed", id)
	}
	for _, name := range []string{"ID", "Id", `\u0049d`, "ıd", `id\u0000`} {
		a := mcptest.Do(t, c, call("attacker", "5", "echo", `,"`+name+`":`+id, ""))
		if a.Status != http.StatusBadRequest || !strings.Contains(a.Body, `"code":-32600`) || !strings.Contains(a.Body, `\"id\"`) {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
	}
	for _, body := range []string{
		`{"jsonrpc":"2.0","method":"notifications/x","Method":"notifications/cancelled","params":{"requestId":` + id + `,` + meta + `}}`,
		`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":` + id + `,` + meta + `}}`,
		`{"jsonrpc":"2.0","method":"notifications/x","METHOD":"tools/call","ID":` + id + `,"params":{"name":"echo",` + meta + `}}`,
		`[{"jsonrpc":"2.0","method":"notifications/x","method":"notifications/cancelled","params":{"requestId":` + id + `,` + meta + `}}]`,
	} {
		a := mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodPost, url, body, "Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "notifications/x", "Authorization", "Bearer attacker"))
		if a.Status != http.StatusBadRequest && a.Status != http.StatusAccepted {
			t.Errorf("%s: %d %s", body, a.Status, a.Body)
		}
	}
	// What the attacker itself asks for is answered after all that: the program has read it.
	if a := mcptest.Do(t, c, call("attacker", "6", "echo", "", "")); a.Status != http.StatusOK || !strings.Contains(a.Body, "forged") {
		t.Errorf("got %d %s", a.Status, a.Body)
	}
	select {
	case got := <-victim:
		t.Errorf("the victim got %s", got)
	default:
	}
}
