// The conversation: a row for each entry of the journal, as it comes.

import { $, copy, make } from "/page/dom.js";
import { asStub, asTest } from "/page/recipes.js";

const LIMIT = 3000;
const BASE64 = new Set(["buf-b64", "out-data", "err-data", "input-data", "password", "content"]);

const isSync = (entry) => entry.command === "guest-sync-delimited" || entry.command === "guest-sync";
const isFlush = (entry) => entry.kind === "exchange" && entry.command === null && /^\u00ff*$/.test(entry.text ?? "x");
const isHandshake = (entry) => entry.kind === "exchange" && (isSync(entry) || isFlush(entry)) && !entry.faults.length;
const replyOf = (entry) => (entry.reply ?? "").replace(/^\u00ff/, "").trim();
export const isError = (entry) => replyOf(entry).startsWith('{"error"') && !isFlush(entry);

function shorten(text, length) {
  return text.length > length ? `${text.slice(0, length)}…` : text;
}

function visible(text) {
  return [...text].map((c) => {
    const code = c.codePointAt(0);
    return code === 10 ? "\\n\n" : code < 32 || (code > 126 && code < 161) || code === 255
      ? `\\x${code.toString(16).padStart(2, "0")}` : c;
  }).join("");
}

/** Pretty JSON, with what is base64 decoded beside it. */
function pretty(value) {
  const decoded = [];
  const text = JSON.stringify(value, (key, each) => {
    if (BASE64.has(key) && typeof each === "string" && each) {
      try {
        const bytes = Uint8Array.from(atob(each), (c) => c.charCodeAt(0));
        decoded.push([key, new TextDecoder().decode(bytes)]);
      } catch { /* It is not base64. */ }
    }
    return each;
  }, 2);
  return { text, decoded };
}

function parse(text) {
  try { return JSON.parse(text); } catch { return undefined; }
}

export class Conversation {
  constructor(onChange) {
    this.list = $("journal");
    this.onChange = onChange;
    this.clear();
    $("filter").addEventListener("input", () => this.refilter());
    $("fold").addEventListener("change", () => this.refilter());
    this.list.addEventListener("scroll", () => {
      const isAtEnd = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 40;
      if (!isAtEnd && !this.isScrolling) $("follow").checked = false;
    }, { passive: true });
    $("follow").addEventListener("change", () => this.scroll());
  }

  clear() {
    this.entries = [];
    this.rows = new Map();
    this.pending = [];
    this.list.replaceChildren();
  }

  /** Take an entry that is new, or one of before that has changed. */
  add(entry) {
    const known = this.rows.get(entry.number);
    if (known) {
      const row = this.row(entry);
      row.classList.toggle("is-open", known.classList.contains("is-open"));
      known.replaceWith(row);
      this.entries[this.entries.findLastIndex((each) => each.number === entry.number)] = entry;
      this.rows.set(entry.number, row);
    } else {
      this.entries.push(entry);
      this.pending.push(entry);
    }
    this.planDraw();
  }

