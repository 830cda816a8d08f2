// Serves simulated QEMU guest agents to tests, and controls them while they run.
//
// Copy it into your project. It needs the program qgasim on the PATH, or its path in $QGASIM, and no
// package. What an argument may say is in docs/control.md: faults, events and patches are those of
// scenarios.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";

/** Why the control API has refused a request (RFC 9457). */
export class ProblemError extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title);
    this.name = "ProblemError";
    this.status = status;
    this.problem = problem;
  }
}

/** A guest that is served by a process of its own. */
export class Guest {
  #process;
  #directory;
  #control;

  constructor(process, directory, control) {
    this.#process = process;
    this.#directory = directory;
    this.#control = control;
  }

  /**
   * Serve a guest until the test `t` of node:test ends.
   *
   * @param options those of the command line, as in "--scenario=ubuntu-24.04"
   */
  static async start(t, ...options) {
    const directory = await mkdtemp(path.join(tmpdir(), "qgasim-"));
    const control = path.join(directory, "control");
    const common = ["--quiet", "--exit-with-parent", "--ready-fd=3", `--control=unix:${control}`];
    const process_ = spawn(process.env.QGASIM || "qgasim", [...common, ...options], {
      stdio: ["ignore", "ignore", "inherit", "pipe"],
    });
    const guest = new Guest(process_, directory, control);
    t.after(() => guest.stop());
    const failed = once(process_, "error").then(([error]) => { throw error; });
    failed.catch(() => {});
    await Promise.race([guest.#read(), failed]);
    return guest;
  }

  /** Read from the ready line where clients connect (`path`), and what it is called (`name`). */
  async #read() {
    for await (const line of createInterface(this.#process.stdio[3])) {
      ({ path: this.path, name: this.name } = JSON.parse(line));
      return;
    }
    throw new Error("qgasim did not start");
  }

  /** End the process; done at the end of the test. */
  async stop() {
    if (this.#process.pid !== undefined && this.#process.exitCode === null) {
      const end = once(this.#process, "exit");
      this.#process.kill("SIGTERM");
      await end;
    }
    await rm(this.#directory, { recursive: true, force: true });
  }

  /** Let something go wrong from now on: a fault, as in a scenario. */
  inject(fault) {
    return this.ask("POST", this.#at("faults"), fault);
  }

  /** List the faults, those of the scenario first, and how often each has fired. */
  faults() {
    return this.ask("GET", this.#at("faults"));
  }

  /** Remove all faults, those of the scenario included. */
  clear() {
    return this.ask("DELETE", this.#at("faults"));
  }

  /** Let an event happen, as in a scenario's timeline: `{ do: "reboot" }`. */
  event(event) {
    return this.ask("POST", this.#at("events"), event);
  }

  /** Let the guest's time pass at once: "90s", "1h". */
  advance(by) {
    return this.ask("POST", this.#at("clock/advance"), { by });
  }

  /**
   * Wait until a state is reached or a command was asked for: `{ state: "up", within: "10s" }`.
   * What was asked before counts, too.
   */
  async wait(what) {
    const waited = await this.ask("POST", this.#at("wait"), what);
    if (!waited.reached) {
      throw new Error(`waited in vain for ${JSON.stringify(what)}; the guest is ${waited.state}`);
    }
    return waited;
  }

  /** Throw, with what came near, if a command was not asked for as expected. */
  verify(command, expected = {}) {
    return this.#judge("verify", { command, ...expected });
  }

  /** Throw if a command was asked for. */
  never(command) {
    return this.#judge("never", { command });
  }

  async #judge(way, expected) {
    const verdict = await this.ask("POST", this.#at(way), expected);
    if (!verdict.verified) throw new Error(verdict.message);
  }

  /** Return what the client should not have done. Ask when it is done. */
  findings() {
    return this.ask("GET", this.#at("findings"));
  }

  #at(rest) {
    return `/guests/${encodeURIComponent(this.name)}/${rest}`;
  }

  /** Ask the control API for anything else; `target` is what stands behind "/v1". */
  ask(method, target, body) {
    const sent = body === undefined ? undefined : JSON.stringify(body);
    const headers = sent === undefined ? {} : { "Content-Type": "application/json" };
    return new Promise((resolve, reject) => {
      const options = { socketPath: this.#control, path: `/v1${target}`, method, headers, agent: false };
      const request = http.request(options, (response) => {
        const parts = [];
        response.on("data", (part) => parts.push(part));
        response.on("error", reject);
        response.on("end", () => {
          const text = Buffer.concat(parts).toString();
          const said = text ? JSON.parse(text) : undefined;
          if (response.statusCode < 400) resolve(said);
          else reject(new ProblemError(response.statusCode, said));
        });
      });
      request.on("error", reject);
      request.end(sent);
    });
  }
}
