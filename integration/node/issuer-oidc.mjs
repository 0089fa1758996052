// An authorization server of the package oidc-provider, for endpoints with `authorize`.
//
// Usage: node issuer-oidc.mjs --audience <url> [--alg RS256|ES256|EdDSA] [--opaque] [--dpop]
//   [--hold-to-registration] [--page <redirect URI>]
//
// It knows one user, alice, and one scope more than she needs to begin with: mcp:read and
// mcp:admin. Clients register themselves. Some are known: `script`, which gets tokens for
// itself, `edge`, which may ask about opaque tokens, and with --page `page`, a web page,
// which cannot register because oidc-provider sends no CORS header fields there. It prints
// {"issuer"} as one line of JSON, obeys each line of stdin and answers it with {"done"}, and
// ends with stdin:
//   rotate    a new key signs, and the old ones stay published
//   withdraw  only the newest key is published
//   down, up  every answer is 503, until it is up again

import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import Provider, { errors } from 'oidc-provider';
import './keepalive.mjs';

const { values: options } = parseArgs({
  options: {
    audience: { type: 'string' }, // the resource that it gives tokens for
    alg: { type: 'string', default: 'ES256' },
    opaque: { type: 'boolean', default: false }, // access tokens are no JWTs
    dpop: { type: 'boolean', default: false }, // binds tokens to the key of a proof
    page: { type: 'string' }, // the redirect URI of a client in a web page
    'hold-to-registration': { type: 'boolean', default: false }, // gives a client no scope but those it registered with
  },
});
const scope = 'mcp:read mcp:admin';

console.info = console.error; // the package's notices; standard output is for answers
const http = createServer();
await once(http.listen(0, '127.0.0.1'), 'listening'); // first, for the issuer has the port
const issuer = `http://127.0.0.1:${http.address().port}`;

/** Makes a private key that signs with the algorithm of the options. */
function newKey() {
  const { privateKey } = {
    RS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
    ES256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    EdDSA: () => generateKeyPairSync('ed25519'),
  }[options.alg]();
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg: options.alg };
}

/** Makes a provider with these keys, of which the first signs. What it has stored stays. */
function newProvider(keys) {
  const provider = new Provider(issuer, {
    jwks: { keys },
    cookies: { keys: ['a secret of a test'] },
    scopes: ['openid', 'offline_access', ...scope.split(' ')],
    clientDefaults: { id_token_signed_response_alg: options.alg },
    clientBasedCORS: () => true,
    // The TypeScript SDKs register with the scopes of their first login alone, so that a
    // server which holds them to these lets no client step up.
    extraClientMetadata: {
      properties: options['hold-to-registration'] ? [] : ['held'],
      validator: (_ctx, _name, _value, metadata) => {
        metadata.scope = undefined;
      },
    },
    clients: [
      ...['script', 'edge'].map(id => ({
        client_id: id,
        client_secret: `${id}-secret`,
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
      })),
      ...(options.page
        ? [{
            client_id: 'page',
            token_endpoint_auth_method: 'none',
            grant_types: ['authorization_code', 'refresh_token'],
            redirect_uris: [options.page],
            response_types: ['code'],
          }]
        : []),
    ],
    findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    features: {
      devInteractions: { enabled: false },
      registration: { enabled: true },
      clientCredentials: { enabled: true },
      introspection: { enabled: true },
      dPoP: { enabled: options.dpop },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
        useGrantedResource: () => true,
        getResourceServerInfo: (_ctx, resource) => {
          if (resource !== options.audience) throw new errors.InvalidTarget();
          return {
            scope,
            audience: resource,
            accessTokenTTL: 300,
            accessTokenFormat: options.opaque ? 'opaque' : 'jwt',
            jwt: { sign: { alg: options.alg, kid: keys[0].kid } },
          };
        },
      },
    },
  });
  const serve = provider.callback();
  return async (req, res) => {
    if (req.url.startsWith('/interaction/')) await interact(provider, req, res);
    else serve(req, res);
  };
}

/** Is the pages for login and consent: a GET shows a button, and a POST is its answer. */
async function interact(provider, req, res) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(req, res);
  if (req.method === 'GET') {
    res.setHeader('Content-Type', 'text/html; charset=utf-8');
    res.end(`<!doctype html><title>${prompt.name}</title><form method="post" action="${req.url}"><button name="answer" value="yes">Yes</button></form>`);
    return;
  }
  if (prompt.name === 'login') {
    await provider.interactionFinished(req, res, { login: { accountId: 'alice' } }, { mergeWithLastSubmission: false });
    return;
  }
  const grant = (grantId && (await provider.Grant.find(grantId)))
    || new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  const { missingOIDCScope = [], missingResourceScopes = {} } = prompt.details;
  grant.addOIDCScope(missingOIDCScope.join(' '));
  for (const [resource, scopes] of Object.entries(missingResourceScopes)) {
    grant.addResourceScope(resource, scopes.join(' '));
  }
  await provider.interactionFinished(req, res, { consent: { grantId: await grant.save() } }, { mergeWithLastSubmission: true });
}

let keys = [newKey()];
let serve = newProvider(keys);
let down = false;
http.on('request', (req, res) => {
  if (down) res.writeHead(503).end();
  else {
    serve(req, res).catch?.(error => {
      console.error(error);
      res.writeHead(500).end();
    });
  }
});

const commands = {
  rotate: () => (serve = newProvider((keys = [newKey(), ...keys]))),
  withdraw: () => (serve = newProvider((keys = keys.slice(0, 1)))),
  down: () => (down = true),
  up: () => (down = false),
};
process.on('SIGTERM', () => process.exit());
console.log(JSON.stringify({ issuer }));
for await (const line of createInterface({ input: process.stdin })) {
  commands[line]();
  console.log(JSON.stringify({ done: line }));
}
process.exit(); // leave no process behind
