// Runs the official conformance suite: node conformance.mjs <its arguments>
//
// The suite imports fs.globSync, which Node.js has from version 22 on, for a command
// that is not used here. Older ones get a stand-in.

import fs from 'node:fs';
import { register } from 'node:module';
import './keepalive.mjs';

const standIn = `
  export * from 'node:fs';
  export function globSync() { throw new Error('fs.globSync takes Node.js 22'); }
`;
const hooks = `
  export function resolve(specifier, context, next) {
    return specifier === 'fs' && context.parentURL?.includes('/@modelcontextprotocol/conformance/')
      ? { url: 'data:text/javascript,' + encodeURIComponent(${JSON.stringify(standIn)}), shortCircuit: true }
      : next(specifier, context);
  }
`;
if (!fs.globSync) {
  register('data:text/javascript,' + encodeURIComponent(hooks));
}
await import('@modelcontextprotocol/conformance/dist/index.js');
