// Has the conversation of internal/mcptest with the TypeScript SDK's client.
//
// Usage: node converse.mjs <streamable|sse> <url>
// Prints what the client has seen as one line of JSON.

import { argv } from 'node:process';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import * as types from '@modelcontextprotocol/sdk/types.js';

const [kind, address] = argv.slice(2);
const client = new Client(
  { name: 'converse', version: '1' },
  { capabilities: { sampling: {}, elicitation: {}, roots: { listChanged: true } } },
);
const roots = [{ uri: 'file:///r', name: 'r' }];
client.setRequestHandler(types.CreateMessageRequestSchema, ({ params }) => ({
  model: 'm',
  role: 'assistant',
  content: { type: 'text', text: `sampled ${params.systemPrompt}` },
}));
client.setRequestHandler(types.ElicitRequestSchema, ({ params }) => ({ action: 'accept', content: { name: `${params.message}!` } }));
client.setRequestHandler(types.ListRootsRequestSchema, () => ({ roots }));

const seen = { log: 0, updated: 0, changed: 0, progress: [] };
let wake = () => {};
const until = async holds => {
  while (!holds()) {
    await new Promise(resolve => (wake = resolve));
  }
};
for (const [schema, name] of [
  [types.LoggingMessageNotificationSchema, 'log'],
  [types.ResourceUpdatedNotificationSchema, 'updated'],
  [types.ToolListChangedNotificationSchema, 'changed'],
]) {
  client.setNotificationHandler(schema, () => {
    seen[name]++;
    wake();
  });
}

const Transport = { streamable: StreamableHTTPClientTransport, sse: SSEClientTransport }[kind];
// A stream that ends without an answer is asked for again at once, so that each conversation shows
// what becomes of that.
const reconnectionOptions = { initialReconnectionDelay: 1, maxReconnectionDelay: 1, reconnectionDelayGrowFactor: 1, maxRetries: 2 };
const transport = new Transport(new URL(address), { reconnectionOptions });
await client.connect(transport);

const out = { server: client.getServerVersion().name };
async function call(name, args = {}, options = {}) {
  try {
    const result = await client.callTool({ name, arguments: args }, undefined, options);
    out[name] = result.content[0].text.length > 100 ? `${result.content[0].text.length} bytes` : result.content[0].text;
  } catch (error) {
    out[name] = `${error.code}: ${error.message} ${JSON.stringify(error.data)}`;
  }
}
out.tools = (await client.listTools()).tools.length;
await call('echo', { text: 'gr\u00fc\u00dfe \u2028 \u{1f600} \0 "</script>' });
await call('fail');
await call('none');
await call('steps', { n: 20, text: 'on' }, { onprogress: ({ progress }) => seen.progress.push(progress) });
await call('big', { n: 4 << 20 });
await call('length', { text: 'x'.repeat(2 << 20) });
await call('pingback');
await call('sample', { text: 'a b' });
await call('elicit', { text: 'who' });
await call('roots');
roots.push({ uri: 'file:///r2', name: 'r2' });
await client.sendRootsListChanged();
await call('rooted');
const controller = new AbortController();
await call('wait', {}, { signal: controller.signal, onprogress: () => controller.abort('enough') });
await call('cancelled');
await client.setLoggingLevel('info');
await call('log', { n: 1000, text: 'line' });
await until(() => seen.log === 1000);
await client.subscribeResource({ uri: 'talk://now' });
await call('touch');
await until(() => seen.updated === 1);
await client.unsubscribeResource({ uri: 'talk://now' });
out.completed = (await client.complete({ ref: { type: 'ref/prompt', name: 'hello' }, argument: { name: 'who', value: 'hel' } }))
  .completion.values;
out.read = (await client.readResource({ uri: 'talk://now' })).contents[0].text;
out.never = await client.readResource({ uri: 'talk://never' }).catch(error => error.code);
out.prompt = (await client.getPrompt({ name: 'hello' })).messages[0].content.text;
await call('grow');
await until(() => seen.changed === 1);
await call('grown');
await client.ping();
await transport.terminateSession?.();
await client.close();
console.log(JSON.stringify({ ...out, ...seen }));
