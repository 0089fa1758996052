// Drives the client in a web page in Chromium as a person would, and prints as one line of
// JSON what it reports, with:
//   logins: for each, the pages that were clicked through: {title, origin}
//   loads: how often the page was loaded
//   messages: what Chromium complains about
//
// Usage: node webapp.mjs <chromium> <page URL> <profile folder>

import { startChromium } from './chromium.mjs';

const [executablePath, page, profile] = process.argv.slice(2);
const context = await startChromium(executablePath, profile);
try {
  const tab = context.pages()[0] ?? (await context.newPage());
  const messages = [];
  let loads = 0;
  tab.on('pageerror', error => messages.push(String(error)));
  tab.on('console', message => message.type() === 'error' && messages.push(message.text()));
  tab.on('load', () => loads++);
  await tab.goto(page);
  const logins = [];
  const done = tab.locator('#report:not(:empty)');
  const button = tab.getByRole('button', { name: 'Log in' });
  for (;;) {
    await done.or(button).waitFor();
    if (await done.isVisible()) {
      break;
    }
    logins.push(await logIn(tab, button));
  }
  console.log(JSON.stringify({ ...JSON.parse(await done.textContent()), logins, loads, messages }));
} finally {
  await context.close();
}

/** Begins a login, and agrees to what each page asks. */
async function logIn(tab, button) {
  const [popup] = await Promise.all([tab.waitForEvent('popup'), button.click()]);
  const seen = [];
  const closed = popup.isClosed() ? Promise.resolve(true) : popup.waitForEvent('close').then(() => true);
  const ask = () => popup.waitForSelector('button[value=yes]').then(() => false);
  while (!(await Promise.race([closed, ask()]))) {
    seen.push(await popup.evaluate(() => ({ title: document.title, origin: location.origin })));
    // The next page has other buttons, or closes the window.
    await Promise.all([Promise.race([closed, popup.waitForEvent('domcontentloaded')]), popup.click('button[value=yes]', { noWaitAfter: true })]);
  }
  return seen;
}
