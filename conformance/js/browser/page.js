// Runs in a real browser, bundled by esbuild: two offline-first databases in its IndexedDB, kept
// in step through a server of another origin (so every request is subject to CORS).

import Kinto from "kinto";

/** The few lines of event emitter that kinto.js asks for. */
function emitter() {
  const listeners = {};
  return {
    on: (name, listener) => (listeners[name] ??= []).push(listener),
    emit: (name, ...values) => (listeners[name] ?? []).forEach((listener) => listener(...values)),
  };
}

function device(dbName, remote, headers) {
  const kinto = new Kinto({ remote, headers, events: emitter(), adapterOptions: { dbName } });
  return kinto.collection("tasks");
}

async function titles(collection) {
  const { data } = await collection.list({ order: "title" });
  return data.map(({ title }) => title);
}

/** Does what two devices do, and returns what a test wants to know of it. */
window.twoDevices = async (remote, headers) => {
  const left = device("left", remote, headers);
  const right = device("right", remote, headers);
  await left.sync();
  await right.sync();

  const { data: shared } = await left.create({ title: "shared" });
  for (let n = 10; n < 40; n++) await left.create({ title: `left ${n}` });
  await right.create({ title: "right" });
  const pushed = (await left.sync()).published.length;
  await right.sync();
  await left.sync();
  const afterExchange = { left: await titles(left), right: await titles(right) };

  await left.update({ ...shared, title: "edited left" });
  await right.update({ ...shared, title: "edited right" });
  await left.sync();
  const conflicts = (await right.sync()).conflicts;
  await right.resolve(conflicts[0], { ...conflicts[0].local, title: "edited by both" });
  await right.sync();
  await left.sync();

  const { data: leftovers } = await left.list();
  for (const record of leftovers.filter(({ title }) => title.startsWith("left"))) {
    await right.delete(record.id);
  }
  await right.sync();
  await left.sync();

  const stranger = new Kinto({ remote, bucket: "elsewhere", events: emitter() });
  const refusal = await stranger.collection("tasks").sync()
    .then(() => "no refusal", (error) => error.message);
  return {
    pushed,
    afterExchange,
    conflicts: conflicts.map((conflict) => [conflict.local.title, conflict.remote.title]),
    atTheEnd: { left: await titles(left), right: await titles(right) },
    databases: (await indexedDB.databases()).map(({ name }) => name),
    refusal,
  };
};

/** Which headers of an answer the browser lets a page of another origin read. */
window.readableHeaders = async (url, headers) => {
  const answer = await fetch(url, { headers });
  return { status: answer.status, names: [...answer.headers.keys()] };
};
