package challenge

import (
	"errors"
	"strconv"
	"strings"
	"testing"
)

// parseCase is a line and its reading: the challenges apart by " | ", each as
// Scheme<token68>(name="quoted value", name=unquoted value).
type parseCase struct {
	name, in, want string
	err            error
}

const (
	wellKnown = "/.well-known/oauth-protected-resource"
	long      = "abcdefghijklmnopqrstuvwxyz0123456789"
)

var parseCases = []parseCase{
	// RFC 9110 section 11.
	{"rfc9110 11.6.1 example", `Basic realm="simple", Newauth realm="apps", type=1, title="Login to \"apps\""`, `Basic(realm="simple") | Newauth(realm="apps", type=1, title="Login to \"apps\"")`, nil},
	{"rfc9110 11.6.1 other order", `Newauth realm="apps", type=1, title="Login to \"apps\"", Basic realm="simple"`, `Newauth(realm="apps", type=1, title="Login to \"apps\"") | Basic(realm="simple")`, nil},
	{"rfc9110 empty field value", ``, ``, nil},
	{"rfc9110 scheme only", `Basic`, `Basic`, nil},
	{"rfc9110 two schemes only", `Basic, Bearer`, `Basic | Bearer`, nil},
	{"rfc9110 token value", `Newauth type=1`, `Newauth(type=1)`, nil},
	{"rfc9110 bad whitespace round equals", `Newauth realm = "apps" , type	=	1`, `Newauth(realm="apps", type=1)`, nil},
	{"rfc9110 token68 alphabet", `Foo aZ09-._~+/`, `Foo<aZ09-._~+/>`, nil},
	{"rfc9110 token68 padding", `Foo YQ==`, `Foo<YQ==>`, nil},
	{"rfc9110 token68 much padding", `Foo YQ======`, `Foo<YQ======>`, nil},
	{"rfc9110 token68 then challenge", `Foo YQ==, Basic realm="x"`, `Foo<YQ==> | Basic(realm="x")`, nil},
	{"rfc9110 challenge then token68", `Basic realm="x", Foo YQ==`, `Basic(realm="x") | Foo<YQ==>`, nil},
	{"rfc9110 several spaces after the scheme", `Basic   realm="x"`, `Basic(realm="x")`, nil},
	{"rfc9110 every token character", "!#$%&'*+-.^_`|~aZ09 !#$%&'*+-.^_`|~=!#$%&'*+-.^_`|~", "!#$%&'*+-.^_`|~aZ09(!#$%&'*+-.^_`|~=!#$%&'*+-.^_`|~)", nil},
	{"rfc9110 scheme after a scheme alone", `Basic, Newauth realm="x"`, `Basic | Newauth(realm="x")`, nil},
	{"rfc9110 comma in a quoted string", `Basic realm="a, b=\"c\", d"`, `Basic(realm="a, b=\"c\", d")`, nil},
	{"rfc9110 quoted pairs", `Basic realm="\a\b\\\""`, `Basic(realm="ab\\\"")`, nil},
	{"rfc9110 quoted tab", "Basic realm=\"a\tb\"", `Basic(realm="a\tb")`, nil},
	{"rfc9110 quoted obs-text", "Basic realm=\"caf\xe9\"", `Basic(realm="caf\xe9")`, nil},
	{"rfc9110 quoted pair of obs-text", "Basic realm=\"caf\\\xe9\"", `Basic(realm="caf\xe9")`, nil},
	// RFC 9110 section 5.6.1: empty list elements.
	{"leading comma", `, Basic realm="x"`, `Basic(realm="x")`, nil},
	{"leading commas", `,,	, Basic realm="x"`, `Basic(realm="x")`, nil},
	{"trailing comma", `Basic realm="x",`, `Basic(realm="x")`, nil},
	{"trailing commas and spaces", `Basic realm="x" ,, ,	`, `Basic(realm="x")`, nil},
	{"empty elements between challenges", `Basic realm="x",, ,Bearer`, `Basic(realm="x") | Bearer`, nil},
	{"empty elements between parameters", `Basic realm="x",,charset="UTF-8"`, `Basic(realm="x", charset="UTF-8")`, nil},
	{"comma after the scheme", `Bearer, realm="x"`, `Bearer(realm="x")`, nil},
	{"only commas", `,,,`, ``, nil},
	{"only whitespace", " \t ", ``, nil},
	{"leading and trailing whitespace", " \tBasic realm=\"x\"\t ", `Basic(realm="x")`, nil},
	{"tab after the scheme", "Bearer\trealm=\"x\"", `Bearer(realm="x")`, nil},
	{"tab between parameters", "Bearer realm=\"x\",\terror=\"y\"", `Bearer(realm="x", error="y")`, nil},
	{"no space after the comma", `Bearer realm="x",error="y",scope="z"`, `Bearer(realm="x", error="y", scope="z")`, nil},
	{"space before the comma", `Bearer realm="x" , error="y"`, `Bearer(realm="x", error="y")`, nil},
	// RFC 6750 section 3.
	{"rfc6750 no authentication", `Bearer realm="example"`, `Bearer(realm="example")`, nil},
	{"rfc6750 expired token", `Bearer realm="example", error="invalid_token", error_description="The access token expired"`, `Bearer(realm="example", error="invalid_token", error_description="The access token expired")`, nil},
	{"rfc6750 insufficient scope", `Bearer realm="example", error="insufficient_scope", scope="openid profile email"`, `Bearer(realm="example", error="insufficient_scope", scope="openid profile email")`, nil},
	{"rfc6750 urn scope", `Bearer scope="urn:example:channel=HBO&urn:example:rating=G,PG-13"`, `Bearer(scope="urn:example:channel=HBO&urn:example:rating=G,PG-13")`, nil},
	{"rfc6750 error uri", `Bearer error="invalid_request", error_uri="https://example.com/doc?a=1,2"`, `Bearer(error="invalid_request", error_uri="https://example.com/doc?a=1,2")`, nil},
	{"rfc9470 step up", `Bearer error="insufficient_user_authentication", error_description="A different authentication level is required", acr_values="myACR", max_age="5"`, `Bearer(error="insufficient_user_authentication", error_description="A different authentication level is required", acr_values="myACR", max_age="5")`, nil},
	// RFC 9728 section 5.1.
	{"rfc9728 example", `Bearer resource_metadata="https://resource.example.com` + wellKnown + `"`, `Bearer(resource_metadata="https://resource.example.com` + wellKnown + `")`, nil},
	{"rfc9728 with a scope", `Bearer resource_metadata="https://r.example` + wellKnown + `/mcp", scope="files:read"`, `Bearer(resource_metadata="https://r.example` + wellKnown + `/mcp", scope="files:read")`, nil},
	{"rfc9728 in the middle", `Bearer error="x", resource_metadata="u", scope="y"`, `Bearer(error="x", resource_metadata="u", scope="y")`, nil},
	{"rfc9728 other scheme", `DPoP resource_metadata="u", algs="ES256"`, `DPoP(resource_metadata="u", algs="ES256")`, nil},
	{"rfc9728 upper-case name", `Bearer Resource_Metadata="u"`, `Bearer(Resource_Metadata="u")`, nil},
	{"metadata url without quotes", `Bearer resource_metadata=https://r.example:8443` + wellKnown + `/mcp?a=b`, `Bearer(resource_metadata=https://r.example:8443` + wellKnown + `/mcp?a=b)`, nil},
	{"metadata url without quotes then more", `Bearer resource_metadata=https://r.example/x, scope="y"`, `Bearer(resource_metadata=https://r.example/x, scope="y")`, nil},
	{"rfc9728 spaces round equals", `Bearer resource_metadata = "u"`, `Bearer(resource_metadata="u")`, nil},
	{"rfc9728 spaces round equals without quotes", `Bearer resource_metadata = u , a=b`, `Bearer(resource_metadata=u, a=b)`, nil},
	// RFC 9449.
	{"rfc9449 no authentication", `DPoP algs="ES256 PS256"`, `DPoP(algs="ES256 PS256")`, nil},
	{"rfc9449 invalid binding", `DPoP error="invalid_token", error_description="Invalid DPoP key binding", algs="ES256"`, `DPoP(error="invalid_token", error_description="Invalid DPoP key binding", algs="ES256")`, nil},
	{"rfc9449 nonce", `DPoP error="use_dpop_nonce", error_description="Resource server requires nonce in DPoP proof"`, `DPoP(error="use_dpop_nonce", error_description="Resource server requires nonce in DPoP proof")`, nil},
	{"rfc9449 beside a bare Bearer", `Bearer, DPoP algs="ES256 PS256"`, `Bearer | DPoP(algs="ES256 PS256")`, nil},
	{"rfc9449 beside Bearer", `Bearer error="invalid_token", error_description="Multiple methods used to include access token", DPoP algs="ES256", error="invalid_token"`, `Bearer(error="invalid_token", error_description="Multiple methods used to include access token") | DPoP(algs="ES256", error="invalid_token")`, nil},
	// Other registered schemes.
	{"rfc7617 realm", `Basic realm="WallyWorld"`, `Basic(realm="WallyWorld")`, nil},
	{"rfc7617 charset", `Basic realm="foo", charset="UTF-8"`, `Basic(realm="foo", charset="UTF-8")`, nil},
	{"rfc7616 digest", `Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`, `Digest(realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS")`, nil},
	{"rfc2617 digest", `Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41"`, `Digest(realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41")`, nil},
	{"digest with a stale flag", `Digest realm="x", nonce="y", stale=FALSE, userhash=true`, `Digest(realm="x", nonce="y", stale=FALSE, userhash=true)`, nil},
	{"digest with unquoted qop list", `Digest realm="x", qop=auth,auth-int, nonce="y"`, `Digest(realm="x", qop=auth) | auth-int(nonce="y")`, nil},
	{"rfc4559 negotiate", `Negotiate`, `Negotiate`, nil},
	{"rfc4559 negotiate with data", `Negotiate a87421000492aa874209af8bc028`, `Negotiate<a87421000492aa874209af8bc028>`, nil},
	{"negotiate padded", `Negotiate oYG2MIGzoAMKAQChCwYJKoZIgvcSAQICooGeBIGbYIGYBgkq==`, `Negotiate<oYG2MIGzoAMKAQChCwYJKoZIgvcSAQICooGeBIGbYIGYBgkq==>`, nil},
	{"negotiate padded once like an empty parameter", `Negotiate dG9rZW4=`, `Negotiate<dG9rZW4=>`, nil},
	{"negotiate padded once then ntlm", `Negotiate dG9rZW4=, NTLM`, `Negotiate<dG9rZW4=> | NTLM`, nil},
	{"negotiate with a slash", `Negotiate a/b+c=`, `Negotiate<a/b+c=>`, nil},
	{"ntlm type 2", `NTLM TlRMTVNTUAACAAAAAAAAADgAAAABggAAASNFZ4mrze8=`, `NTLM<TlRMTVNTUAACAAAAAAAAADgAAAABggAAASNFZ4mrze8=>`, nil},
	{"iis schemes on one line", `Negotiate, NTLM, Basic realm="intranet.example.com"`, `Negotiate | NTLM | Basic(realm="intranet.example.com")`, nil},
	{"kerberos", `Kerberos`, `Kerberos`, nil},
	{"kerberos with a name", `Kerberos realm="EXAMPLE.COM"`, `Kerberos(realm="EXAMPLE.COM")`, nil},
	{"rfc7486 hoba", `HOBA max-age="180", challenge="16:MTEyMzEyMzEyMw==1:028:https://www.example.com:8080:3:MTI48:NjgxNDdj"`, `HOBA(max-age="180", challenge="16:MTEyMzEyMzEyMw==1:028:https://www.example.com:8080:3:MTI48:NjgxNDdj")`, nil},
	{"rfc8120 mutual", `Mutual realm="a realm", version=1, algorithm=iso-kam3-dl-2048-sha256, validation=host, reason=initial`, `Mutual(realm="a realm", version=1, algorithm=iso-kam3-dl-2048-sha256, validation=host, reason=initial)`, nil},
	{"rfc8120 mutual extended name", `Mutual realm*=UTF-8''caf%C3%A9, version=1`, `Mutual(realm*=UTF-8''caf%C3%A9, version=1)`, nil},
	{"rfc7804 scram", `SCRAM-SHA-256 realm="testrealm@example.com"`, `SCRAM-SHA-256(realm="testrealm@example.com")`, nil},
	{"scram data without quotes", `SCRAM-SHA-256 sid=AAAABBBBCCCCDDDD, data=cj1yT3ByTkdmd0ViZVJXZ2JORWtxTyVodllEcFdVYTJSYVRDQWZ1eEZJbGopaE5sRg==`, `SCRAM-SHA-256(sid=AAAABBBBCCCCDDDD, data=cj1yT3ByTkdmd0ViZVJXZ2JORWtxTyVodllEcFdVYTJSYVRDQWZ1eEZJbGopaE5sRg==)`, nil},
	{"rfc9577 private token", `PrivateToken challenge="abc_-==", token-key="123=", max-age="10"`, `PrivateToken(challenge="abc_-==", token-key="123=", max-age="10")`, nil},
	{"rfc9729 concealed", `Concealed`, `Concealed`, nil},
	{"rfc8292 vapid", `vapid t="eyJ0", k="BA1H"`, `vapid(t="eyJ0", k="BA1H")`, nil},
	{"gnap", `GNAP as_uri=https://server.example/tx, access=FWWIKYBQ6U56NL1, referrer=https://rs.example`, `GNAP(as_uri=https://server.example/tx, access=FWWIKYBQ6U56NL1, referrer=https://rs.example)`, nil},
	{"uma", `UMA realm="example", as_uri="https://as.example.com", ticket="016f84e8-f9b9-11e0-bd6f-0021cc6004de"`, `UMA(realm="example", as_uri="https://as.example.com", ticket="016f84e8-f9b9-11e0-bd6f-0021cc6004de")`, nil},
	// What servers send.
	{"github mcp", `Bearer error="invalid_request", error_description="No access token was provided in this request", resource_metadata="https://api.githubcopilot.com` + wellKnown + `/mcp/"`, `Bearer(error="invalid_request", error_description="No access token was provided in this request", resource_metadata="https://api.githubcopilot.com` + wellKnown + `/mcp/")`, nil},
	{"github git", `Basic realm="GitHub"`, `Basic(realm="GitHub")`, nil},
	{"gitlab", `Bearer realm="Protected by OAuth 2.0", error="invalid_token", error_description="Token was revoked. You have to re-authorize from the user."`, `Bearer(realm="Protected by OAuth 2.0", error="invalid_token", error_description="Token was revoked. You have to re-authorize from the user.")`, nil},
	{"azure resource manager", `Bearer authorization_uri="https://login.windows.net/", error="invalid_token", error_description="The authentication failed because of missing 'Authorization' header."`, `Bearer(authorization_uri="https://login.windows.net/", error="invalid_token", error_description="The authentication failed because of missing 'Authorization' header.")`, nil},
	{"azure graph", `Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", client_id="00000003-0000-0000-c000-000000000000"`, `Bearer(realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", client_id="00000003-0000-0000-c000-000000000000")`, nil},
	{"azure key vault", `Bearer authorization="https://login.windows.net/72f988bf", resource="https://vault.azure.net"`, `Bearer(authorization="https://login.windows.net/72f988bf", resource="https://vault.azure.net")`, nil},
	{"azure app service without commas", `Bearer realm="site.azurewebsites.net" authorization_uri="https://login.windows.net/72f988bf/oauth2/authorize" resource_id="e9e2"`, `Bearer(realm="site.azurewebsites.net", authorization_uri="https://login.windows.net/72f988bf/oauth2/authorize", resource_id="e9e2")`, nil},
	{"azure insufficient claims", `Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", error="insufficient_claims", claims="eyJhY2Nlc3NfdG9rZW4iOnt9fQ=="`, `Bearer(realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", error="insufficient_claims", claims="eyJhY2Nlc3NfdG9rZW4iOnt9fQ==")`, nil},
	{"azure token binding", `PoP nonce="eyJhbGc", Bearer realm="", error="invalid_token"`, `PoP(nonce="eyJhbGc") | Bearer(realm="", error="invalid_token")`, nil},
	{"aspnet core", `Bearer error="invalid_token", error_description="The token expired at '01/02/2026 03:04:05'"`, `Bearer(error="invalid_token", error_description="The token expired at '01/02/2026 03:04:05'")`, nil},
	{"atlassian", `Bearer realm="OAuth", error="invalid_token", error_description="Missing or invalid access token"`, `Bearer(realm="OAuth", error="invalid_token", error_description="Missing or invalid access token")`, nil},
	{"atlassian jira", `OAuth realm="https%3A%2F%2Fjira.example.com"`, `OAuth(realm="https%3A%2F%2Fjira.example.com")`, nil},
	{"aws api gateway", `Bearer`, `Bearer`, nil},
	{"aws api gateway without commas", `Bearer scope="a/read" error="insufficient_scope" error_description="the token does not have the scope"`, `Bearer(scope="a/read", error="insufficient_scope", error_description="the token does not have the scope")`, nil},
	{"aws agentcore", `Bearer resource_metadata="https://bedrock-agentcore.us-east-1.amazonaws.com/runtimes/arn%3Aaws%3Abedrock-agentcore%3Aus-east-1%3A1%3Aruntime%2Fx/invocations` + wellKnown + `?qualifier=DEFAULT"`, `Bearer(resource_metadata="https://bedrock-agentcore.us-east-1.amazonaws.com/runtimes/arn%3Aaws%3Abedrock-agentcore%3Aus-east-1%3A1%3Aruntime%2Fx/invocations` + wellKnown + `?qualifier=DEFAULT")`, nil},
	{"keycloak", `Bearer realm="master", error="invalid_token", error_description="Token verification failed"`, `Bearer(realm="master", error="invalid_token", error_description="Token verification failed")`, nil},
	{"keycloak spnego", `Negotiate, Bearer realm="demo"`, `Negotiate | Bearer(realm="demo")`, nil},
	{"auth0", `Bearer realm="Users", error="invalid_token", error_description="jwt expired", scope="openid"`, `Bearer(realm="Users", error="invalid_token", error_description="jwt expired", scope="openid")`, nil},
	{"auth0 express", `Bearer realm="api", error="insufficient_scope", error_description="Insufficient Scope", scope="read:a write:a"`, `Bearer(realm="api", error="insufficient_scope", error_description="Insufficient Scope", scope="read:a write:a")`, nil},
	{"cloudflare workers provider", `Bearer realm="OAuth", resource_metadata="https://mcp.example.com` + wellKnown + `", error="invalid_token", error_description="Missing or invalid access token"`, `Bearer(realm="OAuth", resource_metadata="https://mcp.example.com` + wellKnown + `", error="invalid_token", error_description="Missing or invalid access token")`, nil},
	{"cloudflare access", `Cloudflare-Access resource_metadata="https://x.cloudflareaccess.com/cdn-cgi/access` + wellKnown + `"`, `Cloudflare-Access(resource_metadata="https://x.cloudflareaccess.com/cdn-cgi/access` + wellKnown + `")`, nil},
	{"docker hub", `Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:samalba/my-app:pull,push"`, `Bearer(realm="https://auth.docker.io/token", service="registry.docker.io", scope="repository:samalba/my-app:pull,push")`, nil},
	{"docker registry error", `Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:user/image:pull",error="insufficient_scope"`, `Bearer(realm="https://ghcr.io/token", service="ghcr.io", scope="repository:user/image:pull", error="insufficient_scope")`, nil},
	{"npm otp", `OTP`, `OTP`, nil},
	{"npm", `Basic, Bearer`, `Basic | Bearer`, nil},
	{"npm otp and address", `ipaddress, OTP`, `ipaddress | OTP`, nil},
	{"nexus", `BASIC realm="Sonatype Nexus Repository Manager"`, `BASIC(realm="Sonatype Nexus Repository Manager")`, nil},
	{"spring security", `Bearer error="invalid_token", error_description="An error occurred while attempting to decode the Jwt: Jwt expired at 2026-01-01T00:00:00Z", error_uri="https://tools.ietf.org/html/rfc6750#section-3.1"`, `Bearer(error="invalid_token", error_description="An error occurred while attempting to decode the Jwt: Jwt expired at 2026-01-01T00:00:00Z", error_uri="https://tools.ietf.org/html/rfc6750#section-3.1")`, nil},
	{"google", `Bearer realm="https://accounts.google.com/", error="invalid_token"`, `Bearer(realm="https://accounts.google.com/", error="invalid_token")`, nil},
	{"facebook", `OAuth "Facebook Platform" "invalid_token" "Malformed access token"`, `OAuth`, ErrSyntax},
	{"python sdk", `Bearer error="invalid_token", error_description="Authentication required", resource_metadata="http://127.0.0.1:8000` + wellKnown + `/mcp"`, `Bearer(error="invalid_token", error_description="Authentication required", resource_metadata="http://127.0.0.1:8000` + wellKnown + `/mcp")`, nil},
	{"typescript sdk", `Bearer error="invalid_token", error_description="Missing Authorization header", resource_metadata="http://localhost:3000` + wellKnown + `/mcp"`, `Bearer(error="invalid_token", error_description="Missing Authorization header", resource_metadata="http://localhost:3000` + wellKnown + `/mcp")`, nil},
	{"go sdk", `Bearer resource_metadata=http://localhost:8080` + wellKnown, `Bearer(resource_metadata=http://localhost:8080` + wellKnown + `)`, nil},
	// Quotes inside quotes, as the TypeScript SDK sends messages.
	{"inner quotes", `Bearer error="invalid_token", error_description="Unexpected token "x" in JSON", resource_metadata="u"`, `Bearer(error="invalid_token", error_description="Unexpected token \"x\" in JSON", resource_metadata="u")`, nil},
	{"inner quotes at the end", `Bearer error_description="Invalid audience "api"", resource_metadata="u"`, `Bearer(error_description="Invalid audience \"api\"", resource_metadata="u")`, nil},
	{"inner quotes at the start", `Bearer error_description=""aud" is wrong", resource_metadata="u"`, `Bearer(error_description="\"aud\" is wrong", resource_metadata="u")`, nil},
	{"inner quotes all round", `Bearer error_description=""aud"", resource_metadata="u"`, `Bearer(error_description="\"aud\"", resource_metadata="u")`, nil},
	{"inner quotes and commas", `Bearer error_description="want "a", "b", got "c"", resource_metadata="u"`, `Bearer(error_description="want \"a\", \"b\", got \"c\"", resource_metadata="u")`, nil},
	{"inner quotes and a list of words", `Bearer error_description="unsupported "x", y, z", resource_metadata="u"`, `Bearer(error_description="unsupported \"x\", y, z", resource_metadata="u")`, nil},
	{"inner quotes and words that end", `Bearer error_description="the "scope" parameter, a=b", resource_metadata="u"`, `Bearer(error_description="the \"scope\" parameter, a=b", resource_metadata="u")`, nil},
	{"inner quotes of json", `Bearer error_description="[{"code":"invalid_type","path":["aud"]}]", resource_metadata="u"`, `Bearer(error_description="[{\"code\":\"invalid_type\",\"path\":[\"aud\"]}]", resource_metadata="u")`, nil},
	{"inner quotes in two values", `Bearer realm="the "x" realm", error_description="no "y"", resource_metadata="u"`, `Bearer(realm="the \"x\" realm", error_description="no \"y\"", resource_metadata="u")`, nil},
	{"inner quotes in the last value", `Bearer resource_metadata="u", error_description="no "y" here"`, `Bearer(resource_metadata="u", error_description="no \"y\" here")`, nil},
	{"inner quotes escaped and not", `Bearer error_description="no \"y\" or "z" here"`, `Bearer(error_description="no \"y\" or \"z\" here")`, nil},
	{"inner single quote", `Bearer error_description="5" disk"`, `Bearer(error_description="5\" disk")`, nil},
	{"inner quotes like a parameter", `Bearer error_description="set "x", y="z"", scope="s"`, `Bearer(error_description="set \"x", y="z\"", scope="s")`, nil},
	{"inner quotes without an end", `Bearer realm="a", error_description="no "y" here`, `Bearer(realm="a", error_description="no \"y") | here`, nil},
	{"quoted string that ends in an equals sign", `Bearer claims="eyJ9=", realm="x"`, `Bearer(claims="eyJ9=", realm="x")`, nil},
	{"second quoted string never ends", `Bearer a="b" c="`, `Bearer(a="b")`, ErrUnterminatedQuote},
	{"second quoted string never ends before a comma", `Bearer a="b" c = ", d=e`, `Bearer(a="b")`, ErrUnterminatedQuote},
	{"quote glued to one that opens", `Bearer a="b"c=", d=e`, `Bearer`, ErrUnterminatedQuote},
	// Quoted strings.
	{"empty quoted realm", `Basic realm=""`, `Basic(realm="")`, nil},
	{"empty quoted realm then more", `Basic realm="", charset="UTF-8"`, `Basic(realm="", charset="UTF-8")`, nil},
	{"only a quoted comma", `Basic realm=","`, `Basic(realm=",")`, nil},
	{"only an escaped quote", `Basic realm="\""`, `Basic(realm="\"")`, nil},
	{"only an escaped backslash", `Basic realm="\\"`, `Basic(realm="\\")`, nil},
	{"windows path escaped", `Basic realm="C:\\share\\"`, `Basic(realm="C:\\share\\")`, nil},
	{"windows domain not escaped", `Basic realm="CORP\users"`, `Basic(realm="CORPusers")`, nil},
	{"backslash before the last quote", `Basic realm="C:\"`, `Basic`, ErrUnterminatedQuote},
	{"backslash before a quote swallows", `Bearer realm="C:\", resource_metadata="u"`, `Bearer(realm="C:\", resource_metadata=\"u")`, nil},
	{"backslash at the end", `Basic realm="x\`, `Basic`, ErrUnterminatedQuote},
	{"only a quote", `Basic realm="`, `Basic`, ErrUnterminatedQuote},
	{"quote never ends", `Bearer realm="never ends`, `Bearer`, ErrUnterminatedQuote},
	{"quote of a later challenge never ends", `Bearer resource_metadata="u", Basic realm="x`, `Bearer(resource_metadata="u") | Basic`, ErrUnterminatedQuote},
	{"three quotes", `Basic realm="""`, `Basic(realm="\"")`, nil},
	{"parameter glued to a quoted string", `Basic realm="x"charset="UTF-8"`, `Basic(realm="x\"charset=\"UTF-8")`, nil},
	{"semicolons between parameters", `Bearer realm="x"; error="y"`, `Bearer(realm="x\"; error=\"y")`, nil},
	{"text after a quoted string", `Basic realm="x"y`, `Basic`, ErrUnterminatedQuote},
	{"utf-8 realm", `Basic realm="Zugang für Gäste"`, `Basic(realm="Zugang für Gäste")`, nil},
	{"latin-1 realm", "Basic realm=\"Zugang f\xfcr\"", `Basic(realm="Zugang f\xfcr")`, nil},
	{"typographic quotes", `Bearer realm=“x”`, `Bearer(realm=“x”)`, nil},
	{"apostrophes for quotes", `Bearer resource_metadata='https://r.example'`, `Bearer(resource_metadata='https://r.example')`, nil},
	// Values without quotes.
	{"empty value", `Bearer realm=`, `Bearer(realm=)`, nil},
	{"empty value then spaces", `Bearer realm=  `, `Bearer(realm=)`, nil},
	{"empty value then more", `Bearer realm=, error="x"`, `Bearer(realm=, error="x")`, nil},
	{"empty value of a later parameter", `Newauth a=b, realm=, error="x"`, `Newauth(a=b, realm=, error="x")`, nil},
	{"empty value of basic", `Basic realm=`, `Basic(realm=)`, nil},
	{"empty value of digest", `Digest realm=, nonce="x"`, `Digest(realm=, nonce="x")`, nil},
	{"empty value of dpop", `dpop algs=`, `dpop(algs=)`, nil},
	{"empty value of an unknown scheme is a token68", `Newauth realm=`, `Newauth<realm=>`, nil},
	{"bearer token68", `Bearer mF_9.B5f-4.1JqM`, `Bearer<mF_9.B5f-4.1JqM>`, nil},
	{"bearer token68 padded", `Bearer bUZfOQ==`, `Bearer<bUZfOQ==>`, nil},
	{"bearer token68 padded once", `Bearer a/b=`, `Bearer<a/b=>`, nil},
	{"token68 then a parameter", `Bearer abc, realm="x"`, `Bearer<abc>(realm="x")`, nil},
	{"token68 then a parameter without a comma", `Foo abc== realm="x"`, `Foo(abc==, realm="x")`, nil},
	{"padding alone", `Foo ==`, ``, ErrNoScheme},
	{"value of equals signs", `Foo a===b`, `Foo(a===b)`, nil},
	{"value with an equals sign", `Foo a=b=c`, `Foo(a=b=c)`, nil},
	{"value with a colon", `Foo a=urn:b:c`, `Foo(a=urn:b:c)`, nil},
	{"value with a semicolon", `Foo a=b;c=d`, `Foo(a=b;c=d)`, nil},
	{"value with a comma ends at it", `Foo a=b,c`, `Foo(a=b) | c`, nil},
	{"value of several words", `Bearer error_description=The token is invalid, resource_metadata="u"`, `Bearer(error_description=The) | token | is<invalid>(resource_metadata="u")`, nil},
	{"value that holds a quote", `Bearer realm=x"y`, `Bearer`, ErrSyntax},
	{"value then a parameter without a comma", `Bearer realm=x error=y`, `Bearer(realm=x, error=y)`, nil},
	{"value of non-ascii bytes", "Foo a=\xff\xfe", "Foo(a=\xff\xfe)", nil},
	// Commas that are missing.
	{"no comma between parameters", `Bearer realm="x" error="y"`, `Bearer(realm="x", error="y")`, nil},
	{"no comma between challenges", `Bearer realm="x" Basic realm="y"`, `Bearer(realm="x") | Basic(realm="y")`, nil},
	{"no comma between unquoted challenges", `Bearer realm=x Basic realm="y"`, `Bearer(realm=x) | Basic(realm="y")`, nil},
	{"no comma after a scheme alone", `Negotiate Basic realm="y"`, `Negotiate | Basic(realm="y")`, nil},
	{"no comma after a token68", `Negotiate a/b Basic realm="y"`, `Negotiate`, ErrSyntax},
	// Names.
	{"upper-case names", `BEARER REALM="x", ERROR="y"`, `BEARER(REALM="x", ERROR="y")`, nil},
	{"duplicated parameters", `Bearer realm="a", realm="b", realm=c`, `Bearer(realm="a", realm="b", realm=c)`, nil},
	{"duplicated challenges", `Bearer realm="a", Bearer realm="b"`, `Bearer(realm="a") | Bearer(realm="b")`, nil},
	{"parameter named like a scheme", `Basic realm="x", Bearer = "y"`, `Basic(realm="x", Bearer="y")`, nil},
	{"scheme that starts with a digit", `3des realm="x"`, `3des(realm="x")`, nil},
	{"scheme of many letters", long + ` a=b`, long + `(a=b)`, nil},
	// What cannot be read.
	{"parameter without a scheme", `realm="x"`, ``, ErrNoScheme},
	{"metadata without a scheme", `resource_metadata="u"`, ``, ErrNoScheme},
	{"comma and parameter without a scheme", `, realm="x", Basic`, ``, ErrNoScheme},
	{"quote first", `"Basic realm=x"`, ``, ErrSyntax},
	{"equals first", `= "x"`, ``, ErrSyntax},
	{"url first", `https://example.com`, ``, ErrSyntax},
	{"colon after the scheme", `Bearer: realm="x"`, ``, ErrSyntax},
	{"slash in the scheme", `Bearer/1.0 realm="x"`, ``, ErrSyntax},
	{"slash behind the scheme", `Bearer/1.0`, ``, ErrSyntax},
	{"header name left in", `WWW-Authenticate: Bearer realm="x"`, ``, ErrSyntax},
	{"json", `{"error":"invalid_token"}`, ``, ErrSyntax},
	{"non-ascii scheme", `Bäsic realm="x"`, ``, ErrSyntax},
	{"byte order mark", "\xef\xbb\xbfBasic realm=\"x\"", ``, ErrSyntax},
	{"semicolon after a challenge", `Basic realm=x, ;`, `Basic(realm=x)`, ErrSyntax},
	{"parentheses", `Basic (comment) realm="x"`, `Basic`, ErrSyntax},
	{"name without a value in quotes", `Bearer "realm"="x"`, `Bearer`, ErrSyntax},
	// Control characters.
	{"line feed", "Basic realm=\"x\n\"", ``, ErrControlCharacter},
	{"carriage return", "Basic realm=\"x\r\"", ``, ErrControlCharacter},
	{"header injection", "Basic realm=\"x\"\r\nSet-Cookie: a=b", ``, ErrControlCharacter},
	{"folded line", "Basic realm=\"x\",\r\n charset=\"UTF-8\"", ``, ErrControlCharacter},
	{"nul", "Basic\x00", ``, ErrControlCharacter},
	{"escape character", "Basic realm=\"\x1b[31m\"", ``, ErrControlCharacter},
	{"delete", "Basic realm=\"\x7f\"", ``, ErrControlCharacter},
	{"vertical tab", "Basic\vrealm=\"x\"", ``, ErrControlCharacter},
	// Bounds.
	{"as long as allowed", `Basic realm="` + strings.Repeat("x", MaxLine-14) + `"`, `Basic(realm="` + strings.Repeat("x", MaxLine-14) + `")`, nil},
	{"too long", `Basic realm="` + strings.Repeat("x", MaxLine-13) + `"`, ``, ErrTooLong},
	{"as many challenges as allowed", strings.Repeat("A,", MaxChallenges), strings.TrimSuffix(strings.Repeat("A | ", MaxChallenges), " | "), nil},
	{"too many challenges", strings.Repeat("A,", MaxChallenges+1), strings.TrimSuffix(strings.Repeat("A | ", MaxChallenges), " | "), ErrTooManyChallenges},
	{"as many parameters as allowed", "A " + strings.Repeat("b=c,", MaxParams), "A(" + strings.TrimSuffix(strings.Repeat("b=c, ", MaxParams), ", ") + ")", nil},
	{"too many parameters", "A a=b, B " + strings.Repeat("b=c,", MaxParams), "A(a=b) | B(" + strings.TrimSuffix(strings.Repeat("b=c, ", MaxParams-1), ", ") + ")", ErrTooManyParams},
}

// show prints challenges as parseCase writes them.
func show(challenges []Challenge) string {
	var b strings.Builder
	for i, c := range challenges {
		if i > 0 {
			b.WriteString(" | ")
		}
		b.WriteString(c.Scheme)
		if c.Token68 != "" {
			b.WriteString("<" + c.Token68 + ">")
		}
		for j, p := range c.Params {
			b.WriteString([]string{", ", "("}[min(1, max(0, 1-j))])
			value := p.Value
			if p.Quoted {
				value = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\t", `\t`).Replace(value) + `"`
			}
			b.WriteString(p.Name + "=" + value)
		}
		if len(c.Params) > 0 {
			b.WriteString(")")
		}
	}
	return b.String()
}

func TestParse(t *testing.T) {
	for _, tc := range parseCases {
		t.Run(tc.name, func(t *testing.T) {
			l := Parse(tc.in)
			if got, want := show(l.Challenges()), strings.ReplaceAll(strings.ReplaceAll(tc.want, `\xe9`, "\xe9"), `\xfc`, "\xfc"); got != want {
				t.Errorf("Parse(%s)\ngot  %s\nwant %s", short(tc.in), short(got), short(want))
			}
			if got := l.Err(); !errors.Is(got, tc.err) {
				t.Errorf("Parse(%s): got error %v, want %v", short(tc.in), got, tc.err)
			}
			if got := l.String(); got != tc.in {
				t.Errorf("Parse(%s).String(): got %s", short(tc.in), short(got))
			}
		})
	}
}

func short(s string) string {
	if len(s) > 500 {
		return strconv.Quote(s[:500]) + "..."
	}
	return strconv.Quote(s)
}

func TestParam(t *testing.T) {
	c := Parse(`Bearer realm="a", Scope="b", REALM=c`).Challenges()[0]
	for _, tc := range []struct {
		name, want string
		ok         bool
	}{
		{"realm", "a", true},
		{"Realm", "a", true},
		{"scope", "b", true},
		{"error", "", false},
	} {
		if got, ok := c.Param(tc.name); got != tc.want || ok != tc.ok {
			t.Errorf("Param(%q): got %q, %t, want %q, %t", tc.name, got, ok, tc.want, tc.ok)
		}
	}
	if !c.Is("bearer") || c.Is("Basic") {
		t.Errorf("Is: got %t and %t, want true and false", c.Is("bearer"), c.Is("Basic"))
	}
}

// looks is how often a byte of a line may be looked at on average.
const looks = 20

// The work that a line takes is bounded by its length, whatever stands in it: an
// upstream must not be able to spend an edge's time.
func TestParseWork(t *testing.T) {
	// What is quadratic would show in lines of this length as hundreds.
	const length = 4 << 10
	for _, unit := range []string{
		`"`, `""`, `" `, `"  `, `",`, `", `, `"a `, `"a=`, `"a="`, `" a="`, `", a="`, `", a=" `, `", a b="`, `", a b=",`,
		`", a b`, `", a `, `", a,`, `" , a`, `\"`, `\", `, `\\`, `\\", `, `a`, `a `, `a,`, `a=`, `a= `, `a="`, `a=",`, `a b `, `a b,`, `a b=`,
		` `, `,`, `=`, `a = `, `a  b==  `, `a/`, "\t", `", a     `, `" a     =     `, "\xff", `"a, b, `, `"\", a="`,
	} {
		for _, prefix := range []string{``, `Bearer `, `Bearer a="`, `Bearer a=" `, `Bearer a="b", c="`, `Bearer a `} {
			for _, suffix := range []string{``, `"`, `=`, `"=`, `/`, `", "`} {
				s := prefix + strings.Repeat(unit, (length-len(prefix)-len(suffix))/len(unit)) + suffix
				if _, work := parse(s); work > looks*len(s) {
					t.Errorf("%q, then many %q, then %q: got %d looks at %d bytes, want at most %d a byte", prefix, unit, suffix, work, len(s), looks)
				}
			}
		}
	}
}
