// An MCP server of @modelcontextprotocol/sdk which is its own authorization
// server, with the SDK's router for that, and knows only its private origin: a
// proxy in front of it has to map that to a public one.
//
// Usage: node server-v1.mjs [--audience <url>...] [--consent] [--lifetime <seconds>]
//   [--name localhost|127.0.0.1] [--path-issuer] [--iss]
//   [--old server|none]
// It prints {"origin", "mcp"} as one line of JSON and ends when its stdin does.
// GET /seen, which no proxy may pass on, says what has arrived. The SDK's rate
// limits are on: 20 registrations, 50 tokens and 100 authorizations for each server.

import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';
import {
  AccessDeniedError,
  InvalidGrantError,
  InvalidScopeError,
  InvalidTargetError,
  InvalidTokenError,
} from '@modelcontextprotocol/sdk/server/auth/errors.js';
import { metadataHandler } from '@modelcontextprotocol/sdk/server/auth/handlers/metadata.js';
import { requireBearerAuth } from '@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js';
import {
  createOAuthMetadata,
  getOAuthProtectedResourceMetadataUrl,
  mcpAuthRouter,
} from '@modelcontextprotocol/sdk/server/auth/router.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { isInitializeRequest } from '@modelcontextprotocol/sdk/types.js';
import express from 'express'; // the SDK's own, as is zod
import * as z from 'zod';
import './keepalive.mjs';

const scopesSupported = ['mcp:read', 'mcp:admin'];
const adminTool = 'admin_secret';

const { values: options, positionals } = parseArgs({
  allowPositionals: true, // the further ones of --audience
  options: {
    audience: { type: 'string', multiple: true }, // the resources it gives tokens for, not its own URL
    consent: { type: 'boolean', default: false }, // ask the user on a page, with a cookie
    lifetime: { type: 'string', default: '3600' }, // of access tokens, in seconds
    name: { type: 'string', default: '127.0.0.1' }, // the host of the private origin
    iss: { type: 'boolean', default: false }, // say who answers, which the SDK's router cannot announce
    old: { type: 'string' }, // as in 2025-03-26, no metadata but that of the authorization server, or none at all
    'path-issuer': { type: 'boolean', default: false }, // an issuer below the origin
  },
});
const lifetime = Number(options.lifetime);
options.audience?.push(...positionals);
if (
  !(lifetime > 0) ||
  !['localhost', '127.0.0.1'].includes(options.name) ||
  (positionals.length > 0 && !options.audience)
) {
  throw new Error('wrong arguments: the top of the file says which there are');
}

process.stdin.on('end', () => process.exit()).resume(); // leave no process behind
process.on('SIGTERM', () => process.exit());

const http = createServer();
await once(http.listen(0, '127.0.0.1'), 'listening'); // first, for all URLs need the port
const origin = `http://${options.name}:${http.address().port}`;
const mcp = `${origin}/mcp`;
const issuerUrl = new URL(options['path-issuer'] ? '/tenant' : '/', origin);

// What the server has seen: the resource parameters are as the SDK hands them
// over, which is after URL has parsed them.
const seen = { resources: [], cookies: new Set(), hosts: new Set() };

// The audience of a token by the resource that a client asked for.
const audiences = new Map(
  options.audience?.map(url => [new URL(url).href, url]) ?? [[mcp, mcp], [`${mcp}/`, mcp]],
);

/** Returns the audience for a resource, which a request to `at` named. */
function audienceFor(at, resource, absent) {
  seen.resources.push({ at, value: resource?.href ?? null });
  const audience = resource ? audiences.get(resource.href) : absent;
  if (!audience) {
    throw new InvalidTargetError(`no tokens for ${resource?.href ?? 'no resource'} here`);
  }
  return audience;
}

function cookiesOf(req) {
  return new Map(req.headers.cookie?.split('; ').map(pair => pair.split(/=(.*)/s)));
}

/** An OAuthServerProvider that knows one user and forgets all when it ends. */
class Provider {
  #clients = new Map();
  #codes = new Map(); // code -> what was granted
  #tokens = new Set(); // access tokens, until they are revoked
  #refresh = new Map(); // refresh token -> what was granted
  transactions = new Map(); // on the consent page: txn -> {sid, client, params, grant}

  clientsStore = {
    getClient: id => this.#clients.get(id),
    registerClient: client => {
      this.#clients.set(client.client_id, client);
      return client;
    },
  };

