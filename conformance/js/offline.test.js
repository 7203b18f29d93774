// Two devices edit offline and come back in step.

import assert from "node:assert/strict";
import { test } from "node:test";
import { authorization, client, contents, device, fresh, pair, principal, synced } from "./harness.js";

test("what one device writes offline reaches the other", async () => {
  const [laptop, phone] = await pair();
  const { data } = await laptop.create({ title: "Water the plants", done: false });
  assert.deepEqual(await contents(phone), {});

  const sent = await synced(laptop);
  assert.equal(sent.published.length, 1);
  const received = await synced(phone);
  assert.equal(received.created.length, 1);
  assert.deepEqual(await contents(phone), { [data.id]: { title: "Water the plants", done: false } });
  assert.deepEqual(await contents(laptop), await contents(phone));

  await phone.update({ ...data, done: true }, { patch: true });
  await synced(phone);
  const updated = await synced(laptop);
  assert.equal(updated.updated.length, 1);
  assert.equal((await contents(laptop))[data.id].done, true);
});

test("both devices edit different records while apart", async () => {
  const [laptop, phone] = await pair();
  for (let n = 0; n < 10; n++) await laptop.create({ n, by: "laptop" });
  for (let n = 0; n < 10; n++) await phone.create({ n, by: "phone" });
  await synced(laptop);
  await synced(phone);
  await synced(laptop);
  assert.equal(Object.keys(await contents(laptop)).length, 20);
  assert.deepEqual(await contents(laptop), await contents(phone));
});

test("a record deleted on one device goes from the other", async () => {
  const [laptop, phone] = await pair();
  const { data } = await laptop.create({ title: "old" });
  await synced(laptop);
  await synced(phone);
  await phone.delete(data.id);
  const sent = await synced(phone);
  assert.deepEqual(sent.published.map((record) => record.id), [data.id]);
  const received = await synced(laptop);
  assert.equal(received.deleted.length, 1);
  assert.deepEqual(await contents(laptop), {});
});

test("a record deleted on both devices is gone without a conflict", async () => {
  const [laptop, phone] = await pair();
  const { data } = await laptop.create({ title: "old" });
  await synced(laptop);
  await synced(phone);
  await laptop.delete(data.id);
  await phone.delete(data.id);
  await synced(laptop);
  await synced(phone);
  assert.deepEqual(await contents(phone), {});
  assert.deepEqual(await contents(laptop), {});
});

test("deletions on the server, one by one and all at once, reach devices", async () => {
  const headers = authorization();
  const [laptop] = await pair(headers);
  const { data: one } = await laptop.create({ n: 1 });
  await laptop.create({ n: 2 });
  await laptop.create({ n: 3 });
  await synced(laptop);
  const records = client(headers).bucket("default").collection("tasks");
  await records.deleteRecord(one.id);
  assert.equal((await synced(laptop)).deleted.length, 1);
  await records.deleteRecords();
  assert.equal((await synced(laptop)).deleted.length, 2);
  assert.deepEqual(await contents(laptop), {});
});

test("a device that was away for long catches up in one go", async () => {
  const headers = authorization();
  const [laptop, phone] = await pair(headers);
  for (let n = 0; n < 60; n++) await laptop.create({ n });
  await synced(laptop);
  await synced(phone);
  const all = (await laptop.list({ order: "n" })).data;
  for (const record of all.slice(0, 20)) await laptop.delete(record.id);
  for (const record of all.slice(20, 40)) await laptop.update({ ...record, edited: true });
  await synced(laptop);
  const caughtUp = await synced(phone);
  assert.equal(caughtUp.deleted.length, 20);
  assert.equal(caughtUp.updated.length, 20);
  assert.deepEqual(await contents(phone), await contents(laptop));
});

test("synchronizing again without changes moves nothing", async () => {
  const [laptop] = await pair();
  await laptop.create({ n: 1 });
  const first = await synced(laptop);
  for (let n = 0; n < 3; n++) {
    const again = await synced(laptop);
    assert.equal(again.lastModified, first.lastModified);
    for (const list of ["created", "updated", "deleted", "published", "conflicts"]) {
      assert.deepEqual(again[list], [], list);
    }
  }
});

