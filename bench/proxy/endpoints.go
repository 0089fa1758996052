package main

import (
	"fmt"
	"net/http"
	"strings"
)

// compareEndpoints makes the first configuration the endpoint alone, the second the first of n
// endpoints of a site, and the third the last of them. The cases are those whose cost may depend
// on the number.
func compareEndpoints(n int) {
	one := configurations[bridge].site
	var others strings.Builder
	for i := range n - 1 {
		fmt.Fprintf(&others, "\tmcp_auth_bridge /server-%d/mcp {upstream}\n", i)
	}
	configurations[plain] = configuration{name: "one", site: one}
	configurations[byHand] = configuration{name: "first", site: one + others.String()}
	configurations[bridge] = configuration{name: "last", site: "\n" + others.String() + strings.TrimPrefix(one, "\n")}
	measured = []*testCase{post("json-300", "json-300", call, http.StatusOK), challenged(post("challenge", "challenge", call, http.StatusUnauthorized)), preflight(), metadata()}
	for _, tc := range measured {
		tc.needs[plain] = tc.needs[bridge]
	}
}

// metadata is a request for the metadata of the endpoint.
func metadata() *testCase {
	return &testCase{
		name:    "metadata",
		request: []byte("GET " + wellKnown + " HTTP/1.1\r\n" + fields + "Accept: */*\r\n\r\n"),
		status:  http.StatusOK, body: []byte(metadataDocument("http://" + publicHost)),
	}
}
