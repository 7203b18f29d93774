// The scenario of README.md, and every way around it. The server's address is in NUAGE_TEST_URL.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { beforeEach, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { connect, device, dismiss, pay, sell, setTheScene, view } from "./payments.mjs";

const SERVER = process.env.NUAGE_TEST_URL;
const RECEIPTS = "/buckets/payments/collections/receipts";
const run = promisify(execFile);
const caller = Object.fromEntries(
  ["payapp", "data-news", "data-games", "alice", "bob", "mallory"].map((name) => [
    name,
    connect(SERVER, name),
  ]),
);
const nobody = connect(SERVER);

beforeEach(async () => {
  const payapp = await setTheScene(SERVER);
  const { data } = await payapp.receipts();
  for (const { id } of data.filter(({ id }) => !/^r[1-6]$/.test(id))) await payapp.remove(id);
  // What happened in other tests, to whom.
  await payapp.send("DELETE", "/buckets/payments/history");
  await sell(payapp);
});

async function everybodySees(expected) {
  for (const [name, ids] of Object.entries(expected)) {
    assert.equal(await view(caller[name]), ids, name);
  }
}

const ALL = {
  payapp: "r1 r2 r3 r4 r5 r6",
  "data-news": "r1 r3 r6",
  "data-games": "r2 r4 r5",
  alice: "r1 r2 r6",
  bob: "r3 r4 r5",
  mallory: "refused (403)",
};

async function block(kind, nth) {
  const readme = await readFile(new URL("README.md", import.meta.url), "utf8");
  return [...readme.matchAll(new RegExp(`^\`\`\`${kind}\n(.*?)^\`\`\``, "gms"))][nth][1];
}

test("the program prints what the README says", async () => {
  const program = fileURLToPath(new URL("payments.mjs", import.meta.url));
  const { stdout } = await run(process.execPath, [program, SERVER]);
  assert.equal(stdout, await block("text", 0));
});

test("the lines of the README do what they say", async () => {
  const script = await block("sh", 1);
  const { stdout } = await run("bash", ["-e", "-o", "pipefail", "-c", script], {
    env: { ...process.env, SERVER },
  });
  const [list, total, edit, look, removal, feed] = stdout.trim().split("\n");
  const [receipt, ...others] = JSON.parse(list).data;
  assert.deepEqual([receipt.id, receipt.product, receipt.amount], ["r2", "games", 20]);
  assert.equal(receipt.person, undefined);
  assert.deepEqual(others, []);
  assert.equal(total.toLowerCase(), "total-records: 3");
  assert.deepEqual([edit, look, removal], ["403", "403", "200"]);
  const { data, token, more, reset } = JSON.parse(feed);
  assert.deepEqual(data.map(({ id }) => id).sort(), ["r1", "r6"]);
  assert.deepEqual([typeof token, more, reset], ["string", false, true]);
});

test("everybody sees what concerns them", async () => {
  await everybodySees(ALL);
  assert.equal(await view(nobody), "refused (401)");
});

test("counts, filters, pages and single reads show no more than lists", async () => {
  for (const name of ["data-news", "data-games", "alice", "bob"]) {
    const mine = ALL[name].split(" ");
    const head = await caller[name].send("HEAD", `${RECEIPTS}/records`);
    assert.equal(head.headers.get("Total-Records"), String(mine.length), name);
    for (const id of ALL.payapp.split(" ")) {
      const { status } = await caller[name].receipt(id);
      assert.equal(status, mine.includes(id) ? 200 : 403, `${name} reads ${id}`);
    }
    const page = await caller[name].receipts("?_limit=2&_sort=id");
    assert.deepEqual(page.data.map(({ id }) => id), mine.slice(0, 2));
    const next = await fetch(page.headers.get("Next-Page"), {
      headers: { Authorization: `Basic ${btoa(`${name}:demo`)}` },
    });
    assert.deepEqual((await next.json()).data.map(({ id }) => id), mine.slice(2));
  }
  const others = await caller.alice.receipts("?person=bob");
  assert.deepEqual(others.data, []);
  const games = await caller["data-news"].receipts("?product=games");
  assert.deepEqual(games.data, []);
});

