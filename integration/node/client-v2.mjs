// Logs the client of @modelcontextprotocol/client in and uses the tools.

import { drive, Recorder } from './driver.mjs';
import { HeadlessProvider, readArguments } from './headless.mjs';
import { bound, sdkV2 } from './sdk-v2.mjs';

const options = readArguments();
const recorder = new Recorder(options.url);
const provider = new (bound(HeadlessProvider))(recorder, options.grants);
console.log(JSON.stringify(await drive(options, provider, recorder, sdkV2(options, provider, recorder))));
