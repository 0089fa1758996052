// Talks to an MCP endpoint that asks for no login, with the client of either SDK,
// and prints what came of it as one line of JSON.
//
// Usage: node talk.mjs <v1|v2> <url> <what>
//   everything: server-everything's tools, progress, sampling and resources
//   filesystem <folder>: lists the folder with server-filesystem

import { argv } from 'node:process';

const [version, address, what, folder] = argv.slice(2);
const sdk =
  version === 'v1'
    ? {
        ...(await import('@modelcontextprotocol/sdk/client/index.js')),
        ...(await import('@modelcontextprotocol/sdk/client/streamableHttp.js')),
        sampling: (await import('@modelcontextprotocol/sdk/types.js')).CreateMessageRequestSchema,
      }
    : { ...(await import('@modelcontextprotocol/client')), sampling: 'sampling/createMessage' };

const statuses = {};
let cuts = false;
async function recordingFetch(input, init) {
  const response = await fetch(input, init);
  const method = init?.method ?? 'GET';
  const key = `${method} ${response.status}${new Headers(init?.headers).has('last-event-id') ? ' resumed' : ''}`;
  statuses[key] = (statuses[key] ?? 0) + 1;
  return cuts && method === 'POST' && response.status === 200 ? cut(response) : response;
}

// cut returns a response whose connection breaks after the first bytes.
function cut(response) {
  const from = response.body.getReader();
  let first = true;
  const body = new ReadableStream({
    async pull(to) {
      if (!first) {
        await from.cancel();
        to.error(new Error('cut'));
        return;
      }
      first = false;
      to.enqueue((await from.read()).value);
    },
  });
  return new Response(body, { status: response.status, headers: response.headers });
}

const client = new sdk.Client({ name: 'talk', version: '1' }, { capabilities: { sampling: {} } });
client.setRequestHandler(sdk.sampling, async () => ({
  model: 'm',
  role: 'assistant',
  content: { type: 'text', text: 'sampled here' },
}));
const transport = new sdk.StreamableHTTPClientTransport(new URL(address), { fetch: recordingFetch });
await client.connect(transport);

const text = result => result.content.map(c => c.text ?? `(${c.type})`).join('\n');
const out = { server: client.getServerVersion()?.name, tools: (await client.listTools()).tools.map(t => t.name).sort() };
if (what === 'everything') {
  out.echo = text(await client.callTool({ name: 'echo', arguments: { message: 'héllo' } }));
  const progress = [];
  const long = { name: 'trigger-long-running-operation', arguments: { duration: 1, steps: 4 } };
  const options = { onprogress: p => progress.push(p.progress) };
  out.long = text(await (version === 'v1' ? client.callTool(long, undefined, options) : client.callTool(long, options)));
  out.progress = progress;
  cuts = true;
  const silent = { name: 'trigger-long-running-operation', arguments: { duration: 8, steps: 1 } };
  out.resumed = text(await client.callTool(silent));
  cuts = false;
  out.sampled = text(
    await client.callTool({ name: 'trigger-sampling-request', arguments: { prompt: 'say', maxTokens: 10 } }),
  );
  out.resources = (await client.listResources()).resources.length;
} else {
  out.listing = text(await client.callTool({ name: 'list_directory', arguments: { path: folder } }));
}
out.session = transport.sessionId;
await transport.terminateSession();
await client.close();
console.log(JSON.stringify({ ...out, statuses }));
