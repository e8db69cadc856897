//! Wrong files: where the mistake is, what was expected, and what would help.

use crate::script::parse;

/// Text after the first line, line and column, part of the message, part of the hint.
type Case = (&'static str, (u32, u32), &'static str, &'static str);

const CASES: &[Case] = &[
    ("at 5s\n  crash c", (3, 9), "expected a node (`a`, `b`, `w`) or `primary`, found `c`", "let victim = a | b"),
    ("at 5s\n  crahs b", (3, 3), "expected an action, found `crahs`", "did you mean `crash`?"),
    ("at 5s\n  frobnicate", (3, 3), "expected an action, found `frobnicate`", "docs/SCENARIO-FORMAT.md"),
    ("at 5s\n  cut a", (3, 8), "expected a node (`a`, `b`, `w`) or `->`, found the end of the line", ""),
    ("at 5s\n  cut a b c", (3, 11), "expected the end of the line, found `c`", ""),
    ("at 5s\n  rot w", (3, 7), "expected a file server (`a`, `b`), found `w`", "the witness has no copy"),
    ("at 5s\n  let any = a | w\n  rot any", (4, 7), "expected a file server", "the witness has no copy"),
    ("at 5s\n  let victim = a | b\n  crash victin", (4, 9), "found `victin`", "did you mean `victim`?"),
    ("at 5s\n  let a = b", (3, 7), "`a` has another meaning", ""),
    ("at 5s\n  crash other of b", (3, 9), "`other of` is for names that `let` gives", ""),
    ("at 5: heal", (2, 4), "a unit is missing: one of h, min, s, ms, us, ns", ""),
    ("at 5sec: heal", (2, 4), "`sec` is not a unit here", ""),
    ("at 9s..5s: heal", (2, 4), "the range ends before it begins", ""),
    ("at 0s..5s log: heal", (2, 4), "must begin above zero", ""),
    ("at 5s", (2, 6), "nothing happens here", "after a colon, or indented"),
    ("at away: heal", (2, 4), "no moment is called `away` here", "at 5s as away"),
    ("at 5s as away: heal\nat awya + 1s: heal", (3, 4), "no moment is called `awya`", "did you mean `away`?"),
    ("at 5s as away: heal\nat 9s - away: heal", (3, 9), "expected a time to take away", ""),
    ("at 5s as repeat: heal", (2, 10), "`repeat` has another meaning", ""),
    (
        "maybe 30%\n  at 5s as inside: heal\nat inside: heal",
        (4, 4),
        "no moment is called `inside` here",
        "known only in that block",
    ),
    ("heal", (2, 1), "expected a setting, found `heal`", "an action needs its time"),
    ("at 5s\n  soft 10%", (3, 3), "expected an action, found `soft`", "a setting stands at the beginning"),
    ("soft 101%", (2, 6), "`101%` is outside of 0% to 100%", ""),
    ("lease 10ms", (2, 7), "`10ms` is outside of 100ms to 1min", ""),
    ("clients many", (2, 9), "expected a number, found `many`", ""),
    ("clients 3s", (2, 9), "a number without a unit", ""),
    ("expect the best", (2, 8), "expected a demand, found `the`", ""),
    ("expect answered within", (2, 23), "expected a time such as `500ms`", ""),
    ("approve sometimes", (2, 9), "expected `nobody`, `after`, `erratic`, `late` or `opposite`, found `sometimes`", ""),
    ("at 5s\n    heal\n  heal", (4, 3), "this indentation belongs to no block", "begin it where the other lines"),
    ("at 5s\n\theal", (3, 1), "a tab", "spaces"),
    ("at 5s: heal\n  heal\n    heal", (4, 5), "nothing can be indented below this line", "blocks follow `at`"),
    ("at 5s\n  link a b fast", (3, 12), "expected `good`, `delay`, `jitter`, `loss`", ""),
    ("at 5s\n  link a b loss 3", (3, 17), "a unit is missing: one of %, ppm", ""),
    ("at 5s\n  link a b loss 200%", (3, 17), "`200%` is outside of 0% to 100%", ""),
    ("at 5s\n  clock a drift 5%", (3, 17), "`5%` is outside of -2% to 2%", ""),
    ("at 5s\n  note hello", (3, 8), "expected text in quotation marks", ""),
    ("at 5s\n  note \"hello", (3, 8), "this quotation mark is never closed", ""),
    ("at 5s ? heal", (2, 7), "`?` has no meaning here", ""),
    ("one of soft 1%", (2, 8), "a choice needs two alternatives", "with `|` between them"),
    ("one in\n  soft 1%", (2, 5), "expected `of`, found `in`", ""),
    ("maybe: soft 1%", (2, 6), "expected a percentage such as `40%`", ""),
    ("maybe 1%..5%: soft 1%", (2, 1), "a chance is one percentage, not a range", ""),
    ("otherwise: soft 1%", (2, 1), "`otherwise` must follow a `maybe`", ""),
    ("repeat: heal", (2, 7), "this repeat would never end", "at least 1ms"),
    ("repeat every 0s..5s: heal", (2, 8), "this repeat would never end", ""),
    ("repeat 5 every 5s: heal", (2, 10), "expected `times`, found `every`", ""),
    ("repeat hourly: heal", (2, 8), "expected `N times`, `from`, `until`, `every` or `pause`", ""),
    ("variant x: soft 1%\nvariant x: soft 2%", (3, 9), "there is a variant `x` already", ""),
    ("maybe 5%\n  variant x: soft 1%", (3, 3), "a variant must not be inside", ""),
    ("checks P1 P10", (2, 11), "expected P1 to P9, found `P10`", ""),
    ("rules R0", (2, 7), "expected R1 to R15, found `R0`", ""),
    ("scenario again", (2, 1), "this was said before", ""),
    ("story", (2, 1), "this says nothing", ""),
    ("at 400000h: heal", (2, 4), "is outside of", ""),
];

#[test]
fn a_mistake_is_shown_where_it_is() {
    let check = |(text, at, message, hint): &Case| match parse("my.scenario", &format!("scenario wrong\n{text}\n")) {
        Ok(_) => Some(format!("accepted: {text}")),
        Err(error) => {
            let right = (error.line, error.column) == *at && error.message.contains(message);
            let hinted = error.hint.clone().unwrap_or_default().contains(hint);
            (!right || !hinted).then(|| format!("{error}\nand not at {at:?}: {message}; {hint}"))
        }
    };
    let wrong: Vec<String> = CASES.iter().filter_map(check).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn an_error_reads_well() {
    let error = parse("my.scenario", "scenario x\nat 5s\n  crahs b\n").unwrap_err();
    let expected =
        "my.scenario:3:3: expected an action, found `crahs`\n     3 |   crahs b\n       |   ^\n       hint: did you mean `crash`?";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn files_that_are_no_scenarios_are_refused() {
    for text in [
        "",
        "\n\n# nothing\n",
        "crash b\n",
        "scenario\n",
        "scenario a b c\n",
        " scenario x\n",
        "\u{feff}scenario x\n",
        "scenario \"x\"\n",
    ] {
        assert!(parse("my.scenario", text).is_err(), "{text:?}");
    }
    assert!(parse("my.scenario", &"#".repeat(300 << 10)).unwrap_err().message.contains("larger than"));
    let deep: String = (0..100).map(|depth| format!("{}maybe 50%\n", "  ".repeat(depth))).collect();
    assert!(parse("my.scenario", &format!("scenario x\n{deep}")).unwrap_err().message.contains("blocks inside each other"));
}

/// Whatever is typed: an error or a scenario, never a panic.
#[test]
fn mutilated_files_never_panic() {
    let mut rng = crate::rng::Rng::new(5);
    let whole = include_str!("../../../scenarios/S01-the-incident.scenario");
    for _ in 0..3_000 {
        let mut characters: Vec<char> = whole.chars().collect();
        for _ in 0..rng.range(1, 8) {
            let at = rng.below(characters.len() as u64) as usize;
            match rng.below(4) {
                0 => _ = characters.remove(at),
                1 => characters.insert(at, *rng.pick(&['9', ' ', '\n', '|', '.', '-', 'é', '"', ':', '%'])),
                2 => characters.truncate(at.max(20)),
                _ => characters[at] = *rng.pick(&['\n', ' ', 'a', '0']),
            }
        }
        let text: String = characters.into_iter().collect();
        if let Ok(script) = parse("mutilated", &text) {
            script.plan(&mut rng);
        }
    }
}
