// How a lane looks. Everything is said twice: by colour, and by a pattern, a sign or a word.

/** Heights within a node's lane, from its top. */
const NODE = { marks: 12, role: 26, roleHigh: 20, state: 49, stateHigh: 14, links: 69, high: 80 };
/** A node that holds no copy. */
const VOTER = { ...NODE, links: 54, high: 62 };
const FLAT = { marks: 14, bar: 10, barHigh: 14, high: 36 };
/** Lanes with both bars and marks. */
const CLIENTS = { marks: 12, bar: 26, barHigh: 16, high: 52 };

const holdsCopy = (lane) => lane.spans.some((span) => span.kind === "in-sync" || span.kind === "resync");
const shape = (lane) => (lane.kind === "node" ? (holdsCopy(lane) ? NODE : VOTER) : lane.kind === "clients" ? CLIENTS : FLAT);

const ROLES = ["primary", "secondary", "voter"];

/** Draws one lane into `plot`, whose x runs through `scale`. */
function drawLane(plot, lane, top, scale) {
  const spans = lane.spans.filter((span) => scale.sees(span.from_ns, span.to_ns));
  const of = (...kinds) => kinds.flatMap((kind) => thinned(spans.filter((span) => span.kind === kind), scale));
  if (lane.kind === "node") {
    of("role").forEach((span) => drawRole(plot, span, top, scale));
    of("lease").forEach((span) => bar(plot, span, top + NODE.role + NODE.roleHigh - 4, 2, "lease", scale, 0));
    of("down", "paused").forEach((span) => {
      bar(plot, span, top + NODE.role, NODE.roleHigh, span.kind, scale, 3);
      label(plot, span, top + NODE.role + 14, span.kind, span.kind === "down" ? "off" : "paused", scale);
    });
    of("in-sync").forEach((span) => {
      bar(plot, span, top + NODE.state, NODE.stateHigh, "in-sync", scale, 2);
      label(plot, span, top + NODE.state + 11, "in-sync", "in sync", scale);
    });
    drawResync(plot, joined(of("resync")), top + NODE.state, scale);
    of("cut", "disk").forEach((span) => drawLink(plot, span, top + shape(lane).links, scale));
  } else if (lane.kind === "clients") {
    const y = top + CLIENTS.bar + CLIENTS.barHigh / 2;
    draw(plot, "line", { class: "served", x1: scale.x(scale.begin), x2: scale.x(scale.end), y1: y, y2: y });
    of("waiting", "outage").forEach((span) => {
      bar(plot, span, top + CLIENTS.bar, CLIENTS.barHigh, span.kind, scale, 2);
      label(plot, span, top + CLIENTS.bar + 12, span.kind, span.kind === "outage" ? `out ${duration(span.to_ns - span.from_ns)}` : "waiting", scale);
    });
  } else {
    of(...new Set(spans.map((span) => span.kind))).forEach((span) => {
      bar(plot, span, top + FLAT.bar, FLAT.barHigh, "other", scale, 2);
      label(plot, span, top + FLAT.bar + 11, "other", span.text, scale);
    });
  }
}

/** Without what would lie on one and the same pixel: a long run has tens of thousands. */
function thinned(spans, scale) {
  let last = -Infinity;
  return spans.filter((span) => {
    const [x, end] = [scale.x(span.from_ns ?? span.at_ns), scale.x(span.to_ns ?? span.at_ns)];
    if (end < last + 0.7) return false;
    last = Math.max(end, x);
    return true;
  });
}

function bar(plot, span, y, height, kind, scale, radius) {
  const [x, width] = scale.extent(span.from_ns, span.to_ns);
  // An edge would be all that is left of a narrow one.
  return draw(plot, "rect", { class: width < 3 ? `${kind} thin` : kind, x, y, width, height, rx: Math.min(radius, width / 2) });
}

/** Where it fits; never cut off. */
function label(plot, span, y, kind, text, scale) {
  const [x, width] = scale.extent(Math.max(span.from_ns, scale.from), Math.min(span.to_ns, scale.to));
  if (width > text.length * 6.6 + 10) draw(plot, "text", { class: `on-${kind}`, x: x + 6, y }, text);
}

