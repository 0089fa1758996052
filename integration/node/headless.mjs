// What the drivers of both SDKs share in Node.js: the command line, and logins that no
// person has to click through.

import { parseArgs } from 'node:util';
import { Provider } from './driver.mjs';

const redirectUri = 'http://127.0.0.1:1/callback'; // nothing listens there

/** Reads the command line: <url> <streamable|sse> and options. */
export function readArguments() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      'no-refresh-token': { type: 'boolean', default: false }, // ask for no refresh token
      'until-expired': { type: 'boolean', default: false }, // go on until a token has expired
    },
  });
  const [url, transport] = positionals;
  if (!url || !['streamable', 'sse'].includes(transport)) {
    throw new Error('usage: <driver> [--no-refresh-token] [--until-expired] <url> <streamable|sse>');
  }
  return {
    url: new URL(url),
    transport,
    grants: values['no-refresh-token'] ? ['authorization_code'] : ['authorization_code', 'refresh_token'],
    untilExpired: values['until-expired'],
  };
}

/** A provider that consents without a person. */
export class HeadlessProvider extends Provider {
  #callback;

  constructor(recorder, grants) {
    super(recorder, redirectUri, grants);
  }

  /** Is the browser: follows redirects up to the one to the client, and agrees to what pages ask. */
  async redirectToAuthorization(url) {
    this.recordAuthorization(url);
    const cookies = new Map();
    let [at, method] = [url, 'GET'];
    while (!at.href.startsWith(redirectUri)) {
      const cookie = [...cookies].map(pair => pair.join('=')).join('; ');
      const response = await this.recorder.fetch(at, { method, redirect: 'manual', headers: cookie ? { cookie } : {} });
      for (const line of response.headers.getSetCookie()) {
        const [, name, value] = line.match(/^([^=]+)=([^;]*)/);
        cookies.set(name, value);
      }
      const page = await response.text();
      const next = response.headers.get('location') ?? page.match(/<form method="post" action="([^"]+)"/)?.[1];
      if (!next) {
        throw new Error(`authorization answered ${response.status}: ${page}`);
      }
      method = response.headers.has('location') ? 'GET' : 'POST';
      at = new URL(next, at);
    }
    this.#callback = at.searchParams;
  }

  /** The parameters of the last redirect, once. */
  callback() {
    const callback = this.#callback;
    this.#callback = undefined;
    return callback;
  }
}