test("nobody but the payment application writes", async () => {
  const data = { product: "news", person: "alice", amount: 0 };
  const path = `${RECEIPTS}/records/r1`;
  const jsonPatch = { "Content-Type": "application/json-patch+json" };
  const mergePatch = { "Content-Type": "application/merge-patch+json" };
  for (const name of ["alice", "bob", "data-news", "data-games", "mallory"]) {
    const who = caller[name];
    const attempts = [
      who.send("PUT", path, { data }),
      who.send("PUT", path, { permissions: { write: [`account:${name}`] } }),
      who.send("PATCH", path, { data: { amount: 0 } }),
      who.send("PATCH", path, { permissions: { read: ["system.Everyone"] } }),
      who.send("PATCH", path, [{ op: "replace", path: "/data/amount", value: 0 }], jsonPatch),
      who.send("PATCH", path, [{ op: "add", path: `/permissions/write/account:${name}` }], jsonPatch),
      who.send("PATCH", path, { data: { amount: null } }, mergePatch),
      who.send("POST", `${RECEIPTS}/records`, { data }),
      who.send("PUT", `${RECEIPTS}/records/r7`, { data }),
      who.send("PUT", RECEIPTS, {}),
      who.send("PATCH", "/buckets/payments/groups/news", { data: { members: [`account:${name}`] } }),
      who.send("DELETE", RECEIPTS),
      who.send("DELETE", "/buckets/payments"),
    ];
    for (const [n, { status }] of (await Promise.all(attempts)).entries()) {
      assert.equal(status, 403, `${name}, attempt ${n}`);
    }
  }
  const { data: untouched } = await caller.payapp.receipt("r1");
  assert.equal(untouched.amount, 5);
  await everybodySees(ALL);
});

test("a person deletes their own, across products, and nothing else", async () => {
  assert.equal((await caller.alice.remove("r1")).status, 200);
  assert.equal((await caller.alice.remove("r2")).status, 200);
  assert.equal((await caller.alice.remove("r3")).status, 403);
  for (const name of ["data-news", "mallory", "bob"]) {
    assert.equal((await caller[name].remove("r6")).status, 403, name);
  }
  assert.equal((await nobody.remove("r6")).status, 401);
  await everybodySees({
    payapp: "r3 r4 r5 r6", "data-news": "r3 r6", "data-games": "r4 r5", alice: "r6", bob: "r3 r4 r5",
  });
  const again = await caller.alice.send("PUT", `${RECEIPTS}/records/r1`, { data: { amount: 1 } });
  assert.equal(again.status, 403);
});

test("a stale device deletes only the receipt it has seen", async () => {
  const { data: seen } = await caller.alice.receipt("r1");
  await caller.payapp.change("r1", { amount: 6 });
  const etag = { "If-Match": `"${seen.last_modified}"` };
  const path = `${RECEIPTS}/records/r1`;
  assert.equal((await caller.alice.send("DELETE", path, undefined, etag)).status, 412);
  const { data: current } = await caller.alice.receipt("r1");
  const fresh = { "If-Match": `"${current.last_modified}"` };
  assert.equal((await caller.alice.send("DELETE", path, undefined, fresh)).status, 200);
});

test("deleting the list takes nothing that is not one's own", async () => {
  for (const name of ["alice", "data-news", "mallory"]) {
    await caller[name].send("DELETE", `${RECEIPTS}/records?person=bob`);
  }
  assert.equal(await view(caller.bob), "r3 r4 r5");
});

test("a batch is judged request by request", async () => {
  const { responses } = await caller.alice.send("POST", "/batch", {
    requests: [
      { path: `${RECEIPTS}/records/r1` },
      { path: `${RECEIPTS}/records/r3` },
      { method: "PATCH", path: `${RECEIPTS}/records/r1`, body: { data: { amount: 0 } } },
      { method: "DELETE", path: `${RECEIPTS}/records/r3` },
      { method: "DELETE", path: `${RECEIPTS}/records/r1` },
    ],
  });
  assert.deepEqual(responses.map(({ status }) => status), [200, 403, 403, 403, 200]);
});

