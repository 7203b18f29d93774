// A server that asks for patience and announces its end.

import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { STRAINED_URL, authorization, contents, device, synced } from "./harness.js";

// kinto.js prints every announcement of the server's end.
mock.method(console, "warn", () => {});

function strained(headers = authorization()) {
  return device(headers, { remote: STRAINED_URL });
}

const patience = () => new Promise((resolve) => setTimeout(resolve, 2100));

test("a device stays away while it is asked to", async () => {
  const laptop = strained();
  await laptop.create({ title: "patient" });
  await synced(laptop);
  assert.ok(laptop.api.backoff > 0 && laptop.api.backoff <= 2000);
  await assert.rejects(laptop.sync(), /back off; retry in 2s/);
  await synced(laptop, { ignoreBackoff: true });
  await patience();
  await synced(laptop);
});

test("the end of the service is announced to the application", async () => {
  const laptop = strained();
  const alerts = [];
  laptop.api.events.on("deprecated", (alert) => alerts.push(alert));
  await synced(laptop);
  assert.equal(alerts[0].code, "soft-eol");
  assert.equal(alerts[0].message, "This server retires at the end of 2999.");
  assert.equal(alerts[0].url, "https://example.com/retirement");
});

test("short pages make no difference", async () => {
  const headers = authorization();
  const [laptop, phone] = [strained(headers), strained(headers)];
  for (let n = 0; n < 40; n++) await laptop.create({ n });
  await synced(laptop, { ignoreBackoff: true });
  await synced(phone, { ignoreBackoff: true });
  assert.equal(Object.keys(await contents(phone)).length, 40);
  assert.deepEqual(await contents(phone), await contents(laptop));
});
