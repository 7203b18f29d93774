// What every suite needs: where the server is, devices and clients for it, names nobody else
// uses. The server is started by `cargo xtask`, which gives its address (ending with /v1) in
// NUAGE_TEST_URL, and that of a server under strain (strained.ini) in NUAGE_TEST_STRAINED_URL.

import "fake-indexeddb/auto";
import { EventEmitter } from "node:events";
import { randomUUID } from "node:crypto";
import { createRequire } from "node:module";

// The ES modules of kinto.js import each other without file extensions, for bundlers: Node takes
// its CommonJS build.
const library = createRequire(import.meta.url)("kinto");

export const Kinto = library.default;
export const KintoClient = library.KintoClient;
export const URL = required("NUAGE_TEST_URL");
export const STRAINED_URL = required("NUAGE_TEST_STRAINED_URL");
/** How many records are many: whole thousands. */
export const RECORDS = Number(process.env.NUAGE_TEST_RECORDS ?? 10_000);

/** What `cargo xtask` says in the environment. */
export function required(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set; run these tests with: cargo xtask test`);
  return value;
}

/** A name that no other test uses. */
export function fresh(prefix) {
  return `${prefix}-${randomUUID().slice(0, 13)}`;
}

/** The Authorization of a user; any credentials are good for basicauth. */
export function authorization(name = fresh("user"), password = "secret") {
  return { Authorization: `Basic ${btoa(`${name}:${password}`)}` };
}

/** kinto-http.js for one user; nobody without headers. */
export function client(headers = {}, options = {}) {
  return new KintoClient(URL, { headers, events: new EventEmitter(), ...options });
}

/** The user id under which permissions name these credentials. */
export async function principal(headers) {
  return (await client(headers).fetchUser()).id;
}

/** A device: an offline-first collection with a database of its own. */
export function device(headers, { remote = URL, bucket = "default", collection = "tasks" } = {}) {
  const kinto = new Kinto({
    remote,
    bucket,
    headers,
    events: new EventEmitter(),
    adapterOptions: { dbName: fresh("device") },
  });
  return kinto.collection(collection);
}

/** Two devices of one person, both in step with an empty server. */
export async function pair(headers = authorization(), options = {}) {
  const devices = [device(headers, options), device(headers, options)];
  for (const each of devices) await each.sync();
  return devices;
}

/** What a device holds, without what only synchronization needs, by id. */
export async function contents(collection) {
  const { data } = await collection.list();
  return Object.fromEntries(
    data.map(({ id, last_modified, _status, schema, ...rest }) => [id, rest]),
  );
}

/** Synchronizes and asserts that it went well. */
export async function synced(collection, options = {}) {
  const result = await collection.sync(options);
  if (!result.ok) {
    throw new Error(`not in step: ${JSON.stringify(result.toObject(), null, 1)}`);
  }
  return result;
}