function drawRole(plot, span, top, scale) {
  const role = ROLES.find((name) => span.text.includes(name)) || "other";
  bar(plot, span, top + NODE.role, NODE.roleHigh, role, scale, 3);
  label(plot, span, top + NODE.role + 14, role, span.text, scale);
}

/** Samples of one resync, which follow each other without a gap. */
function joined(spans) {
  const groups = [];
  for (const span of spans) {
    const last = groups.at(-1);
    if (last && span.from_ns <= last.to_ns + 1e6) {
      last.steps.push(span);
      last.to_ns = span.to_ns;
    } else groups.push({ from_ns: span.from_ns, to_ns: span.to_ns, steps: [span] });
  }
  return groups;
}

/** A box that fills as the copy does. */
function drawResync(plot, groups, y, scale) {
  for (const group of groups) {
    bar(plot, group, y, NODE.stateHigh, "resync-box", scale, 2);
    let text = "";
    for (const span of group.steps) {
      const samples = perCents(span.text);
      samples.forEach((share, index) => {
        const length = (span.to_ns - span.from_ns) / samples.length;
        const [x, width] = scale.extent(span.from_ns + index * length, span.from_ns + (index + 1) * length);
        const height = Math.max(1, (NODE.stateHigh * share) / 100);
        draw(plot, "rect", { class: "resync-fill", x, width, y: y + NODE.stateHigh - height, height });
        text = `${Math.round(share)} %`;
      });
    }
    const full = text ? `resyncing, ${text}` : "resyncing";
    const [, width] = scale.extent(Math.max(group.from_ns, scale.from), Math.min(group.to_ns, scale.to));
    label(plot, group, y + 11, "resync", width > full.length * 6.6 + 10 ? full : text, scale);
  }
}

function drawLink(plot, span, y, scale) {
  const [x, width] = scale.extent(span.from_ns, span.to_ns);
  if (span.kind === "disk") {
    draw(plot, "line", { class: "disk", x1: x, x2: x + width, y1: y, y2: y });
  } else {
    const teeth = Math.min(400, Math.max(2, Math.floor(width / 4)));
    const points = Array.from({ length: teeth + 1 }, (_, tooth) => `${x + (width * tooth) / teeth},${y + (tooth % 2 ? -2 : 2)}`);
    draw(plot, "polyline", { class: "cut", points: points.join(" ") });
  }
  label(plot, span, y + 11, span.kind, span.text, scale);
}

const BAD = ["crash", "power-loss", "violation", "denial", "failure", "refusal", "alert"];
const OK = ["approval", "grow", "boot"];
const ASKS = ["proposal", "maintenance-begin", "maintenance-end"];
const markClass = (kind) => (BAD.includes(kind) ? "bad" : OK.includes(kind) ? "ok" : ASKS.includes(kind) ? "asks" : "");

/** Room of one sign. Those that would cover each other stand side by side, and more than three become one, with their number. */
const ROOM = 17;
const ABREAST = 3;

function drawMarks(plot, lane, top, scale) {
  const y = top + shape(lane).marks;
  const seen = lane.marks.filter((mark) => scale.sees(mark.at_ns, mark.at_ns));
  for (const mark of thinned(seen.filter((mark) => mark.kind === "message"), scale)) draw(plot, "circle", { class: "dot", cx: scale.x(mark.at_ns), cy: y, r: 2.2 });
  const signs = seen.filter((mark) => mark.kind !== "message").sort((a, b) => a.at_ns - b.at_ns);
  let groups = signs.map((mark) => ({ marks: [mark], middle: scale.x(mark.at_ns) }));
  for (let before = 0; before !== groups.length; ) {
    before = groups.length;
    groups = groups.reduce(merge, []);
  }
  groups.forEach((group) => drawGroup(plot, group, y));
}

const pill = (marks) => 10 + 7 * String(marks.length).length;
const half = ({ marks }) => (marks.length > ABREAST ? pill(marks) + 2 : marks.length * ROOM) / 2;

function merge(done, group) {
  const last = done.at(-1);
  if (last && group.middle - half(group) < last.middle + half(last)) {
    const all = last.marks.length + group.marks.length;
    last.middle = (last.middle * last.marks.length + group.middle * group.marks.length) / all;
    last.marks = [...last.marks, ...group.marks];
    return done;
  }
  return [...done, group];
}

