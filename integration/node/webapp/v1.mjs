// Is the client of @modelcontextprotocol/sdk in a web page. Browsers cannot load all of its
// parts as they are, so it is bundled.

import { sdkV1 } from '../sdk-v1.mjs';
import { run, WebProvider } from './page.mjs';

await run(WebProvider, sdkV1);
