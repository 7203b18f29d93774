// The same record is changed on two devices: each strategy resolves it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { authorization, client, contents, pair, synced } from "./harness.js";

/** Both devices hold one record; the laptop has sent its edit, the phone's waits. */
async function disagreement() {
  const headers = authorization();
  const [laptop, phone] = await pair(headers);
  const { data } = await laptop.create({ title: "first" });
  await synced(laptop);
  await synced(phone);
  await laptop.update({ id: data.id, title: "from the laptop" });
  await phone.update({ id: data.id, title: "from the phone" });
  await synced(laptop);
  return { laptop, phone, id: data.id, headers };
}

async function agree(laptop, phone, id, expected) {
  await synced(laptop);
  await synced(phone);
  assert.deepEqual(await contents(laptop), await contents(phone));
  assert.deepEqual((await contents(laptop))[id], expected);
}

test("MANUAL reports the conflict and sends the person's resolution", async () => {
  const { laptop, phone, id } = await disagreement();
  const result = await phone.sync({ strategy: "manual" });
  assert.equal(result.ok, false);
  assert.equal(result.conflicts.length, 1);
  const [conflict] = result.conflicts;
  assert.equal(conflict.type, "incoming");
  assert.equal(conflict.local.title, "from the phone");
  assert.equal(conflict.remote.title, "from the laptop");

  await phone.resolve(conflict, { ...conflict.local, title: "from both" });
  await synced(phone);
  await agree(laptop, phone, id, { title: "from both" });
});

test("CLIENT_WINS keeps what the device has", async () => {
  const { laptop, phone, id } = await disagreement();
  const result = await synced(phone, { strategy: "client_wins" });
  assert.equal(result.resolved.length, 1);
  await agree(laptop, phone, id, { title: "from the phone" });
});

test("SERVER_WINS takes what the server has", async () => {
  const { laptop, phone, id } = await disagreement();
  const result = await synced(phone, { strategy: "server_wins" });
  assert.equal(result.resolved.length, 1);
  await agree(laptop, phone, id, { title: "from the laptop" });
});

test("the same edit on both devices is no conflict", async () => {
  const [laptop, phone] = await pair();
  const { data } = await laptop.create({ title: "first" });
  await synced(laptop);
  await synced(phone);
  await laptop.update({ id: data.id, title: "same" });
  await phone.update({ id: data.id, title: "same" });
  await synced(laptop);
  await synced(phone);
  await agree(laptop, phone, data.id, { title: "same" });
});

/** A conflict that the device meets while pushing: the server changes after its pull. */
async function race(strategy, change) {
  const headers = authorization();
  const [laptop, phone] = await pair(headers);
  const { data } = await laptop.create({ title: "first" });
  await synced(laptop);
  await synced(phone);
  await phone.update({ id: data.id, title: "from the phone" });
  const records = client(headers).bucket("default").collection("tasks");
  const gather = phone.gatherLocalChanges.bind(phone);
  phone.gatherLocalChanges = async () => {
    phone.gatherLocalChanges = gather;
    await change(records, data.id);
    return gather();
  };
  return { laptop, phone, id: data.id, records, result: await phone.sync({ strategy }) };
}

const edit = (records, id) => records.updateRecord({ id, title: "from the server" });
const remove = (records, id) => records.deleteRecord(id);

test("MANUAL: an edit in the middle of a push comes back as the remote version", async () => {
  const { result, phone, laptop, id } = await race("manual", edit);
  assert.equal(result.conflicts.length, 1);
  assert.equal(result.conflicts[0].type, "outgoing");
  assert.equal(result.conflicts[0].remote.title, "from the server");
  await phone.resolve(result.conflicts[0], result.conflicts[0].remote);
  await agree(laptop, phone, id, { title: "from the server" });
});

test("CLIENT_WINS: an edit in the middle of a push is overwritten knowingly", async () => {
  const { result, phone, laptop, id } = await race("client_wins", edit);
  assert.equal(result.ok, true);
  await agree(laptop, phone, id, { title: "from the phone" });
});

test("SERVER_WINS: an edit in the middle of a push is taken over", async () => {
  const { result, phone, laptop, id } = await race("server_wins", edit);
  assert.equal(result.ok, true);
  await agree(laptop, phone, id, { title: "from the server" });
});

test("MANUAL: a deletion in the middle of a push is a conflict without remote version", async () => {
  const { result } = await race("manual", remove);
  assert.equal(result.conflicts.length, 1);
  assert.equal(result.conflicts[0].remote, null);
});

test("SERVER_WINS: a deletion in the middle of a push deletes", async () => {
  const { result, phone, laptop } = await race("server_wins", remove);
  assert.equal(result.ok, true);
  await synced(laptop);
  assert.deepEqual(await contents(phone), {});
  assert.deepEqual(await contents(laptop), {});
});

test("CLIENT_WINS: what was deleted in the middle of a push is recreated", async () => {
  const { phone, laptop, id, records } = await race("client_wins", remove);
  await synced(phone, { strategy: "client_wins" });
  assert.equal((await records.getRecord(id)).data.title, "from the phone");
  await agree(laptop, phone, id, { title: "from the phone" });
});

test("an edit here and a deletion there: each strategy", async () => {
  for (const [strategy, expected] of [["server_wins", 0], ["client_wins", 1]]) {
    const headers = authorization();
    const [laptop, phone] = await pair(headers);
    const { data } = await laptop.create({ title: "first" });
    await synced(laptop);
    await synced(phone);
    await laptop.delete(data.id);
    await phone.update({ id: data.id, title: "still needed" });
    await synced(laptop);
    await phone.sync({ strategy });
    await phone.sync({ strategy });
    const { data: onServer } = await client(headers)
      .bucket("default").collection("tasks").listRecords();
    assert.equal(onServer.length, expected, strategy);
  }
});

test("a deletion here and an edit there: the edit is not lost silently", async () => {
  const headers = authorization();
  const [laptop, phone] = await pair(headers);
  const { data } = await laptop.create({ title: "first" });
  await synced(laptop);
  await synced(phone);
  await laptop.update({ id: data.id, title: "edited" });
  await phone.delete(data.id);
  await synced(laptop);
  const result = await phone.sync();
  assert.equal(result.ok, false);
  assert.equal(result.conflicts[0].remote.title, "edited");
});
