// A client that logs in at an MCP endpoint with nothing but what a script in
// a browser may read: RFC 9728, RFC 8414, RFC 7591, RFC 7636, RFC 8707.
const steps = [
	["request", "First request, without a token"],
	["challenge", "WWW-Authenticate, as the script reads it"],
	["metadata", "OAuth metadata"],
	["login", "Login"],
	["tool", "Tool call"],
];
const stepUp = ["stepup", "Tool for admins: more scopes, by a second login"];
const states = {
	pending: "…", ok: "✓ works", failed: "✗ fails", waiting: "ready", skipped: "not reached", unasked: "not required",
};
const protocolVersion = "2025-11-25";
const redirectURI = location.origin + "/";
const saved = "login";

class Column {
	constructor(target) {
		this.target = target;
		this.steps = target.step_up ? [...steps, stepUp] : steps;
		this.root = document.createElement("section");
		this.root.dataset.column = target.id;
		const title = document.createElement("h2");
		title.id = `column-${target.id}`;
		title.textContent = target.title;
		this.root.setAttribute("aria-labelledby", title.id);
		const url = document.createElement("code");
		url.append(...breakable(target.url));
		this.verdict = document.createElement("p");
		this.verdict.className = "verdict";
		this.verdict.textContent = "…";
		const list = document.createElement("ol");
		list.setAttribute("role", "list");
		this.items = {};
		for (const [name, text] of this.steps) {
			const item = document.createElement("li");
			item.dataset.step = name;
			const label = document.createElement("b");
			label.textContent = name === "tool" && !target.open ? `${text}, with the token` : text;
			const state = document.createElement("span");
			state.className = "state";
			const detail = document.createElement("pre");
			item.append(label, state, detail);
			list.append(item);
			this.items[name] = item;
			this.show(name, "pending", "");
		}
		this.root.append(title, url, this.verdict, list);
		document.getElementById("columns").append(this.root);
	}

	show(step, state, text) {
		const item = this.items[step];
		item.dataset.state = state;
		item.querySelector(".state").textContent = states[state];
		item.querySelector("pre").replaceChildren(...breakable(text));
		item.querySelector("button")?.remove();
		if (state === "failed") this.judge("fails", `Stops at: ${this.steps.find(([name]) => name === step)[1].split(/[,:]/)[0].toLowerCase()}`);
		if (state === "waiting") this.judge("works", step === "stepup" ? "Login works, step-up can start" : "Login can start");
		if (step === "tool" && state === "ok") this.judge("works", this.target.open ? "Works, without a login" : "Login works");
		if (step === "stepup" && state === "ok") this.judge("works", "Login and step-up work");
	}

	judge(verdict, text) {
		this.root.dataset.verdict = verdict;
		this.verdict.textContent = text;
	}

	// offerButton puts a button below a step.
	offerButton(step, label, primary, press) {
		const button = document.createElement("button");
		button.type = "button";
		button.textContent = label;
		if (primary) button.className = "primary";
		button.onclick = press;
		this.items[step].append(button);
	}

	// step runs one step; where it fails the rest is not reached.
	async step(name, run) {
		try {
			const { text, value } = await run();
			this.show(name, "ok", text);
			return value;
		} catch (err) {
			this.show(name, "failed", String(err.message || err));
			for (const [other] of this.steps.slice(this.steps.findIndex(([s]) => s === name) + 1)) {
				this.show(other, "skipped", "");
			}
			throw err;
		}
	}

	post(message, token, session) {
		const headers = {
			"Content-Type": "application/json",
			Accept: "application/json, text/event-stream",
			"MCP-Protocol-Version": protocolVersion,
		};
		if (token) headers.Authorization = "Bearer " + token;
		if (session) headers["Mcp-Session-Id"] = session;
		return fetch(this.target.url, { method: "POST", headers, body: JSON.stringify({ jsonrpc: "2.0", ...message }) });
	}

	// end ends a session: what the server keeps for it, be it a process, goes with it.
	async end(session, token) {
		const headers = { "MCP-Protocol-Version": protocolVersion, "Mcp-Session-Id": session };
		if (token) headers.Authorization = "Bearer " + token;
		if (session) await fetch(this.target.url, { method: "DELETE", headers });
	}

