// Alice and Bob share a list, each with a browser of their own: the page as it is, in Chromium.
// `cargo xtask test` gives the server's program in NUAGE_TEST_PROGRAM, an empty place for its data
// in NUAGE_TEST_PLACE, and in NUAGE_TEST_ARTEFACTS the folder for a picture of each step.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, readFile, rm } from "node:fs/promises";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { promisify } from "node:util";
import { browsers, cable, nuage, site, until } from "./stage.mjs";

const HERE = new URL("./", import.meta.url);
const { NUAGE_TEST_PROGRAM: PROGRAM, NUAGE_TEST_PLACE: PLACE } = process.env;
const ARTEFACTS = process.env.NUAGE_TEST_ARTEFACTS;

let server, pages, driver, alice, bob;
const cables = [];
let step = 0;
let broken;

/** What people do with the page, and what they see of it. */
function person(browser, cable) {
  const notes = () => browser.run(() =>
    [...document.querySelectorAll("#notes li")].map((card) => {
      const words = (selector) => card.querySelector(selector).textContent;
      const isTroubled = !card.querySelector(".trouble").hidden;
      return {
        id: card.dataset.id, state: card.dataset.state,
        text: words(".text"), facts: words(".facts"),
        ...(isTroubled && { why: words(".why"), theirs: words(".theirs") }),
      };
    }));
  const note = (text) => until(`${text} is there`, async () =>
    (await notes()).find((each) => each.text === text));

  return {
    ...browser,
    cable,
    notes,
    note,
    signIn: (name, password) => browser.run((name, password) => {
      const form = document.querySelector("#sign-in");
      [form.name.value, form.password.value] = [name, password];
      form.requestSubmit();
    }, name, password),
    status: (state) => until(`the page says ${state}`, () => browser.run((state) =>
      document.querySelector("#status").dataset.state === state, state)),
    add: async (text, audience = "everybody") => {
      await until(`${audience} can be chosen`, () => browser.run((audience) =>
        [...document.querySelectorAll("#new-note option")].some(({ value }) => value === audience),
      audience));
      await browser.run((text, audience) => {
        const form = document.querySelector("#new-note");
        [form.text.value, form.audience.value] = [text, audience];
        form.requestSubmit();
      }, text, audience);
      return note(text);
    },
    press: async (text, name) => {
      const { id } = await note(text);
      await browser.run((id, name) =>
        document.querySelector(`li[data-id="${id}"] button[name="${name}"]`).click(), id, name);
    },
    /** Opens the note with this text and saves it with these changes. */
    async change(text, changes) {
      await this.press(text, "edit");
      await browser.run((changes) => {
        const form = document.querySelector("#edit form");
        for (const [name, value] of Object.entries(changes)) form[name].value = value;
        form.querySelector("[value=save]").click();
      }, changes);
      await note(changes.text ?? text);
    },
    /** Waits until exactly these notes are there, all of them confirmed by the feed. */
    sees: async (...texts) => {
      let seen;
      await until(() => `${texts} are seen, but ${JSON.stringify(seen)}`, async () => {
        seen = await notes();
        const isSettled = seen.every(({ state }) => state === "");
        return isSettled && String(seen.map(({ text }) => text).sort()) === String(texts.sort());
      });
    },
    /** What lies in the mirror on the device, whatever the page shows of it. */
    mirror: () => browser.run(async () => {
      const [{ name }] = await indexedDB.databases();
      const opening = indexedDB.open(name);
      await new Promise((resolve) => (opening.onsuccess = resolve));
      const asking = opening.result.transaction("mirror").objectStore("mirror").getAll();
      await new Promise((resolve) => (asking.onsuccess = resolve));
      opening.result.close();
      return asking.result.map(({ text }) => text).sort();
    }),
  };
}

async function pictures(name) {
  const prefix = String(++step).padStart(2, "0");
  await alice.picture(`${prefix}-${name}-alice`);
  await bob.picture(`${prefix}-${name}-bob`);
}

async function online(...people) {
  for (const each of people) {
    each.cable.plug();
    // As the system tells a page; it would also find out by itself, a little later.
    await each.run(() => void dispatchEvent(new Event("online")));
  }
  for (const each of people) await each.status("live");
}

