// Imported by programs that serve HTTP: their servers keep idle connections open. Node.js ends
// one after 5 seconds. On a busy machine it then also ends one that has a request waiting, and
// whoever sent that can only answer 502, for it may have been a call that must not happen twice.

import http from 'node:http';
import net from 'node:net';

http.Server.prototype.listen = function (...args) {
  this.keepAliveTimeout = 0;
  return net.Server.prototype.listen.apply(this, args);
};