test("several collections of a person do not mix", async () => {
  const headers = authorization();
  const tasks = device(headers, { collection: "tasks" });
  const notes = device(headers, { collection: "notes" });
  await tasks.create({ title: "a task" });
  await notes.create({ title: "a note" });
  await synced(tasks);
  await synced(notes);
  assert.deepEqual(Object.values(await contents(tasks)), [{ title: "a task" }]);
  assert.deepEqual(Object.values(await contents(notes)), [{ title: "a note" }]);
});

test("two people share a collection, and a reader only reads", async () => {
  const [ann, bob] = [authorization(), authorization()];
  const bucket = fresh("shared");
  await client(ann).createBucket(bucket, { permissions: { read: [await principal(bob)] } });
  await client(ann).bucket(bucket).createCollection("tasks");
  const hers = device(ann, { bucket });
  const his = device(bob, { bucket });
  await hers.create({ title: "from Ann" });
  await synced(hers);
  await synced(his);
  assert.deepEqual(await contents(his), await contents(hers));

  await his.create({ title: "from Bob" });
  const refused = await his.sync();
  assert.equal(refused.ok, false);
  assert.equal(refused.errors[0].error.errno, 121);

  await client(ann).bucket(bucket).addPermissions({ write: [await principal(bob)] });
  await synced(his);
  await synced(hers);
  assert.deepEqual(await contents(hers), await contents(his));
  assert.equal(Object.keys(await contents(hers)).length, 2);
});

test("only pulling leaves local changes for later", async () => {
  const [laptop, phone] = await pair();
  await laptop.create({ by: "laptop" });
  await synced(laptop);
  await phone.create({ by: "phone" });
  const pulled = await synced(phone, { strategy: "pull_only" });
  assert.equal(pulled.published.length, 0);
  assert.equal(Object.keys(await contents(phone)).length, 2);
  await synced(phone);
  await synced(laptop);
  assert.deepEqual(await contents(laptop), await contents(phone));
});

test("somebody who sees single records keeps in step, whatever others write beside them", async () => {
  const owner = authorization();
  const friend = authorization();
  const bucket = fresh("shared");
  const admin = client(owner);
  await admin.createBucket(bucket);
  const records = admin.bucket(bucket).collection("notes");
  await admin.bucket(bucket).createCollection("notes", {
    permissions: { "record:create": [await principal(friend)] },
  });
  const readers = { permissions: { read: [await principal(friend)] } };
  const phone = device(friend, { bucket, collection: "notes" });
  // Nothing is shared yet, and others write all the time.
  await records.createRecord({ secret: 1 });
  await synced(phone);
  await records.createRecord({ secret: 2 });
  await synced(phone);

  const { data: note } = await records.createRecord({ title: "for you" }, readers);
  await records.createRecord({ secret: 3 });
  assert.equal((await synced(phone)).created.length, 1);
  for (let n = 4; n < 7; n++) {
    await records.createRecord({ secret: n });
    const again = await synced(phone);
    assert.deepEqual([again.created, again.updated, again.deleted], [[], [], []]);
  }
  const own = await phone.create({ title: "mine" });
  assert.equal((await synced(phone)).published.length, 1);
  await records.createRecord({ secret: 7 });
  await synced(phone);
  await records.updateRecord({ ...note, title: "changed" });
  assert.equal((await synced(phone)).updated.length, 1);
  await records.deleteRecord(note.id);
  await records.createRecord({ secret: 8 });
  assert.equal((await synced(phone)).deleted.length, 1);
  await records.createRecord({ secret: 9 });
  await synced(phone);
  assert.deepEqual(await contents(phone), { [own.data.id]: { title: "mine" } });

  // What is made again is noticed, by them as well.
  await new Promise((resolve) => setTimeout(resolve, 5));
  await admin.bucket(bucket).deleteCollection("notes");
  await admin.bucket(bucket).createCollection("notes", {
    permissions: { "record:create": [await principal(friend)] },
  });
  await assert.rejects(phone.sync(), /flushed/);
});
