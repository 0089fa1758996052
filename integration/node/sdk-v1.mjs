// What is particular to @modelcontextprotocol/sdk, in Node.js and in a web page.

import { auth, extractWWWAuthenticateParams, UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

/** What `drive` wants to know of the SDK. */
export function sdkV1(options, provider, recorder) {
  const Transport = options.transport === 'sse' ? SSEClientTransport : StreamableHTTPClientTransport;
  return {
    create: () => ({
      client: new Client({ name: 'driver', version: '1' }),
      transport: new Transport(options.url, { authProvider: provider, fetch: recorder.fetch }),
    }),
    isUnauthorized: error => error instanceof UnauthorizedError,
    finishAuth: (transport, callback) => transport.finishAuth(callback.get('code')),
    // The SDK refreshes where it has a refresh token, which widens no scope, and
    // over SSE it does nothing: the application starts a login without tokens.
    stepUp: async refusal => {
      const { resourceMetadataUrl, scope } = extractWWWAuthenticateParams(refusal);
      const granted = provider.tokens()?.scope ?? '';
      provider.invalidateCredentials('tokens');
      await auth(provider, {
        serverUrl: options.url,
        resourceMetadataUrl,
        scope: [...new Set(`${granted} ${scope}`.trim().split(' '))].join(' '),
        fetchFn: recorder.fetch,
      });
    },
  };
}
