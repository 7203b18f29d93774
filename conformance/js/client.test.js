// kinto-http.js: permissions by JSON Patch, batches, pages, history, snapshots, accounts.

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { authorization, client, contents, device, fresh, principal, RECORDS, synced } from "./harness.js";

/** A bucket with one collection, and its owner. */
async function workplace() {
  const headers = authorization();
  const owner = client(headers);
  const name = fresh("bucket");
  await owner.createBucket(name);
  const bucket = owner.bucket(name);
  await bucket.createCollection("tasks");
  return { headers, owner, name, bucket, tasks: bucket.collection("tasks") };
}

test("the server introduces itself", async () => {
  const anyone = client();
  assert.equal((await anyone.fetchServerSettings()).batch_max_requests, 25);
  assert.match(await anyone.fetchHTTPApiVersion(), /^1\.\d+$/);
  const capabilities = await anyone.fetchServerCapabilities();
  for (const name of ["accounts", "default_bucket", "history", "permissions_endpoint", "schema"]) {
    assert.ok(name in capabilities, name);
  }
  assert.equal(await anyone.fetchUser(), undefined);
});

test("buckets, collections, groups and records, from creation to deletion", async () => {
  const { owner, bucket, tasks, name } = await workplace();
  await bucket.setData({ colour: "red" }, { patch: true });
  assert.equal((await bucket.getData()).colour, "red");
  await bucket.createGroup("editors", ["account:ann"]);
  await bucket.updateGroup({ id: "editors", members: ["account:bob"] });
  assert.deepEqual((await bucket.getGroup("editors")).data.members, ["account:bob"]);
  assert.equal((await bucket.listGroups()).data.length, 1);
  await bucket.deleteGroup("editors");
  await tasks.setData({ displayFields: ["n"] });
  assert.deepEqual((await tasks.getData()).displayFields, ["n"]);

  const { data: record } = await tasks.createRecord({ n: 1 });
  await tasks.updateRecord({ id: record.id, m: 2 }, { patch: true });
  const { data: read } = await tasks.getRecord(record.id);
  assert.deepEqual([read.n, read.m], [1, 2]);
  assert.deepEqual((await tasks.getRecord(record.id, { fields: ["m"] })).data.n, undefined);
  assert.equal(await tasks.getTotalRecords(), 1);
  assert.equal(await tasks.getRecordsTimestamp(), `"${read.last_modified}"`);
  assert.equal((await tasks.deleteRecord(record.id)).data.deleted, true);
  assert.equal(await tasks.getTotalRecords(), 0);
  await bucket.deleteCollection("tasks");
  assert.equal((await bucket.listCollections()).data.length, 0);
  await owner.deleteBucket(name);
  assert.equal((await owner.listBuckets()).data.length, 0);
});

test("safe mode never overwrites blindly", async () => {
  const { tasks } = await workplace();
  const { data } = await tasks.createRecord({ id: "one", n: 1 }, { safe: true });
  const conflict = { data: { code: 412, errno: 114, details: { existing: data } } };
  const matches = (error) => {
    assert.equal(error.data.code, conflict.data.code);
    assert.deepEqual(error.data.details.existing, data);
    return true;
  };
  await assert.rejects(tasks.createRecord({ id: "one", n: 2 }, { safe: true }), matches);
  const stale = data.last_modified - 10;
  const update = { id: "one", n: 2, last_modified: stale };
  await assert.rejects(tasks.updateRecord(update, { safe: true }), matches);
  await assert.rejects(tasks.deleteRecord({ id: "one", last_modified: stale }, { safe: true }), matches);
  await tasks.updateRecord({ ...data, n: 3 }, { safe: true });
});

test("permissions are added and removed one by one", async () => {
  const { owner, bucket, tasks, headers } = await workplace();
  const me = await principal(headers);
  for (const resource of [bucket, tasks]) {
    await resource.addPermissions({ read: ["account:ann", "account:bob"], write: ["account:cid"] });
    let permissions = await resource.getPermissions();
    assert.deepEqual([...permissions.read].sort(), ["account:ann", "account:bob"]);
    assert.deepEqual([...permissions.write].sort(), ["account:cid", me].sort());
    await resource.removePermissions({ read: ["account:ann"] });
    permissions = await resource.getPermissions();
    assert.deepEqual(permissions.read, ["account:bob"]);
    await resource.setPermissions({ read: ["system.Everyone"] });
    permissions = await resource.getPermissions();
    assert.deepEqual(permissions.read, ["system.Everyone"]);
    assert.deepEqual(permissions.write, [me]);
  }
  await assert.rejects(tasks.removePermissions({ read: ["account:nobody"] }), /400/);
  assert.equal((await client().bucket(bucket.name).listCollections()).data.length, 1);
  assert.ok(owner);
});

test("what one may do is listed", async () => {
  const { owner, name } = await workplace();
  const { data } = await owner.listPermissions();
  const mine = data.filter((entry) => entry.bucket_id === name);
  assert.deepEqual(mine.map((entry) => entry.resource_name).sort(), ["bucket", "collection"]);
  assert.ok(mine.every((entry) => entry.permissions.includes("write")));
  const filtered = await owner.listPermissions({ filters: { resource_name: "bucket" } });
  assert.ok(filtered.data.every((entry) => entry.resource_name === "bucket"));
  assert.ok(filtered.data.some((entry) => entry.id === name));
});

