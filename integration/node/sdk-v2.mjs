// What is particular to @modelcontextprotocol/client, in Node.js and in a web page.

import {
  auth,
  Client,
  computeScopeUnion,
  extractWWWAuthenticateParams,
  SSEClientTransport,
  StreamableHTTPClientTransport,
  UnauthorizedError,
} from '@modelcontextprotocol/client';

/** A provider that remembers, too, which authorization server a login has begun at. */
export const bound = Provider => class extends Provider {
  #discovered;

  discoveryState() {
    return this.#discovered;
  }

  saveDiscoveryState(discovered) {
    this.#discovered = discovered;
  }
};

/** What `drive` wants to know of the SDK. */
export function sdkV2(options, provider, recorder) {
  const Transport = options.transport === 'sse' ? SSEClientTransport : StreamableHTTPClientTransport;
  return {
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
  };
}
