// The swim lanes, and how one moves about in them.

/** Less than this cannot be told apart (ns). */
const VIEW_MIN = 1e6;
const AXIS = 30;
const GUTTER = 108;
const NARROW = 620;
const PAPER = 980;
let timelines = 0;

class Timeline {
  constructor(host, data) {
    this.data = data;
    this.number = ++timelines;
    this.lanes = data.lanes.filter((lane) => lane.kind === "node" || lane.kind === "clients" || lane.spans.length + lane.marks.length > 0);
    this.end = Math.max(data.end_ns, 1);
    [this.from, this.to] = [0, this.end];
    this.stops = this.allStops();
    this.build(host);
    this.render();
    new ResizeObserver(() => !this.onPaper && this.plot.clientWidth !== this.width && this.render()).observe(this.plot);
    addEventListener("beforeprint", () => this.paper(true));
    addEventListener("afterprint", () => this.paper(false));
  }

  /** Paper has room for names beside the lanes, whatever the screen has. */
  paper(on) {
    this.onPaper = on;
    if (this.plot.isConnected) this.render();
  }

  /** Every event, in order: what the keys n and p walk through. */
  allStops() {
    const marks = this.lanes.flatMap((lane) => lane.marks.map((mark) => ({ at: mark.at_ns, lane, text: markText(mark) })));
    const outages = this.lanes.flatMap((lane) =>
      lane.spans.filter((span) => span.kind === "outage").map((span) => ({ at: span.from_ns, lane, text: `${span.text || "outage"} for ${duration(span.to_ns - span.from_ns)}` })),
    );
    return [...marks, ...outages].sort((a, b) => a.at - b.at);
  }

  build(host) {
    const box = add(host, "section", { class: "timeline", "aria-label": "Timeline" });
    const bar = add(box, "div", { class: "bar" }, make("h3", {}, "Timeline"));
    this.view = add(bar, "span", { class: "view" });
    const button = (text, name, act) => add(bar, "button", { type: "button", "aria-label": name, title: name, onclick: act }, text);
    this.out = button("−", "Zoom out", () => this.zoom(2));
    button("+", "Zoom in", () => this.zoom(0.5));
    this.fit = button("Fit", "Show the whole run", () => this.show(0, this.end));
    this.plot = add(box, "div", {
      class: "plot", tabindex: 0, role: "application",
      "aria-label": "Timeline. n and p go from event to event, plus and minus zoom, arrows move, 0 shows all. The same events are in the table below.",
    });
    this.tip = make("div", { class: "tip", hidden: true });
    this.said = add(box, "div", { class: "quiet", "aria-live": "polite" });
    box.append(legend(this.data));
    const keys = add(box, "p", { class: "keys" });
    const parts = [["n", "p"], " next and previous event   ", ["+", "−"], " or Ctrl and wheel: zoom   ", ["←", "→"], " or drag: move   ", ["0"], " all"];
    parts.forEach((part) => (typeof part === "string" ? keys.append(part) : part.forEach((key) => keys.append(make("kbd", {}, key), " "))));
    this.listen();
  }

  // ---- drawing -----------------------------------------------------------------------------------------------------------

  scale() {
    const inner = this.width - this.left - 14;
    const x = (at) => this.left + ((at - this.from) / (this.to - this.from)) * inner;
    // Far outside is as good as just outside, and browsers draw it.
    const near = (at) => x(Math.max(this.from - (this.to - this.from), Math.min(this.to + (this.to - this.from), at)));
    return {
      x, from: this.from, to: this.to, begin: Math.max(0, this.from), end: Math.min(this.end, this.to),
      sees: (from, to) => to >= this.from && from <= this.to,
      extent: (from, to) => [near(from), Math.max(1.5, near(to) - near(from))],
    };
  }

  at(x) {
    return this.from + ((x - this.left) / (this.width - this.left - 14)) * (this.to - this.from);
  }

