// What the test of this folder needs around the page: a server, cables to it that can be pulled,
// the page's own origin, and browsers, driven with the WebDriver protocol by `chromedriver`.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { connect, createServer as listenOn } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

/** How long something may take before it counts as not happening. */
const PATIENCE_MS = 60_000;
const LOOK_AGAIN_MS = 50;
const FLAGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
  "--disable-dev-shm-usage", "--hide-scrollbars",
];

/** Waits until `look` gives something true, and returns it; `what` may tell what was seen last. */
export async function until(what, look) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > deadline) {
      throw new Error(`it did not happen: ${typeof what === "function" ? what() : what}`);
    }
    await sleep(LOOK_AGAIN_MS);
  }
}

async function freePort() {
  const server = listenOn().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** A server whose data lies at `place`, a folder or the URL of a database; it can be restarted. */
export async function nuage(program, place) {
  const port = await freePort();
  const folder = await mkdtemp(join(tmpdir(), "nuage-notes-"));
  const isDatabase = place.includes("://");
  const where = isDatabase ? ["--data", folder, "--storage-url", place] : ["--data", place];
  // Settings of whoever runs the tests are none of the server's.
  const others = Object.entries(process.env).filter(([name]) => !/^(NUAGE|KINTO)_/.test(name));
  const env = { ...Object.fromEntries(others), NUAGE_GRANTS__ACCOUNT_CREATE: "system.Everyone" };
  const url = `http://127.0.0.1:${port}/v1`;
  let child, ended;

  async function start() {
    child = spawn(program, ["serve", "--listen", `127.0.0.1:${port}`, ...where], {
      env,
      stdio: ["ignore", "ignore", "inherit"],
    });
    ended = once(child, "exit");
    await until("the server answers", async () => {
      assert.equal(child.exitCode, null, "the server ended at its start");
      return (await fetch(`${url}/__lbheartbeat__`).catch(() => null))?.ok;
    });
  }
  async function stop() {
    child.kill("SIGTERM");
    assert.deepEqual(await ended, [0, null]);
  }
  async function end() {
    if (child.exitCode === null) child.kill("SIGKILL");
    await ended;
    await rm(folder, { recursive: true, force: true });
  }

  await start();
  return { url, start, stop, end };
}

/** A cable between one browser and the server: once pulled, no byte passes and nothing answers. */
export async function cable(server) {
  const { port } = new URL(server);
  const ends = new Set();
  let isPulled = false;
  const relay = listenOn((near) => {
    if (isPulled) return near.destroy();
    const far = connect(port, "127.0.0.1");
    for (const [from, to] of [[near, far], [far, near]]) {
      ends.add(from);
      from.on("error", () => {});
      from.on("close", () => (ends.delete(from), to.destroy()));
      from.pipe(to);
    }
  });
  const pull = () => {
    isPulled = true;
    for (const end of ends) end.destroy();
  };
  relay.listen(0, "127.0.0.1");
  await once(relay, "listening");
  return {
    url: `http://127.0.0.1:${relay.address().port}/v1`,
    pull,
    plug: () => (isPulled = false),
    end: () => (pull(), relay.close()),
  };
}

/** Serves the page from an origin of its own, as any static file server does. */
export async function site(folder) {
  const server = createServer(async (request, response) => {
    response.setHeader("Content-Type", "text/html; charset=utf-8");
    response.end(await readFile(new URL("index.html", folder)));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { url: `http://127.0.0.1:${server.address().port}/`, end: () => server.close() };
}

/** Starts the driver on a free port; it can open any number of browsers. */
export async function browsers(artefacts) {
  const driver = spawn("chromedriver", ["--port=0"], { stdio: ["ignore", "pipe", "inherit"] });
  const port = await new Promise((resolve, reject) => {
    driver.on("error", reject);
    driver.on("exit", (code) => reject(new Error(`chromedriver ended with ${code}`)));
    createInterface({ input: driver.stdout }).on("line", (line) => {
      const started = line.match(/started successfully on port (\d+)/);
      if (started) resolve(started[1]);
    });
  });
  const opened = [];

  async function command(method, path, body) {
    const url = `http://127.0.0.1:${port}${path}`;
    const answer = await fetch(url, { method, body: body && JSON.stringify(body) });
    const { value } = await answer.json();
    if (!answer.ok) throw new Error(`${value.error}: ${value.message}`);
    return value;
  }

  /** A browser with a profile of its own, showing `url` on a screen like that. */
  async function open(url, { width, height, scheme }) {
    const profile = await mkdtemp(join(tmpdir(), "nuage-chromium-"));
    const args = [...FLAGS, `--user-data-dir=${profile}`];
    const capabilities = { alwaysMatch: { "goog:chromeOptions": { args } } };
    const { sessionId } = await command("POST", "/session", { capabilities });
    opened.push({ sessionId, profile });
    const ask = (method, path, body) => command(method, `/session/${sessionId}${path}`, body);
    await ask("POST", "/timeouts", { script: PATIENCE_MS });
    const tell = (cmd, params) => ask("POST", "/goog/cdp/execute", { cmd, params });
    const screen = { width, height, deviceScaleFactor: 1, mobile: false };
    await tell("Emulation.setDeviceMetricsOverride", screen);
    const features = [{ name: "prefers-color-scheme", value: scheme }];
    await tell("Emulation.setEmulatedMedia", { features });
    await ask("POST", "/url", { url });
    return {
      /** Runs a function in the page and returns what it gives, or what its promise gives. */
      run: (work, ...args) => {
        const script = `const done = arguments[arguments.length - 1];
          Promise.resolve((${work})(...[...arguments].slice(0, -1)))
            .then((value) => done({ value }), (error) => done({ failed: String(error) }));`;
        return ask("POST", "/execute/async", { script, args }).then(({ value, failed }) => {
          if (failed) throw new Error(failed);
          return value;
        });
      },
      async picture(name) {
        const png = Buffer.from(await ask("GET", "/screenshot"), "base64");
        await writeFile(join(artefacts, `${name}.png`), png);
      },
    };
  }

  async function end() {
    for (const { sessionId, profile } of opened) {
      await command("DELETE", `/session/${sessionId}`).catch(() => {});
      await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    }
    driver.removeAllListeners("exit");
    driver.kill();
  }
  return { open, end };
}
