package translate

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// reply gives the client the answer to one of its requests.
func (r *requests) reply(answer message.Message) { r.deliver(answer, "", nil) }

// check sends server/discover with the credentials of a client's request that the server
// does not get, if the server judges each request. The error is the server's refusal.
func (r *requests) check(from *http.Request) error {
	if r.stateless == nil || from == nil {
		return nil
	}
	_, err := r.ask(from, "server/discover", nil, AskWithin)
	if errors.Is(err, context.DeadlineExceeded) {
		err = &upstream.Refusal{Status: http.StatusGatewayTimeout}
	}
	return err
}

// replyEmpty answers a request of the client with an empty result, without sending it on.
func (r *requests) replyEmpty(from *http.Request, m message.Message) error {
	if err := r.check(from); err != nil {
		return err
	}
	r.reply(message.NewResult(m.RawID, []byte("{}")))
	return nil
}

// replyError answers a request of the client with an error, without sending it on.
func (r *requests) replyError(from *http.Request, m message.Message, code int, text string) error {
	if err := r.check(from); err != nil {
		return err
	}
	r.reply(message.NewError(m.RawID, code, text))
	return nil
}

// finish answers a request of the client that was sent on.
func (r *requests) finish(u *upstreamRequest, answer message.Message) {
	if r.settle(u) {
		r.reply(answer)
	}
}

// fail answers a request of the client that was sent on with an error.
func (r *requests) fail(u *upstreamRequest, text string) {
	r.finish(u, message.NewError(u.client.RawID, message.CodeInternal, text))
}

// answerClient takes the server's answer to a request of the client.
func (r *requests) answerClient(u *upstreamRequest, m message.Message) {
	result := m.Get("result")
	switch kind := message.Text(result, "resultType"); {
	case m.Failed:
		r.finish(u, errorForClient(u, m).WithID(u.client.RawID))
	case kind == "input_required":
		r.inputs.require(u, result)
	case kind == "" || kind == "complete":
		r.finish(u, r.resultForClient(u.method, m).WithID(u.client.RawID))
	default:
		r.fail(u, "the server answers with a result of a type that this client does not know: "+strconv.Quote(kind))
	}
}

// errorForClient gives an error the code that revisions with a handshake have for it.
func errorForClient(u *upstreamRequest, m message.Message) message.Message {
	code := 0
	switch string(m.Get("error", "code")) {
	case strconv.Itoa(message.CodeInvalidParams):
		if u.method == "resources/read" && u.client.Text("params", "uri") != "" {
			code = message.CodeResourceNotFound
		}
	case strconv.Itoa(message.CodeHeaderMismatch), strconv.Itoa(message.CodeMissingCapability), strconv.Itoa(message.CodeUnsupportedVersion):
		code = message.CodeInternal
	}
	if code == 0 {
		return m
	}
	return m.Set([]byte(strconv.Itoa(code)), "error", "code")
}

// resultForClient makes an answer one of the revisions with a handshake. Members that those
// revisions do not know stay, because their schemas allow any members in results. Members
// that they know with another type are removed.
func (r *requests) resultForClient(method string, m message.Message) message.Message {
	switch method {
	case "tools/call":
		// Until 2025-11-25 it is an object.
		if value := m.Get("result", "structuredContent"); value != nil && value[0] != '{' {
			m = m.Remove("result", "structuredContent")
		}
	case "tools/list":
		if r.stateless != nil {
			r.tools.learn(m)
		}
		m = r.toolsForClient(m)
	}
	return m
}
