// What the drivers of both SDKs share: an OAuth client provider in memory that
// consents without a person, and a fetch that remembers what a client sees.

import { randomUUID } from 'node:crypto';
import { parseArgs } from 'node:util';

const redirectUri = 'http://127.0.0.1:1/callback'; // nothing listens there

/** Reads the command line: <url> <streamable|sse> and options. */
export function readArguments() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      'no-refresh-token': { type: 'boolean', default: false }, // ask for no refresh token
      'until-expired': { type: 'boolean', default: false }, // go on until a token has expired
    },
  });
  const [url, transport] = positionals;
  if (!url || !['streamable', 'sse'].includes(transport)) {
    throw new Error('usage: <driver> [--no-refresh-token] [--until-expired] <url> <streamable|sse>');
  }
  return {
    url: new URL(url),
    transport,
    grants: values['no-refresh-token'] ? ['authorization_code'] : ['authorization_code', 'refresh_token'],
    untilExpired: values['until-expired'],
  };
}

/** Remembers the answers that a client gets, and what it asks for. */
export class Recorder {
  constructor(url) {
    this.url = url;
    this.answers = []; // of the endpoint: {method, status, challenge, authorized}
    this.hosts = new Set(); // of all requests
    this.authorizations = []; // requests to the authorization endpoint: {scope, resource}
    this.grants = []; // requests to the token endpoint: {grant, resource}
    this.audiences = new Set(); // of the tokens sent to the endpoint
    this.fetch = this.fetch.bind(this);
  }

  async fetch(input, init) {
    const url = new URL(input instanceof Request ? input.url : input);
    const response = await fetch(input, init);
    this.hosts.add(url.host);
    const form = init?.body instanceof URLSearchParams ? init.body : undefined;
    if (form?.has('grant_type')) {
      this.grants.push({ grant: form.get('grant_type'), resource: form.get('resource') });
    }
    if (url.host === this.url.host && url.pathname.startsWith(this.url.pathname)) {
      const authorization = new Headers(init?.headers).get('authorization');
      if (authorization?.split('.').length === 3) { // a JWT
        const claims = JSON.parse(Buffer.from(authorization.split('.')[1], 'base64url'));
        [claims.aud].flat().forEach(audience => this.audiences.add(audience));
      }
      this.answers.push({
        method: init?.method ?? 'GET',
        status: response.status,
        challenge: response.headers.get('www-authenticate'),
        authorized: authorization !== null,
      });
      if (response.status === 403) {
        this.refusal = response; // the newest
      }
    }
    return response;
  }

  /** How often the endpoint said that the token is not valid. */
  get expired() {
    return this.answers.filter(a => a.status === 401 && a.authorized && a.challenge?.includes('error="invalid_token"')).length;
  }

  report() {
    return {
      first: this.answers[0],
      challenged: this.answers.filter(a => a.status === 401 || a.status === 403),
      statuses: [...new Set(this.answers.map(a => `${a.method} ${a.status}`))],
      hosts: [...this.hosts],
      authorizations: this.authorizations,
      grants: this.grants,
      audiences: [...this.audiences],
    };
  }
}

/** An OAuthClientProvider of either SDK. */
export class Provider {
  #client;
  #tokens;
  #verifier;
  #state;
  #callback;

  constructor(recorder, grants) {
    this.recorder = recorder;
    this.redirectUrl = redirectUri;
    this.clientMetadata = {
      client_name: 'driver',
      redirect_uris: [redirectUri],
      grant_types: grants,
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    };
  }

  state() {
    return (this.#state = randomUUID());
  }

  clientInformation() {
    return this.#client;
  }

  saveClientInformation(client) {
    this.#client = client;
  }

  tokens() {
    return this.#tokens;
  }

  saveTokens(tokens) {
    this.#tokens = tokens;
  }

  codeVerifier() {
    return this.#verifier;
  }

  saveCodeVerifier(verifier) {
    this.#verifier = verifier;
  }

  invalidateCredentials(scope) {
    if (scope === 'all' || scope === 'tokens') {
      this.#tokens = undefined;
    }
    if (scope === 'all' || scope === 'client') {
      this.#client = undefined;
    }
  }

  /** Is the browser: follows redirects up to the one to the client, and agrees to what pages ask. */
  async redirectToAuthorization(url) {
    this.recorder.authorizations.push({
      scope: url.searchParams.get('scope'),
      resource: url.searchParams.get('resource'),
    });
    const cookies = new Map();
    let [at, method] = [url, 'GET'];
    while (!at.href.startsWith(redirectUri)) {
      const cookie = [...cookies].map(pair => pair.join('=')).join('; ');
      const response = await this.recorder.fetch(at, { method, redirect: 'manual', headers: cookie ? { cookie } : {} });
      for (const line of response.headers.getSetCookie()) {
        const [, name, value] = line.match(/^([^=]+)=([^;]*)/);
        cookies.set(name, value);
      }
      const page = await response.text();
      const next = response.headers.get('location') ?? page.match(/<form method="post" action="([^"]+)"/)?.[1];
      if (!next) {
        throw new Error(`authorization answered ${response.status}: ${page}`);
      }
      method = response.headers.has('location') ? 'GET' : 'POST';
      at = new URL(next, at);
    }
    this.#callback = at.searchParams;
  }

  /** Takes the parameters that the redirect to the client carried. */
  takeCallback() {
    const callback = this.#callback;
    this.#callback = undefined;
    if (!callback?.has('code') || callback.get('state') !== this.#state) {
      throw new Error(`no login came back: ${callback}`);
    }
    return callback;
  }
}

/**
 * Logs in, uses the tools, and prints what happened as one line of JSON.
 * `sdk` has what the SDKs differ in:
 *   create(): a new {client, transport};
 *   isUnauthorized(error): whether the SDK has started a login for the application to finish;
 *   finishAuth(transport, callback): finishes a login;
 *   stepUp(refusal): starts a login for what a 403 asks for, where the SDK does not.
 */
export async function drive({ url, transport: kind, untilExpired }, provider, recorder, sdk) {
  const first = sdk.create();
  try {
    await first.client.connect(first.transport);
    throw new Error('connected without a login');
  } catch (error) {
    if (!sdk.isUnauthorized(error)) {
      throw error;
    }
  }
  await sdk.finishAuth(first.transport, provider.takeCallback());
  const { client, transport } = sdk.create(); // for a transport starts once
  await client.connect(transport);

  const stepUps = [];
  async function call(name) {
    const { content } = await client.callTool({ name, arguments: {} });
    return content[0].text;
  }
  async function callSteppingUp(name) {
    try {
      return await call(name);
    } catch (error) {
      if (sdk.isUnauthorized(error)) {
        stepUps.push({ tool: name, by: 'sdk' });
      } else if (recorder.refusal) {
        stepUps.push({ tool: name, by: 'application' });
        await sdk.stepUp(recorder.refusal);
      } else {
        throw error;
      }
    }
    await sdk.finishAuth(transport, provider.takeCallback());
    return await call(name);
  }

  const tools = (await client.listTools()).tools.map(tool => tool.name).sort();
  const whoami = await callSteppingUp('whoami');
  while (untilExpired && recorder.expired === 0) {
    await call('whoami');
  }
  const secret = await callSteppingUp('admin_secret');
  const again = await callSteppingUp('whoami');
  await transport.terminateSession?.();
  await client.close();
  console.log(
    JSON.stringify({ url: url.href, transport: kind, tools, whoami, secret, again, stepUps, ...recorder.report() }),
  );
}
