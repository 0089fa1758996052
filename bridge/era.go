package bridge

// era is how a server wants to be spoken to.
type era uint8

const (
	// eraUnknown is to be found out.
	eraUnknown era = iota
	// eraHandshake begins with initialize (MCP specification 2024-11-05 to
	// 2025-11-25): one conversation has one client.
	eraHandshake
	// eraStateless answers server/discover (MCP specification 2026-07-28): each
	// request stands for itself.
	eraStateless
)