test("a batch longer than the server allows is sent in parts, in order", async () => {
  const { tasks } = await workplace();
  const responses = await tasks.batch((batch) => {
    for (let n = 0; n < 80; n++) batch.createRecord({ n });
  });
  assert.equal(responses.length, 80);
  assert.ok(responses.every(({ status }) => status === 201));
  const { data } = await tasks.listRecords({ sort: "last_modified" });
  assert.deepEqual(data.map(({ n }) => n), Array.from({ length: 80 }, (_, n) => n));
});

test("a batch tells what became of each of its parts", async () => {
  const { tasks } = await workplace();
  const { data: taken } = await tasks.createRecord({ id: "taken", n: 1 });
  const result = await tasks.batch((batch) => {
    batch.createRecord({ id: "fresh", n: 1 });
    batch.createRecord({ id: "taken", n: 2 }, { safe: true });
    batch.deleteRecord("missing");
    batch.updateRecord({ id: "bad", n: 3 }, { permissions: { fly: ["account:a"] } });
  }, { aggregate: true });
  assert.deepEqual(result.published.map(({ data }) => data.id), ["fresh"]);
  assert.deepEqual(result.conflicts[0].remote, taken);
  assert.deepEqual(result.skipped.map(({ id }) => id), ["missing"]);
  assert.equal(result.errors[0].error.errno, 107);
});

test("history tells of every change, with filters", async () => {
  const { bucket, tasks, headers } = await workplace();
  const { data } = await tasks.createRecord({ n: 1 });
  await tasks.updateRecord({ id: data.id, n: 2 });
  await tasks.deleteRecord(data.id);
  const { data: entries } = await bucket.listHistory({ filters: { resource_name: "record" } });
  assert.deepEqual(entries.map(({ action }) => action), ["delete", "update", "create"]);
  assert.equal(entries[0].user_id, await principal(headers));
  assert.equal(entries[1].target.data.n, 2);
  assert.equal(await tasks.isHistoryComplete(), true);
});

test("a collection is shown as it was at a time", async () => {
  const { tasks } = await workplace();
  const states = [];
  const remember = async () => {
    const { data, last_modified } = await tasks.listRecords();
    states.push({ at: parseInt(last_modified, 10), data });
  };
  const { data: one } = await tasks.createRecord({ n: 1 });
  await remember();
  await tasks.createRecord({ n: 2 });
  await remember();
  await tasks.updateRecord({ id: one.id, n: 10 });
  await remember();
  await tasks.deleteRecord(one.id);
  await remember();
  await tasks.deleteRecords();
  await remember();
  for (const { at, data } of states) {
    const snapshot = await tasks.listRecords({ at });
    assert.deepEqual(snapshot.data, data);
    assert.equal(snapshot.last_modified, String(at));
  }
  assert.deepEqual((await tasks.listRecords({ at: states[0].at - 1 })).data, []);
});

test("an account is created, used, and its data are its own", async () => {
  const name = fresh("ann");
  await client().createAccount(name, "correct horse");
  const hers = authorization(name, "correct horse");
  assert.equal(await principal(hers), `account:${name}`);
  assert.notEqual(await principal(authorization(name, "wrong")), `account:${name}`);
  const laptop = device(hers);
  await laptop.create({ title: "mine" });
  await synced(laptop);
  const phone = device(hers);
  await synced(phone);
  assert.deepEqual(await contents(phone), await contents(laptop));
  const { bucket } = await client(hers).fetchUser();
  await assert.rejects(
    client(authorization()).bucket(bucket).collection("tasks").listRecords(), /403/);
  await assert.rejects(client().createAccount(name, "mine now"), /401/);
});

describe("many records", () => {
  const total = RECORDS;
  let place;

  before(async () => {
    place = await workplace();
    // 25 requests to a batch; a few batches at a time.
    const chunks = Array.from({ length: total / 250 }, (_, n) => n);
    await Promise.all(Array.from({ length: 4 }, async () => {
      for (let chunk = chunks.shift(); chunk !== undefined; chunk = chunks.shift()) {
        await place.tasks.batch((batch) => {
          for (let n = chunk * 250; n < (chunk + 1) * 250; n++) {
            batch.createRecord({ id: `r${n}`, n, half: n % 2 });
          }
        });
      }
    }));
  });

  test("are counted", async () => {
    assert.equal(await place.tasks.getTotalRecords(), total);
  });

  test("are read page by page, each once, in order", async () => {
    const seen = [];
    let page = await place.tasks.listRecords({ limit: 700, sort: "n" });
    for (;;) {
      seen.push(...page.data.map(({ n }) => n));
      if (!page.hasNextPage) break;
      page = await page.next();
    }
    assert.deepEqual(seen, Array.from({ length: total }, (_, n) => n));
  });

  test("are read by timestamp and by filter", async () => {
    const { data } = await place.tasks.listRecords({ limit: 1500, pages: Infinity });
    assert.equal(new Set(data.map(({ id }) => id)).size, total);
    assert.ok(data.every((record, n) => n === 0 || record.last_modified < data[n - 1].last_modified));
    const half = await place.tasks.listRecords({ limit: 999, pages: 100, filters: { half: 1 } });
    assert.equal(half.data.length, total / 2);
  });

  test("reach a device in one synchronization, and then only what is new", async () => {
    const laptop = device(place.headers, { bucket: place.name });
    const first = await synced(laptop);
    assert.equal(first.created.length, total);
    await place.tasks.updateRecord({ id: "r42", n: 42, new: true });
    const second = await synced(laptop);
    assert.deepEqual(second.updated.map((change) => change.new.id), ["r42"]);
  });
});
