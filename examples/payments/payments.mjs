// Payments of several products in one collection, each seen by exactly those it concerns.
//
// Run it against a server on which people may sign up (see README.md):
//
//     node payments.mjs http://127.0.0.1:8888/v1
//
// It knows nothing but Kinto's HTTP API; the one word that is Nuage's own is the permission
// `delete`: its holder may delete a record and not change it.

import { pathToFileURL } from "node:url";

const BUCKET = "payments";
const RECEIPTS = `/buckets/${BUCKET}/collections/receipts`;
const PASSWORD = "demo";
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

  return {
    name,
    send,
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
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  await main((process.argv[2] ?? "http://127.0.0.1:8888/v1").replace(/\/$/, ""));
}
