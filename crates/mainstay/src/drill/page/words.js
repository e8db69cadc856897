// Numbers, times and names for people; small helpers for elements.

const SVG = "http://www.w3.org/2000/svg";

function add(parent, name, attributes = {}, ...children) {
  const node = make(name, attributes, ...children);
  parent.append(node);
  return node;
}

function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value != null) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

function draw(parent, name, attributes = {}, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text != null) node.textContent = text;
  parent.append(node);
  return node;
}

const trim = (value, digits) => String(Number(value.toFixed(digits)));

/** A length of time. */
function duration(ns) {
  const s = ns / 1e9;
  if (ns == null) return "–";
  if (s === 0) return "0 s";
  if (s < 1e-3) return `${Math.round(s * 1e6)} µs`;
  if (s < 1) return `${trim(s * 1e3, s < 0.01 ? 1 : 0)} ms`;
  if (s < 100) return `${s.toFixed(1)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${trim(s / 86400, 1)} days`;
}

/** A point in time of the run, as exact as `step` (ns) needs; as on a `clock` or in seconds. */
function instant(ns, step = 1e6, clock = ns >= 120e9) {
  const s = ns / 1e9;
  const digits = step >= 1e9 ? 0 : step >= 1e8 ? 1 : step >= 1e7 ? 2 : 3;
  const two = (value) => String(value).padStart(2, "0");
  if (!clock) return `${s.toFixed(digits)} s`;
  const whole = Math.floor(s);
  const rest = digits ? (s - whole).toFixed(digits).slice(1) : "";
  const [h, m] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  return h ? `${h}:${two(m)}:${two(whole % 60)}${rest}` : `${m}:${two(whole % 60)}${rest}`;
}

function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (count >= 1024 && unit + 1 < units.length) {
    count /= 1024;
    unit += 1;
  }
  return `${unit ? count.toFixed(1) : count} ${units[unit]}`;
}

const count = (value) => Number(value).toLocaleString("en").replaceAll(",", "\u202f");
const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/** Marks: name, and the strokes of a sign in a box of 12. The sign says as much as its colour. */
const MARKS = {
  crash: ["process killed", "M3 3 9 9M9 3 3 9"],
  "power-loss": ["power lost", "M7 1.5 3.5 7H8L5 10.5"],
  boot: ["boots", "M6 2.5 10 9H2Z"],
  proposal: ["proposal", "M4 4.2a2 2 0 1 1 2.6 2c-.5.2-.6.5-.6 1.1M6 9.4v.2"],
  approval: ["approved", "M2.5 6.5 5 9 9.5 3.5"],
  denial: ["denied", "M2.5 6h7"],
  failure: ["promotion failed", "M3 3 9 9M9 3 3 9M6 1.4v1M6 9.6v1"],
  epoch: ["new primary", "M6 1.8 7.3 4.6l3 .3-2.3 2 .7 3L6 8.3 3.3 9.9l.7-3-2.3-2 3-.3Z"],
  shrink: ["in-sync set shrinks", "M3 6h6"],
  grow: ["in-sync set grows", "M3 6h6M6 3v6"],
  "roll-back": ["rolls back", "M4 3 2 5l2 2M2.3 5H7a2.4 2.4 0 0 1 0 4.8H4.5"],
  "maintenance-begin": ["maintenance begins", "M3 10V2M3 2.5h6L7.5 4.5 9 6.5H3"],
  "maintenance-end": ["maintenance ends", "M9 10V2M9 2.5H3L4.5 4.5 3 6.5H9"],
  refusal: ["refused", "M6 1.8a4.2 4.2 0 1 0 .01 0M3.2 8.8 8.8 3.2"],
  alert: ["alert", "M3 8.5c1-1 .6-5.5 3-5.5s2 4.5 3 5.5ZM5.2 10.2h1.6"],
  violation: ["violation", "M6 2v5M6 9.6v.2"],
  message: ["", ""],
};

const markName = (mark) => (MARKS[mark.kind] || [mark.kind.replaceAll("-", " ")])[0];

/** What stands in a tooltip or a table for a mark: the kind's name, unless the text says it already. */
function markText(mark) {
  const name = markName(mark);
  return !name || mark.text.toLowerCase().includes(name) ? mark.text || name : mark.text ? `${name}: ${mark.text}` : name;
}

/** Per cents of a resync, as its text gives them. */
const perCents = (text) => [...text.matchAll(/(\d+(?:\.\d+)?)\s*%/g)].map((found) => Math.min(100, Number(found[1])));
