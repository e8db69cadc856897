//! Findings as a person reads them at night: one after the other, the same five headings each time, the command on a line of its own.

use super::{Choice, Finding, START};

/// Wraps at this column.
const WIDTH: usize = 110;

/// `meant`: what is not as ever, on purpose. The last line says that it only looks: nobody should fear to run it.
pub fn render(findings: &[Finding], meant: &[String]) -> String {
    let mut text: String = meant.iter().map(|line| wrapped("meant: ", line)).collect();
    match (findings.is_empty(), meant.is_empty()) {
        (true, true) => return "nothing to recover: every volume is served, every copy is in sync, nobody is awaited\n".into(),
        (true, false) => return text + "nothing else to recover: every volume is served\n",
        (false, true) => {}
        (false, false) => text.push('\n'),
    }
    for (number, finding) in findings.iter().enumerate() {
        text += &format!("{}. {}   [{}]\n", number + 1, finding.title, finding.state);
        text += &section("known", &finding.known);
        text += &section("NOT KNOWN", &finding.unknown);
        for (index, choice) in finding.choices.iter().enumerate() {
            text += &choice_text(index, choice);
        }
        text += &section("not in this version", &finding.not_offered);
        text += &section("DO NOT", &finding.do_not);
        text += "\n";
    }
    if findings.iter().flat_map(|finding| &finding.choices).any(|choice| choice.command == START) {
        text += "`mainstay node` stands for how that machine starts the service; it reads /etc/mainstay/node.toml unless --config or $MAINSTAY_CONFIG says otherwise.\n";
    }
    text + "`recover` only looks: it has changed nothing. docs/OPERATIONS.md has a page for each name in [brackets].\n"
}

fn section(head: &str, lines: &[String]) -> String {
    lines.iter().map(|line| wrapped(&format!("   {head}: "), line)).collect()
}

fn choice_text(index: usize, choice: &Choice) -> String {
    let letter = char::from(b'a' + u8::try_from(index.min(25)).unwrap_or(25));
    let mut text = wrapped(&format!("   {letter}) "), &choice.what);
    text += &wrapped("      loses: ", &choice.loss);
    let on = choice.on.as_ref().map_or_else(String::new, |node| format!("   (on {node})"));
    text + &format!("      $ {}{on}\n", choice.command)
}

/// Lines below the first are indented as far as the head is long.
fn wrapped(head: &str, line: &str) -> String {
    let indent = " ".repeat(head.chars().count());
    let (mut text, mut column) = (head.to_string(), head.chars().count());
    for (number, word) in line.split_whitespace().enumerate() {
        let len = word.chars().count();
        if number > 0 && column + 1 + len > WIDTH {
            text += &format!("\n{indent}");
            column = indent.len();
        } else if number > 0 {
            text.push(' ');
            column += 1;
        }
        text += word;
        column += len;
    }
    text + "\n"
}