	async run(answer) {
		const initialize = {
			id: 1,
			method: "initialize",
			params: { protocolVersion, capabilities: {}, clientInfo: { name: "page", version: "1" } },
		};
		const first = await this.step("request", async () => {
			const res = await this.post(initialize).catch((err) => {
				throw new Error(`the browser lets the script read no answer (${err.message})`);
			});
			const want = this.target.open ? 200 : 401;
			if (res.status !== want) throw new Error(`HTTP ${res.status}, not ${want}`);
			return { text: `HTTP ${res.status}`, value: res };
		});
		if (this.target.open) {
			await this.end(first.headers.get("Mcp-Session-Id"));
			for (const name of ["challenge", "metadata", "login"]) this.show(name, "unasked", "");
			await this.step("tool", () => this.call(initialize, {}, "whoami"));
			return;
		}
		const metadataURL = await this.step("challenge", async () => {
			const header = first.headers.get("WWW-Authenticate");
			if (!header) throw new Error("null: missing, or hidden by the browser");
			const found = /resource_metadata="([^"]+)"/.exec(header);
			if (!found) throw new Error(`${header}\nhas no resource_metadata`);
			return { text: header, value: found[1] };
		});
		const server = await this.step("metadata", async () => {
			const prm = await json(metadataURL);
			if (prm.resource !== this.target.url) {
				throw new Error(`GET ${metadataURL}\nresource is ${prm.resource}, not this endpoint`);
			}
			const issuer = prm.authorization_servers[0];
			const as = await json(new URL("/.well-known/oauth-authorization-server", issuer));
			if (as.issuer !== issuer) throw new Error(`issuer is ${as.issuer}, not ${issuer}`);
			const text = `GET ${metadataURL}\nresource: ${prm.resource}\nauthorization server: ${issuer}`;
			return { text, value: { as, scopes: prm.scopes_supported } };
		});
		const tokens = await this.step("login", async () => {
			if (answer) return this.redeem(answer);
			const asked = /scope="([^"]+)"/.exec(first.headers.get("WWW-Authenticate"));
			return this.offer(server, "login", asked ? asked[1] : server.scopes[0], "Log in");
		});
		const callTool = async () => {
			await this.step("tool", () => this.call(initialize, tokens, "whoami"));
			this.offerButton("tool", "Call again", false, () => {
				this.show("tool", "pending", "");
				callTool().catch(() => {}); // it is shown
			});
		};
		await callTool();
		if (!this.target.step_up) return;
		await this.step("stepup", async () => {
			const called = await this.call(initialize, tokens, "admin_secret").catch((err) => err);
			const asked = /scope="([^"]+)"/.exec(called.challenge);
			if (asked) return this.offer(server, "stepup", asked[1], "Log in for more", called.challenge);
			if (called instanceof Error) throw called;
			return called;
		});
	}

	// offer shows the button that leads to the authorization server, by which the page is left.
	async offer({ as }, step, scope, label, why) {
		const client = await json(as.registration_endpoint, {
			client_name: "The page",
			redirect_uris: [redirectURI],
			grant_types: ["authorization_code", "refresh_token"],
			response_types: ["code"],
			token_endpoint_auth_method: "none",
		});
		const verifier = random();
		const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
		const login = { column: this.target.id, state: random(), verifier, client: client.client_id, issuer: as.issuer, token: as.token_endpoint };
		const to = new URL(as.authorization_endpoint);
		to.search = new URLSearchParams({
			response_type: "code",
			client_id: login.client,
			redirect_uri: redirectURI,
			scope,
			state: login.state,
			code_challenge: base64url(digest),
			code_challenge_method: "S256",
			resource: this.target.url,
		});
		this.show(step, "waiting", why ?? `registered at ${as.issuer}`);
		this.offerButton(step, label, true, () => {
			sessionStorage.setItem(saved, JSON.stringify(login));
			location.assign(to);
		});
		return new Promise(() => {});
	}

	// redeem exchanges the code for a token.
	async redeem({ query, login }) {
		if (query.get("error")) throw new Error(`${query.get("error")}: ${query.get("error_description")}`);
		if (query.get("iss") !== login.issuer) throw new Error("the answer is from another issuer");
		const grant = await json(login.token, new URLSearchParams({
			grant_type: "authorization_code",
			code: query.get("code"),
			redirect_uri: redirectURI,
			client_id: login.client,
			code_verifier: login.verifier,
			resource: this.target.url,
		}));
		const tokens = { access: grant.access_token, refresh: grant.refresh_token, client: login.client, at: login.token };
		return { text: `a token for ${this.target.url}`, value: tokens };
	}

	// refresh gets new tokens for those that have expired.
	async refresh(tokens) {
		const grant = await json(tokens.at, new URLSearchParams({
			grant_type: "refresh_token",
			refresh_token: tokens.refresh,
			client_id: tokens.client,
			resource: this.target.url,
		}));
		tokens.access = grant.access_token;
		tokens.refresh = grant.refresh_token ?? tokens.refresh;
	}

	// call calls a tool in a session of its own. The error of a 403 has its challenge.
	async call(initialize, tokens, tool) {
		let note = "";
		const send = async (message, session) => {
			const res = await this.post(message, tokens.access, session);
			if (res.status !== 401 || !tokens.refresh) return res;
			await this.refresh(tokens);
			note = "the token had expired and was refreshed\n";
			return this.post(message, tokens.access, session);
		};
		const started = await send(initialize);
		if (!started.ok) throw new Error(`initialize: HTTP ${started.status} ${started.headers.get("WWW-Authenticate")}`);
		await message(started);
		const session = started.headers.get("Mcp-Session-Id");
		await send({ method: "notifications/initialized" }, session);
		const res = await send({ id: 2, method: "tools/call", params: { name: tool, arguments: {} } }, session);
		if (!res.ok) {
			const challenge = res.headers.get("WWW-Authenticate");
			await this.end(session, tokens.access);
			throw Object.assign(new Error(`tools/call: HTTP ${res.status} ${challenge}`), { challenge: res.status === 403 ? challenge : "" });
		}
		const answer = await message(res);
		await this.end(session, tokens.access);
		const text = `${note}${tool}: ${answer.result.content[0].text}`;
		return { text, value: text };
	}
}

