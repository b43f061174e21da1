// Drives a Chromium for a test: takes commands on stdin and gives answers on stdout, a line of JSON each.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";

const modules = process.env.POA_TEST_NODE_MODULES;
const { chromium } = createRequire(join(modules, "/"))("playwright-core");
const axe = readFileSync(join(modules, "axe-core/axe.min.js"), "utf8");

const FLAGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];
const PATIENCE = 50_000;
const VIEWPORTS = { desktop: { width: 1440, height: 900 }, laptop: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };

// Each launch has an empty profile of its own, which goes with it.
const browser = await chromium.launch({ executablePath: process.env.POA_TEST_CHROMIUM, args: FLAGS });
let context;
let page;
let complaints = [];
const requests = new Set();

const commands = {
  // A new page in a context of its own.
  async page({ device = "desktop", scheme = "light", clock = false }) {
    await context?.close();
    complaints = [];
    const phone = device === "phone" ? { isMobile: true, hasTouch: true, deviceScaleFactor: 2 } : {};
    context = await browser.newContext({ viewport: VIEWPORTS[device], colorScheme: scheme, ...phone });
    page = await context.newPage();
    page.setDefaultTimeout(PATIENCE);
    page.on("pageerror", (error) => complaints.push(`error: ${error.message}`));
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) complaints.push(`${message.type()}: ${message.text()}`);
    });
    page.on("request", (request) => requests.add(new URL(request.url()).origin));
    if (clock) await page.clock.install();
  },
  open: ({ url }) => page.goto(url).then(() => undefined),
  // The value of an expression in the page.
  evaluate: ({ script }) => page.evaluate(script),
  // Waits until an expression in the page is true; its value. Playwright's own way of waiting needs `eval`, which the page forbids.
  async until({ script }) {
    for (const end = Date.now() + PATIENCE; Date.now() < end; ) {
      const value = await page.evaluate(script);
      if (value) return value;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`not within ${PATIENCE} ms: ${script}; the page: ${await page.evaluate("document.body.innerText")}`);
  },
  press: ({ key }) => page.keyboard.press(key),
  type: ({ text }) => page.keyboard.type(text),
  click: ({ selector }) => page.locator(selector).first().click(),
  offline: ({ offline }) => context.setOffline(offline),
  forward: ({ milliseconds }) => page.clock.fastForward(milliseconds),
  screenshot: ({ path }) => page.screenshot({ path }).then(() => undefined),
  // What axe-core finds wrong with the page as it is.
  async axe() {
    await page.evaluate(axe);
    const found = await page.evaluate("axe.run()");
    return found.violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ target }) => target).join(", ")}`);
  },
  // Milliseconds that the page's main thread worked in a second, by its own clock: the medians of so many seconds, and the busiest of them.
  async cost({ seconds }) {
    const devtools = await context.newCDPSession(page);
    await devtools.send("Performance.enable", { timeDomain: "threadTicks" });
    const read = async () => {
      const { metrics } = await devtools.send("Performance.getMetrics");
      return Object.fromEntries(metrics.map(({ name, value }) => [name, value]));
    };
    const reads = [await read()];
    const begin = performance.now();
    for (let n = 1; n <= seconds; n++) {
      await new Promise((resolve) => setTimeout(resolve, begin + n * 1000 - performance.now()));
      reads.push({ ...(await read()), at: performance.now() });
    }
    await devtools.detach();
    reads[0].at = begin;
    const spent = (name) => {
      const each = reads.slice(1).map((after, n) => ((after[name] - reads[n][name]) * 1e6) / (after.at - reads[n].at));
      return each.sort((a, b) => a - b);
    };
    const median = (name) => spent(name)[seconds >> 1];
    const busiest = spent("TaskDuration").at(-1);
    return { task: median("TaskDuration"), busiest, script: median("ScriptDuration"), layout: median("LayoutDuration"), heap: reads.at(-1).JSHeapUsedSize };
  },
  // What the console said, and which servers were asked for anything.
  complaints: () => complaints,
  origins: () => [...requests],
};

async function run(command, options) {
  try {
    return { value: (await commands[command](options)) ?? null };
  } catch (error) {
    return { error: `${command}: ${error.message}` };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...options } = JSON.parse(line);
  const answer = await run(command, options);
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
