package stats

import (
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/oncelog"
)

// maxSubject bounds the subject of a notice, in bytes.
const maxSubject = 256

// Notice describes something that was refused, dropped or left unchanged, and how the
// operator can fix it. No text in it is secret.
type Notice struct {
	Message string // a constant phrase
	// Subject is what the notice is about, such as an origin or a path without query.
	Subject string
	Advice  string
	// Add is the line of the Caddyfile that fixes it. It is empty if no single line does.
	Add string
}

// CaddyfileLine returns the line "option value" of a Caddyfile. It returns an empty text if
// value, which a server or a client may have written, is not one plain word in a Caddyfile.
func CaddyfileLine(option, value string) string {
	for i := range len(value) {
		switch c := value[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("/:.-_~[]*@!$&'()+,;=", c) >= 0:
		default:
			return ""
		}
	}
	if value == "" || len(value) > maxSubject {
		return ""
	}
	return option + " " + value
}

// Notices reports notices, and decides which of them are to be logged: each at once, and
// again after a while.
type Notices struct {
	report func(n Notice, due bool)
	seen   oncelog.Set[Notice]
}

// NewNotices returns a Notices that calls report for each notice. due says that the notice
// is to be logged. If report is nil, notices are dropped.
func NewNotices(report func(n Notice, due bool)) *Notices { return &Notices{report: report} }

// Report reports a notice. It shortens the subject, which a server or a client may have
// written.
func (n *Notices) Report(of Notice) {
	if n.report == nil {
		return
	}
	if len(of.Subject) > maxSubject {
		of.Subject = of.Subject[:maxSubject]
	}
	of.Subject = strings.ToValidUTF8(of.Subject, "\uFFFD")
	_, due := n.seen.Due(of)
	n.report(of, due)
}
