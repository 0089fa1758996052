// Drives the demonstration page in Chromium as a person would and prints, as
// one line of JSON, what each step of each column came to.
//
// Usage: node page.mjs <chromium> <page URL> <profile folder> [until-refreshed]
//
// It logs in at the column "bridge", then at "sse" and "edge" if there are such; what a
// column came to after its own login is reported under its name. At "edge" it steps up.
//
// With until-refreshed it calls the tool until the token has expired and the page
// has refreshed it.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { startChromium } from "./chromium.mjs";

const [executablePath, page, profile, untilRefreshed] = process.argv.slice(2);
const context = await startChromium(executablePath, profile);
try {
	await context.addInitScript({ content: await readFile(fileURLToPath(import.meta.resolve("axe-core/axe.min.js")), "utf8") });
	const violations = [];
	const tab = context.pages()[0] ?? (await context.newPage());
	const requests = [];
	tab.on("request", (r) => requests.push(`${r.method()} ${r.url().split("?")[0]}`));
	const errors = [];
	tab.on("pageerror", (e) => errors.push(String(e)));
	await tab.goto(page);
	// Both columns come to rest: one offers the login, the other gave up.
	await tab.waitForSelector('[data-column=plain] [data-step=tool]:is([data-state=skipped],[data-state=ok],[data-state=failed])');
	await tab.waitForSelector('[data-column=bridge] [data-step=login]:is([data-state=waiting],[data-state=skipped],[data-state=failed])');
	const before = await states(tab);
	if (before.bridge.login.state !== "waiting") {
		throw new Error(JSON.stringify({ before, errors }));
	}
	for (const column of ["sse", "stdio", "edge"].filter((name) => before[name])) {
		await tab.waitForSelector(`[data-column=${column}] [data-step=login]:is([data-state=waiting],[data-state=unasked],[data-state=failed],[data-state=skipped])`);
	}
	for (const width of [360, 1280]) {
		await tab.setViewportSize({ width, height: 900 });
		violations.push(...(await looks(tab, width)));
	}
	const consents = {};
	const after = {};
	const logins = ["bridge", "sse", "edge"].filter((name) => before[name]).reverse();
	const agree = async (column, step) => {
		await tab.click(`[data-column=${column}] [data-step=${step}] button`);
		await tab.waitForSelector("button[value=yes]");
		violations.push(...(await looks(tab, "consent")));
		const consent = await tab.evaluate(() => ({ origin: location.origin, text: document.querySelector("main").innerText }));
		await tab.click("button[value=yes]");
		return consent;
	};
	let refused;
	for (const column of logins) {
		consents[column] = await agree(column, "login");
		await tab.waitForSelector(`[data-column=${column}] [data-step=tool]:is([data-state=ok],[data-state=failed],[data-state=skipped])`);
		after[column] = (await states(tab))[column];
		if (after[column].stepup) {
			await tab.waitForSelector(`[data-column=${column}] [data-step=stepup]:is([data-state=waiting],[data-state=failed],[data-state=ok])`);
			refused = (await states(tab))[column].stepup;
			consents.stepup = await agree(column, "stepup");
			await tab.waitForSelector(`[data-column=${column}] [data-step=stepup]:is([data-state=ok],[data-state=failed])`);
			after[column] = (await states(tab))[column];
		}
	}
	if (before.stdio) {
		await tab.waitForSelector("[data-column=stdio] [data-step=tool]:is([data-state=ok],[data-state=failed],[data-state=skipped])");
		after.stdio = (await states(tab)).stdio;
	}
	let last = after.bridge.tool;
	while (untilRefreshed && last.state === "ok" && !last.text.includes("refreshed")) {
		await tab.click("[data-column=bridge] [data-step=tool] button");
		await tab.waitForSelector('[data-column=bridge] [data-step=tool]:is([data-state=ok],[data-state=failed])');
		last = (await states(tab)).bridge.tool;
	}
	const cookies = (await context.cookies()).map((c) => c.name);
	console.log(JSON.stringify({ violations, before, consents, after, refused, last, cookies, requests, errors }));
} finally {
	await context.close();
}

async function states(tab) {
	return tab.evaluate(() => {
		const out = {};
		for (const column of document.querySelectorAll("[data-column]")) {
			const steps = (out[column.dataset.column] = {});
			for (const step of column.querySelectorAll("[data-step]")) {
				steps[step.dataset.step] = { state: step.dataset.state, text: step.querySelector("pre").innerText };
			}
		}
		return out;
	});
}

// looks returns what axe finds in both colour schemes, and how far the page is wider than
// the screen.
async function looks(tab, what) {
	const found = [];
	for (const colorScheme of ["light", "dark"]) {
		await tab.emulateMedia({ colorScheme });
		found.push(...(await tab.evaluate(async () => {
			const all = (await window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] })).violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join(" ")}`);
			const over = document.documentElement.scrollWidth - innerWidth;
			return over > 0 ? [...all, `${over} px too wide`] : all;
		})).map((v) => `${what}, ${colorScheme}: ${v}`));
	}
	return found;
}
