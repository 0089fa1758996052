// What is the same for the clients of both SDKs in a web page: one logs in at the endpoint
// that the query of the page names, uses the tools, and shows what happened. A login is in
// a window of its own, so that the page and its session stay.

import { drive, Provider, Recorder } from '../driver.mjs';

/** A provider whose logins begin with a button. */
export class WebProvider extends Provider {
  #callback;

  redirectToAuthorization(url) {
    this.recordAuthorization(url);
    this.#callback = new Promise(resolve => {
      const channel = new BroadcastChannel('login');
      channel.onmessage = ({ data }) => {
        channel.close();
        resolve(new URLSearchParams(data));
      };
    });
    const button = document.createElement('button');
    button.textContent = 'Log in';
    button.onclick = () => {
      button.remove();
      open(url, '_blank', 'popup');
    };
    document.body.append(button);
  }

  callback() {
    return this.#callback;
  }
}

/** Has the client of an SDK do all that, with a provider of the class. */
export async function run(WebProvider, sdk) {
  const query = new URLSearchParams(location.search);
  const options = { url: new URL(query.get('endpoint')), transport: 'streamable' };
  const recorder = new Recorder(options.url);
  const callback = new URL('callback.html', location.href).href;
  const provider = new WebProvider(recorder, callback, ['authorization_code', 'refresh_token'], { client_id: query.get('client') });
  const report = await drive(options, provider, recorder, sdk(options, provider, recorder)).catch(error => ({ error: String(error.stack) }));
  document.getElementById('report').textContent = JSON.stringify(report);
}