  render() {
    this.width = this.onPaper ? PAPER : this.plot.clientWidth || PAPER;
    const narrow = this.width < NARROW;
    this.left = narrow ? 12 : GUTTER;
    this.place(narrow);
    const scale = this.scale();
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${this.width} ${this.high}`);
    svg.setAttribute("aria-hidden", "true");
    const clip = drawPatterns(svg, `clip${this.number}`);
    Object.entries({ x: this.left - 9, y: 0, width: this.width - this.left + 4, height: this.high }).forEach(([key, value]) => clip.setAttribute(key, value));
    this.drawAxis(svg, scale);
    this.tops.forEach((top, index) => this.drawName(svg, this.lanes[index], top, narrow, index));
    const plot = draw(svg, "g", { "clip-path": `url(#clip${this.number})` });
    this.drawBands(plot, scale);
    this.lanes.forEach((lane, index) => drawLane(plot, lane, this.tops[index], scale));
    this.drawViolations(plot, scale);
    this.lanes.forEach((lane, index) => drawMarks(plot, lane, this.tops[index], scale));
    this.cursor = draw(svg, "line", { class: "cursor", y1: AXIS - 4, y2: this.high - 8, visibility: "hidden" });
    this.drawThumb(svg);
    this.plot.replaceChildren(svg, this.tip);
    this.plot.dataset.spans = this.lanes.reduce((sum, lane) => sum + lane.spans.length, 0);
    this.plot.dataset.marks = this.stops.length;
    const whole = this.from <= 0 && this.to >= this.end;
    this.fit.disabled = this.out.disabled = whole;
    this.view.textContent = `${this.instant(this.from)} to ${this.instant(this.to)}`;
  }

  /** As exact as can be told apart. */
  instant(at) {
    return instant(at, (this.to - this.from) / 200, this.end >= 120e9);
  }

  /** Where each lane begins. */
  place(narrow) {
    let y = AXIS + 6;
    this.tops = this.lanes.map((lane) => {
      const top = y + (narrow ? 18 : 0);
      y = top + shape(lane).high + (this.hasLinks(lane) ? 8 : 0);
      return top;
    });
    this.high = y + 14;
  }

  hasLinks(lane) {
    return lane.spans.some((span) => span.kind === "cut" || span.kind === "disk");
  }

  drawName(svg, lane, top, narrow, index) {
    if (index > 0) draw(svg, "line", { class: "lane-line", x1: 0, x2: this.width, y1: top - (narrow ? 18 : 0) - 1, y2: top - (narrow ? 18 : 0) - 1 });
    const y = narrow ? top - 2 : top + (lane.kind === "node" ? NODE.role + 15 : lane.kind === "clients" ? CLIENTS.bar + 13 : FLAT.bar + 12);
    draw(svg, "text", { class: "lane-name", x: narrow ? this.left : 16, y }, lane.name);
  }

  drawAxis(svg, scale) {
    const wanted = (this.to - this.from) / Math.max(3, Math.floor((this.width - this.left) / (this.width < NARROW ? 70 : 110)));
    const step = tick(wanted);
    for (let at = Math.ceil(this.from / step) * step; at <= this.to; at += step) {
      const x = scale.x(at);
      draw(svg, "line", { class: "grid", x1: x, x2: x, y1: AXIS - 4, y2: this.high - 10 });
      const anchor = x < this.left + 16 ? "start" : x > this.width - 34 ? "end" : "middle";
      draw(svg, "text", { x: anchor === "start" ? x - 3 : anchor === "end" ? this.width - 8 : x, y: AXIS - 11, "text-anchor": anchor }, instant(at, step, this.end >= 120e9));
    }
  }

  /** What clients felt, across everything that may be its cause. */
  drawBands(plot, scale) {
    for (const span of this.lanes.flatMap((lane) => lane.spans).filter((span) => span.kind === "outage" && scale.sees(span.from_ns, span.to_ns))) {
      const [x, width] = scale.extent(span.from_ns, span.to_ns);
      draw(plot, "rect", { class: "band", x, width, y: AXIS - 4, height: this.high - AXIS - 6 });
      for (const edge of [x, x + width]) draw(plot, "line", { class: "band-edge", x1: edge, x2: edge, y1: AXIS - 4, y2: this.high - 10 });
    }
  }

  drawViolations(plot, scale) {
    const marks = this.lanes.flatMap((lane) => lane.marks).filter((mark) => mark.kind === "violation");
    for (const mark of marks) {
      const x = scale.x(mark.at_ns);
      draw(plot, "line", { class: "violation-line", x1: x, x2: x, y1: AXIS - 4, y2: this.high - 10 });
      const name = (mark.text.match(/^[PR]\d+/) || ["!"])[0];
      const middle = x > this.width - 60 ? Math.min(x, this.width - 20) : x;
      draw(plot, "rect", { class: "flag", x: middle - 13, y: AXIS - 6, width: 26, height: 15, rx: 3 });
      draw(plot, "text", { class: "on-flag", x: middle, y: AXIS + 5.5 }, name);
    }
  }

  /** Which part of the whole is seen. */
  drawThumb(svg) {
    if (this.from <= 0 && this.to >= this.end) return;
    const [left, width] = [this.left, this.width - this.left - 14];
    draw(svg, "rect", { class: "track", x: left, width, y: this.high - 7, height: 3, rx: 1.5 });
    const size = Math.max(6, (width * (this.to - this.from)) / this.end);
    draw(svg, "rect", { class: "thumb", x: left + (width * this.from) / this.end, width: size, y: this.high - 7, height: 3, rx: 1.5 });
  }

  // ---- moving ------------------------------------------------------------------------------------------------------------

  show(from, to) {
    const length = Math.min(this.end, Math.max(VIEW_MIN, to - from));
    this.from = Math.max(0, Math.min(this.end - length, from));
    this.to = this.from + length;
    this.hide();
    this.render();
  }

  zoom(factor, around = (this.from + this.to) / 2) {
    this.show(around - (around - this.from) * factor, around + (this.to - around) * factor);
  }

  move(share) {
    const by = (this.to - this.from) * share;
    this.show(this.from + by, this.to + by);
  }

  listen() {
    const plot = this.plot;
    plot.addEventListener("keydown", (event) => this.key(event));
    plot.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    plot.addEventListener("dblclick", (event) => this.zoom(0.4, this.at(this.x(event))));
    this.pointers = new Map();
    plot.addEventListener("pointerdown", (event) => {
      this.pointers.set(event.pointerId, this.x(event));
      this.grab();
      if (event.pointerType !== "mouse") this.hover(event);
    });
    plot.addEventListener("pointermove", (event) => this.pointer(event));
    for (const name of ["pointerup", "pointercancel", "pointerleave"]) {
      plot.addEventListener(name, (event) => {
        this.pointers.delete(event.pointerId);
        this.grab();
        plot.classList.remove("dragging");
        if (name === "pointerleave" && event.pointerType === "mouse") this.hide();
      });
    }
    plot.addEventListener("blur", () => this.hide());
  }

  x(event) {
    return event.clientX - this.plot.getBoundingClientRect().left;
  }

  /** Times under the fingers; they stay under them. */
  grab() {
    this.held = [...this.pointers.values()].map((x) => [x, this.at(x)]);
  }

  pointer(event) {
    if (!this.pointers.has(event.pointerId)) return this.hover(event);
    this.pointers.set(event.pointerId, this.x(event));
    const xs = [...this.pointers.values()];
    if (this.held.length === 2 && xs.length === 2) {
      const [a, b] = [this.held[0][1], this.held[1][1]];
      const per = (b - a) / (xs[1] - xs[0] || 1);
      if (per > 0) this.show(a - (xs[0] - this.left) * per, a + (this.width - 14 - xs[0]) * per);
    } else if (this.held.length === 1 && Math.abs(xs[0] - this.held[0][0]) > 4) {
      this.plot.classList.add("dragging");
      const by = this.held[0][1] - this.at(xs[0]);
      this.show(this.from + by, this.to + by);
      if (event.pointerType === "mouse") this.plot.setPointerCapture(event.pointerId);
    }
  }

  /** Zooms with Ctrl, or when the timeline was clicked; otherwise the page scrolls as it should. */
  wheel(event) {
    const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY);
    const ours = event.ctrlKey || event.metaKey || document.activeElement === this.plot;
    if (!sideways && !ours) return;
    event.preventDefault();
    if (sideways) this.move(event.deltaX / this.width);
    else this.zoom(Math.exp(Math.max(-1, Math.min(1, event.deltaY / 300))), this.at(this.x(event)));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const acts = {
      "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2), "−": () => this.zoom(2), "0": () => this.show(0, this.end),
      ArrowLeft: () => this.move(-0.2), ArrowRight: () => this.move(0.2), Home: () => this.show(0, this.to - this.from),
      End: () => this.show(this.end - (this.to - this.from), this.end), n: () => this.walk(1), p: () => this.walk(-1), Escape: () => this.hide(),
    };
    const act = acts[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  walk(by) {
    if (!this.stops.length) return;
    const last = this.stop ?? (by > 0 ? -1 : this.stops.length);
    this.stop = Math.max(0, Math.min(this.stops.length - 1, last + by));
    const stop = this.stops[this.stop];
    if (stop.at < this.from || stop.at > this.to) this.show(stop.at - (this.to - this.from) / 2, stop.at + (this.to - this.from) / 2);
    const x = this.scale().x(stop.at);
    this.point(x, this.tops[this.lanes.indexOf(stop.lane)], stop.lane, stop.at);
    this.said.textContent = `${instant(stop.at)}, ${stop.lane.name}: ${stop.text}`;
  }

  // ---- what is there -----------------------------------------------------------------------------------------------------

  hover(event) {
    const box = this.plot.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const at = this.at(x);
    const index = this.tops.findLastIndex((top) => y >= top - 10);
    if (index < 0 || at < this.from || at > this.to) return this.hide();
    this.point(x, this.tops[index], this.lanes[index], at);
  }

  point(x, top, lane, at) {
    const reach = ((this.to - this.from) / this.width) * 9;
    const spans = lane.spans.filter((span) => span.from_ns <= at && at < span.to_ns);
    const marks = lane.marks.filter((mark) => Math.abs(mark.at_ns - at) <= reach).sort((a, b) => a.at_ns - b.at_ns);
    this.cursor.setAttribute("x1", x);
    this.cursor.setAttribute("x2", x);
    this.cursor.setAttribute("visibility", "visible");
    const line = (...parts) => make("div", {}, ...parts);
    const lines = [line(make("b", {}, lane.name), make("span", { class: "when" }, `  ${this.instant(at)}`)), ...spans.map((span) => line(spanText(span)))];
    marks.slice(0, 8).forEach((mark) => lines.push(line(make("span", { class: "when" }, `${instant(mark.at_ns, 1e6, this.end >= 120e9)}  `), make("b", {}, markText(mark)))));
    if (marks.length > 8) lines.push(line(`and ${marks.length - 8} more`));
    if (lines.length === 1) lines.push(line(lane.kind === "clients" ? "writes are answered" : lane.kind === "node" ? "no role" : "nothing"));
    this.tip.replaceChildren(...lines);
    this.tip.hidden = false;
    const free = this.plot.clientWidth - this.tip.offsetWidth - 8;
    const beside = x + 14 + this.tip.offsetWidth < this.plot.clientWidth - 8 ? x + 14 : x - 14 - this.tip.offsetWidth;
    this.tip.style.left = `${Math.max(8, Math.min(free, beside))}px`;
    this.tip.style.top = `${Math.max(4, Math.min(this.high - this.tip.offsetHeight - 4, top + 4))}px`;
  }

  hide() {
    this.tip.hidden = true;
    this.cursor?.setAttribute("visibility", "hidden");
  }
}

const SPANS = { role: "", lease: "", "in-sync": "", resync: "resyncing", down: "off", paused: "paused", cut: "", disk: "disk", outage: "no write answered", waiting: "clients wait" };

function spanText(span) {
  const name = SPANS[span.kind] ?? span.kind;
  const says = span.text && span.text.toLowerCase().includes(name.split(" ")[0]);
  const text = says || !name ? span.text || span.kind : span.text && span.text !== name ? `${name}: ${span.text}` : name;
  return `${text} (${duration(span.to_ns - span.from_ns)})`;
}

/** Steps that people count in: 1, 2, 5, then minutes and hours. */
function tick(wanted) {
  const fine = [1, 2, 5, 10, 20, 50, 100, 200, 500].map((ms) => ms * 1e6);
  const seconds = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400].map((s) => s * 1e9);
  return [...fine, ...seconds].find((step) => step >= wanted) || Math.ceil(wanted / 86400e9) * 86400e9;
}
