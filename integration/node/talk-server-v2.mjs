// The conversation's server of 2026-07-28, made with the TypeScript SDK's second
// version: the tools of internal/mcptest.
//
// Usage: node talk-server-v2.mjs <http|stdio>
// Over HTTP it prints its origin; Streamable HTTP is at /mcp.

import { createServer } from 'node:http';
import { Readable } from 'node:stream';
import { argv } from 'node:process';
import { createMcpHandler, inputRequired, ProtocolError, Server } from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import './keepalive.mjs';

/** A promise and what fulfils it. */
function signal() {
  const signal = {};
  signal.promise = new Promise(resolve => (signal.resolve = resolve));
  return signal;
}

const text = text => ({ content: [{ type: 'text', text: String(text) }] });

// Each request has a server of its own, and these are all clients'.
let grown = false;
const cancelled = signal();
let changes; // what tells those who listen

/** Asks for one input, and goes on with the answer to it. */
function asking(request, then) {
  return (args, { inputResponses }) =>
    inputResponses?.['input-1'] ? then(inputResponses['input-1']) : inputRequired({ inputRequests: { 'input-1': request(args) } });
}

const tools = {
  echo: ({ text: said }) => text(said),
  big: ({ n }) => text('0123456789abcdef'.repeat(n / 16)),
  length: ({ text: said }) => text(said.length),
  fail: () => {
    throw new ProtocolError(-31999, 'so "it" is', { why: [1, 2.5, '9007199254740993'] });
  },
  steps: async ({ n, text: message }, { _meta, notify }) => {
    for (let progress = 1; progress <= n; progress++) {
      await notify({ method: 'notifications/progress', params: { progressToken: _meta.progressToken, progress, total: n, message } });
    }
    return text(`${n} steps`);
  },
  log: async ({ n, text: said }, { log }) => {
    for (let i = 0; i < n; i++) {
      await log('warning', `${said} ${i}`, 'talk');
    }
    return text(`${n} lines`);
  },
  sample: asking(
    ({ text: said }) =>
      inputRequired.createMessage({ maxTokens: 7, systemPrompt: said, messages: [{ role: 'user', content: { type: 'text', text: said } }] }),
    ({ content, model }) => text(`${[content].flat()[0].text} of ${model}`),
  ),
  elicit: asking(
    ({ text: message }) => inputRequired.elicit({ message, requestedSchema: { type: 'object', properties: { name: { type: 'string' } } } }),
    ({ action, content }) => text(`${action} ${content.name}`),
  ),
  roots: asking(
    () => ({ method: 'roots/list', params: {} }), // the Go SDK's client wants params
    ({ roots }) => text(roots[0].uri),
  ),
  pingback: () => {
    throw new ProtocolError(-32601, 'servers ask nothing outside of results');
  },
  rooted: () => {
    throw new ProtocolError(-32601, 'servers are not told of roots');
  },
  wait: async (_, { _meta, signal, notify }) => {
    const over = new Promise(resolve => signal.addEventListener('abort', resolve));
    await notify({ method: 'notifications/progress', params: { progressToken: _meta.progressToken, progress: 1 } });
    await over;
    cancelled.resolve();
    return text('too late');
  },
  cancelled: async () => {
    await cancelled.promise;
    return text('it was cancelled');
  },
  touch: async () => {
    await changes.resourceUpdated('talk://now');
    return text('touched');
  },
  grow: async () => {
    grown = true;
    await changes.toolsChanged();
    return text('grown');
  },
  grown: () => text('small'),
};

function newServer() {
  const server = new Server(
    { name: 'talk', version: '1' },
    {
      instructions: 'say anything',
      capabilities: { completions: {}, logging: {}, prompts: {}, resources: { subscribe: true }, tools: { listChanged: true } },
    },
  );
  server.setRequestHandler('tools/list', () => ({
    tools: Object.keys(tools)
      .filter(name => grown || name !== 'grown')
      .map(name => ({ name, inputSchema: { type: 'object' } })),
  }));
  server.setRequestHandler('tools/call', ({ params }, { mcpReq }) => {
    if (!tools[params.name] || (params.name === 'grown' && !grown)) {
      throw new ProtocolError(-32602, `unknown tool ${params.name}`);
    }
    return tools[params.name](params.arguments ?? {}, mcpReq);
  });
  server.setRequestHandler('resources/list', () => ({ resources: [{ name: 'now', uri: 'talk://now' }] }));
  server.setRequestHandler('resources/read', ({ params: { uri } }) => {
    if (uri !== 'talk://now') {
      throw new ProtocolError(-32602, 'no such resource', { uri });
    }
    return { contents: [{ uri, mimeType: 'text/plain', text: 'now' }] };
  });
  server.setRequestHandler('prompts/get', () => ({ messages: [{ role: 'user', content: { type: 'text', text: 'hello' } }] }));
  server.setRequestHandler('completion/complete', ({ params }) => ({ completion: { values: [`${params.argument.value}lo`] } }));
  return server;
}

if (argv[2] === 'stdio') {
  serveStdio(() => {
    const server = newServer();
    changes = {
      resourceUpdated: uri => server.sendResourceUpdated({ uri }),
      toolsChanged: () => server.sendToolListChanged(),
    };
    return server;
  }, { legacy: 'reject' });
} else {
  const handler = createMcpHandler(newServer, { legacy: 'reject', maxRequestBodySize: 16 << 20 });
  changes = handler.notify;
  const http = createServer(async (req, res) => {
    const gone = new AbortController();
    res.on('close', () => gone.abort());
    const body = req.method === 'POST' ? Buffer.concat(await req.toArray()) : undefined;
    const request = new Request(`http://${req.headers.host}${req.url}`, { method: req.method, headers: req.headers, body, signal: gone.signal });
    const answer = await handler.fetch(request);
    res.writeHead(answer.status, Object.fromEntries(answer.headers)).flushHeaders();
    if (answer.body) {
      Readable.fromWeb(answer.body).on('error', () => res.destroy()).pipe(res);
    } else {
      res.end();
    }
  });
  http.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${http.address().port}`));
  process.stdin.on('end', () => process.exit()).resume();
}
