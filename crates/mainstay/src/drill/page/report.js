// Everything around the timeline.

function sign(held) {
  const svg = draw(make("span"), "svg", { class: "sign", viewBox: "0 0 18 18", "aria-hidden": "true" });
  draw(svg, "circle", { cx: 9, cy: 9, r: 7.4 });
  draw(svg, "path", { d: held ? "M5.6 9.3 8 11.7 12.5 6.7" : "M9 4.8v5M9 12.9v.1" });
  return svg;
}

const verdictWord = (held) => make("span", { class: `verdict ${held ? "held" : "violated"}` }, sign(held), held ? " held" : " violated");
const held = (drill) => drill.verdicts.every((verdict) => verdict.held);
const title = (drill) => `${drill.id} ${drill.name}`.trim();

function seedsText(drill) {
  const numbers = drill.seeds.map((seed) => seed.seed);
  if (!numbers.length) return "no seed";
  return numbers.length === 1 ? `seed ${numbers[0]}` : `${plural(numbers.length, "seed")}, ${Math.min(...numbers)} to ${Math.max(...numbers)}`;
}

function head(main, report) {
  const { meta, drills } = report;
  const bad = drills.filter((drill) => !held(drill));
  const runs = drills.reduce((sum, drill) => sum + drill.seeds.length, 0);
  add(main, "p", { class: "eyebrow" }, meta.cluster ? `Drill of cluster ${meta.cluster}` : "Mainstay drill");
  add(main, "h1", {}, drills.length === 1 ? title(drills[0]) : `${plural(drills.length, "scenario")}, ${plural(runs, "run")}`);
  const words = !bad.length
    ? "Every property held."
    : drills.length > 1
      ? `${bad.length === 1 ? "One scenario is" : `${bad.length} scenarios are`} violated: ${bad.map(title).join(", ")}.`
      : `${bad[0].verdicts.filter((verdict) => !verdict.held).map((verdict) => verdict.property).join(" and ")} ${bad[0].verdicts.filter((verdict) => !verdict.held).length === 1 ? "is" : "are"} violated.`;
  add(main, "p", { class: `lead ${bad.length ? "violated" : "held"}` }, sign(!bad.length), make("span", {}, words));
  const facts = [meta.started.replace(/(\d)T(\d)/, "$1 $2").replace(/Z$/, " UTC"), `took ${duration(meta.took_ms * 1e6)}`, meta.program];
  if (drills.length === 1) facts.unshift(seedsText(drills[0]));
  if (meta.status === "interrupted") facts.unshift("interrupted: what had been run by then");
  if (meta.sizing.length) facts.push(meta.sizing.map(([flag, value]) => `${flag.slice(2)} ${value}`).join(", "));
  add(main, "p", { class: "meta" }, ...facts.map((fact) => make("span", {}, fact)));
}

function overview(main, drills, choose) {
  const columns = [["Scenario"], ["Verdict"], ["Writes unanswered", 1], ["Not redundant", 1], ["Moved", 1], ["In sync after", 1], ["Role changes", 1]];
  const table = add(add(main, "div", { class: "overview scroll" }), "table", { class: "stack" });
  add(add(table, "thead"), "tr", {}, ...columns.map(([name, right]) => make("th", { class: right ? "number" : null, scope: "col" }, name)));
  const body = add(table, "tbody");
  drills.forEach((drill, index) => {
    const n = drill.numbers;
    const number = (name, text) => make("td", { class: "number", "data-name": name }, text);
    const name = make("td", {}, drill.id ? make("span", { class: "id" }, drill.id) : null, make("button", { type: "button" }, drill.name));
    add(body, "tr", { id: `row${index}`, onclick: () => choose(index) }, name, make("td", {}, verdictWord(held(drill))),
      number("unanswered", duration(n.outage_ns)), number("not redundant", duration(n.without_redundancy_ns)), number("moved", bytes(n.bytes_moved)),
      number("in sync after", duration(n.in_sync_after_ns)), number("role changes", count(n.role_changes)));
  });
}

