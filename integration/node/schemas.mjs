// Says of documents which of the TypeScript SDKs' schemas refuse them.
//
//   node schemas.mjs < documents.json > refused.json
//
// Each document is {schema, document}, and each answer is true where the schema
// of a version refuses it.

import * as v1 from "@modelcontextprotocol/sdk/shared/auth.js";
import * as v2 from "@modelcontextprotocol/core/internal";

const names = {
  resource: "OAuthProtectedResourceMetadataSchema",
  oauth: "OAuthMetadataSchema",
  openid: "OpenIdProviderDiscoveryMetadataSchema",
  registration: "OAuthClientInformationFullSchema",
  token: "OAuthTokensSchema",
};

let input = "";
for await (const chunk of process.stdin) input += chunk;
const refused = JSON.parse(input).map(({ schema, document }) =>
  [v1, v2].some((sdk) => !sdk[names[schema]].safeParse(JSON.parse(document)).success),
);
process.stdout.write(JSON.stringify(refused));
