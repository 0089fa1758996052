// Drives the status page in Chromium as an operator would and prints, as one line of
// JSON, what it came to at each width and colour scheme.
//
// Usage: node status.mjs <chromium> <page URL> <profile folder> <user> <password>
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { startChromium } from "./chromium.mjs";

const [executablePath, page, profile, username, password] = process.argv.slice(2);
const axe = await readFile(fileURLToPath(import.meta.resolve("axe-core/axe.min.js")), "utf8");
const context = await startChromium(executablePath, profile, { httpCredentials: { username, password } });
const sizes = [[360, 740], [1280, 900]];
const views = {};
const fits = {};
const requests = [];
const errors = [];
try {
	await context.addInitScript({ content: axe }); // which the page's policy would refuse otherwise
	const tab = await context.newPage();
	context.on("request", (r) => requests.push(r.allHeaders().then((h) => ({ method: r.method(), url: r.url(), authorization: h.authorization ?? "" }))));
	tab.on("pageerror", (e) => errors.push(String(e)));
	tab.on("console", (m) => /Content.Security|Trusted/i.test(m.text()) && errors.push(m.text()));
	for (const [width, height] of sizes) { // before anything has happened, so that all is well
		await tab.setViewportSize({ width, height });
		await tab.goto(page);
		await tab.waitForSelector("main section[data-state]");
		fits[width] = await tab.evaluate(() => [...document.querySelectorAll("main section[data-state=ok]")].filter((s) => s.getBoundingClientRect().bottom <= innerHeight).length);
	}
	for (const [width, height] of sizes) {
		for (const colorScheme of ["light", "dark"]) {
			await tab.setViewportSize({ width, height });
			await tab.emulateMedia({ colorScheme });
			await tab.goto(page);
			await tab.waitForSelector("main section[data-state]");
			const before = await violations(tab);
			// By keyboard alone: the first thing that it comes to is the check.
			await tab.keyboard.press("Tab");
			await tab.keyboard.press("Enter");
			await tab.waitForFunction(() => document.getElementById("said").textContent.startsWith("Checked:"));
			const open = await tab.evaluate(() => [...document.querySelectorAll("details[open] h2")].map((h) => h.textContent));
			const pause = [];
			for (let i = 0; i < 3; i++) {
				pause.push(await tab.evaluate(() => `${document.getElementById("pause").textContent}, ${document.getElementById("age").textContent}`));
				if (i < 2) await tab.click("#pause");
			}
			for (const closed of await tab.$$("details:not([open]) > summary")) await closed.click();
			views[`${width} ${colorScheme}`] = {
				open, pause,
				order: await tab.evaluate(() => [...document.querySelectorAll("main section")].map((s) => s.dataset.state)),
				said: await tab.textContent("#said"),
				live: await tab.getAttribute("#said", "aria-live"),
				text: await tab.innerText("body"),
				sections: await sections(tab),
				overflow: await tab.evaluate(() => document.documentElement.scrollWidth - innerWidth),
				background: await tab.evaluate(() => getComputedStyle(document.body).backgroundColor),
				owned: await tab.evaluate(() => window.owned !== undefined || document.querySelector("main img, main script, main svg") !== null),
				violations: [...before, ...(await violations(tab))],
			};
		}
	}
	console.log(JSON.stringify({ views, fits, requests: await Promise.all(requests), errors }));
} finally {
	await context.close();
}

// sections are the endpoints with their steps.
async function sections(tab) {
	return tab.evaluate(() => Object.fromEntries([...document.querySelectorAll("main section")].map((s) => [
		s.querySelector("h2").textContent,
		{
			text: s.innerText,
			row: s.querySelector("summary").innerText,
			verdict: s.querySelector(".verdict")?.dataset.state ?? "",
			steps: Object.fromEntries([...s.querySelectorAll(".checks tbody tr")].map((r) => [r.querySelector(".step").textContent, { state: r.dataset.state, text: r.cells[1].textContent }])),
		},
	])));
}

async function violations(tab) {
	return tab.evaluate(async () => (await window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] })).violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join(" ")}`));
}
