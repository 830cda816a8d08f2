// The page: guests on the left, the conversation in the middle, the guest on the right.

import { ask, follow, guestPath, onTokenNeeded, save } from "/page/api.js";
import { $, make, toast } from "/page/dom.js";
import { showClock, showFacts, showPower } from "/page/guest.js";
import { Conversation } from "/page/journal.js";
import { buildPalette, suggestCommands } from "/page/palette.js";
import { drawTimeline } from "/page/timeline.js";

let guests = [];
let current = null;
let clock = { uptime: 0, now: 0, rate: 1, read: performance.now() };
let findings = {};
const conversation = new Conversation(() => { draw(); later(refresh); });

const uptime = () => clock.uptime + ((performance.now() - clock.read) / 1000) * clock.rate;
const draw = () => drawTimeline(conversation.entries, uptime() * 1e9);

// One look at the guest after what has just happened, not one for each event.
const planned = new Map();
function later(what, wait = 150) {
  if (planned.has(what)) return;
  planned.set(what, setTimeout(() => { planned.delete(what); what().catch((error) => console.warn(error)); }, wait));
}

async function attempt(what) {
  try {
    return await what();
  } catch (refused) {
    toast(refused.message, true);
    return undefined;
  }
}

// -- the guests ------------------------------------------------------------------------------------

async function listGuests() {
  guests = await ask("GET", "/v1/guests");
  if (!guests.some((guest) => guest.name === current)) await choose(guests[0]?.name ?? null);
  showGuests();
}

function showGuests() {
  $("guests").replaceChildren(...guests.map((guest) => {
    const number = findings[guest.name]?.length ?? 0;
    return make("li", {}, make("button", {
      type: "button", class: "one", "aria-current": String(guest.name === current), onclick: () => choose(guest.name),
    },
    make("span", { class: "name" }, make("span", { class: `dot ${guest.state}` }), guest.name,
      ...(number ? [make("span", { class: "badge bad", title: "Findings" }, String(number))] : [])),
    make("span", { class: "small-print" }, `${guest.state}, qemu-ga ${guest.agent}`),
    make("span", { class: "small-print" }, `${guest.is_connected ? "client connected" : "no client"}, ${guest.requests} requests`)));
  }));
  if (!guests.length) $("guests").append(make("li", { class: "quiet" }, "No guests."));
}

async function choose(name) {
  current = name;
  conversation.clear();
  conversation.draw();
  showGuests();
  $("title").textContent = name ?? "Conversation";
  history.replaceState(null, "", name ? `#${encodeURIComponent(name)}` : "#");
  if (!name) return;
  const page = await ask("GET", guestPath(name, "/journal?lines=true&limit=1000"));
  const rest = page.latest > page.next
    ? await ask("GET", guestPath(name, `/journal?lines=true&limit=1000&after=${Math.max(page.next, page.latest - 1000)}`)) : { entries: [] };
  if (current !== name) return;
  for (const entry of [...page.entries, ...rest.entries]) conversation.add(entry);
  await refresh();
}

/** Look at the guest again. */
async function refresh() {
  const name = current;
  if (!name) return;
  const [details, time, faults, found] = await Promise.all([
    ask("GET", guestPath(name)), ask("GET", guestPath(name, "/clock")),
    ask("GET", guestPath(name, "/faults")), ask("GET", guestPath(name, "/findings"))]);
  if (current !== name) return;
  clock = { ...time, read: performance.now() };
  findings[name] = found;
  showFacts(details);
  showClock(time);
  showPower(details.state, happen);
  showFaults(faults);
  showFindings(found);
  const known = guests.find((guest) => guest.name === name);
  if (known) Object.assign(known, details);
  $("summary").textContent = `${details.requests} requests, ${details.errors} errors, ${details.faults_fired} faults fired`;
  $("hint").textContent = `qgasim call ${details.address.replace(/^unix:/, "")} guest-info`;
  showGuests();
  draw();
}

function showFindings(found) {
  $("findings-box").hidden = !found.length;
  $("findings").replaceChildren(...found.map((each) => make("li", {},
    make("strong", {}, each.name), make("span", { class: "quiet" }, each.remedy.replaceAll("`", "")),
    make("details", {}, make("summary", {}, `Why, and where (${(each.found ?? []).length})`),
      make("p", {}, each.explanation.replaceAll("`", "")),
      ...(each.found ?? []).slice(0, 20).map((text) => make("pre", {}, text))))));
}

function showFaults(faults) {
  $("clear-faults").disabled = !faults.length;
  $("faults").replaceChildren(...faults.map((each) => {
    const { kind, on, ...rest } = each.fault;
    const words = Object.entries(rest).map(([key, value]) => `${key}: ${typeof value === "object" ? JSON.stringify(value) : value}`);
    const label = `${kind} on ${on === undefined || on === "*" ? "all commands" : typeof on === "object" ? JSON.stringify(on) : on}`;
    return make("li", {},
      make("div", {}, make("code", {}, label), make("div", { class: "quiet" },
        [...words, `fired ${each.fired} of ${each.seen}`, ...(each.is_spent ? ["spent"] : []), ...(each.is_on ? [] : ["off"])].join(", "))),
      make("button", {
        type: "button", class: "small", "aria-label": `Remove ${label}`,
        onclick: () => attempt(async () => { await ask("DELETE", guestPath(current, `/faults/${each.id}`)); await refresh(); }),
      }, "Remove"));
  }));
}

