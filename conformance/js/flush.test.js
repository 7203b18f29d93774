// The server loses everything: devices notice, start over and bring their data back.

import assert from "node:assert/strict";
import { test } from "node:test";
import { URL, authorization, client, contents, device, pair, synced } from "./harness.js";

async function flush() {
  const answer = await fetch(`${URL}/__flush__`, { method: "POST" });
  assert.equal(answer.status, 202);
}

test("a flushed server is noticed, and devices bring their data back", async () => {
  const headers = authorization();
  const [laptop, phone] = await pair(headers);
  await laptop.create({ title: "precious" });
  await synced(laptop);
  await synced(phone);
  await flush();

  await assert.rejects(laptop.sync(), /flushed/);
  await laptop.resetSyncStatus();
  const again = await synced(laptop);
  assert.equal(again.published.length, 1);

  // The laptop has brought the record back, so the phone sees a change, not a flush.
  await synced(phone, { strategy: "server_wins" });
  assert.deepEqual(await contents(phone), await contents(laptop));
  const { data } = await client(headers).bucket("default").collection("tasks").listRecords();
  assert.equal(data.length, 1);
});

test("a recreated collection is noticed as a flush", async () => {
  const headers = authorization();
  const [laptop] = await pair(headers);
  await laptop.create({ title: "precious" });
  await synced(laptop);
  await new Promise((resolve) => setTimeout(resolve, 5));
  await client(headers).bucket("default").deleteCollection("tasks");
  await assert.rejects(laptop.sync(), /flushed/);
  await laptop.resetSyncStatus();
  await synced(laptop);
  assert.equal(Object.keys(await contents(laptop)).length, 1);
});

test("nothing but a flush looks like one", async () => {
  const headers = authorization();
  const [laptop, phone] = await pair(headers);
  const records = client(headers).bucket("default").collection("tasks");
  const { data } = await laptop.create({ n: 1 });
  await synced(laptop);
  await synced(phone);
  await records.deleteRecords();
  await synced(phone);
  await records.setData({ displayFields: ["n"] });
  await synced(phone);
  await records.createRecord({ id: data.id, n: 2 });
  await records.deleteRecord(data.id);
  await synced(phone);
  await synced(device(headers, { collection: "other" }));
  await synced(phone);
  await synced(laptop);
  assert.deepEqual(await contents(laptop), {});
});