  async authorize(client, params, res) {
    // Old clients name no resource; a list of audiences is for those that do.
    const audience = audienceFor('authorize', params.resource, options.audience ? undefined : mcp);
    const scopes = params.scopes.length > 0 ? params.scopes : ['mcp:read'];
    if (!scopes.every(scope => scopesSupported.includes(scope))) {
      throw new InvalidScopeError(`there is no such scope in ${scopes.join(' ')}`);
    }
    const grant = { clientId: client.client_id, scopes, audience };
    if (!options.consent) {
      this.finish(params, grant, res);
      return;
    }
    const txn = randomUUID();
    const sid = randomUUID();
    this.transactions.set(txn, { sid, client, params, grant });
    res.cookie('sid', sid, {
      path: '/',
      httpOnly: true,
      sameSite: 'lax',
      domain: options.name === 'localhost' ? 'localhost' : undefined,
    });
    res.redirect(302, `${origin}/consent?txn=${txn}`); // absolute: a proxy has to map it
  }

  /** Redirects to the client, with a code where there is a grant. */
  finish({ redirectUri, state, codeChallenge }, grant, res) {
    const url = new URL(redirectUri);
    if (grant) {
      const code = randomUUID();
      this.#codes.set(code, { ...grant, redirectUri, codeChallenge });
      url.searchParams.set('code', code);
    } else {
      url.searchParams.set('error', AccessDeniedError.errorCode);
    }
    if (state !== undefined) {
      url.searchParams.set('state', state);
    }
    if (options.iss) url.searchParams.set('iss', metadata.issuer); // RFC 9207; compared as a string
    res.redirect(302, url.href);
  }

  async challengeForAuthorizationCode(client, code) {
    return this.#granted(this.#codes, client, code).codeChallenge;
  }

  async exchangeAuthorizationCode(client, code, _verifier, redirectUri, resource) {
    const grant = this.#granted(this.#codes, client, code);
    if (redirectUri !== undefined && redirectUri !== grant.redirectUri) {
      throw new InvalidGrantError('the code was sent to another redirect_uri');
    }
    return this.#issue('token', client, grant, grant.scopes, resource, () => this.#codes.delete(code));
  }

  async exchangeRefreshToken(client, token, scopes, resource) {
    const grant = this.#granted(this.#refresh, client, token);
    if (scopes?.some(scope => !grant.scopes.includes(scope))) {
      throw new InvalidScopeError('a refresh token widens no scope');
    }
    return this.#issue('refresh', client, grant, scopes ?? grant.scopes, resource, () => this.#refresh.delete(token));
  }

  async verifyAccessToken(token) {
    let claims;
    try {
      claims = JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));
    } catch {
      throw new InvalidTokenError('this is no token of ours');
    }
    if (![...audiences.values()].includes(claims.aud)) {
      throw new InvalidTokenError('the audience is wrong');
    }
    if (!this.#tokens.has(token)) { // stands for the check of a signature
      throw new InvalidTokenError('this is no token of ours');
    }
    return {
      token,
      clientId: claims.client_id,
      scopes: claims.scope.split(' '),
      expiresAt: claims.exp,
      extra: { user: claims.sub },
    };
  }

  async revokeToken(client, { token }) {
    if (this.#refresh.get(token)?.clientId === client.client_id) {
      this.#refresh.delete(token);
    }
    this.#tokens.delete(token);
  }

  #granted(grants, client, key) {
    const grant = grants.get(key);
    if (grant?.clientId !== client.client_id) {
      throw new InvalidGrantError('there is no such grant');
    }
    return grant;
  }

  /** Makes tokens, and lets `use` use up what they are given for. */
  #issue(at, client, grant, scopes, resource, use) {
    const audience = audienceFor(at, resource, grant.audience);
    if (audience !== grant.audience) {
      throw new InvalidTargetError(`the grant is for ${grant.audience}`);
    }
    use();
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      iss: metadata.issuer,
      sub: 'alice',
      aud: audience,
      iat: now,
      exp: now + lifetime,
      jti: randomUUID(),
      scope: scopes.join(' '),
      client_id: client.client_id,
    };
    // A JWT in shape, for a client that wants to read it.
    const parts = [JSON.stringify({ alg: 'none', typ: 'at+jwt' }), JSON.stringify(claims), 'unsigned'];
    const tokens = {
      access_token: parts.map(part => Buffer.from(part).toString('base64url')).join('.'),
      token_type: 'Bearer',
      expires_in: lifetime,
      scope: claims.scope,
    };
    this.#tokens.add(tokens.access_token);
    if (client.grant_types?.includes('refresh_token')) {
      tokens.refresh_token = randomUUID();
      this.#refresh.set(tokens.refresh_token, grant);
    }
    return tokens;
  }
}

