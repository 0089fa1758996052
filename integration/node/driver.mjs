// What the drivers of both SDKs share, in Node.js and in a web page: an OAuth client
// provider in memory, a fetch that remembers what a client sees, and the conversation.

/** Remembers the answers that a client gets, and what it asks for. */
export class Recorder {
  constructor(url) {
    this.url = url;
    this.answers = []; // of the endpoint: {method, status, challenge, authorized}
    this.hosts = new Set(); // of all requests
    this.authorizations = []; // requests to the authorization endpoint: {scope, resource}
    this.grants = []; // requests to the token endpoint: {grant, resource}
    this.audiences = new Set(); // of the tokens sent to the endpoint
    this.sessions = new Set(); // ids sent to the endpoint
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
        const claims = JSON.parse(atob(authorization.split('.')[1].replaceAll('-', '+').replaceAll('_', '/')));
        [claims.aud].flat().forEach(audience => this.audiences.add(audience));
      }
      const session = new Headers(init?.headers).get('mcp-session-id');
      if (session) {
        this.sessions.add(session);
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
      sessions: this.sessions.size,
    };
  }
}

/**
 * An OAuthClientProvider of either SDK, but for what leads a person through a login:
 *   redirectToAuthorization(url): begins it;
 *   callback(): the parameters that the redirect to the client carried.
 */
export class Provider {
  #client;
  #tokens;
  #verifier;
  #state;

  /** client is one that the authorization server knows already, if any. */
  constructor(recorder, redirectUrl, grants, client) {
    this.recorder = recorder;
    this.#client = client;
    this.redirectUrl = redirectUrl;
    this.clientMetadata = {
      client_name: 'driver',
      redirect_uris: [redirectUrl],
      grant_types: grants,
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    };
  }

  state() {
    return (this.#state = crypto.randomUUID());
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

  /** Remembers what a login asks for. */
  recordAuthorization(url) {
    this.recorder.authorizations.push({
      scope: url.searchParams.get('scope'),
      resource: url.searchParams.get('resource'),
    });
  }

  /** Takes the parameters that the redirect to the client carried. */
  async takeCallback() {
    const callback = await this.callback();
    if (!callback?.has('code') || callback.get('state') !== this.#state) {
      throw new Error(`no login came back: ${callback}`);
    }
    return callback;
  }
}

/**
 * Logs in, uses the tools, and returns what happened.
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
  await sdk.finishAuth(first.transport, await provider.takeCallback());
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
    await sdk.finishAuth(transport, await provider.takeCallback());
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
  return { url: url.href, transport: kind, tools, whoami, secret, again, stepUps, ...recorder.report() };
}
