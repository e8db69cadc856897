//! The report as one page that needs nothing else: no network, no other file.

use super::report::Report;

const TEMPLATE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPTS: [&str; 5] = [
    include_str!("page/words.js"),
    include_str!("page/lanes.js"),
    include_str!("page/timeline.js"),
    include_str!("page/report.js"),
    include_str!("page/main.js"),
];

/// The page of a report.
pub fn page(report: &Report) -> String {
    // Plain data with text keys: encoding it cannot fail.
    let data = serde_json::to_string(report).unwrap_or_default();
    let names: Vec<String> = report.drills.iter().map(|drill| drill.title()).collect();
    let title = match names.as_slice() {
        [one] => one.clone(),
        many => format!("{} scenarios", many.len()),
    };
    fill(&title, &data)
}

/// `data`: a [`Report`] as JSON.
pub fn fill(title: &str, data: &str) -> String {
    // The data last: whatever it holds, it is not searched for our own places.
    let parts =
        [("{{title}}", text(title)), ("{{style}}", STYLE.into()), ("{{script}}", SCRIPTS.concat()), ("{{data}}", inert(data))];
    parts.into_iter().fold(TEMPLATE.to_string(), |page, (place, with)| page.replacen(place, &with, 1))
}

/// As text between tags.
fn text(raw: &str) -> String {
    raw.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// JSON in which no tag can begin, so that no name can end the element that holds it.
fn inert(json: &str) -> String {
    json.replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}
