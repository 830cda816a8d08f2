// An exchange as what one writes: a stub of a scenario, a test.

const indent = (text, by) => text.split("\n").map((line) => " ".repeat(by) + line).join("\n");
// JSON is YAML, too.
const yaml = (value) => JSON.stringify(value);

/** A stub that answers the same request in the same way. */
export function asStub(entry) {
  const on = entry.request?.arguments
    ? `{command: ${entry.command}, arguments: ${yaml(entry.request.arguments)}}` : entry.command;
  const reply = JSON.parse((entry.reply ?? "{}").replace(/^\u00ff/, "") || "{}");
  const answer = reply.error
    ? `error: {class: ${reply.error.class}, desc: ${yaml(reply.error.desc)}}` : `reply: ${yaml(reply.return ?? {})}`;
  return `replies:\n  - on: ${on}\n    ${answer}\n`;
}

function python(value) {
  return JSON.stringify(value).replace(/("(?:[^"\\]|\\.)*")|\btrue\b|\bfalse\b|\bnull\b/g,
    (all, text) => text ?? { true: "True", false: "False", null: "None" }[all]);
}

/** A test of pytest that a client asks for the same. */
export function asTest(entry) {
  const args = entry.request?.arguments ? `, arguments=${python(entry.request.arguments)}` : "";
  return `def test_my_client(qga):\n${indent(`my_client(qga.socket_path)\nqga.verify(${python(entry.command)}${args})`, 4)}\n`;
}
