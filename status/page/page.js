
// Every value on this page is text: no markup is ever made of one.
const every = 5000; // milliseconds between two looks
const patience = 10000; // milliseconds that a check waits for an answer
const largest = 256 * 1024; // bytes of a document that a check reads
const longest = 1000; // characters of what somebody else wrote, in a sentence
const servers = 3; // authorization servers that a check looks at
const states = { works: "works", look: "look here", fails: "does not work" }; // of the steps of a check

const byID = (id) => document.getElementById(id);
const shown = new Map(); // what is on the page, by the endpoint's name
let last = null; // the newest answer
let paused = false;
let checking = false;

const words = { ok: "OK", attention: "Needs attention", failing: "Failing" }; // for the states of endpoints
const rank = { failing: 0, attention: 1, ok: 2 };

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

// number returns a number with its noun, in the plural if need be.
const number = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;

const times = (n) => (n === 1 ? "once" : `${n} times`);

// table returns a table. On a narrow screen its rows are stacked, which takes the roles
// from its elements, unless they have them as attributes.
function table(label, columns, rows, kind) {
	const head = make("tr", { role: "row" }, ...columns.map((c) => make("th", { scope: "col", role: "columnheader" }, c)));
	const body = rows.map(({ cells: [first, ...rest], state }) =>
		make("tr", state ? { role: "row", "data-state": state } : { role: "row" }, make("th", { scope: "row", role: "rowheader" }, first),
			...rest.map((c, i) => make("td", { role: "cell", "data-label": columns[i + 1] }, ...(Array.isArray(c) ? c : [c]).filter((part) => part !== "")))));
	return make("table", kind ? { role: "table", "aria-label": label, class: kind } : { role: "table", "aria-label": label },
		make("thead", { role: "rowgroup" }, head), make("tbody", { role: "rowgroup" }, ...body));
}

// snippet returns lines of a Caddyfile.
const snippet = (text) => make("pre", {}, code(text));

function list(pairs) {
	const dl = make("dl");
	for (const [name, ...values] of pairs) dl.append(make("dt", {}, name), make("dd", {}, ...values));
	return dl;
}

const lines = (all) => (all?.length ? all.map(code) : ["nothing"]);

// draw puts an answer onto the page and touches only what has changed.
function draw(answer) {
	const all = answer.endpoints.toSorted((a, b) => rank[a.state] - rank[b.state]); // which keeps the order of those that are alike
	const names = new Set(all.map((e) => e.endpoint));
	for (const [name, part] of shown) {
		if (names.has(name)) continue;
		part.section.remove();
		shown.delete(name);
	}
	for (const endpoint of all) {
		const name = endpoint.endpoint;
		if (!shown.has(name)) shown.set(name, frame(name));
		const part = shown.get(name);
		const { state, problems, address, now, since_load, program, denials, issuers_failing, challenges, refused_origins, notices, metadata, upstreams } = endpoint;
		if (state === "failing" && part.section.dataset.state !== state) part.details.open = true;
		part.section.dataset.state = state;
		fill(part, "status", state, () => words[state]);
		fill(part, "upstream", [address, endpoint.upstream], () => make("span", {}, "to ", code(address), ` (${endpoint.upstream})`));
		fill(part, "figures", [since_load.requests, now], () => figures(endpoint));
		fill(part, "problems", problems, () => problems.map((p) => make("span", { class: p.state }, p.advice ? `${p.text}: ${p.advice}` : p.text)));
		fill(part, "summary", [endpoint.challenge, endpoint.because_of, now, since_load, endpoint.loaded], () => summary(endpoint));
		fill(part, "program", program && (program.state !== "ready" || program.last_end) ? [program] : [], ([p]) => drawProgram(p));
		fill(part, "issuers", issuers_failing, drawIssuers);
		fill(part, "denials", denials, drawDenials);
		fill(part, "challenges", challenges, drawChallenges);
		fill(part, "refused", refused_origins, drawRefused);
		fill(part, "notices", notices, drawNotices);
		fill(part, "metadata", metadata.map((m) => ({ ...m, age_seconds: Math.floor(m.age_seconds / 60) })), () => drawMetadata(metadata, name));
		fill(part, "upstreams", upstreams, drawUpstreams);
	}
	arrange(all.map((e) => shown.get(e.endpoint).section));
	const bad = all.filter((e) => e.state !== "ok").length;
	byID("overall").textContent = !all.length ? "No endpoint is configured." : bad ? `${bad} of ${number(all.length, "endpoint")} ${bad === 1 ? "needs" : "need"} attention` : all.length === 1 ? "The endpoint is OK" : `All ${all.length} endpoints are OK`;
	byID("overall").className = bad ? all[0].state : "ok";
	byID("asof").dateTime = answer.time;
	byID("asof").textContent = new Date(answer.time).toLocaleTimeString();
}