function figures(drill) {
  const n = drill.numbers;
  const list = make("dl", { class: "figures" });
  const figure = (name, value, more, bad) => add(list, "div", { class: bad ? "bad" : null }, make("dt", {}, name), make("dd", {}, value, more ? make("small", {}, more) : null));
  figure("Writes unanswered", duration(n.outage_ns), "longest stretch");
  figure("Reads unanswered", duration(n.read_outage_ns), "longest stretch");
  figure("Without redundancy", duration(n.without_redundancy_ns), "one copy only");
  figure("Bytes moved", bytes(n.bytes_moved), n.bytes_changed ? `${bytes(n.bytes_changed)} had changed` : "between the nodes");
  figure("Back in sync", n.in_sync_after_ns ? duration(n.in_sync_after_ns) : "–", "after the last return");
  figure("Role changes", count(n.role_changes), plural(n.promotions, "promotion"));
  figure("Operations", count(n.operations), n.client_errors ? `${count(n.client_errors)} given up` : "none given up");
  figure("Simulated", duration(n.simulated_ns), plural(n.alerts, "alert"));
  return list;
}

function why(section, drill) {
  for (const verdict of drill.verdicts.filter((verdict) => !verdict.held)) {
    const where = verdict.seed == null ? "" : ` at ${instant(verdict.at_ns)} of seed ${verdict.seed}`;
    const box = add(section, "div", { class: "why" }, make("b", {}, `${verdict.property} is violated${where}. `), `It demands: ${verdict.meaning}. `);
    const found = verdict.findings ?? [];
    if (found.length) findings(box, found);
    else add(box, "span", { class: "found" }, sentence(verdict.text));
  }
  const rules = [...new Set(drill.verdicts.flatMap((verdict) => verdict.findings ?? []).map((found) => found.rule).filter(Boolean))];
  rules.sort((a, b) => a.slice(1) - b.slice(1));
  if (rules.length) add(section, "p", { class: "why" }, make("b", {}, `${rules.length === 1 ? "Rule that was" : "Rules that were"} broken: ${rules.join(", ")}.`));
}

/** Rule by rule. */
function findings(section, found) {
  const list = add(section, "ul", { class: "findings" });
  for (const one of found) {
    const again = one.times > 1 ? ` ${count(one.times)} times.` : "";
    add(list, "li", {}, one.rule ? make("b", {}, `${one.rule}: `) : null, `${sentence(one.text)}${again}`);
  }
}

const sentence = (text) => (text ? text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".") : "");

function verdicts(section, drill) {
  add(section, "h3", {}, "Verdicts");
  const table = add(add(section, "div", { class: "scroll" }), "table", { class: "stack verdicts" });
  add(add(table, "thead"), "tr", {}, ...["Property", "Demands that", "Verdict", "Seeds"].map((name, index) => make("th", { scope: "col", class: index === 3 ? "number" : null }, name)));
  const body = add(table, "tbody");
  for (const verdict of drill.verdicts) {
    const all = drill.seeds.length;
    const seeds = verdict.held ? `all ${all}` : `violated in ${verdict.violated_in} of ${all}`;
    add(body, "tr", {}, make("td", {}, verdict.property), make("td", { class: "why-cell" }, verdict.meaning), make("td", {}, verdictWord(verdict.held)), make("td", { class: "number", "data-name": "seeds:" }, seeds));
  }
}

function command(section, name, text) {
  add(section, "h3", {}, name);
  const copy = make("button", { type: "button", class: "copy", onclick: () => copyText(text, copy) }, "Copy");
  add(section, "div", { class: "command" }, make("code", {}, text), copy);
}

async function copyText(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    // Pages from a file may not write to the clipboard everywhere: then the text is selected.
    getSelection().selectAllChildren(button.previousElementSibling);
    button.textContent = "Selected";
  }
  setTimeout(() => (button.textContent = "Copy"), 1600);
}

