// Logs the client of @modelcontextprotocol/sdk in and uses the tools.

import { auth, extractWWWAuthenticateParams, UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { drive, Recorder } from './driver.mjs';
import { HeadlessProvider, readArguments } from './headless.mjs';

const options = readArguments();
const recorder = new Recorder(options.url);
const provider = new HeadlessProvider(recorder, options.grants);
const Transport = options.transport === 'sse' ? SSEClientTransport : StreamableHTTPClientTransport;

const report = await drive(options, provider, recorder, {
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
});
console.log(JSON.stringify(report));