async function offline(...people) {
  for (const each of people) each.cable.pull();
  for (const each of people) await each.status("offline");
}

/** The lines of the README that prepare the server. */
async function setTheScene() {
  const readme = await readFile(new URL("README.md", HERE), "utf8");
  const [, script] = readme.match(/^```sh\n(SERVER=.*?)^```/ms);
  const env = { ...process.env, SERVER: server.url };
  await promisify(execFile)("bash", ["-e", "-o", "pipefail", "-c", script], { env });
}

/** Somebody with a browser and a cable of their own. */
async function sitDown(screen) {
  cables.push(await cable(server.url));
  const url = `${pages.url}?server=${encodeURIComponent(cables.at(-1).url)}`;
  return person(await driver.open(url, screen), cables.at(-1));
}

before(async () => {
  await rm(ARTEFACTS, { recursive: true, force: true });
  await mkdir(ARTEFACTS, { recursive: true });
  server = await nuage(PROGRAM, PLACE);
  pages = await site(HERE);
  driver = await browsers(ARTEFACTS);
  await setTheScene();
  alice = await sitDown({ width: 900, height: 800, scheme: "light" });
  bob = await sitDown({ width: 360, height: 800, scheme: "dark" });
});

beforeEach(() => assert.equal(broken, undefined, "each step goes on from the one before"));

afterEach(async ({ passed, name }) => {
  if (passed || broken) return;
  broken = name;
  await pictures("failed");
});

after(async () => {
  await driver?.end();
  for (const each of cables) each.end();
  pages?.end();
  await server?.end();
});

test("a wrong password is told, and can be corrected", async () => {
  await bob.signIn("bob", "guess");
  await bob.status("refused");
  await pictures("sign-in");
  // The page is loaded again: what was being asked of it may stay without an answer.
  const gone = () => false;
  await bob.run(() => document.querySelector("#sign-out").click()).catch(gone);
  await until("the form is back", () =>
    bob.run(() => !document.querySelector("#sign-in").hidden).catch(gone));
});

test("both see each other's notes live", async () => {
  await alice.signIn("alice", "demo");
  await bob.signIn("bob", "demo");
  await online(alice, bob);
  await alice.add("Buy bread");
  await bob.sees("Buy bread");
  await bob.add("Water the plants");
  await alice.add("A thought of my own", "");
  await alice.sees("A thought of my own", "Buy bread", "Water the plants");
  await bob.sees("Buy bread", "Water the plants");
  await pictures("both-online");
});

test("what was written offline reaches the other", async () => {
  await offline(bob);
  await bob.change("Buy bread", { text: "Buy bread and milk" });
  await bob.add("Post the letter");
  await alice.add("Call the plumber");
  assert.equal((await bob.note("Post the letter")).state, "waiting");
  await alice.sees("A thought of my own", "Buy bread", "Call the plumber", "Water the plants");
  await pictures("bob-offline");
  await online(bob);
  const shared = ["Buy bread and milk", "Call the plumber", "Post the letter", "Water the plants"];
  await bob.sees(...shared);
  await alice.sees("A thought of my own", ...shared);
  await pictures("bob-back");
});

test("a note that is shared appears", async () => {
  await alice.add("Holiday plans", "");
  await alice.add("Party on Friday", "");
  await alice.change("Holiday plans", { audience: "bob" });
  await alice.change("Party on Friday", { audience: "bob" });
  await bob.note("Party on Friday");
  assert.equal((await bob.note("Holiday plans")).facts, "From alice, seen by you");
  assert.equal((await alice.note("Holiday plans")).facts, "Yours, seen by bob");
  await pictures("shared");
});

test("the server restarts, and nothing is lost", async () => {
  await server.stop();
  await alice.status("offline");
  await bob.status("offline");
  await bob.add("Written while the server was away");
  await pictures("server-away");
  await server.start();
  await alice.note("Written while the server was away");
  await online(alice, bob);
});

