// The conversation's server, made with the TypeScript SDK: the tools of internal/mcptest.
//
// Usage: node talk-server.mjs <http|sse|stdio>
// Over HTTP it prints its origin; Streamable HTTP is at /mcp, HTTP+SSE at /sse.

import { createServer } from 'node:http';
import { randomUUID } from 'node:crypto';
import { argv } from 'node:process';
import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import { SSEServerTransport } from '@modelcontextprotocol/sdk/server/sse.js';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import * as types from '@modelcontextprotocol/sdk/types.js';
import './keepalive.mjs';

/** A promise and what fulfils it. */
function signal() {
  const signal = {};
  signal.promise = new Promise(resolve => (signal.resolve = resolve));
  return signal;
}

const text = text => ({ content: [{ type: 'text', text: String(text) }] });

function newServer() {
  const server = new Server(
    { name: 'talk', version: '1' },
    {
      instructions: 'say anything',
      capabilities: {
        completions: {},
        logging: {},
        prompts: {},
        resources: { subscribe: true },
        tools: { listChanged: true },
      },
    },
  );
  let grown = false;
  const rooted = signal();
  const cancelled = signal();
  const tools = {
    echo: ({ text: said }) => text(said),
    big: ({ n }) => text('0123456789abcdef'.repeat(n / 16)),
    length: ({ text: said }) => text(said.length),
    fail: () => {
      throw Object.assign(new Error('so "it" is'), { code: -31999, data: { why: [1, 2.5, '9007199254740993'] } });
    },
    steps: async ({ n, text: message }, { _meta, sendNotification }) => {
      for (let progress = 1; progress <= n; progress++) {
        const params = { progressToken: _meta.progressToken, progress, total: n, message };
        await sendNotification({ method: 'notifications/progress', params });
      }
      return text(`${n} steps`);
    },
    log: async ({ n, text: said }, { sendNotification }) => {
      for (let i = 0; i < n; i++) {
        const params = { level: 'warning', logger: 'talk', data: `${said} ${i}` };
        await sendNotification({ method: 'notifications/message', params });
      }
      return text(`${n} lines`);
    },
    sample: async ({ text: said }, { sendRequest }) => {
      const params = { maxTokens: 7, systemPrompt: said, messages: [{ role: 'user', content: { type: 'text', text: said } }] };
      const result = await sendRequest({ method: 'sampling/createMessage', params }, types.CreateMessageResultSchema);
      return text(`${result.content.text} of ${result.model}`);
    },
    elicit: async ({ text: message }, { sendRequest }) => {
      const params = { message, mode: 'form', requestedSchema: { type: 'object', properties: { name: { type: 'string' } } } };
      const result = await sendRequest({ method: 'elicitation/create', params }, types.ElicitResultSchema);
      return text(`${result.action} ${result.content.name}`);
    },
    roots: async (_, { sendRequest }) =>
      text((await sendRequest({ method: 'roots/list' }, types.ListRootsResultSchema)).roots[0].uri),
    pingback: async (_, { sendRequest }) => {
      await sendRequest({ method: 'ping' }, types.EmptyResultSchema);
      return text('pong');
    },
    rooted: async () => {
      await rooted.promise;
      return text('other roots');
    },
    wait: async (_, { _meta, signal, sendNotification }) => {
      const over = new Promise(resolve => signal.addEventListener('abort', resolve));
      await sendNotification({ method: 'notifications/progress', params: { progressToken: _meta.progressToken, progress: 1 } });
      await over;
      cancelled.resolve();
      return text('too late');
    },
    cancelled: async () => {
      await cancelled.promise;
      return text('it was cancelled');
    },
    touch: async () => {
      await server.sendResourceUpdated({ uri: 'talk://now' }); // of no request
      return text('touched');
    },
    grow: async () => {
      grown = true;
      await server.sendToolListChanged();
      return text('grown');
    },
    grown: () => {
      if (!grown) {
        throw new types.McpError(types.ErrorCode.InvalidParams, 'not yet');
      }
      return text('small');
    },
  };
  server.setRequestHandler(types.ListToolsRequestSchema, () => ({
    tools: Object.keys(tools)
      .filter(name => grown || name !== 'grown')
      .map(name => ({ name, inputSchema: { type: 'object' } })),
  }));
  server.setRequestHandler(types.CallToolRequestSchema, ({ params }, extra) => {
    if (!tools[params.name]) {
      throw Object.assign(new Error(`unknown tool ${params.name}`), { code: types.ErrorCode.InvalidParams });
    }
    return tools[params.name](params.arguments, extra);
  });
  server.setRequestHandler(types.ListResourcesRequestSchema, () => ({ resources: [{ name: 'now', uri: 'talk://now' }] }));
  server.setRequestHandler(types.ReadResourceRequestSchema, ({ params: { uri } }) => {
    if (uri !== 'talk://now') {
      throw Object.assign(new Error('no such resource'), { code: -32002, data: { uri } });
    }
    return { contents: [{ uri, mimeType: 'text/plain', text: 'now' }] };
  });
  server.setRequestHandler(types.SubscribeRequestSchema, () => ({}));
  server.setRequestHandler(types.UnsubscribeRequestSchema, () => ({}));
  server.setRequestHandler(types.GetPromptRequestSchema, () => ({
    messages: [{ role: 'user', content: { type: 'text', text: 'hello' } }],
  }));
  server.setRequestHandler(types.CompleteRequestSchema, ({ params }) => ({
    completion: { values: [`${params.argument.value}lo`] },
  }));
  server.setNotificationHandler(types.RootsListChangedNotificationSchema, () => rooted.resolve());
  return server;
}

if (argv[2] === 'stdio') {
  await newServer().connect(new StdioServerTransport());
} else {
  const transports = new Map(); // session ID -> transport
  const http = createServer(async (req, res) => {
    const url = new URL(req.url, 'http://localhost');
    if (url.pathname === '/sse') {
      const transport = new SSEServerTransport('/messages', res);
      transports.set(transport.sessionId, transport);
      await newServer().connect(transport);
    } else if (url.pathname === '/messages') {
      await transports.get(url.searchParams.get('sessionId')).handlePostMessage(req, res);
    } else if (url.pathname === '/mcp') {
      const id = req.headers['mcp-session-id'];
      let transport = transports.get(id);
      if (id && !transport) {
        res.writeHead(404).end();
        return;
      }
      if (!transport) {
        transport = new StreamableHTTPServerTransport({
          sessionIdGenerator: randomUUID,
          onsessioninitialized: id => transports.set(id, transport),
          onsessionclosed: id => transports.delete(id),
        });
        await newServer().connect(transport);
      }
      await transport.handleRequest(req, res);
    } else {
      res.writeHead(404).end();
    }
  });
  http.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${http.address().port}`));
  process.stdin.on('end', () => process.exit()).resume();
}