function createMcpServer() {
  const server = new McpServer({ name: 'server-v1', version: '1' });
  const text = text => ({ content: [{ type: 'text', text }] });
  server.registerTool('whoami', { description: 'Says who is logged in.' }, extra => text(extra.authInfo.extra.user));
  server.registerTool(
    'echo',
    { description: 'Says what it is told.', inputSchema: { text: z.string() } },
    input => text(input.text),
  );
  server.registerTool(
    'steps',
    { description: 'Reports its progress.', inputSchema: { steps: z.number().int().min(0).max(100) } },
    async ({ steps }, { _meta, sendNotification }) => {
      const progressToken = _meta?.progressToken;
      for (let progress = 1; progressToken !== undefined && progress <= steps; progress++) {
        await sendNotification({ method: 'notifications/progress', params: { progressToken, progress, total: steps } });
      }
      return text(`${steps} steps`);
    },
  );
  server.registerTool(adminTool, { description: 'Needs the scope mcp:admin.' }, () => text('the secret of the admins'));
  return server;
}

const provider = new Provider();
const metadata = createOAuthMetadata({ provider, issuerUrl, scopesSupported }); // what the router makes too
const app = express();

app.get('/seen', (req, res) => {
  res.json({ resources: seen.resources, cookies: [...seen.cookies], hosts: [...seen.hosts] });
});
app.use((req, res, next) => {
  seen.hosts.add(req.headers.host);
  cookiesOf(req).forEach((_, name) => seen.cookies.add(name));
  next();
});

if (options.old) {
  app.use('/.well-known/oauth-protected-resource', (req, res) => res.status(404).end());
}
if (options.old === 'none') {
  app.use('/.well-known', (req, res) => res.status(404).end());
}
if (options['path-issuer']) {
  // The router serves this at the root alone; RFC 8414 has it here.
  app.use(`/.well-known/oauth-authorization-server${issuerUrl.pathname}`, metadataHandler(metadata));
}
app.use(mcpAuthRouter({ provider, issuerUrl, scopesSupported, resourceServerUrl: new URL(mcp) }));

function escapeHtml(text) {
  return String(text).replace(/[&<>"']/g, c => `&#${c.charCodeAt(0)};`);
}

app.get('/consent', (req, res) => {
  const transaction = provider.transactions.get(req.query.txn);
  if (!transaction) {
    res.status(404).send('no such login');
    return;
  }
  const { client, grant } = transaction;
  res.send(`<!DOCTYPE html>
<title>Consent</title>
<main>
  <p>Let <b>${escapeHtml(client.client_name ?? client.client_id)}</b> use <b>${escapeHtml(grant.audience)}</b>?</p>
  <form method="post" action="/consent">
    <input type="hidden" name="txn" value="${escapeHtml(req.query.txn)}">
    <button name="consent" value="yes">Yes</button>
    <button name="consent" value="no">No</button>
  </form>
</main>
`);
});
app.post('/consent', express.urlencoded({ extended: false }), (req, res) => {
  const transaction = provider.transactions.get(req.body?.txn);
  if (!transaction || cookiesOf(req).get('sid') !== transaction.sid) { // the browser that began the login
    res.status(403).send('this is not your login');
    return;
  }
  provider.transactions.delete(req.body.txn);
  provider.finish(transaction.params, req.body.consent === 'yes' ? transaction.grant : undefined, res);
});

const resourceMetadataUrl = options.old ? undefined : getOAuthProtectedResourceMetadataUrl(new URL(mcp));
const authenticated = requireBearerAuth({ verifier: provider, resourceMetadataUrl });
const mayRead = requireBearerAuth({ verifier: provider, resourceMetadataUrl, requiredScopes: ['mcp:read'] });

/** Which scope a message needs is known from its body alone. */
function authorize(req, res, next) {
  const messages = [req.body].flat();
  if (!messages.some(message => message?.method === 'tools/call' && message.params?.name === adminTool)) {
    mayRead(req, res, next);
    return;
  }
  authenticated(req, res, () => {
    if (req.auth.scopes.includes('mcp:admin')) {
      next();
      return;
    }
    res
      .status(403)
      .set(
        'WWW-Authenticate',
        'Bearer error="insufficient_scope", scope="mcp:admin"' +
          (resourceMetadataUrl ? `, resource_metadata="${resourceMetadataUrl}"` : ''),
      )
      .json({ error: 'insufficient_scope', error_description: 'this needs mcp:admin' });
  });
}

const sessions = new Map(); // session ID -> transport

app.all('/mcp', express.json(), authorize, async (req, res) => {
  const id = req.headers['mcp-session-id'];
  let transport = sessions.get(id);
  if (!transport) {
    if (id || !isInitializeRequest(req.body)) {
      const [status, message] = id ? [404, 'no such session'] : [400, 'no session'];
      res.status(status).json({ jsonrpc: '2.0', error: { code: -32000, message }, id: null });
      return;
    }
    transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: id => sessions.set(id, transport),
      onsessionclosed: id => sessions.delete(id),
    });
    await createMcpServer().connect(transport);
  }
  await transport.handleRequest(req, res, req.body);
});

http.on('request', app);
console.log(JSON.stringify({ origin, mcp }));
