package schema

import (
	"slices"
)

// Resource describes the metadata of a protected resource (RFC 9728
// section 2). MCP requires authorization_servers.
var Resource = Schema{full: true, members: []member{
	{name: "resource", form: link, required: true, typed: anySDK, needed: anySDK, parsed: anySDK},
	{name: "authorization_servers", form: links, required: true, typed: anySDK, needed: Go | Python, parsed: anySDK},
	{name: "scopes_supported", form: texts, typed: anySDK},
	{name: "bearer_methods_supported", form: texts, typed: anySDK},
	{name: "jwks_uri", form: link, typed: anySDK, parsed: TypeScript | Python},
	{name: "resource_signing_alg_values_supported", form: texts, typed: anySDK},
	{name: "resource_name", form: text, typed: anySDK},
	{name: "resource_documentation", form: link, typed: anySDK, parsed: Python},
	{name: "resource_policy_uri", form: link, typed: anySDK, parsed: TypeScript | Python},
	{name: "resource_tos_uri", form: link, typed: anySDK, parsed: TypeScript | Python},
	{name: "tls_client_certificate_bound_access_tokens", form: truth, typed: anySDK},
	{name: "authorization_details_types_supported", form: texts, typed: anySDK},
	{name: "dpop_signing_alg_values_supported", form: texts, typed: anySDK},
	{name: "dpop_bound_access_tokens_required", form: truth, typed: anySDK},
}}

// serverMembers are the members that AuthorizationServer and OpenID have in common (RFC
// 8414 section 2).
var serverMembers = []member{
	{name: "issuer", form: link, required: true, typed: anySDK, needed: anySDK, parsed: Go | Python},
	{name: "authorization_endpoint", form: link, required: true, typed: anySDK, needed: anySDK, parsed: anySDK},
	{name: "token_endpoint", form: link, required: true, typed: anySDK, needed: anySDK, parsed: anySDK},
	{name: "registration_endpoint", form: link, typed: anySDK, parsed: anySDK, blank: Go},
	{name: "response_types_supported", form: texts, required: true, typed: anySDK, needed: TypeScript, nulls: Python},
	{name: "code_challenge_methods_supported", form: texts, typed: anySDK},
	{name: "scopes_supported", form: texts, typed: anySDK},
	{name: "response_modes_supported", form: texts, typed: anySDK},
	{name: "grant_types_supported", form: texts, typed: anySDK},
	{name: "token_endpoint_auth_methods_supported", form: texts, typed: anySDK},
	{name: "token_endpoint_auth_signing_alg_values_supported", form: texts, typed: anySDK},
	{name: "client_id_metadata_document_supported", form: truth, typed: anySDK},
	{name: "authorization_response_iss_parameter_supported", form: truth, typed: Go | Python},
	{name: "device_authorization_endpoint", form: link},
	{name: "pushed_authorization_request_endpoint", form: link},
}

// AuthorizationServer describes the document at oauth-authorization-server.
var AuthorizationServer = Schema{full: true, members: slices.Concat(serverMembers, []member{
	{name: "jwks_uri", form: link, typed: Go},
	{name: "service_documentation", form: link, typed: anySDK, parsed: TypeScript | Python},
	{name: "ui_locales_supported", form: texts, typed: Go | Python},
	{name: "op_policy_uri", form: link, typed: Go | Python, parsed: Python},
	{name: "op_tos_uri", form: link, typed: Go | Python, parsed: Python},
	{name: "revocation_endpoint", form: link, typed: anySDK, parsed: TypeScript | Python},
	{name: "revocation_endpoint_auth_methods_supported", form: texts, typed: anySDK},
	{name: "revocation_endpoint_auth_signing_alg_values_supported", form: texts, typed: anySDK},
	{name: "introspection_endpoint", form: link, typed: anySDK, parsed: Go | Python, blank: Go},
	{name: "introspection_endpoint_auth_methods_supported", form: texts, typed: anySDK},
	{name: "introspection_endpoint_auth_signing_alg_values_supported", form: texts, typed: anySDK},
	{name: "dpop_signing_alg_values_supported", form: texts, typed: TypeScript},
})}

