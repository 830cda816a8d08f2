// The palette: a form for each kind of fault, made of the API's own schema.

import { $, make } from "/page/dom.js";

//: What all faults have; it is shown when one looks for more.
const COMMON = ["after", "every", "probability", "when", "name"];

let schemas = {};
const resolve = (schema) => {
  const ref = schema?.$ref ?? schema?.allOf?.[0]?.$ref;
  return ref ? schemas[ref.split("/").pop()] : schema;
};

function choices(schema) {
  const parts = schema.anyOf ? schema.anyOf.map(resolve) : [resolve(schema)];
  return parts.find((part) => part?.enum)?.enum;
}

function field(name, schema, isRequired) {
  const options = choices(schema);
  const hint = (schema.description ?? "").replaceAll("``", "").replaceAll("*", "");
  let input;
  if (schema.type === "boolean") {
    input = make("select", { name }, ...["", "true", "false"].map((each) => make("option", { value: each }, each || "default")));
  } else if (options && !(schema.anyOf ?? []).some((part) => resolve(part)?.type === "object")) {
    input = make("select", { name }, ...(isRequired ? [] : [make("option", { value: "" }, "any")]),
      ...options.map((each) => make("option", { value: each }, String(each))));
  } else {
    const preset = schema.default;
    input = make("input", { name, autocomplete: "off", spellcheck: "false", required: isRequired,
      placeholder: preset === undefined || preset === null || preset === "" ? "" : typeof preset === "object" ? JSON.stringify(preset) : String(preset) });
    if (name === "on") { input.setAttribute("list", "commands"); input.placeholder = "all commands"; }
  }
  return make("label", {}, make("span", {}, `${name}${isRequired ? " (needed)" : ""}`), input, make("span", { class: "hint" }, hint));
}

/** What was written in a field, as JSON where it is JSON, otherwise as text. */
function valueOf(text) {
  try { return JSON.parse(text); } catch { return text; }
}

/** Build the form; *inject* is called with the fault. */
export function buildPalette(document_, inject) {
  schemas = document_.components.schemas;
  const kinds = resolve(schemas.AnyFault).anyOf.map(resolve).filter((kind) => kind?.properties?.kind?.const);
  kinds.sort((a, b) => a.properties.kind.const.localeCompare(b.properties.kind.const));
  const form = $("palette");
  const select = make("select", { name: "kind" }, ...kinds.map((kind) =>
    make("option", { value: kind.properties.kind.const, selected: kind.properties.kind.const === "delay" }, kind.properties.kind.const.replaceAll("_", " "))));
  const about = make("p", { class: "hint" });
  const fields = make("div", { class: "fields" });
  const error = make("p", { class: "error", role: "alert" });
  const show = () => {
    const kind = kinds.find((each) => each.properties.kind.const === select.value);
    about.textContent = kind.description.replaceAll("``", "").replaceAll("*", "");
    const required = new Set(kind.required ?? []);
    const names = Object.keys(kind.properties).filter((name) => !["kind", "times"].includes(name));
    const own = names.filter((name) => !COMMON.includes(name) && name !== "on");
    const main = ["on", ...own.filter((name) => required.has(name) || own.length < 7)].filter((name) => names.includes(name));
    const more = names.filter((name) => !main.includes(name));
    fields.replaceChildren(...main.map((name) => field(name, kind.properties[name], required.has(name))));
    if (more.length) {
      fields.append(make("details", {}, make("summary", {}, "More"),
        make("div", { class: "fields" }, ...more.map((name) => field(name, kind.properties[name], required.has(name))))));
    }
    error.textContent = "";
  };
  select.addEventListener("change", show);
  form.replaceChildren(
    make("datalist", { id: "commands" }),
    make("label", {}, make("span", {}, "Inject"), select), about, fields,
    make("div", { class: "row" },
      make("label", { class: "check" }, make("input", { type: "radio", name: "how", value: "once", checked: true }), "once"),
      make("label", { class: "check" }, make("input", { type: "radio", name: "how", value: "ever" }), "until removed"),
      make("span", { class: "grow" }), make("button", { class: "primary" }, "Inject")),
    error);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const fault = { kind: select.value };
    for (const [name, text] of new FormData(form)) {
      if (!["kind", "how"].includes(name) && text.trim()) fault[name] = valueOf(text.trim());
    }
    if (form.elements.how.value === "once") fault.times = 1;
    try {
      await inject(fault);
      error.textContent = "";
    } catch (refused) {
      error.textContent = refused.message;
    }
  });
  show();
}

export function suggestCommands(names) {
  $("commands")?.replaceChildren(...names.map((name) => make("option", { value: name })));
}
