
// Every value on this page is text: no markup is ever made of one.
const every = 5000; // milliseconds between two looks
const patience = 10000; // milliseconds that a check waits for an answer
const largest = 256 * 1024; // bytes of a document that a check reads
const longest = 1000; // characters of what somebody else wrote, in a sentence
const servers = 3; // authorization servers that a check looks at
const states = { works: "works", look: "look here", fails: "does not work", skipped: "not reached" };

const byID = (id) => document.getElementById(id);
const shown = new Map(); // what is on the page, by the endpoint's name
let last = null; // the newest answer
let paused = false;
let checking = false;

// make returns an element with attributes and children; strings become text.
function make(tag, attributes = {}, ...children) {
	const element = document.createElement(tag);
	for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
	element.append(...children);
	return element;
}

const code = (text) => make("code", {}, text);

function say(text) {
	if (byID("said").textContent !== text) byID("said").textContent = text;
}

function when(stamp) {
	return stamp ? make("time", { datetime: stamp }, new Date(stamp).toLocaleString()) : "";
}

// table returns a table that can be scrolled where it is wider than the screen.
function table(label, columns, rows, wide) {
	const head = make("tr", {}, ...columns.map((c) => make("th", { scope: "col" }, c)));
	const body = rows.map(({ cells: [first, ...rest], state }) =>
		make("tr", state ? { "data-state": state } : {}, make("th", { scope: "row" }, first), ...rest.map((c) => (c instanceof HTMLTableCellElement ? c : make("td", {}, c)))));
	return make("div", { class: "scroll", role: "group", "aria-label": label, tabindex: "0" },
		make("table", wide ? { class: "wide" } : {}, make("thead", {}, head), make("tbody", {}, ...body)));
}

function list(pairs) {
	const dl = make("dl");
	for (const [name, ...values] of pairs) dl.append(make("dt", {}, name), make("dd", {}, ...values));
	return dl;
}

const lines = (all) => (all?.length ? all.map(code) : ["nothing"]);

// draw puts an answer onto the page and touches only what has changed.
function draw(answer) {
	const names = new Set(answer.endpoints.map((e) => e.endpoint));
	for (const [name, part] of shown) {
		if (names.has(name)) continue;
		part.section.remove();
		shown.delete(name);
	}
	for (const endpoint of answer.endpoints) {
		const name = endpoint.endpoint;
		if (!shown.has(name)) shown.set(name, frame(name));
		const part = shown.get(name);
		const { now, since_load, challenges, refused_origins, metadata, upstreams } = endpoint;
		fill(part, "summary", [endpoint.upstream, endpoint.challenge, now, since_load, endpoint.loaded], () => summary(endpoint));
		fill(part, "challenges", challenges, drawChallenges);
		fill(part, "refused", refused_origins, drawRefused);
		fill(part, "metadata", metadata.map((m) => ({ ...m, age_seconds: Math.floor(m.age_seconds / 60) })), () => drawMetadata(metadata, name));
		fill(part, "upstreams", upstreams, drawUpstreams);
	}
	if (names.size === 0 && !byID("none")) byID("endpoints").append(make("p", { id: "none" }, "There are no endpoints in the configuration that runs."));
	if (names.size > 0) byID("none")?.remove();
	byID("asof").dateTime = answer.time;
	byID("asof").textContent = new Date(answer.time).toLocaleTimeString();
}

// fill draws a part anew where what it shows is another than before, unless the
// keyboard is inside it.
function fill(part, name, value, content) {
	const text = JSON.stringify(value);
	const box = part[name];
	if (part.texts[name] === text || box.contains(document.activeElement)) return;
	part.texts[name] = text;
	box.replaceChildren(content(value, part.name));
}

let count = 0;

function frame(name) {
	const id = `endpoint-${++count}`;
	const part = { name, texts: {} };
	const section = make("section", { "aria-labelledby": id }, make("h2", { id }, name));
	for (const [key, title] of [["summary"], ["checks", "From this browser"], ["challenges", "Last challenges"], ["refused", "Refused origins"], ["metadata", "Metadata"], ["upstreams", "Upstreams"]]) {
		part[key] = make("div");
		if (title) section.append(make("h3", {}, title));
		section.append(part[key]);
	}
	part.checks.append(make("p", { class: "dim" }, "Not checked yet."));
	part.section = section;
	byID("endpoints").append(section);
	return part;
}

