// kinto.js on collections that others follow by feeds, and on lists of shared records. Only Nuage
// is asked to pass: the original has no feeds.
//
// kinto.js asks a list for what changed `_since` a time. That tells it everything about a
// collection that its person may read as a whole. Of a collection where a person sees only what is
// shared with them it tells what is there, not what is no longer there for them: the last tests
// show what a device then keeps, and what the feed tells instead. docs/feed.md says which to use.

import assert from "node:assert/strict";
import { test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import {
  URL, authorization, client, contents, device, fresh, pair, principal, synced,
} from "./harness.js";

const PATIENCE_MS = 60_000;

/** A mirror kept by the feed, page by page: what a device without kinto.js would hold. */
function follower(headers, bucket = "default", collection = "tasks", limit = 3) {
  const address = `${URL}/buckets/${bucket}/collections/${collection}/feed`;
  let mirror = {};
  let token;

  async function page(wait_s) {
    const query = new URLSearchParams({ limit });
    if (token) query.set("token", token);
    if (wait_s) query.set("wait", wait_s);
    const answer = await fetch(`${address}?${query}`, { headers });
    const body = await answer.json();
    if (!answer.ok) return { refused: answer.status };
    if (body.reset) mirror = {};
    for (const { id, deleted, last_modified, ...rest } of body.data) {
      if (deleted) delete mirror[id];
      else mirror[id] = rest;
    }
    token = body.token;
    return body;
  }
  /** Reads to the end of what there is to tell. */
  async function catchUp() {
    let last;
    do last = await page();
    while (last.more);
    return last.refused ?? mirror;
  }
  return {
    catchUp,
    mirror: () => mirror,
    /** Waits, and reads on, until it holds exactly this. */
    async holds(expected) {
      const deadline = Date.now() + PATIENCE_MS;
      await catchUp();
      while (!isDeepStrictEqual(mirror, expected)) {
        assert.ok(Date.now() < deadline, `${JSON.stringify(mirror)} stays`);
        await page(5);
      }
    },
  };
}


/**
 * A collection in which one person writes and another sees what is shared with them. kinto.js also
 * reads the collection itself: the right to create records gives that, and no more.
 */
async function shared() {
  const [owner, reader] = [authorization(fresh("owner")), authorization(fresh("reader"))];
  const [bucket, collection] = [fresh("bucket"), "tasks"];
  const tasks = client(owner).bucket(bucket).collection(collection);
  await client(owner).createBucket(bucket);
  const read = [await principal(reader)];
  const permissions = { "record:create": read };
  await client(owner).bucket(bucket).createCollection(collection, { permissions });
  return {
    owner, reader, bucket, collection, tasks, read,
    share: (data) => tasks.createRecord(data, { permissions: { read } }),
    readers: (id, read) => client(owner).bucket(bucket).collection(collection)
      .updateRecord({ id }, { permissions: { read }, patch: true }),
    phone: device(reader, { bucket, collection }),
    feed: follower(reader, bucket, collection),
  };
}

test("devices with kinto.js and one with the feed hold the same", async () => {
  const headers = authorization();
  const [laptop, phone] = await pair(headers);
  const feed = follower(headers);
  const made = [];
  for (let n = 0; n < 10; n++) made.push((await laptop.create({ title: `task ${n}` })).data);
  await synced(laptop);
  await synced(phone);
  assert.deepEqual(await feed.catchUp(), await contents(phone));

  await phone.update({ ...made[1], title: "edited" });
  await phone.delete(made[2].id);
  await phone.create({ title: "from the phone" });
  await synced(phone);
  await synced(laptop);
  assert.deepEqual(await feed.catchUp(), await contents(laptop));
  assert.equal(Object.keys(feed.mirror()).length, 10);

  const tasks = client(headers).bucket("default").collection("tasks");
  await tasks.deleteRecords();
  await synced(laptop);
  assert.deepEqual(await contents(laptop), {});
  assert.deepEqual(await feed.catchUp(), {});
});

test("what kinto.js sends wakes who waits on the feed", async () => {
  const headers = authorization();
  const [laptop] = await pair(headers);
  const feed = follower(headers);
  await feed.holds({});
  const { data } = await laptop.create({ title: "now" });
  const waiting = feed.holds({ [data.id]: { title: "now" } });
  await synced(laptop);
  await waiting;
});

test("two devices in conflict settle it, and the feed tells the outcome", async () => {
  const headers = authorization();
  const [laptop, phone] = await pair(headers);
  const { data } = await laptop.create({ title: "draft" });
  await synced(laptop);
  await synced(phone);
  const feed = follower(headers);
  await feed.catchUp();
  await laptop.update({ ...data, title: "from the laptop" });
  await phone.update({ ...data, title: "from the phone" });
  await synced(laptop);
  const { conflicts } = await phone.sync();
  await phone.resolve(conflicts[0], { ...conflicts[0].local, title: "from both" });
  await synced(phone);
  await synced(laptop);
  assert.deepEqual(await contents(laptop), { [data.id]: { title: "from both" } });
  assert.deepEqual(await feed.catchUp(), await contents(laptop));
});

test("a reader of some records syncs those, their changes and their deletions", async () => {
  const scene = await shared();
  const { data: first } = await scene.share({ title: "first" });
  const { data: second } = await scene.share({ title: "second" });
  await scene.tasks.createRecord({ title: "private" });
  await synced(scene.phone);
  const titles = async () =>
    Object.values(await contents(scene.phone)).map(({ title }) => title).sort();
  assert.deepEqual(await titles(), ["first", "second"]);
  assert.deepEqual(await scene.feed.catchUp(), await contents(scene.phone));

  await scene.tasks.updateRecord({ id: first.id, title: "first, edited" }, { patch: true });
  await scene.share({ title: "third" });
  await synced(scene.phone);
  assert.deepEqual(await titles(), ["first, edited", "second", "third"]);
  assert.deepEqual(await scene.feed.catchUp(), await contents(scene.phone));

  await scene.tasks.deleteRecord(second.id);
  await synced(scene.phone);
  assert.deepEqual(await titles(), ["first, edited", "third"]);
  assert.deepEqual(await scene.feed.catchUp(), await contents(scene.phone));
});

test("a loss is told by the feed; a poll since a time does not tell it", async () => {
  const scene = await shared();
  const { data: kept } = await scene.share({ title: "kept" });
  const { data: lost } = await scene.share({ title: "lost" });
  await synced(scene.phone);
  await scene.feed.catchUp();

  await scene.readers(lost.id, []);
  assert.deepEqual(await scene.feed.catchUp(), { [kept.id]: { title: "kept" } });

  // Nothing in the list of what changed says that a record is gone for this reader only: a device
  // that polls keeps it until it begins anew (see docs/feed.md). There must be something new, too:
  // kinto.js takes an empty list of a collection that moved for one of a server that was flushed.
  const { data: later } = await scene.share({ title: "later" });
  await synced(scene.phone);
  const held = Object.keys(await contents(scene.phone)).sort();
  assert.deepEqual(held, [kept.id, lost.id, later.id].sort());
  await scene.feed.catchUp();
  assert.deepEqual(Object.keys(scene.feed.mirror()).sort(), [kept.id, later.id].sort());
  const begunAnew = device(scene.reader, scene);
  await synced(begunAnew);
  assert.deepEqual(await contents(begunAnew), scene.feed.mirror());
});

test("joining and leaving a group is told by the feed, though no record changes", async () => {
  const scene = await shared();
  const bucket = client(scene.owner).bucket(scene.bucket);
  await bucket.createGroup("team", []);
  const read = [`/buckets/${scene.bucket}/groups/team`];
  const title = "of the team";
  const { data } = await scene.tasks.createRecord({ title }, { permissions: { read } });
  const { data: own } = await scene.share({ title: "own" });
  const mine = { [own.id]: { title: "own" } };
  await synced(scene.phone);
  assert.deepEqual(await scene.feed.catchUp(), mine);

  await bucket.updateGroup({ id: "team", members: scene.read });
  assert.deepEqual(await scene.feed.catchUp(), { ...mine, [data.id]: { title } });
  // The record is older than the last poll of the device, which therefore does not see it.
  await synced(scene.phone);
  assert.deepEqual(await contents(scene.phone), mine);

  await bucket.updateGroup({ id: "team", members: [] });
  assert.deepEqual(await scene.feed.catchUp(), mine);
});

test("who loses everything is told to forget it, then refused; a poll only refused", async () => {
  const scene = await shared();
  const { data } = await scene.share({ title: "only" });
  await synced(scene.phone);
  await scene.feed.catchUp();
  await scene.readers(data.id, []);
  await scene.tasks.setPermissions({ "record:create": [] });
  assert.deepEqual(await scene.feed.catchUp(), {});
  assert.equal(await scene.feed.catchUp(), 403);
  await assert.rejects(scene.phone.sync(), /HTTP 403/);
  assert.deepEqual(Object.keys(await contents(scene.phone)), [data.id]);
});