test("history and the list of permissions tell nobody of others' receipts", async () => {
  for (const name of ["alice", "data-news", "mallory"]) {
    const mine = ALL[name].split(" ");
    const history = await caller[name].send("GET", "/buckets/payments/history");
    for (const entry of history.data ?? []) {
      assert.ok(mine.includes(entry.record_id), `${name} reads of ${entry.uri}`);
    }
    const { data } = await caller[name].send("GET", "/permissions");
    for (const { record_id: id } of data.filter((entry) => entry.resource_name === "record")) {
      assert.ok(mine.includes(id), `${name} is told of ${id}`);
    }
  }
});

test("joining and leaving a group opens and closes its receipts at once", async () => {
  const news = "/buckets/payments/groups/news";
  const members = ["account:data-news", "account:mallory"];
  await caller.payapp.send("PUT", news, { data: { members } });
  assert.equal(await view(caller.mallory), ALL["data-news"]);
  await pay(caller.payapp, { id: "r7", product: "news", person: "bob", amount: 1 });
  assert.equal(await view(caller.mallory), `${ALL["data-news"]} r7`);
  await caller.payapp.send("PUT", news, { data: { members: ["account:data-news"] } });
  assert.equal(await view(caller.mallory), "refused (403)");
});

test("delete is a permission of records only", async () => {
  for (const path of ["/buckets/payments", RECEIPTS, "/buckets/payments/groups/news"]) {
    const body = { permissions: { delete: ["account:alice"] } };
    const { status } = await caller.payapp.send("PATCH", path, body);
    assert.equal(status, 400, path);
  }
});

test("a person's device follows its receipts live, of every product", async () => {
  const devices = { alice: device(caller.alice), bob: device(caller.bob) };
  await devices.alice.has("r1 r2 r6");
  await devices.bob.has("r3 r4 r5");

  await pay(caller.payapp, { id: "r7", product: "news", person: "alice", amount: 5 });
  await pay(caller.payapp, { id: "r8", product: "games", person: "bob", amount: 5 });
  await devices.alice.has("r1 r2 r6 r7");
  await devices.bob.has("r3 r4 r5 r8");
  await caller.payapp.change("r7", { amount: 9 });
  await devices.alice.until(() => devices.alice.receipt("r7").amount === 9);
  await caller.alice.remove("r1");
  await devices.alice.has("r2 r6 r7");

  // A receipt that was written on the wrong name goes from one device to the other.
  await pay(caller.payapp, { id: "r2", product: "games", person: "bob", amount: 20 });
  await devices.alice.has("r6 r7");
  await devices.bob.has("r2 r3 r4 r5 r8");
  for (const [name, each] of Object.entries(devices)) {
    assert.equal(await view(caller[name]), each.ids(), name);
    each.unplug();
  }
});

test("a device that was away is told what happened meanwhile, losses included", async () => {
  const phone = device(caller.alice);
  await phone.has("r1 r2 r6");
  phone.unplug();
  await pay(caller.payapp, { id: "r1", product: "news", person: "bob", amount: 5 });
  await pay(caller.payapp, { id: "r7", product: "games", person: "alice", amount: 1 });
  await caller.payapp.remove("r2");
  await phone.has("r6 r7");
  phone.unplug();
});

test("an application that loses its right forgets, watching or not, and is refused", async () => {
  const [watching, away] = [device(caller["data-news"]), device(caller["data-news"])];
  await watching.has("r1 r3 r6");
  await away.has("r1 r3 r6");
  away.unplug();
  const alice = device(caller.alice);
  await alice.has("r1 r2 r6");

  await dismiss(caller.payapp, "news");
  for (const each of [watching, away]) {
    await each.has("");
    assert.equal(await each.refused(), 403);
    each.unplug();
  }
  // Those whom it does not concern notice nothing.
  await pay(caller.payapp, { id: "r7", product: "news", person: "alice", amount: 5 });
  await alice.has("r1 r2 r6 r7");
  alice.unplug();

  await setTheScene(SERVER);
  const again = device(caller["data-news"]);
  await again.has("r1 r3 r6 r7");
  again.unplug();
});

test("who has no receipts has no feed", async () => {
  assert.equal(await device(caller.mallory).refused(), 403);
  assert.equal(await device(nobody).refused(), 401);
});
