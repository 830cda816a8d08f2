// Requests to the control API, and its stream of events.
//
// The stream is read by fetch and not by EventSource, which cannot send a token.

let token = sessionStorage.getItem("qgasim-token");
let askForToken = async () => null;

/** Let *ask* return a token when one is needed. */
export function onTokenNeeded(ask) { askForToken = ask; }

function headers(more = {}) {
  return token ? { ...more, Authorization: `Bearer ${token}` } : more;
}

async function send(path, options) {
  for (;;) {
    const response = await fetch(path, { ...options, headers: headers(options.headers) });
    if (response.status !== 401) return response;
    token = await askForToken();
    if (token === null) return response;
    sessionStorage.setItem("qgasim-token", token);
  }
}

/** Why a request was refused: the problem document's words. */
export class Refused extends Error {
  constructor(problem) {
    const places = (problem.errors ?? []).map((each) => Object.values(each).filter((v) => typeof v === "string").join(": "));
    super([problem.detail || problem.title, ...places.filter((place) => place !== problem.detail)].join("\n"));
    this.problem = problem;
  }
}

/** Ask; return what was answered, parsed. Throws Refused. */
export async function ask(method, path, body) {
  const options = { method };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "Content-Type": "application/json" };
  }
  const response = await send(path, options);
  const text = await response.text();
  const value = text && (response.headers.get("content-type") ?? "").includes("json") ? JSON.parse(text) : text;
  if (!response.ok) throw new Refused(typeof value === "object" ? value : { title: `${response.status} ${text}` });
  return value;
}

/** Let the browser save what a path answers with as a file. Throws Refused. */
export async function save(path, file) {
  const response = await send(path, { method: "GET" });
  if (!response.ok) throw new Refused(await response.json());
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = file;
  link.click();
  URL.revokeObjectURL(link.href);
}

export const guestPath = (name, rest = "") => `/v1/guests/${encodeURIComponent(name)}${rest}`;

/** Read the events of all guests for ever: onEvent(kind, data), onLink("live" | "lost"). */
export async function follow(onEvent, onLink) {
  let last = null;
  for (let wait = 250; ; wait = Math.min(wait * 2, 5000)) {
    try {
      const response = await send("/v1/stream", { headers: last ? { "Last-Event-ID": last } : {} });
      if (!response.ok) throw new Error(String(response.status));
      onLink("live");
      wait = 250;
      await read(response.body.getReader(), (kind, data, id) => { last = id ?? last; onEvent(kind, data); });
    } catch { /* It is tried again. */ }
    onLink("lost");
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

async function read(reader, onEvent) {
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + decoder.decode(value, { stream: true })).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const fields = { event: "message", data: "" };
      for (const line of block.split("\n")) {
        const at = line.indexOf(":");
        if (at > 0) fields[line.slice(0, at)] = line.slice(at + 1).replace(/^ /, "");
      }
      if (fields.data) onEvent(fields.event, JSON.parse(fields.data), fields.id);
    }
  }
}