// -- what one does ---------------------------------------------------------------------------------

async function happen(event) {
  await attempt(async () => {
    await ask("POST", guestPath(current, "/events"), event);
    await refresh();
  });
}

$("advance").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    const by = event.target.elements.by.value.trim();
    await ask("POST", guestPath(current, "/clock/advance"), { by });
    toast(`advanced by ${by}`);
    await refresh();
  });
});
document.querySelector("[data-rate]").addEventListener("click", (event) => attempt(async () => {
  await ask("PATCH", guestPath(current, "/clock"), { rate: Number(event.target.dataset.rate || 0) });
  await refresh();
}));
for (const button of document.querySelectorAll("[data-save]")) {
  const what = button.dataset.save;
  const ending = what === "scenario" ? "yaml" : "jsonl";
  button.addEventListener("click", () => attempt(() => save(guestPath(current, `/${what}`), `${current}.${ending}`)));
}
$("clear-faults").addEventListener("click", () => attempt(async () => {
  await ask("DELETE", guestPath(current, "/faults"));
  await refresh();
}));
$("new-button").addEventListener("click", () => $("new").showModal());
$("new-form").addEventListener("submit", async (event) => {
  if (event.submitter?.value !== "create") return;
  event.preventDefault();
  const wanted = Object.fromEntries([...new FormData(event.target)].filter(([, text]) => text.trim()));
  try {
    const made = await ask("POST", "/v1/guests", wanted);
    $("new").close();
    $("new-error").textContent = "";
    await listGuests();
    await choose(made.name);
  } catch (refused) {
    $("new-error").textContent = refused.message;
  }
});
$("help-button").addEventListener("click", () => $("help").showModal());

function step(by) {
  const rows = [...document.querySelectorAll("#journal li:not([hidden]) > .entry")];
  const at = rows.indexOf(document.activeElement);
  const next = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by))];
  if (next) { $("follow").checked = false; next.focus(); next.scrollIntoView({ block: "nearest" }); }
}

function other(by) {
  const at = guests.findIndex((guest) => guest.name === current) + by;
  if (guests[at]) choose(guests[at].name);
}

const KEYS = {
  "/": () => $("filter").focus(),
  j: () => step(1), k: () => step(-1), "[": () => other(-1), "]": () => other(1),
  h: () => $("fold").click(), f: () => $("follow").click(),
  a: () => $("advance").elements.by.select(), i: () => $("palette").elements.kind.focus(),
  n: () => $("new").showModal(), "?": () => $("help").showModal(),
};
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && event.target === $("filter")) {
    $("filter").value = "";
    conversation.refilter();
    $("filter").blur();
    return;
  }
  const isTyping = event.target.matches("input, select, textarea") || document.querySelector("dialog[open]");
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});

// -- what comes ------------------------------------------------------------------------------------

function take(kind, data) {
  if (kind === "lost") {
    $("lost").hidden = false;
    $("lost").textContent = `${data.count} events were missed: more came than this page could read.`;
  } else if (kind === "entry" || kind === "update") {
    if (data.guest === current) conversation.add(data);
    else later(listGuests, 1000);
  } else {
    later(listGuests);
    if (data.guest === current && kind === "reset") choose(current);
    else if (data.guest === current && kind === "patched") later(refresh);
  }
}

async function start() {
  onTokenNeeded(() => new Promise((resolve) => {
    const form = $("login-form");
    form.addEventListener("submit", () => resolve(form.elements.token.value), { once: true });
    if (!$("login").open) $("login").showModal();
  }));
  follow(take, (link) => {
    $("link").textContent = link === "live" ? "live" : "not connected, trying again";
    $("link").classList.toggle("live", link === "live");
    if (link === "live") later(listGuests, 0);
  });
  current = decodeURIComponent(location.hash.slice(1)) || null;
  const [document_] = await Promise.all([ask("GET", "/v1/openapi.json"), ask("GET", "/v1/guests").then((found) => { guests = found; })]);
  buildPalette(document_, async (fault) => {
    await ask("POST", guestPath(current, "/faults"), fault);
    toast(`${fault.kind} injected`);
    await refresh();
  });
  const wanted = guests.find((guest) => guest.name === current) ?? guests[0];
  await choose(wanted?.name ?? null);
  suggestCommands([...new Set(["guest-ping", "guest-info", "guest-exec", "guest-exec-status", "guest-fsfreeze-*", "guest-fsfreeze-freeze",
    "guest-fsfreeze-thaw", "guest-fsfreeze-status", "guest-network-get-interfaces", "guest-get-osinfo", "guest-file-*", "guest-shutdown",
    "guest-set-time", "guest-suspend-ram", "guest-sync*"])]);
  setInterval(() => {
    if (!current || document.hidden) return;
    showClock({ ...clock, uptime: uptime(), now: clock.now + (uptime() - clock.uptime) * 1e9 });
    draw();
  }, 1000);
}

addEventListener("resize", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
start().catch((error) => toast(error.message, true));
