//! Transcripts of whole cluster lives, in `transcripts/*.txt`: read them to learn what the cluster does.

mod runner;

use runner::Runner;
use std::fs;
use std::path::Path;

#[test]
fn transcripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let update = std::env::var_os("UPDATE").is_some();
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 18, "transcripts are missing from {}", folder.display());
    for file in files {
        let expected = fs::read_to_string(&file).unwrap();
        let found = Runner::run(&expected);
        if update {
            fs::write(&file, &found).unwrap();
        } else if let Some((line, (a, b))) = expected.lines().zip(found.lines()).enumerate().find(|(_, (a, b))| a != b) {
            panic!("{}:{}\n  expected: {a}\n     found: {b}", file.display(), line + 1);
        } else {
            assert_eq!(expected.lines().count(), found.lines().count(), "{}", file.display());
        }
    }
}