function summary(e) {
	const load = e.since_load;
	return list([
		["Upstream", e.upstream],
		["Challenge policy", e.challenge],
		["Under way", `${e.now.requests} requests, ${e.now.streams} streams, ${e.now.sessions} sessions, ${e.now.servers} servers`],
		["Since load", `${load.requests} requests, ${load.challenges} challenges, ${load.origins_refused} refused origins, since `, when(e.loaded)],
	]);
}

function drawChallenges(all) {
	if (!all.length) return make("p", { class: "dim" }, "None.");
	return make("ol", {}, ...all.map((c) => {
		const was = c.upstream_status === c.status ? `${c.upstream_status}` : `${c.upstream_status}, given as ${c.status}`;
		return make("li", {},
			make("div", {}, `${c.method} ${was}: ${c.action}${c.reason ? ` (${c.reason})` : ""}, ${c.count} times, last `, when(c.last)),
			list([["server sent", ...lines(c.upstream_sent)], ["client got", ...lines(c.client_got)]]));
	}));
}

function drawRefused(all, of) {
	if (!all.length) return make("p", { class: "dim" }, "None.");
	return table(`Refused origins of ${of}`, ["Origin", "Host asked for", "Times", "Last", "To allow it"],
		all.map((o) => ({ cells: [code(o.origin), code(o.host), `${o.count}`, when(o.last), o.add ? code(o.add) : ""] })), true);
}

function drawMetadata(all, of) {
	if (!all.length) return make("p", { class: "dim" }, "None is known: nobody has asked yet, or it is off.");
	return table(`Metadata of ${of}`, ["Public URL", "State", "Age", "Last error"], all.map((m) => ({
		cells: [code(m.url), m.absent ? "the server has none" : m.known ? `known, from ${m.source}` : "not known", m.known && m.source !== "configured" ? `${Math.floor(m.age_seconds / 60)} min` : "", m.last_error ?? ""],
	})), true);
}

function drawUpstreams(all, of) {
	if (!all.length) return make("p", { class: "dim" }, "None of its own.");
	return table(`Upstreams of ${of}`, ["Address", "State", "Under way", "Failures"], all.map((u) => {
		const down = u.failing_since || !u.healthy;
		return {
			state: down ? "fails" : "works",
			cells: [code(u.address), make("td", { class: "state" }, down ? `gives no answer (${u.last_failure_reason ?? "unhealthy"})` : "answers"), `${u.requests}`, `${u.failures}`],
		};
	}), true);
}

// look asks for the newest state.
async function look() {
	const res = await fetch(`${location.pathname}?json`, { cache: "no-store", headers: { Accept: "application/json" }, signal: AbortSignal.timeout(patience) });
	if (!res.ok) throw new Error(`HTTP ${res.status}`);
	last = await res.json();
	draw(last);
}

let broken = false;

async function live() {
	if (!paused && !document.hidden && !checking) {
		try {
			await look();
			if (broken) say("The state is current again.");
			broken = false;
		} catch (e) {
			broken = true;
			say(`No new state (${e.message}): what is shown may be old.`);
		}
	}
	setTimeout(live, every);
}