function drawGroup(plot, { marks, middle }, y) {
  const left = middle - ((marks.length - 1) * ROOM) / 2;
  if (marks.length <= ABREAST) return marks.forEach((mark, index) => drawSign(plot, mark.kind, left + index * ROOM, y));
  const worst = ["bad", "asks", "ok"].find((name) => marks.some((mark) => markClass(mark.kind) === name)) || "";
  const box = draw(plot, "g", { class: `mark ${worst}`, transform: `translate(${middle} ${y})` });
  draw(box, "rect", { class: "pill", x: -pill(marks) / 2, y: -8, width: pill(marks), height: 16, rx: 8 });
  draw(box, "text", { y: 4 }, String(marks.length));
}

function drawSign(plot, kind, x, y) {
  const box = draw(plot, "g", { class: `mark ${markClass(kind)}`, transform: `translate(${x} ${y})` });
  draw(box, "circle", { r: 8 });
  draw(box, "path", { d: (MARKS[kind] || MARKS.violation)[1], transform: "translate(-6 -6)" });
}

/** Patterns, for what must not be told apart by colour alone. */
function drawPatterns(svg, id) {
  const defs = draw(svg, "defs");
  const hatch = draw(defs, "pattern", { id: "hatch", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
  draw(hatch, "line", { class: "hatch-line", x1: 0, y1: 0, x2: 0, y2: 6 });
  const dots = draw(defs, "pattern", { id: "dots", width: 5, height: 5, patternUnits: "userSpaceOnUse" });
  draw(dots, "circle", { class: "dot-fill", cx: 1.5, cy: 1.5, r: 1 });
  return draw(draw(defs, "clipPath", { id }), "rect");
}

/** What of it occurs in this timeline, as [sample, words]. */
function legend(timeline) {
  const kinds = new Set(timeline.lanes.flatMap((lane) => lane.spans.map((span) => span.kind)));
  const marks = new Set(timeline.lanes.flatMap((lane) => lane.marks.map((mark) => mark.kind)));
  const items = make("div", { class: "legend" });
  const item = (words, paint, width = 26) => {
    const span = add(items, "span");
    const svg = draw(span, "svg", { width, height: 18, viewBox: `0 -1 ${width} 18`, "aria-hidden": "true" });
    paint(svg);
    span.append(words);
  };
  const box = (kind, high = 12) => (svg) => draw(svg, "rect", { class: kind, x: 1, y: (16 - high) / 2, width: 24, height: high, rx: 2 });
  const scale = { x: () => 1, extent: () => [1, 24], from: 0, to: 1 };
  if (kinds.has("down")) item("off", box("down"));
  if (kinds.has("paused")) item("paused", box("paused"));
  if (kinds.has("lease")) item("holds the lease", (svg) => (box("primary")(svg), draw(svg, "rect", { class: "lease", x: 1, y: 10, width: 24, height: 2 })));
  if (kinds.has("in-sync")) item("in sync", box("in-sync", 10));
  if (kinds.has("resync")) item("resyncing, fills as it goes", (svg) => (box("resync-box", 10)(svg), draw(svg, "rect", { class: "resync-fill", x: 1, y: 7, width: 14, height: 6 })));
  if (kinds.has("cut")) item("cut off", (svg) => drawLink(svg, { kind: "cut", text: "" }, 8, scale));
  if (kinds.has("disk")) item("disk trouble", (svg) => drawLink(svg, { kind: "disk", text: "" }, 8, scale));
  if (kinds.has("outage")) item("no write answered", box("outage"));
  if (kinds.has("waiting")) item("clients wait", box("waiting"));
  for (const kind of Object.keys(MARKS)) {
    if (!marks.has(kind) || kind === "message") continue;
    item(MARKS[kind][0], (svg) => drawSign(svg, kind, 9, 8), 18);
  }
  if (marks.has("message")) item("other events", (svg) => draw(svg, "circle", { class: "dot", cx: 9, cy: 8, r: 2.4 }), 18);
  return items;
}