test("a note that is no longer shared vanishes from a device that was offline", async () => {
  await offline(bob);
  await bob.change("Holiday plans", { text: "Holiday plans: by train" });
  await alice.change("Holiday plans", { audience: "" });
  await alice.change("Party on Friday", { audience: "" });
  const kept = [
    "Buy bread and milk", "Call the plumber", "Post the letter", "Water the plants",
    "Written while the server was away",
  ];
  await alice.sees("A thought of my own", "Holiday plans", "Party on Friday", ...kept);
  assert.deepEqual(await bob.mirror(), ["Holiday plans", "Party on Friday", ...kept].sort());
  await online(bob);
  const lost = await until("bob is told", async () => {
    const found = await bob.note("Holiday plans: by train");
    return found.state === "lost" && found;
  });
  assert.match(lost.why, /lost access/);
  assert.deepEqual(await bob.mirror(), [...kept].sort());
  const seen = (await bob.notes()).map(({ text }) => text).sort();
  assert.deepEqual(seen, ["Holiday plans: by train", ...kept].sort());
  await pictures("no-longer-shared");

  await bob.press("Holiday plans: by train", "anew");
  await bob.sees("Holiday plans: by train", ...kept);
  await alice.sees("A thought of my own", "Holiday plans", "Party on Friday", ...kept);
  assert.equal((await bob.note("Holiday plans: by train")).facts, "Yours, seen by only you");
});

test("two offline edits of one note: both are kept, and a person decides", async () => {
  await offline(alice, bob);
  await alice.change("Call the plumber", { text: "Call the plumber on Monday" });
  await bob.change("Call the plumber", { text: "The plumber came" });
  await online(alice);
  await until("hers is there", async () =>
    (await alice.note("Call the plumber on Monday")).state === "");
  await online(bob);
  const conflict = await until("bob is told", async () => {
    const found = await bob.note("The plumber came");
    return found.state === "conflict" && found;
  });
  assert.equal(conflict.theirs, "Call the plumber on Monday");
  await pictures("conflict");
  await bob.press("The plumber came", "mine");
  await alice.note("The plumber came");

  await offline(bob);
  await bob.change("Water the plants", { text: "Water the roses" });
  await alice.change("Water the plants", { text: "Water the tomatoes" });
  await online(bob);
  await until("bob is told", async () => (await bob.note("Water the roses")).state === "conflict");
  await bob.press("Water the roses", "theirs");
  await bob.note("Water the tomatoes");
  await pictures("decided");
});

test("a device whose token is no longer good begins anew, beside what it shows", async () => {
  await offline(bob);
  await bob.change("Post the letter", { text: "Post both letters" });
  await bob.run(async () => {
    const [{ name }] = await indexedDB.databases();
    const opening = indexedDB.open(name);
    await new Promise((resolve) => (opening.onsuccess = resolve));
    const state = opening.result.transaction("state", "readwrite").objectStore("state");
    const asking = state.get("feed");
    await new Promise((resolve) => (asking.onsuccess = resolve));
    state.put({ ...asking.result, token: "not-a-token" }, "feed");
    await new Promise((resolve) => (state.transaction.oncomplete = resolve));
    opening.result.close();
  });
  await alice.press("Water the tomatoes", "remove");
  await online(bob);
  const shared = [
    "Buy bread and milk", "Post both letters", "The plumber came",
    "Written while the server was away",
  ];
  await bob.sees("Holiday plans: by train", ...shared);
  await alice.sees("A thought of my own", "Holiday plans", "Party on Friday", ...shared);
  assert.deepEqual(await bob.mirror(), ["Holiday plans: by train", ...shared].sort());
  await pictures("begun-anew");
});

test("who leaves the group keeps what is theirs and nothing else, at once", async () => {
  const group = `${server.url}/buckets/notes/groups/friends`;
  const answer = await fetch(group, {
    method: "PATCH",
    headers: { "Content-Type": "application/json", Authorization: `Basic ${btoa("keeper:demo")}` },
    body: JSON.stringify({ data: { members: ["account:alice"] } }),
  });
  assert.equal(answer.status, 200);
  await bob.sees(
    "Buy bread and milk", "Holiday plans: by train", "Post both letters", "The plumber came",
    "Written while the server was away",
  );
  await pictures("left-the-group");
});