// arrange puts the sections into order, unless the keyboard is in one of them, which would
// lose it.
function arrange(sections) {
	const main = byID("endpoints");
	if (main.contains(document.activeElement) || sections.every((s, i) => main.children[i] === s)) return;
	main.append(...sections);
}

// fill draws a part anew if what it shows has changed, unless the keyboard is inside it. A
// part below a heading is hidden if it is empty.
function fill(part, name, value, content) {
	const text = JSON.stringify(value);
	const box = part[name];
	if (part.texts[name] === text || box.contains(document.activeElement)) return;
	part.texts[name] = text;
	const empty = Array.isArray(value) && !value.length;
	if (box.parentElement.dataset.part) box.parentElement.hidden = empty;
	box.replaceChildren(...(empty ? [] : [content(value, part.name)].flat()));
}

let count = 0;

function frame(name) {
	const id = `endpoint-${++count}`;
	const part = { name, texts: {}, status: make("span", { class: "status" }), upstream: make("span", { class: "upstream dim" }), figures: make("span", { class: "figures dim" }), problems: make("span", { class: "problems" }), browser: make("span", { class: "problems browser" }) };
	const body = make("div", { class: "details" });
	for (const [key, title] of [["summary"], ["checks", "From this browser"], ["program", "Stdio server"], ["issuers", "Issuers that cannot be asked"], ["denials", "Refused by authorize"], ["challenges", "Recent challenges"], ["refused", "Refused origins"], ["notices", "Notices"], ["metadata", "OAuth metadata"], ["upstreams", "Upstream addresses"]]) {
		part[key] = make("div");
		body.append(title ? make("div", { "data-part": key }, make("h3", {}, title), part[key]) : part[key]);
	}
	part.checks.parentElement.hidden = true;
	part.details = make("details", {}, make("summary", {}, part.status, make("span", { class: "name" }, make("h2", { id }, name), part.upstream), part.figures, part.problems, part.browser), body);
	part.section = make("section", { "aria-labelledby": id }, part.details);
	byID("endpoints").append(part.section);
	return part;
}

// figures are the numbers in the row of an endpoint; those that are 0 are left out.
function figures(e) {
	const all = [number(e.since_load.requests, "request")];
	for (const [n, noun] of [[e.now.sessions, "session"], [e.now.streams, "stream"]]) if (n) all.push(number(n, noun));
	return all.join(", ");
}

function summary(e) {
	const load = e.since_load;
	return list([
		["Now", `${number(e.now.requests, "request")}, ${number(e.now.streams, "stream")}, ${number(e.now.sessions, "session")}, ${number(e.now.servers, "server")}`],
		["Since load", `${number(load.requests, "request")}, ${number(load.challenges, "challenge")}, ${number(load.origins_refused, "refused origin")}, since `, when(e.loaded)],
		["Challenges", `policy ${e.challenge}`],
		...e.forwarding ? [["Responses", `passed on ${e.because_of ? `by ${e.forwarding}, because of ${e.because_of}` : "directly"}`]] : [],
	]);
}

function drawProgram({ state, starting_since, retry_at, failed_starts, last_end: end }) {
	const all = [];
	if (state === "backoff") all.push(["State", `ended soon after its start, ${times(failed_starts)} in a row; started again at the earliest `, when(retry_at)]);
	if (state === "starting") all.push(["State", "has not answered since its start ", when(starting_since)]);
	if (!end) return list(all);
	all.push(["Last end", `${end.cause}: ${end.status}, ${Math.round(end.after_seconds)} s after its start, ${times(end.count)}, last `, when(end.time)]);
	if (end.stderr?.length) all.push(["stderr", ...lines(end.stderr)]);
	if (end.advice) all.push(["What to do", end.advice]);
	return list(all);
}

function drawIssuers(all, of) {
	return table(`Issuers of ${of} that cannot be asked`, ["Issuer", "For", "Since", "Last error"],
		all.map((i) => ({ state: "fails", cells: [code(i.issuer), i.use, when(i.failing_since), i.last_error] })));
}

function drawDenials(all, of) {
	return table(`Requests to ${of} that authorize refused`, ["Why", "What", "Rule", "Scopes needed / held", "User, client", "Count", "Last"],
		all.map((d) => ({
			cells: [`${d.status} ${d.reason}${d.cause ? `: ${d.cause}` : ""}`, [d.method, d.name].filter(Boolean).join(" "), d.rule ? code(d.rule) : "",
				d.needed || d.held ? `${d.needed || "none"} / ${d.held || "none"}` : "", [d.user, d.client].filter(Boolean).join(", "), times(d.count), when(d.last)],
		})));
}

