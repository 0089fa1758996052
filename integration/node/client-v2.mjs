// Logs the client of @modelcontextprotocol/client in and uses the tools.

import {
  auth,
  Client,
  computeScopeUnion,
  extractWWWAuthenticateParams,
  SSEClientTransport,
  StreamableHTTPClientTransport,
  UnauthorizedError,
} from '@modelcontextprotocol/client';
import { drive, Provider, readArguments, Recorder } from './driver.mjs';

/** Remembers too which authorization server a login has begun at. */
class BoundProvider extends Provider {
  #discovered;

  discoveryState() {
    return this.#discovered;
  }

  saveDiscoveryState(discovered) {
    this.#discovered = discovered;
  }
}

const options = readArguments();
const recorder = new Recorder(options.url);
const provider = new BoundProvider(recorder, options.grants);
const Transport = options.transport === 'sse' ? SSEClientTransport : StreamableHTTPClientTransport;

await drive(options, provider, recorder, {
  create: () => ({
    client: new Client({ name: 'driver', version: '1' }),
    transport: new Transport(options.url, { authProvider: provider, fetch: recorder.fetch }),
  }),
  isUnauthorized: error => error instanceof UnauthorizedError,
  finishAuth: (transport, callback) => transport.finishAuth(callback),
  // Over SSE the SDK leaves the 403 to the application.
  stepUp: async refusal => {
    const { resourceMetadataUrl, scope } = extractWWWAuthenticateParams(refusal);
    await auth(provider, {
      serverUrl: options.url,
      resourceMetadataUrl,
      scope: computeScopeUnion(provider.tokens()?.scope, scope),
      forceReauthorization: true,
      fetchFn: recorder.fetch,
    });
  },
});