/** More rows than this help nobody, and stop a phone. */
const ROWS_MAX = 2000;

function events(section, timeline) {
  const rows = timeline.lanes.flatMap((lane) => lane.marks.map((mark) => [mark.at_ns, lane.name, markText(mark)]));
  const spans = timeline.lanes.flatMap((lane) =>
    lane.spans.filter((span) => !["lease", "in-sync", "waiting"].includes(span.kind)).map((span) => [span.from_ns, lane.name, spanText(span)]),
  );
  const all = [...rows, ...spans].sort((a, b) => a[0] - b[0]);
  if (!all.length) return;
  const details = add(section, "details", {}, make("summary", {}, `${all.length > ROWS_MAX ? `The first ${count(ROWS_MAX)} of ` : ""}${plural(all.length, "event")} as a table`));
  const table = add(add(details, "div", { class: "scroll tall", tabindex: 0 }), "table");
  add(add(table, "thead"), "tr", {}, make("th", { class: "number", scope: "col" }, "Time"), make("th", { scope: "col" }, "Lane"), make("th", { scope: "col" }, "Event"));
  const body = add(table, "tbody");
  // Built when it is opened: a long run has thousands.
  details.addEventListener("toggle", () => {
    if (!body.childElementCount) all.slice(0, ROWS_MAX).forEach(([at, lane, text]) => add(body, "tr", {}, make("td", { class: "number" }, instant(at, 1e6, timeline.end_ns >= 120e9)), make("td", {}, lane), make("td", { class: "why-cell" }, text)));
  });
}

function seeds(section, drill) {
  const details = add(section, "details", {}, make("summary", {}, `${plural(drill.seeds.length, "seed")} with trace hashes`));
  const table = add(add(details, "div", { class: "scroll tall", tabindex: 0 }), "table");
  add(add(table, "thead"), "tr", {}, make("th", { class: "number", scope: "col" }, "Seed"), make("th", { scope: "col" }, "Verdict"), make("th", { scope: "col" }, "Trace hash"));
  const body = add(table, "tbody");
  for (const seed of drill.seeds) add(body, "tr", {}, make("td", { class: "number" }, String(seed.seed)), make("td", {}, verdictWord(seed.held)), make("td", {}, make("code", {}, seed.trace_hash)));
}

function section(main, report, drill) {
  const box = add(main, "section", { class: "drill", "aria-label": title(drill) });
  if (report.drills.length > 1) {
    add(box, "div", { class: "drill-head" }, make("h2", {}, title(drill)), verdictWord(held(drill)));
    add(box, "p", { class: "meta" }, seedsText(drill));
  }
  add(box, "p", { class: "story" }, drill.story);
  why(box, drill);
  box.append(figures(drill));
  const several = drill.seeds.length > 1;
  if (several) add(box, "p", { class: "meta" }, `Each figure is the worst of all seeds; the timeline is seed ${drill.shown_seed}'s${held(drill) ? "" : ", the first that was violated"}.`);
  if (drill.timeline) {
    new Timeline(box, drill.timeline);
    events(box, drill.timeline);
  }
  verdicts(box, drill);
  refusals(box, drill);
  command(box, "See this run again", drill.replay);
  seeds(box, drill);
  if (drill.unchecked) add(box, "p", { class: "meta" }, `Not checked yet: ${drill.unchecked}`);
  return box;
}

function refusals(section, drill) {
  const list = Object.entries(drill.numbers.refusals || {});
  if (!list.length && !drill.rules.length) return;
  add(section, "h3", {}, "Rules");
  const about = drill.rules.length ? `This scenario is about ${drill.rules.join(", ")}. ` : "";
  const refused = list.length ? `Refused on the way: ${list.map(([rule, times]) => `${rule} ${plural(times, "time")}`).join(", ")}.` : "";
  add(section, "p", { class: "story" }, about + refused);
}
