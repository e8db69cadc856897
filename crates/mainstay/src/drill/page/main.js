// Puts the page together. `dataset.ready` tells a test that all of it worked.

function main() {
  const report = JSON.parse(document.getElementById("data").textContent);
  const main = document.getElementById("report");
  const { drills, meta } = report;
  head(main, report);
  let shown = null;
  const choose = (index, go = true) => {
    const old = shown;
    shown = make("div");
    // In the document first: widths are known only there.
    old ? old.replaceWith(shown) : main.append(shown);
    section(shown, report, drills[index]);
    document.querySelectorAll(".overview tr[aria-current]").forEach((row) => row.removeAttribute("aria-current"));
    document.getElementById(`row${index}`)?.setAttribute("aria-current", "true");
    if (go) {
      history.replaceState(null, "", `#${encodeURIComponent(drills[index].name)}`);
      shown.scrollIntoView({ block: "start" });
    }
  };
  if (drills.length > 1) overview(main, drills, choose);
  const asked = decodeURIComponent(location.hash.slice(1));
  const named = drills.findIndex((drill) => drill.name === asked);
  const first = named >= 0 ? named : Math.max(0, drills.findIndex((drill) => !held(drill)));
  if (drills.length) choose(first, false);
  else add(main, "p", { class: "story" }, "Nothing was run.");
  if (meta.notes.length) {
    add(main, "h3", {}, "Notes");
    add(main, "ul", { class: "notes" }, ...meta.notes.map((note) => make("li", {}, note)));
  }
  add(main, "footer", {}, "Made by ", make("code", {}, meta.command), ". One file: it needs no network and can be sent as it is.");
  document.body.dataset.ready = "true";
}