// addressOf is the public URL of an endpoint, or null where nothing tells it. A host
// that only a client named is no evidence, unless it is this page's own.
function addressOf(endpoint) {
	const name = endpoint.endpoint.replace(/#\d+$/, "");
	if (/^https?:\/\//.test(name)) return name.includes("*") ? null : name;
	for (const { url } of [...endpoint.metadata, ...endpoint.challenges]) {
		if (/^https?:\/\//.test(url ?? "") && URL.canParse(url) && new URL(url).hostname === location.hostname) return url;
	}
	const [, port, path] = /^[^/]*:(\d+)(\/.*)$/.exec(name) ?? [];
	if (port) return `${location.protocol}//${location.hostname}:${port}${path}`;
	return name.startsWith("/") ? location.origin + name : null;
}

// ask fetches as a script of a client does: no cookies, no login of this page.
async function ask(url, options = {}) {
	try {
		return await fetch(url, { credentials: "omit", cache: "no-store", referrerPolicy: "no-referrer", signal: AbortSignal.timeout(patience), ...options });
	} catch (e) {
		return { why: e.name === "TimeoutError" ? `there is no answer after ${patience / 1000} seconds` : "the browser lets no script read an answer: there is none, or it does not allow this origin" };
	}
}

// short is a text of somebody else's, short enough to be read.
const short = (text) => (String(text).length > longest ? `${String(text).slice(0, longest)}…` : String(text));

// read returns the JSON of an answer of bounded size, or null.
async function read(res) {
	try {
		const chunks = [];
		let size = 0;
		for (const reader = res.body.getReader(); ;) {
			const { done, value } = await reader.read();
			if (done) break;
			size += value.length;
			if (size > largest) {
				await reader.cancel();
				return null;
			}
			chunks.push(value);
		}
		const found = JSON.parse(await new Blob(chunks).text());
		return found && typeof found === "object" ? found : null;
	} catch {
		return null;
	}
}

// parameter returns a parameter of a challenge; what stands inside quotes is none.
function parameter(header, name) {
	for (const [, key, value] of header.matchAll(/([\w!#$%&'*+.^`|~-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s,"]+)|"(?:[^"\\]|\\.)*"/g)) {
		if (key?.toLowerCase() === name) return value.startsWith('"') ? value.slice(1, -1).replace(/\\(.)/g, "$1") : value;
	}
	return null;
}

const isWeb = (url) => typeof url === "string" && URL.canParse(url) && /^https?:$/.test(new URL(url).protocol);

// wellKnown is where clients look for metadata that no challenge names.
function wellKnown(url) {
	const u = new URL(url);
	return `${u.origin}/.well-known/oauth-protected-resource${u.pathname === "/" ? "" : u.pathname}`;
}

// documents are the places of an authorization server's metadata, in the order of the
// specification.
function documents(issuer) {
	const u = new URL(issuer);
	const path = u.pathname.replace(/\/$/, "");
	const all = [`${u.origin}/.well-known/oauth-authorization-server${path}`, `${u.origin}/.well-known/openid-configuration${path}`];
	return path ? [...all, `${u.origin}${path}/.well-known/openid-configuration`] : all;
}

// check walks to an endpoint as a client in a browser does, and yields what it sees.
async function* check(url) {
	if (location.protocol === "https:" && url.startsWith("http:")) {
		yield ["Request", "fails", `This page came over https, and a browser asks no http address from there: ${url} was not asked.`];
		return;
	}
	const same = new URL(url).origin === location.origin;
	const res = await ask(url, {
		method: "POST",
		headers: { "Content-Type": "application/json", Accept: "application/json, text/event-stream" },
		body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "initialize", params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "mcp-auth-bridge-status", version: "1" } } }),
	});
	if (res.why) {
		await look().catch(() => {});
		const refused = last.endpoints.some((e) => addressOf(e) === url && e.refused_origins.some((o) => o.origin === location.origin));
		yield ["Request", "fails", refused ? `The endpoint refuses this origin. To let pages of it in, add to its cors block: allow_origins ${location.origin}` : `POST ${url}: ${res.why}.`];
		return;
	}
	const session = res.headers.get("Mcp-Session-Id");
	res.body?.cancel().catch(() => {});
	const reads = same ? "This page has the endpoint's own origin, where a script may read everything: it says nothing of pages elsewhere." : `A script on ${location.origin} reads the status.`;
	if (res.ok) {
		if (session) await ask(url, { method: "DELETE", headers: { "Mcp-Session-Id": session, "MCP-Protocol-Version": "2025-11-25" } }); // its own, that it has just begun
		yield ["Request", "works", `HTTP ${res.status}: the endpoint asks for no login. ${reads}`];
		return;
	}
	yield ["Request", res.status === 401 ? "works" : "fails", res.status === 401 ? `HTTP 401: the endpoint asks for a login. ${reads}` : `HTTP ${res.status}, and not 401. ${reads}`];
	if (res.status !== 401) return;

	const header = res.headers.get("WWW-Authenticate")?.slice(0, 8 * longest) ?? null;
	const named = header === null ? null : parameter(header, "resource_metadata");
	if (header === null) {
		yield ["Challenge", "fails", "A script cannot read WWW-Authenticate: it is not there, or not exposed."];
	} else if (!/(^|[\s,])(bearer|dpop)\s/i.test(`${header} `)) {
		yield ["Challenge", "fails", `It asks for another login than MCP's, perhaps that of the site before the endpoint: ${short(header)}`];
	} else if (!isWeb(named)) {
		yield ["Challenge", "look", `A script reads it, but it names no metadata; clients look at the well-known URL: ${short(header)}`];
	} else {
		yield ["Challenge", "works", `A script reads it: ${short(header)}`];
	}

	const at = isWeb(named) ? named : wellKnown(url);
	const found = await ask(at);
	const metadata = found.ok ? await read(found) : null;
	const resource = metadata?.resource;
	const issuers = Array.isArray(metadata?.authorization_servers) ? metadata.authorization_servers.filter(isWeb) : [];
	if (!metadata) {
		yield ["Metadata", "fails", `${short(at)}: ${found.why ?? (found.ok ? "it is no JSON object" : `HTTP ${found.status}`)}.`];
		return;
	}
	if (typeof resource !== "string" || !covers(resource, url)) {
		yield ["Metadata", "fails", `${short(at)} is for ${short(resource ?? "nothing")}, and clients are at ${url}: they stop here.`];
	} else if (!issuers.length) {
		yield ["Metadata", "fails", `${short(at)} names no authorization server.`];
		return;
	} else {
		yield ["Metadata", "works", `${short(at)} is for ${short(resource)}.`];
	}
	for (const issuer of issuers.slice(0, servers)) yield await checkServer(issuer);
}

// covers says whether clients take metadata of resource for that of url.
function covers(resource, url) {
	if (!URL.canParse(resource)) return false;
	const r = new URL(resource);
	const u = new URL(url);
	const path = r.pathname.replace(/\/$/, "");
	return r.origin === u.origin && (u.pathname === path || u.pathname.startsWith(`${path}/`));
}

async function checkServer(issuer) {
	let why = "";
	for (const at of documents(issuer)) {
		const res = await ask(at);
		const document = res.ok ? await read(res) : null;
		if (!document) {
			why += ` ${at}: ${res.why ?? (res.ok ? "it is no JSON object" : `HTTP ${res.status}`)}.`;
			continue;
		}
		if (document.issuer !== issuer) return ["Authorization server", "fails", `${short(at)} is of ${short(document.issuer ?? "nobody")}, and not of ${short(issuer)}: clients stop here.`];
		const pkce = document.code_challenge_methods_supported;
		if (!Array.isArray(pkce) || !pkce.includes("S256")) return ["Authorization server", "look", `${short(at)} does not offer PKCE with S256: clients refuse it.`];
		return ["Authorization server", "works", `A script reads the metadata of ${short(issuer)}, which offers PKCE with S256.`];
	}
	return ["Authorization server", "fails", `A script cannot read the metadata of ${short(issuer)}:${short(why)}`];
}

// verdict is what the steps come to.
function verdict(steps) {
	const bad = steps.find(([, state]) => state === "fails") ?? steps.find(([, state]) => state === "look");
	if (bad?.[1] === "fails") return ["fails", `From this browser a login does not begin: ${bad[0]} does not work.`];
	if (bad) return ["look", `From this browser a login may begin: look at ${bad[0]}.`];
	return ["works", steps.length === 1 ? "From this browser the endpoint works, without a login." : "From this browser a login can begin."];
}

async function checkOne(endpoint) {
	const part = shown.get(endpoint.endpoint);
	if (!part) return "skipped";
	const url = addressOf(endpoint);
	if (!url) {
		part.checks.replaceChildren(make("p", {}, "Not checked: the configuration does not tell its public URL. Set public_url."));
		return "skipped";
	}
	const steps = [];
	for await (const step of check(url)) steps.push(step);
	const [state, text] = verdict(steps);
	for (const name of ["Challenge", "Metadata", "Authorization server"]) {
		if (state === "fails" && !steps.some(([n]) => n === name)) steps.push([name, "skipped", ""]);
	}
	part.checks.replaceChildren(
		make("p", { "data-state": state, class: "verdict" }, make("span", { class: "state" }, text), " Asked was ", code(url), "."),
		table(`Checks of ${endpoint.endpoint}`, ["Step and result", "What this browser saw"],
			steps.map(([name, state, text]) => ({ state, cells: [make("span", {}, make("span", { class: "step" }, name), " ", make("span", { class: "state" }, states[state])), text] }))));
	return state;
}

async function checkAll() {
	if (checking || !last) return;
	checking = true;
	byID("check").setAttribute("aria-disabled", "true");
	let works = 0;
	const all = last.endpoints;
	for (const [i, endpoint] of all.entries()) {
		say(`Checking ${i + 1} of ${all.length} …`);
		if ((await checkOne(endpoint)) === "works") works++;
	}
	await look().catch(() => {});
	say(`Checked: ${works} of ${all.length} work from this browser.`);
	byID("check").removeAttribute("aria-disabled");
	checking = false;
}

byID("origin").textContent = location.origin;
byID("check").addEventListener("click", checkAll);
byID("pause").addEventListener("click", () => {
	paused = !paused;
	byID("pause").setAttribute("aria-pressed", String(paused));
});
live();
