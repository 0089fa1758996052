// Starts Chromium for the drivers of pages.

import { chromium } from 'playwright-core';

/** Starts the Chromium at a path with a profile folder, and returns its context. */
export function startChromium(executablePath, profile, options = {}) {
  return chromium.launchPersistentContext(profile, {
    executablePath,
    headless: true,
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync',
    ],
    ...options,
  });
}
