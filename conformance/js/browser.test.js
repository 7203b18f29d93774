// kinto.js in a headless Chromium: real IndexedDB, real CORS.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { URL as SERVER, authorization, client } from "./harness.js";

const PAGE = fileURLToPath(import.meta.resolve("./browser/page.js"));
const FLAGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
  "--disable-dev-shm-usage",
];

let site, driver, session, profile;

/** Serves the page from an origin of its own. */
async function serve() {
  const bundle = await build({ entryPoints: [PAGE], bundle: true, write: false, format: "iife" });
  const script = bundle.outputFiles[0].text;
  const server = createServer((request, response) => {
    if (request.url === "/page.js") {
      response.setHeader("Content-Type", "text/javascript");
      return response.end(script);
    }
    response.setHeader("Content-Type", "text/html");
    response.end('<!doctype html><title>devices</title><script src="/page.js"></script>');
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

/** Starts Debian's driver of Chromium on a free port, and returns where it listens. */
async function startDriver() {
  const process = spawn("chromedriver", ["--port=0"], { stdio: ["ignore", "pipe", "inherit"] });
  const lines = createInterface({ input: process.stdout });
  const port = await new Promise((resolve, reject) => {
    process.on("error", reject);
    process.on("exit", (code) => reject(new Error(`chromedriver ended with ${code}`)));
    lines.on("line", (line) => {
      const started = line.match(/started successfully on port (\d+)/);
      if (started) resolve(started[1]);
    });
  });
  return { process, url: `http://127.0.0.1:${port}` };
}

async function command(method, path, body) {
  const answer = await fetch(`${driver.url}${path}`, {
    method,
    body: body && JSON.stringify(body),
  });
  const { value } = await answer.json();
  if (!answer.ok) throw new Error(`${value.error}: ${value.message}`);
  return value;
}

/** Calls an asynchronous function of the page and returns what it resolves to. */
function call(name, ...args) {
  const script = `const done = arguments[arguments.length - 1];
    window[${JSON.stringify(name)}](...[...arguments].slice(0, -1))
      .then(done, (error) => done({ failed: String(error && error.stack || error) }));`;
  return command("POST", `/session/${session}/execute/async`, { script, args });
}

before(async () => {
  site = await serve();
  driver = await startDriver();
  profile = await mkdtemp(join(tmpdir(), "nuage-chromium-"));
  const args = [...FLAGS, `--user-data-dir=${profile}`];
  const capabilities = { alwaysMatch: { "goog:chromeOptions": { args } } };
  ({ sessionId: session } = await command("POST", "/session", { capabilities }));
  await command("POST", `/session/${session}/timeouts`, { script: 60_000 });
  const url = `http://127.0.0.1:${site.address().port}/`;
  await command("POST", `/session/${session}/url`, { url });
});

after(async () => {
  if (session) await command("DELETE", `/session/${session}`);
  if (driver) {
    driver.process.removeAllListeners("exit");
    driver.process.kill();
  }
  site?.close();
  if (profile) await rm(profile, { recursive: true, force: true, maxRetries: 5 });
});

test("two databases of a browser stay in step", async () => {
  const outcome = await call("twoDevices", SERVER, authorization());
  assert.equal(outcome.failed, undefined);
  assert.equal(outcome.pushed, 31);
  const lefts = Array.from({ length: 30 }, (_, n) => `left ${n + 10}`);

  assert.deepEqual(outcome.afterExchange.left.sort(), [...lefts, "right", "shared"].sort());
  assert.deepEqual(outcome.afterExchange.right.sort(), outcome.afterExchange.left.sort());
  assert.deepEqual(outcome.conflicts, [["edited right", "edited left"]]);
  assert.deepEqual(outcome.atTheEnd.left.sort(), ["edited by both", "right"]);
  assert.deepEqual(outcome.atTheEnd.right.sort(), ["edited by both", "right"]);
  assert.ok(outcome.databases.includes("left") && outcome.databases.includes("right"));
  assert.match(outcome.refusal, /HTTP 401/);
});

test("a page may read what clients need from every answer", async () => {
  const headers = authorization();
  const records = client(headers).bucket("default").collection("pages");
  await records.createRecord({ n: 1 });
  await records.createRecord({ n: 2 });
  const list = `${SERVER}/buckets/default/collections/pages/records`;
  const page = await call("readableHeaders", `${list}?_limit=1`, headers);
  assert.equal(page.status, 200);
  for (const name of ["etag", "last-modified", "next-page", "content-type"]) {
    assert.ok(page.names.includes(name), name);
  }
  const missing = await call("readableHeaders", `${list}/missing`, headers);
  assert.equal(missing.status, 404);
});
