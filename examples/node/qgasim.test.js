import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import test from "node:test";

import { Guest, ProblemError } from "./qgasim.js";

/** A client: yours, in its place. */
async function call(guest, command) {
  const client = net.connect(guest.path);
  try {
    client.write(`${JSON.stringify({ execute: command })}\n`);
    const [reply] = await once(client, "data");
    const said = JSON.parse(reply.toString());
    if (said.error) throw new Error(said.error.desc);
    return said.return;
  } finally {
    client.destroy();
  }
}

test("the second freeze fails", async (t) => {
  const guest = await Guest.start(t);
  await guest.inject({
    kind: "error", on: "guest-fsfreeze-freeze", desc: "Input/output error", every: 2, times: 1,
  });
  assert.equal(await call(guest, "guest-fsfreeze-freeze"), 1);
  assert.equal(await call(guest, "guest-fsfreeze-thaw"), 1);
  await assert.rejects(call(guest, "guest-fsfreeze-freeze"), { message: "Input/output error" });
  await guest.advance("1h");
  await guest.event({ do: "reboot" });
  await guest.wait({ state: "up", within: "10s" });
  await guest.verify("guest-fsfreeze-freeze", { times: 2 });
  await guest.verify("guest-fsfreeze-thaw", { after: "guest-fsfreeze-freeze", within: "10s" });
  await guest.never("guest-exec");
  assert.deepEqual(await guest.findings(), []);
});

test("a guest that is left frozen is found", async (t) => {
  const guest = await Guest.start(t, "--scenario=ubuntu-24.04");
  await call(guest, "guest-fsfreeze-freeze");
  const [finding] = await guest.findings();
  assert.equal(finding.name, "frozen-never-thawed");
});

test("faults are listed and cleared", async (t) => {
  const guest = await Guest.start(t);
  const { id } = await guest.inject({ kind: "error", on: "guest-ping", desc: "not now" });
  await assert.rejects(call(guest, "guest-ping"));
  assert.deepEqual((await guest.faults()).map((each) => [each.id, each.fired]), [[id, 1]]);
  await guest.clear();
  assert.deepEqual(await call(guest, "guest-ping"), {});
});

test("what was not asked, and what is wrong, is told", async (t) => {
  const guest = await Guest.start(t);
  await assert.rejects(guest.verify("guest-ping"), /expected guest-ping at least once, found none/);
  await assert.rejects(guest.wait({ command: "guest-ping", within: "1ms" }), /in vain/);
  await assert.rejects(guest.event({ do: "rebot" }), (error) => {
    assert.ok(error instanceof ProblemError);
    assert.equal(error.status, 422);
    assert.match(error.message, /did you mean 'reboot'\?/);
    return true;
  });
  assert.ok((await guest.ask("GET", "/guests/guest/clock")).uptime > 0);
});