// breakable returns a text as nodes, so that a URL in it can break after each slash, and
// before it after a =.
function breakable(text) {
	return text.split(/(?<=[^/]\/)(?!\/)|(?<==)(?=")/).flatMap((part, i) => (i ? [document.createElement("wbr"), part] : [part]));
}

// message returns the JSON-RPC message of an answer, JSON or one event.
async function message(res) {
	const text = await res.text();
	if (!res.headers.get("Content-Type").startsWith("text/event-stream")) return JSON.parse(text);
	const data = text.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5));
	return JSON.parse(data.at(-1));
}

// json fetches a document, or posts a form or an object for one.
async function json(url, body) {
	const init = { headers: { Accept: "application/json" } };
	if (body instanceof URLSearchParams) {
		Object.assign(init, { method: "POST", body });
	} else if (body) {
		Object.assign(init, { method: "POST", body: JSON.stringify(body) });
		init.headers["Content-Type"] = "application/json";
	}
	const res = await fetch(url, init).catch((err) => {
		throw new Error(`${url}: ${err.message}`);
	});
	if (!res.ok) throw new Error(`${url}: HTTP ${res.status}`);
	return res.json();
}

function base64url(bytes) {
	return btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function random() {
	return base64url(crypto.getRandomValues(new Uint8Array(32)));
}

// comeBack returns what the authorization server sent the browser back with.
function comeBack() {
	const query = new URLSearchParams(location.search);
	const login = JSON.parse(sessionStorage.getItem(saved) || "null");
	sessionStorage.removeItem(saved);
	history.replaceState(null, "", "/");
	return login && query.get("state") === login.state ? { query, login } : null;
}

document.getElementById("origin").textContent = location.origin;
const back = comeBack();
const targets = await (await fetch("targets.json")).json();
await Promise.allSettled(targets.map((target) => new Column(target).run(back?.login.column === target.id ? back : null)));
