// Is the client of @modelcontextprotocol/client in a web page.

import { bound, sdkV2 } from '../sdk-v2.mjs';
import { run, WebProvider } from './page.mjs';

await run(bound(WebProvider), sdkV2);
