// Writes what Node makes of URIs: for each text of the list on standard input, the URIs that a
// server may look a resource up by.

import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

function attempt(make) {
  try {
    return [make()];
  } catch {
    return []; // Node refuses it
  }
}

function readings(uri) {
  const [url] = attempt(() => new URL(uri));
  if (!url) return [];
  const all = [url.href];
  if (url.protocol === 'file:') {
    all.push(...attempt(() => 'file://' + decodeURIComponent(url.pathname)));
    all.push(...attempt(() => 'file://' + fileURLToPath(url)));
    all.push(...attempt(() => fileURLToPath(url, { windows: true }).replaceAll('\\', '/').replace(/^(\/\/)?/, (unc) => (unc ? 'file://' : 'file:///'))));
  } else if (url.host) {
    url.username = '';
    url.password = '';
    url.hash = '';
    all.push(url.href, ...attempt(() => `${url.protocol}//${url.host}${decodeURIComponent(url.pathname)}${url.search}`));
  }
  return all;
}

console.log(JSON.stringify(JSON.parse(await text(process.stdin)).map(readings)));
