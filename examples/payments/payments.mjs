// Payments of several products in one collection, each seen by exactly those it concerns.
//
// Run it against a server on which people may sign up (see README.md):
//
//     node payments.mjs http://127.0.0.1:8888/v1
//
// It knows nothing but Kinto's HTTP API and two things that are Nuage's own: the permission
// `delete`, whose holder may delete a record and not change it, and the feed of a collection, which
// tells a device what its person may see, as it changes.

import { pathToFileURL } from "node:url";

const BUCKET = "payments";
const RECEIPTS = `/buckets/${BUCKET}/collections/receipts`;
const PASSWORD = "demo";
/** How long a device may wait for what it was promised before something is wrong. */
const PATIENCE_MS = 60_000;
const PRODUCTS = ["news", "games"];
const APPLICATIONS = ["payapp", ...PRODUCTS.map((product) => `data-${product}`)];
const PEOPLE = ["alice", "bob", "mallory"];

/** A caller: sends requests with one account's name and password, or as nobody. */
export function connect(server, name) {
  const headers = { "Content-Type": "application/json" };
  if (name) headers.Authorization = `Basic ${btoa(`${name}:${PASSWORD}`)}`;

  async function send(method, path, body, more = {}) {
    const answer = await fetch(server + path, {
      method,
      headers: { ...headers, ...more },
      body: body && JSON.stringify(body),
    });
    const text = await answer.text();
    return { status: answer.status, headers: answer.headers, ...(text ? JSON.parse(text) : {}) };
  }

  /** Reads the feed from where the token says: one JSON value a line, as long as it lasts. */
  function feed(token, signal) {
    const query = token ? `?token=${encodeURIComponent(token)}` : "";
    const accept = { ...headers, Accept: "application/x-ndjson" };
    return fetch(`${server}${RECEIPTS}/feed${query}`, { headers: accept, signal });
  }

  return {
    name,
    send,
    feed,
    receipts: (query = "") => send("GET", `${RECEIPTS}/records${query}`),
    receipt: (id) => send("GET", `${RECEIPTS}/records/${id}`),
    remove: (id) => send("DELETE", `${RECEIPTS}/records/${id}`),
    change: (id, data) => send("PATCH", `${RECEIPTS}/records/${id}`, { data }),
  };
}

async function expect(status, answer) {
  const { status: got, message } = await answer;
  if (![status].flat().includes(got)) throw new Error(`expected ${status}, got ${got}: ${message}`);
  return answer;
}

/** The accounts, the bucket, a group for each product's Data application, the collection. */
export async function setTheScene(server) {
  const nobody = connect(server);
  for (const name of [...APPLICATIONS, ...PEOPLE]) {
    // 401: the account is there already, and only its owner may change it.
    await expect([201, 401], nobody.send("PUT", `/accounts/${name}`, { data: { password: PASSWORD } }));
  }
  const payapp = connect(server, "payapp");
  await expect([200, 201], payapp.send("PUT", `/buckets/${BUCKET}`));
  for (const product of PRODUCTS) {
    const members = [`account:data-${product}`];
    await expect([200, 201], payapp.send("PUT", `/buckets/${BUCKET}/groups/${product}`, { data: { members } }));
  }
  await expect([200, 201], payapp.send("PUT", RECEIPTS));
  return payapp;
}

/** The payment application writes a receipt, and says on it whom it concerns. */
export async function pay(payapp, { product, person, amount, id }) {
  const permissions = {
    read: [`account:${person}`, `/buckets/${BUCKET}/groups/${product}`],
    delete: [`account:${person}`],
  };
  const data = { product, person, amount, currency: "EUR" };
  const answer = id
    ? payapp.send("PUT", `${RECEIPTS}/records/${id}`, { data, permissions })
    : payapp.send("POST", `${RECEIPTS}/records`, { data, permissions });
  return (await expect([200, 201], answer)).data;
}

/** The Data application of a product loses its right to every receipt of it, at once. */
export async function dismiss(payapp, product) {
  const group = `/buckets/${BUCKET}/groups/${product}`;
  await expect(200, payapp.send("PUT", group, { data: { members: [] } }));
}

/** Six receipts: two people, two products. */
export async function sell(payapp) {
  await pay(payapp, { id: "r1", product: "news", person: "alice", amount: 5 });
  await pay(payapp, { id: "r2", product: "games", person: "alice", amount: 20 });
  await pay(payapp, { id: "r3", product: "news", person: "bob", amount: 5 });
  await pay(payapp, { id: "r4", product: "games", person: "bob", amount: 35 });
  await pay(payapp, { id: "r5", product: "games", person: "bob", amount: 10 });
  await pay(payapp, { id: "r6", product: "news", person: "alice", amount: 7 });
}