  planDraw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      this.draw();
      this.onChange(this.entries);
    });
  }

  draw() {
    const fragment = document.createDocumentFragment();
    for (const entry of this.pending.splice(0)) {
      if (this.rows.has(entry.number)) continue;
      const row = this.row(entry);
      this.rows.set(entry.number, row);
      fragment.append(row);
    }
    this.list.append(fragment);
    while (this.entries.length > LIMIT) {
      const gone = this.entries.shift();
      this.rows.get(gone.number)?.remove();
      this.rows.delete(gone.number);
    }
    $("empty").hidden = this.entries.length > 0;
    this.list.hidden = this.entries.length === 0;
    this.scroll();
  }

  scroll() {
    if (!$("follow").checked) return;
    this.isScrolling = true;
    this.list.scrollTop = this.list.scrollHeight;
    requestAnimationFrame(() => { this.isScrolling = false; });
  }

  isShown(entry) {
    if ($("fold").checked && isFlush(entry)) return false;
    const wanted = $("filter").value.trim().toLowerCase();
    if (!wanted) return true;
    if (wanted === "error" || wanted === "errors") return isError(entry);
    if (wanted === "fault" || wanted === "faults") return entry.faults?.length > 0;
    return JSON.stringify([entry.command, entry.request, entry.text, entry.reply, entry.effect, entry.faults, entry.kind])
      .toLowerCase().includes(wanted);
  }

  refilter() {
    for (const entry of this.entries) {
      const row = this.row(entry);
      this.rows.get(entry.number)?.replaceWith(row);
      this.rows.set(entry.number, row);
    }
    this.scroll();
  }

  row(entry) {
    const marks = make("span", { class: "marks" });
    const button = make("button", { type: "button", class: "entry", "aria-expanded": "false" },
      make("span", { class: "when" }, (entry.at / 1e9).toFixed(3)),
      make("span", { class: "who" }, entry.connection ? `#${entry.connection}` : ""),
      this.what(entry), marks);
    const item = make("li", { class: entry.kind === "exchange" ? (isError(entry) ? "is-error" : "") : `note ${entry.kind}` }, button);
    for (const fault of entry.faults ?? []) marks.append(make("span", { class: "badge warn", title: "A fault fired" }, fault));
    if (entry.effect) marks.append(make("span", { class: `badge ${entry.effect === "frozen" ? "cold" : "good"}` }, shorten(entry.effect, 34)));
    const delay = (entry.replied - entry.at) / 1e9;
    if (entry.kind === "exchange" && delay > 0.05) marks.append(make("span", { class: "badge" }, `+${delay.toFixed(2)} s`));
    if (entry.kind === "exchange" && !entry.reply) marks.append(make("span", { class: "badge" }, entry.replied === null ? "no reply" : "nothing sent"));
    item.hidden = !this.isShown(entry);
    button.addEventListener("click", () => this.toggle(item, entry));
    return item;
  }

  what(entry) {
    if (entry.kind !== "exchange") {
      const said = { connect: "connects", disconnect: "disconnects" }[entry.kind] ?? entry.text;
      return make("span", { class: "what" }, `${said}${entry.marks?.length ? ` (${entry.marks.join(", ")})` : ""}`);
    }
    if ($("fold").checked && isHandshake(entry) && isSync(entry)) {
      return make("span", { class: "what" }, make("span", { class: "args" }, `handshake (${entry.command})`));
    }
    const request = entry.request?.arguments ? shorten(JSON.stringify(entry.request.arguments), 400) : "";
    return make("span", { class: "what" },
      make("span", { class: "command" }, entry.command ?? visible(shorten(entry.text ?? "", 80)).replaceAll("\n", "")), " ",
      make("span", { class: "args" }, request),
      make("span", { class: "arrow" }, "→"),
      make("span", { class: "reply" }, shorten(replyOf(entry).replace(/^\{"return": (.*)\}$/, "$1"), 400) || "—"));
  }

  toggle(item, entry) {
    const isOpen = item.classList.toggle("is-open");
    item.firstChild.setAttribute("aria-expanded", String(isOpen));
    item.querySelector(".detail")?.remove();
    if (isOpen) item.append(this.detail(entry));
  }

  detail(entry) {
    const box = make("div", { class: "detail" });
    const show = (title, text) => box.append(make("h3", {}, title), make("pre", {}, text));
    if (entry.kind !== "exchange") {
      show("Entry", JSON.stringify(entry, null, 2));
      return box;
    }
    for (const [title, value, raw] of [["Request", entry.request, entry.text], ["Reply", parse(replyOf(entry)), entry.reply]]) {
      if (value === null || value === undefined) {
        if (raw) show(`${title}, as bytes`, visible(raw));
        continue;
      }
      const { text, decoded } = pretty(value);
      show(title, text);
      for (const [key, each] of decoded) show(`${key}, decoded`, each);
    }
    if (entry.pins) show("Faults that repeat it", entry.pins.join("\n"));
    const raw = make("details", {}, make("summary", {}, `Bytes of the reply (${entry.reply_length ?? 0})`), make("pre", {}, visible(entry.reply ?? "")));
    const times = `arrived ${(entry.at / 1e9).toFixed(6)} s, answered ${entry.replied === null ? "never" : `${(entry.replied / 1e9).toFixed(6)} s`}`;
    box.append(raw, make("p", { class: "quiet" }, times));
    if (entry.command) {
      box.append(make("div", { class: "row" },
        make("button", { type: "button", class: "small", onclick: () => copy(asStub(entry), "Stub") }, "Copy as stub"),
        make("button", { type: "button", class: "small", onclick: () => copy(asTest(entry), "Test") }, "Copy as test"),
        make("button", { type: "button", class: "small", onclick: () => copy(entry.line ?? JSON.stringify(entry), "Line") }, "Copy line")));
    }
    return box;
  }
}
