//! The demo's unattended plays, as a newcomer runs them: each judges itself and exits 0 only when its verdict is good.

use std::process::Command;

fn play(story: &str, more: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_mainstay")).args(["demo", "--play", story]).args(more).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{story}:\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("verdict: good") && text.contains("compared byte by byte"), "{text}");
}

/// One after the other: they use the same addresses.
#[test]
fn every_play_ends_well() {
    play("failover", &[]);
    play("incident", &[]);
    play("kills", &["--cycles", "6"]);
    play("switchover", &["--cycles", "8"]);
}