function drawChallenges(all) {
	return make("ol", {}, ...all.map((c) => {
		const was = c.upstream_status === c.status ? `${c.upstream_status}` : `${c.upstream_status}, sent to the client as ${c.status}`;
		return make("li", {},
			make("div", {}, `${c.method} ${was}: ${c.action}${c.reason ? ` (${c.reason})` : ""}, ${times(c.count)}, last `, when(c.last)),
			list([["server sent", ...lines(c.upstream_sent)], ["client got", ...lines(c.client_got)]]));
	}));
}

function drawRefused(all, of) {
	return table(`Refused origins of ${of}`, ["Origin", "Requested host", "Count", "Last", "To allow it, add"],
		all.map((o) => ({ cells: [code(o.origin || "(none)"), code(o.host), times(o.count), when(o.last), o.snippet ? snippet(o.snippet) : ""] })));
}

function drawNotices(all, of) {
	return table(`Notices of ${of}`, ["What", "Where", "Count", "Last", "What to do"],
		all.map((n) => ({ cells: [n.message, code(n.subject), times(n.count), when(n.last), [n.advice, ...(n.snippet ? [snippet(n.snippet)] : [])]] })));
}

function drawMetadata(all, of) {
	return table(`Metadata of ${of}`, ["Public URL", "State", "Age", "Last error"], all.map((m) => ({
		cells: [code(m.url), m.absent ? "the server has none" : m.known ? `known, from ${m.source}` : "not known", m.known && m.source !== "configured" ? `${Math.floor(m.age_seconds / 60)} min` : "",
			[[m.last_error, m.foreign_resource].filter(Boolean).join("; "), ...(m.snippet ? [snippet(m.snippet)] : [])]],
	})));
}

function drawUpstreams(all, of) {
	return table(`Upstreams of ${of}`, ["Address", "State", "Requests now", "Failures"], all.map((u) => {
		const down = u.failing_since || !u.healthy;
		return {
			state: down ? "fails" : "works",
			cells: [code(u.address), make("span", { class: "state" }, down ? `does not answer (${u.last_failure_reason ?? "unhealthy"})` : "answers"), `${u.requests}`, `${u.failures}`],
		};
	}));
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
			if (broken) say("Updates work again.");
			broken = false;
		} catch (e) {
			broken = true;
			say(`Cannot update (${e.message}): what is shown may be old.`);
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
		return { why: e.name === "TimeoutError" ? `no answer within ${patience / 1000} seconds` : "no answer that a script can read: there is none, or CORS does not allow this origin" };
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

// check walks to an endpoint as a client in a browser does, and yields steps: name, state,
// what was seen and, if it does not work, what that means in a few words.
async function* check(url) {
	if (location.protocol === "https:" && url.startsWith("http:")) {
		yield ["Request", "fails", `This page came over https, and a browser sends no http request from it: ${url} was not asked.`, "Not checked: a browser sends no http request from this https page"];
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
		yield refused
			? ["Request", "fails", `The endpoint refuses this page's origin. To allow its scripts, add this line to the cors block: allow_origins ${location.origin}`, "This page's origin is refused"]
			: ["Request", "fails", `POST ${url}: ${res.why}.`, "No answer that a script can read"];
		return;
	}
	const session = res.headers.get("Mcp-Session-Id");
	res.body?.cancel().catch(() => {});
	const reads = same ? "This page has the endpoint's own origin, where a script may read everything: that says nothing about other pages." : `A script on ${location.origin} reads the status.`;
	if (res.ok) {
		if (session) await ask(url, { method: "DELETE", headers: { "Mcp-Session-Id": session, "MCP-Protocol-Version": "2025-11-25" } }); // its own, that it has just begun
		yield ["Request", "works", `HTTP ${res.status}: the endpoint requires no login. ${reads}`];
		return;
	}
	if (res.status !== 401) {
		yield ["Request", "fails", `HTTP ${res.status} instead of 401. ${reads}`, res.status >= 500 ? `Upstream error (${res.status})` : `Unexpected answer (${res.status})`];
		return;
	}
	yield ["Request", "works", `HTTP 401: the endpoint requires a login. ${reads}`];

	const header = res.headers.get("WWW-Authenticate")?.slice(0, 8 * longest) ?? null;
	const named = header === null ? null : parameter(header, "resource_metadata");
	if (header === null) {
		yield ["Challenge", "fails", "A script cannot read WWW-Authenticate: it is missing or not exposed.", "A script cannot read the challenge"];
	} else if (!/(^|[\s,])(bearer|dpop)\s/i.test(`${header} `)) {
		yield ["Challenge", "fails", `It requires another login than that of MCP, perhaps the login of the site in front of the endpoint: ${short(header)}`, "The challenge is not for MCP clients"];
	} else if (!isWeb(named)) {
		yield ["Challenge", "look", `A script reads it, but it names no metadata; clients try the well-known URL: ${short(header)}`, "A login may start, but the challenge names no metadata"];
	} else {
		yield ["Challenge", "works", `A script reads it: ${short(header)}`];
	}

	const at = isWeb(named) ? named : wellKnown(url);
	const found = await ask(at);
	const metadata = found.ok ? await read(found) : null;
	const resource = metadata?.resource;
	const issuers = Array.isArray(metadata?.authorization_servers) ? metadata.authorization_servers.filter(isWeb) : [];
	if (!metadata) {
		yield ["Metadata", "fails", `${short(at)}: ${found.why ?? (found.ok ? "it is not a JSON object" : `HTTP ${found.status}`)}.`, "The OAuth metadata cannot be read"];
		return;
	}
	if (typeof resource !== "string" || !covers(resource, url)) {
		yield ["Metadata", "fails", `${short(at)} is for ${short(resource ?? "nothing")}, but clients use ${url}: they stop here.`, "The OAuth metadata is for another URL"];
	} else if (!issuers.length) {
		yield ["Metadata", "fails", `${short(at)} names no authorization server.`, "The OAuth metadata names no authorization server"];
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
			why += ` ${at}: ${res.why ?? (res.ok ? "it is not a JSON object" : `HTTP ${res.status}`)}.`;
			continue;
		}
		if (document.issuer !== issuer) return ["Authorization server", "fails", `${short(at)} names the issuer ${short(document.issuer ?? "nothing")} instead of ${short(issuer)}: clients stop here.`, "The authorization server's metadata names another issuer"];
		const pkce = document.code_challenge_methods_supported;
		if (!Array.isArray(pkce) || !pkce.includes("S256")) return ["Authorization server", "look", `${short(at)} does not offer PKCE with S256: clients refuse it.`, "A login may start, but the authorization server does not offer PKCE with S256"];
		return ["Authorization server", "works", `A script reads the metadata of ${short(issuer)}, which offers PKCE with S256.`];
	}
	return ["Authorization server", "fails", `A script cannot read the metadata of ${short(issuer)}:${short(why)}`, "The authorization server's metadata cannot be read"];
}

