// The time line: freezes as bars, requests as ticks, faults and errors as marks.

import { $, seconds } from "/page/dom.js";
import { isError } from "/page/journal.js";

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** The stretches of time in which the guest was not just up. */
function stretches(entries, now) {
  const found = [];
  let open = null;
  const change = (state, at) => {
    if (open && open.state !== state) { found.push({ ...open, end: at }); open = null; }
    if (!open && state !== "up") open = { state, start: at };
  };
  for (const entry of entries) {
    if (entry.effect === "frozen") change("frozen", entry.at);
    else if (entry.effect === "thawed") change("up", entry.at);
    else if (entry.kind === "state") change((entry.text ?? "").split("→").pop().trim(), entry.at);
  }
  if (open) found.push({ ...open, end: now });
  return found;
}

export function drawTimeline(entries, now) {
  const canvas = $("timeline");
  const width = canvas.clientWidth, height = 64, ratio = window.devicePixelRatio || 1;
  if (!width) return;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const paint = canvas.getContext("2d");
  paint.scale(ratio, ratio);
  if (!entries.length) { $("timeline-text").textContent = ""; return; }
  const first = entries[0].at, last = Math.max(now, entries.at(-1).at), span = Math.max(last - first, 1e6);
  const x = (at) => 8 + ((at - first) / span) * (width - 16);
  const bars = stretches(entries, last);
  for (const bar of bars) {
    paint.fillStyle = colour(bar.state === "frozen" ? "--cold" : bar.state === "crashed" ? "--bad" : "--warn");
    paint.globalAlpha = .3;
    paint.fillRect(x(bar.start), 4, Math.max(2, x(bar.end) - x(bar.start)), height - 22);
    paint.globalAlpha = 1;
    if (x(bar.end) - x(bar.start) > 50) {
      paint.font = "11px system-ui, sans-serif";
      paint.fillText(bar.state, x(bar.start) + 4, 15);
    }
  }
  let errors = 0, faults = 0, requests = 0;
  for (const entry of entries) {
    if (entry.kind !== "exchange") continue;
    requests += 1;
    const bad = isError(entry), struck = entry.faults?.length > 0;
    errors += bad; faults += struck;
    paint.fillStyle = colour(bad ? "--bad" : struck ? "--warn" : "--mark");
    paint.fillRect(x(entry.at) - .75, bad || struck ? 18 : 26, 1.5, bad || struck ? 24 : 16);
    if (struck) { paint.beginPath(); paint.arc(x(entry.at), 16, 3, 0, 7); paint.fill(); }
  }
  paint.fillStyle = colour("--quiet");
  paint.font = "11px system-ui, sans-serif";
  const count = Math.max(1, Math.min(6, Math.floor(width / 130)));
  for (let n = 0; n <= count; n++) {
    const at = first + (span * n) / count, text = seconds(at / 1e9);
    paint.textAlign = n === 0 ? "left" : n === count ? "right" : "center";
    paint.fillText(text, x(at), height - 5);
  }
  paint.textAlign = "left";
  const states = bars.map((bar) => `${bar.state} from ${seconds(bar.start / 1e9)} for ${seconds((bar.end - bar.start) / 1e9)}`);
  $("timeline-text").textContent = [`${requests} requests, ${errors} errors, ${faults} with faults`, ...states.slice(-3)].join("; ");
  canvas.setAttribute("aria-label", `Time line: ${$("timeline-text").textContent}`);
}
