// A device does not notice that `nuage copy` moved everything to another database. Only Nuage is
// asked to pass: `cargo xtask` gives the program in NUAGE_TEST_PROGRAM, and in NUAGE_TEST_FROM
// and NUAGE_TEST_TO two empty places (a folder, the URL of a database).

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "node:test";
import { promisify } from "node:util";
import { KintoClient, authorization, contents, device, required, synced } from "./harness.js";

const PROGRAM = required("NUAGE_TEST_PROGRAM");
const PLACES = [required("NUAGE_TEST_FROM"), required("NUAGE_TEST_TO")];
const START_MS = 30_000;

// Settings of whoever runs the tests are none of the server's.
const environment = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^(NUAGE|KINTO)_/.test(name)),
);

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** Serves what is at that place until it is told to stop. */
async function serve(place, port, folder) {
  const where = place.includes("://") ? ["--data", folder, "--storage-url", place] : ["--data", place];
  const settings = ["--set", "auth.policies=account basicauth"];
  const child = spawn(PROGRAM, ["serve", "--listen", `127.0.0.1:${port}`, ...where, ...settings], {
    env: environment,
    stdio: ["ignore", "ignore", "inherit"],
  });
  const ended = once(child, "exit");
  const deadline = Date.now() + START_MS;
  for (;;) {
    const answer = await fetch(`http://127.0.0.1:${port}/v1/__lbheartbeat__`).catch(() => null);
    if (answer?.ok) break;
    assert.equal(child.exitCode, null, "the server ended at its start");
    assert.ok(Date.now() < deadline, "the server does not answer");
    await sleep(20);
  }
  return {
    async stop() {
      child.kill("SIGTERM");
      assert.deepEqual(await ended, [0, null]);
    },
  };
}

async function copy(from, to) {
  const arguments_ = ["copy", "--from", from, "--to", to, "--json"];
  const { stdout } = await promisify(execFile)(PROGRAM, arguments_, { env: environment });
  assert.deepEqual(JSON.parse(stdout).findings, []);
}

function nothingNew(result, before) {
  for (const kind of ["created", "updated", "deleted", "published", "conflicts", "resolved"]) {
    assert.deepEqual(result[kind], [], kind);
  }
  assert.equal(result.lastModified, before);
}

test("a device stays in step while everything moves to another database and back", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "nuage-moves-"));
  t.after(() => rm(folder, { recursive: true }));
  const port = await freePort();
  const remote = `http://127.0.0.1:${port}/v1`;
  let server = await serve(PLACES[0], port, join(folder, "beside"));
  t.after(() => server.stop().catch(() => {}));

  const headers = authorization();
  const [laptop, phone] = [device(headers, { remote }), device(headers, { remote })];
  const client = new KintoClient(remote, { headers, events: new EventEmitter() });
  const user = await client.fetchUser();
  const made = [];
  for (let n = 0; n < 9; n++) made.push((await laptop.create({ title: `task ${n}`, n })).data);
  await synced(laptop);
  await laptop.delete(made[0].id);
  let { lastModified } = await synced(laptop);
  await synced(phone);
  await phone.update({ ...made[1], title: "changed while it moved" });
  const tasks = client.bucket("default").collection("tasks");
  const page = await tasks.listRecords({ limit: 3, sort: "n" });
  assert.deepEqual(page.data.map(({ n }) => n), [1, 2, 3]);

  await server.stop();
  await copy(PLACES[0], PLACES[1]);
  server = await serve(PLACES[1], port, join(folder, "beside"));

  assert.deepEqual(await client.fetchUser(), user);
  nothingNew(await synced(laptop), lastModified);
  const next = await page.next();
  assert.deepEqual(next.data.map(({ n }) => n), [4, 5, 6]);
  const sent = await synced(phone);
  assert.deepEqual(sent.published.map(({ id }) => id), [made[1].id]);
  assert.deepEqual(sent.conflicts, []);
  const received = await synced(laptop);
  assert.deepEqual(received.updated.map((change) => change.new.title), ["changed while it moved"]);
  ({ lastModified } = received);
  await phone.delete(made[2].id);

  await server.stop();
  const back = join(folder, "back");
  await copy(PLACES[1], back);
  server = await serve(back, port, join(folder, "beside"));

  nothingNew(await synced(laptop), lastModified);
  const gone = await synced(phone);
  assert.deepEqual(gone.published.map(({ id }) => id), [made[2].id]);
  const told = await synced(laptop);
  assert.deepEqual(told.deleted.map(({ id }) => id), [made[2].id]);
  assert.deepEqual(await contents(laptop), await contents(phone));
  // A device that was never there gets everything.
  const tablet = device(headers, { remote });
  assert.equal((await synced(tablet)).created.length, 7);
  assert.deepEqual(await contents(tablet), await contents(laptop));
});
