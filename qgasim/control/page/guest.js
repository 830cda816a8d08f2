// The guest on the right: what it is, its clock, its power.

import { $, make, seconds } from "/page/dom.js";

//: What can be done in a state: the event, and what the button says.
const POWER = {
  pause: [["resume", "Resume"]],
  off: [["power_on", "Power on"]],
  suspended: [["wake", "Wake"], ["power_off", "Power off"]],
  other: [["pause", "Pause"], ["reboot", "Reboot"], ["suspend", "Suspend"], ["power_off", "Power off"], ["panic", "Panic"],
    ["agent_crashes", "Crash the agent"], ["agent_starts", "Start the agent"]],
};

export function showPower(state, happen) {
  const buttons = POWER[{ paused: "pause", off: "off", suspended: "suspended" }[state] ?? "other"];
  $("state").textContent = state;
  $("power").replaceChildren(...buttons.map(([event, label]) =>
    make("button", { type: "button", onclick: () => happen({ do: event }) }, label)));
}

export function showClock(clock) {
  const when = new Date(clock.now / 1e6);
  $("clock").replaceChildren(
    make("dt", {}, "Guest time"), make("dd", { class: "mono" }, when.toISOString().replace("T", " ").replace(/\.\d+Z/, " UTC")),
    make("dt", {}, "Since start"), make("dd", { class: "mono" }, seconds(clock.uptime)),
    make("dt", {}, "Rate"), make("dd", {}, clock.rate === 0 ? "stands still" : `${clock.rate} ×`));
  const button = document.querySelector("[data-rate]");
  button.textContent = clock.rate === 0 ? "Let it run" : "Stop the clock";
  button.dataset.rate = clock.rate === 0 ? "1" : "0";
}

function table(title, heads, rows) {
  return make("div", {}, make("h2", {}, title), rows.length
    ? make("table", {}, make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))),
      make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, cell))))))
    : make("p", { class: "quiet" }, "none"));
}

const lines = (texts) => make("span", {}, ...texts.flatMap((text, n) => (n ? [make("br"), text] : [text])));

export function showFacts(guest) {
  const users = Object.entries(guest.users ?? {});
  const facts = make("dl", { class: "facts" });
  for (const [name, value] of [["Host name", guest.hostname], ["Agent", `qemu-ga ${guest.agent}`], ["Platform", guest.platform],
    ["Address", guest.address], ["Processors", String(guest.vcpus?.length ?? 0)], ["Port", guest.port_is_open === null ? "" : guest.port_is_open ? "open" : "closed"],
    ["Seed", String(guest.seed)]]) {
    if (value) facts.append(make("dt", {}, name), make("dd", {}, value));
  }
  const mounts = (guest.mounts ?? []).map((mount) => [mount.path, mount.type, mount.is_frozen ? "frozen" : ""]);
  $("facts").replaceChildren(
    make("div", {}, make("h2", {}, "Guest"), facts),
    table("Network interfaces", ["Name", "Addresses"], (guest.nics ?? []).map((nic) =>
      [nic.up === false ? `${nic.name} (down)` : nic.name, lines([...(nic.addresses ?? []), ...(nic.mac ? [nic.mac] : [])])])),
    ...(mounts.length ? [table("File systems", ["Mounted at", "Type", ""], mounts)] : []),
    table("Disks", ["Name", "Size", "Serial"], (guest.disks ?? []).map((disk) => [disk.name, String(disk.size ?? ""), disk.serial ?? ""])),
    table("Users", ["Name", "uid"], users.map(([name, user]) => [name, String(user.uid ?? "")])));
}
