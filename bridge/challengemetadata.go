package bridge

import "github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/challenge"

// ChallengeMetadata returns the first resource_metadata parameter of the
// challenges in lines (RFC 9728 section 5.1).
func ChallengeMetadata(lines []string) (string, bool) {
	for _, line := range lines {
		for _, c := range challenge.Parse(line).Challenges() {
			if value, ok := c.Param("resource_metadata"); ok {
				return value, true
			}
		}
	}
	return "", false
}
