// Logs the client of @modelcontextprotocol/sdk in and uses the tools.

import { drive, Recorder } from './driver.mjs';
import { HeadlessProvider, readArguments } from './headless.mjs';
import { sdkV1 } from './sdk-v1.mjs';

const options = readArguments();
const recorder = new Recorder(options.url);
const provider = new HeadlessProvider(recorder, options.grants);
console.log(JSON.stringify(await drive(options, provider, recorder, sdkV1(options, provider, recorder))));
