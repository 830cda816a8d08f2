// Elements, made of text only: nothing that a client sent is ever read as HTML.

/** Make an element: make("button", {class: "small", onclick: f}, "text", child). */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const $ = (id) => document.getElementById(id);

let timer;
/** Say something for a moment. */
export function toast(text, isBad = false) {
  const box = $("toast");
  box.textContent = text;
  box.className = `toast shown${isBad ? " bad" : ""}`;
  clearTimeout(timer);
  timer = setTimeout(() => { box.className = "toast"; }, isBad ? 6000 : 2200);
}

export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    toast(`${what} copied`);
  } catch {
    toast("The browser does not allow copying", true);
  }
}

/** Write seconds as people do: 3.2 s, 4 min 10 s, 2 h 5 min. */
export function seconds(value) {
  if (value < 60) return `${value.toFixed(value < 10 ? 3 : 1)} s`;
  if (value < 3600) return `${Math.floor(value / 60)} min ${Math.floor(value % 60)} s`;
  if (value < 86400) return `${Math.floor(value / 3600)} h ${Math.floor((value % 3600) / 60)} min`;
  return `${Math.floor(value / 86400)} d ${Math.floor((value % 86400) / 3600)} h`;
}