/** Who sees which receipts: ids in order, or the status of the refusal. */
export async function view(caller) {
  const { status, data } = await caller.receipts("?_sort=id");
  return status === 200 ? data.map(({ id }) => id).join(" ") : `refused (${status})`;
}

/**
 * A copy of the receipts that this caller may see, kept in step by the feed. It reads only while
 * somebody waits for it, and can be unplugged in between: the token says how far it came.
 */
export function device(caller) {
  let receipts = new Map();
  let token, pages, connection;

  /** Takes over the next page; gives the refusal if there is nothing more for this caller. */
  async function next() {
    pages ??= read();
    const { value, done } = await pages.next();
    // The server stopped, or wants to be asked again.
    if (done) pages = undefined;
    return value;
  }

  async function* read() {
    connection = new AbortController();
    const signal = AbortSignal.any([connection.signal, AbortSignal.timeout(PATIENCE_MS)]);
    const answer = await caller.feed(token, signal);
    if (!answer.ok) return answer.json();
    let fresh;
    let changes = [];
    for await (const line of linesOf(answer.body)) {
      if (line.kind === "reset") fresh = new Map();
      if (line.kind === "change" || line.kind === "removal") changes.push(line.data);
      if (line.kind === "refusal") return line.error;
      if (line.kind === "close") return;
      if (line.kind !== "page" && line.kind !== "rest") continue;
      for (const { id, deleted, ...receipt } of changes) {
        if (deleted) (fresh ?? receipts).delete(id);
        else (fresh ?? receipts).set(id, receipt);
      }
      // What is begun anew takes the place of the old when it is complete.
      if (line.kind === "rest" && fresh) [receipts, fresh] = [fresh, undefined];
      [token, changes] = [line.token, []];
      yield;
    }
  }

  const ids = () => [...receipts.keys()].sort().join(" ");

  /** Reads on until this is so. */
  async function until(isSo) {
    while (!isSo()) {
      const refusal = await next();
      if (refusal) throw new Error(`${caller.name} is refused with ${ids()}: ${refusal.message}`);
    }
  }

  return {
    ids,
    receipt: (id) => receipts.get(id),
    until,
    /** Reads on until these receipts are there, and no others. */
    async has(wanted) {
      await until(() => ids() === wanted);
      return ids();
    },
    /** Reads on until the server refuses, and gives the status. */
    async refused() {
      for (;;) {
        const refusal = await next();
        if (refusal) return refusal.code;
      }
    },
    unplug() {
      connection?.abort();
      pages = undefined;
    },
  };
}

async function* linesOf(body) {
  let rest = "";
  for await (const text of body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line) yield JSON.parse(line);
  }
}

async function main(server) {
  const payapp = await setTheScene(server);
  await sell(payapp);
  for (const name of [...APPLICATIONS, ...PEOPLE, undefined]) {
    console.log(`${(name ?? "nobody").padEnd(10)} sees ${await view(connect(server, name))}`);
  }
  const alice = connect(server, "alice");
  console.log(`alice edits her receipt r1:   ${(await alice.change("r1", { amount: 0 })).status}`);
  console.log(`alice deletes bob's r3:       ${(await alice.remove("r3")).status}`);
  console.log(`alice deletes her receipt r1: ${(await alice.remove("r1")).status}`);
  console.log(`data-news now sees ${await view(connect(server, "data-news"))}`);

  const phone = device(alice);
  console.log(`\nalice's phone has        ${await phone.has("r2 r6")}`);
  await pay(payapp, { id: "r7", product: "news", person: "alice", amount: 5 });
  console.log(`she pays for the news:   ${await phone.has("r2 r6 r7")}`);
  await pay(payapp, { id: "r8", product: "games", person: "alice", amount: 20 });
  console.log(`she pays for a game:     ${await phone.has("r2 r6 r7 r8")}`);
  for (const id of ["r7", "r8"]) await expect(200, payapp.remove(id));
  console.log(`she is paid back:        ${await phone.has("r2 r6")}`);
  phone.unplug();

  const games = device(connect(server, "data-games"));
  console.log(`\ndata-games has copied    ${await games.has("r2 r4 r5")}`);
  await dismiss(payapp, "games");
  console.log(`it loses its right, has: ${(await games.has("")) || "nothing"}`);
  console.log(`and asks again:          refused (${await games.refused()})`);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  await main((process.argv[2] ?? "http://127.0.0.1:8888/v1").replace(/\/$/, ""));
}
