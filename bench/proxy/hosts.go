package main

import (
	"fmt"
	"net/http"
	"strings"
)

// compareHosts compares one site of n with the only one of a server: of reverse_proxy alone, and
// of the bridge. All sites have hosts of their own. The one that gets the requests is the last
// that Caddy looks at, because its host is the shortest.
func compareHosts(n int) {
	proxy, own := configurations[plain].site, configurations[bridge].site
	var proxies, bridges strings.Builder
	for i := range n - 1 {
		site := fmt.Sprintf("http://host-%d.%s:{port} {\n\tbind 127.0.0.1", i, publicHost)
		proxies.WriteString(site + "\n\treverse_proxy {upstream}\n}\n")
		bridges.WriteString(site + "\n\tmcp_auth_bridge " + endpoint + " {upstream}\n}\n")
	}
	configurations = []configuration{
		plain:  {name: "plain-1", site: proxy},
		byHand: {name: fmt.Sprint("plain-", n), site: proxy, beside: proxies.String()},
		bridge: {name: "one", site: own},
		last:   {name: "many", site: own, beside: bridges.String()},
	}
	comparisons = [3][2]int{{byHand, plain}, {last, bridge}, {last, byHand}}
	measured = []*testCase{
		post("json-300", "json-300", call, http.StatusOK),
		challenged(post("challenge", "challenge", call, http.StatusUnauthorized)),
	}
	for _, tc := range measured {
		tc.needs[byHand], tc.needs[last] = nil, tc.needs[bridge]
	}
}