// OpenID describes the document at openid-configuration (OpenID Connect
// Discovery 1.0 section 3), which requires more.
var OpenID = Schema{full: true, members: slices.Concat(serverMembers, []member{
	{name: "jwks_uri", form: link, required: true, typed: TypeScript | Go, needed: TypeScript, parsed: TypeScript},
	{name: "subject_types_supported", form: texts, required: true, typed: TypeScript, needed: TypeScript},
	{name: "id_token_signing_alg_values_supported", form: texts, required: true, typed: TypeScript, needed: TypeScript},
	{name: "userinfo_endpoint", form: link, typed: TypeScript, parsed: TypeScript},
	{name: "service_documentation", form: link, typed: anySDK, parsed: Python},
	{name: "acr_values_supported", form: texts, typed: TypeScript},
	{name: "id_token_encryption_alg_values_supported", form: texts, typed: TypeScript},
	{name: "id_token_encryption_enc_values_supported", form: texts, typed: TypeScript},
	{name: "userinfo_signing_alg_values_supported", form: texts, typed: TypeScript},
	{name: "userinfo_encryption_alg_values_supported", form: texts, typed: TypeScript},
	{name: "userinfo_encryption_enc_values_supported", form: texts, typed: TypeScript},
	{name: "request_object_signing_alg_values_supported", form: texts, typed: TypeScript},
	{name: "request_object_encryption_alg_values_supported", form: texts, typed: TypeScript},
	{name: "request_object_encryption_enc_values_supported", form: texts, typed: TypeScript},
	{name: "display_values_supported", form: texts, typed: TypeScript},
	{name: "claim_types_supported", form: texts, typed: TypeScript},
	{name: "claims_supported", form: texts, typed: TypeScript},
	{name: "claims_locales_supported", form: texts, typed: TypeScript},
	{name: "ui_locales_supported", form: texts, typed: anySDK},
	{name: "claims_parameter_supported", form: truth, typed: TypeScript},
	{name: "request_parameter_supported", form: truth, typed: TypeScript},
	{name: "request_uri_parameter_supported", form: truth, typed: TypeScript},
	{name: "require_request_uri_registration", form: truth, typed: TypeScript},
	{name: "op_policy_uri", form: link, typed: anySDK, parsed: TypeScript | Python},
	{name: "op_tos_uri", form: link, typed: anySDK, parsed: TypeScript | Python},
	{name: "revocation_endpoint", form: link, typed: Go | Python, parsed: Python},
	{name: "introspection_endpoint", form: link, typed: Go | Python, parsed: Go | Python, blank: Go},
})}

// Registration describes the answer to a registration (RFC 7591 section 3.2.1): the ID
// of the client, and its metadata as registered.
var Registration = Schema{members: []member{
	{name: "client_id", form: text, required: true, vital: true, typed: anySDK, needed: anySDK},
	{name: "redirect_uris", form: links, required: true, typed: anySDK, needed: TypeScript | Python, parsed: TypeScript | Python},
	{name: "client_secret", form: text, typed: anySDK},
	{name: "client_id_issued_at", form: integer, typed: anySDK},
	{name: "client_secret_expires_at", form: integer, typed: anySDK},
	{name: "token_endpoint_auth_method", form: text, typed: anySDK, parsed: Python},
	{name: "grant_types", form: texts, typed: anySDK, nulls: Python},
	{name: "response_types", form: texts, typed: anySDK, nulls: Python},
	{name: "scope", form: text, typed: anySDK},
	{name: "contacts", form: texts, typed: anySDK},
	{name: "client_name", form: text, typed: anySDK},
	{name: "client_uri", form: link, typed: anySDK, parsed: TypeScript | Python},
	{name: "logo_uri", form: link, typed: anySDK, parsed: TypeScript | Python, blank: TypeScript},
	{name: "tos_uri", form: link, typed: anySDK, parsed: TypeScript | Python, blank: TypeScript},
	{name: "policy_uri", form: link, typed: anySDK, parsed: Python},
	{name: "jwks_uri", form: link, typed: anySDK, parsed: TypeScript | Python},
	{name: "software_id", form: text, typed: anySDK},
	{name: "software_version", form: text, typed: anySDK},
	{name: "software_statement", form: text, typed: TypeScript | Go},
	{name: "application_type", form: text, typed: TypeScript | Go},
	{name: "registration_client_uri", form: link},
	{name: "registration_access_token", form: text},
}}

// Token describes the answer with a token (RFC 6749 section 5.1).
var Token = Schema{members: []member{
	{name: "access_token", form: text, required: true, vital: true, typed: anySDK, needed: anySDK},
	{name: "token_type", form: text, required: true, typed: anySDK, needed: TypeScript, parsed: Python, nulls: Python},
	{name: "expires_in", form: integer, typed: anySDK, converted: true},
	{name: "refresh_token", form: text, typed: anySDK},
	{name: "scope", form: text, typed: TypeScript | Python},
	{name: "id_token", form: text, typed: TypeScript},
}}

// Device describes the answer of a device authorization endpoint (RFC 8628 section
// 3.2). None of the SDKs supports that flow, but other clients do.
var Device = Schema{members: []member{
	{name: "device_code", form: text, required: true},
	{name: "user_code", form: text, required: true},
	{name: "verification_uri", form: link, required: true},
	{name: "verification_uri_complete", form: link},
	{name: "expires_in", form: integer, required: true},
	{name: "interval", form: integer},
}}

// Error describes an error (RFC 6749 section 5.2, RFC 7591 section 3.2.2). If it has
// another form, the SDKs report to their users that they cannot read the error.
var Error = Schema{members: []member{
	{name: "error", form: text, required: true},
	{name: "error_description", form: text},
	{name: "error_uri", form: text},
}}