// verdict is what the steps come to.
function verdict(steps) {
	const bad = steps.find(([, state]) => state === "fails") ?? steps.find(([, state]) => state === "look");
	if (bad) return [bad[1], bad[3]];
	return ["works", steps.length === 1 ? "Works from this browser, without a login" : "A login can start from this browser"];
}

const after = ["Challenge", "Metadata", "Authorization server"]; // the steps after the request

async function checkOne(endpoint) {
	const part = shown.get(endpoint.endpoint);
	if (!part) return "skipped";
	part.checks.parentElement.hidden = false;
	const url = addressOf(endpoint);
	if (!url) {
		part.checks.replaceChildren(make("p", {}, "Not checked: the configuration does not tell the public URL. Set public_url."));
		part.browser.replaceChildren();
		return "skipped";
	}
	const steps = [];
	for await (const step of check(url)) steps.push(step);
	const [state, text] = verdict(steps);
	const missing = state === "works" ? [] : after.filter((name) => !steps.some(([n]) => n === name));
	part.checks.replaceChildren(
		make("p", { "data-state": state, class: "verdict" }, make("span", { class: "state" }, text), ". The check asked ", code(url), "."),
		table(`Checks of ${endpoint.endpoint}`, ["Step and result", "What this browser saw"],
			steps.map(([name, state, text]) => ({ state, cells: [make("span", {}, make("span", { class: "step" }, name), " ", make("span", { class: "state" }, states[state])), text] })), "checks"),
		...(missing.length ? [make("p", { class: "dim" }, `Not reached: ${missing.join(", ").toLowerCase()}.`)] : []));
	part.browser.replaceChildren(make("span", { class: { works: "ok", look: "attention", fails: "failing" }[state] }, `From this browser: ${text}`));
	if (state !== "works") part.details.open = true;
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
	byID("pause").textContent = paused ? "Resume updates" : "Pause updates";
	byID("pause").classList.toggle("paused", paused);
	byID("age").textContent = paused ? "Paused at" : "As of";
});
live();
