// Has the conversation of internal/mcptest with the client of the TypeScript SDK's second
// version, which speaks 2026-07-28 and nothing else.
//
// Usage: node converse-v2.mjs <url>
// Prints what the client has seen as one line of JSON.

import { argv } from 'node:process';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

const [address] = argv.slice(2);
const client = new Client(
  { name: 'converse', version: '1' },
  {
    capabilities: { sampling: {}, elicitation: {}, roots: {} },
    versionNegotiation: { mode: { pin: '2026-07-28' } },
  },
);
client.setRequestHandler('sampling/createMessage', ({ params }) => ({
  model: 'm',
  role: 'assistant',
  content: { type: 'text', text: `sampled ${params.systemPrompt}` },
}));
client.setRequestHandler('elicitation/create', ({ params }) => ({ action: 'accept', content: { name: `${params.message}!` } }));
client.setRequestHandler('roots/list', () => ({ roots: [{ uri: 'file:///r', name: 'r' }] }));

const seen = { log: 0, updated: 0, changed: 0, progress: [] };
let wake = () => {};
const until = async holds => {
  while (!holds()) {
    await new Promise(resolve => (wake = resolve));
  }
};
for (const [method, name] of [
  ['notifications/message', 'log'],
  ['notifications/resources/updated', 'updated'],
  ['notifications/tools/list_changed', 'changed'],
]) {
  client.setNotificationHandler(method, () => {
    seen[name]++;
    wake();
  });
}

const transport = new StreamableHTTPClientTransport(new URL(address));
await client.connect(transport);

const out = { server: client.getServerVersion().name, version: client.getNegotiatedProtocolVersion() };
async function call(name, args = {}, options = {}, _meta = {}) {
  try {
    const result = await client.callTool({ name, arguments: args, _meta }, options);
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
await call('sample', { text: 'a b' });
await call('elicit', { text: 'who' });
await call('roots');
await call('log', { n: 1000, text: 'line' }, {}, { 'io.modelcontextprotocol/logLevel': 'info' });
await until(() => seen.log === 1000);
const subscription = await client.listen({ toolsListChanged: true, resourceSubscriptions: ['talk://now'] });
await call('touch');
await until(() => seen.updated === 1);
await call('grow');
await until(() => seen.changed === 1);
await subscription.close();
await call('grown');
out.completed = (await client.complete({ ref: { type: 'ref/prompt', name: 'hello' }, argument: { name: 'who', value: 'hel' } }))
  .completion.values;
out.read = (await client.readResource({ uri: 'talk://now' })).contents[0].text;
out.never = await client.readResource({ uri: 'talk://never' }).catch(error => error.code);
out.prompt = (await client.getPrompt({ name: 'hello' })).messages[0].content.text;
const controller = new AbortController();
await call('wait', {}, { signal: controller.signal, onprogress: () => controller.abort('enough') });
await call('cancelled');
await client.close();
console.log(JSON.stringify({ ...out, ...seen }));
