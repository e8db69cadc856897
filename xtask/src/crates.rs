//! Which crate may list which: dependencies point one way only (docs/ARCHITECTURE.md).

use crate::Problems;
use std::collections::BTreeSet;
use std::path::Path;

/// A crate, the project's crates that it may list, and, for the core, the libraries. `None`: any library.
struct Row {
    name: &'static str,
    ours: &'static [&'static str],
    libraries: Option<&'static [&'static str]>,
}

const CORE: &[&str] = &["protocol", "cluster", "volume", "replica", "nfs"];
const ALL: &[&str] = &["protocol", "cluster", "volume", "replica", "nfs", "coordination", "simulator", "node"];

const ROWS: &[Row] = &[
    Row { name: "protocol", ours: &[], libraries: Some(&["bytes", "crc-fast", "postcard", "serde", "thiserror", "xxhash-rust"]) },
    Row { name: "cluster", ours: &["protocol"], libraries: Some(&["postcard", "serde", "serde_json", "sha2", "thiserror"]) },
    Row {
        name: "volume",
        ours: &["protocol"],
        libraries: Some(&["bytes", "postcard", "redb", "rustix", "serde", "thiserror", "xxhash-rust", "siphasher"]),
    },
    Row { name: "replica", ours: &["cluster", "volume", "protocol"], libraries: Some(&["bytes", "serde"]) },
    Row { name: "nfs", ours: &["protocol"], libraries: Some(&["bytes", "siphasher", "thiserror", "xxhash-rust", "crc-fast"]) },
    Row { name: "coordination", ours: &["cluster", "protocol"], libraries: None },
    Row { name: "simulator", ours: &["protocol", "cluster", "volume", "replica", "nfs", "coordination"], libraries: None },
    Row { name: "node", ours: &["protocol", "cluster", "volume", "replica", "nfs", "coordination"], libraries: None },
    Row { name: "mainstay", ours: ALL, libraries: None },
];

/// Never in the core, whatever the row says.
const ASYNC: &[&str] = &["tokio", "futures", "async-std", "smol", "rand", "getrandom", "hyper", "openraft"];

pub fn check(root: &Path, problems: &mut Problems) {
    let found: BTreeSet<String> = std::fs::read_dir(root.join("crates"))
        .map(|entries| entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    let known: BTreeSet<String> = ROWS.iter().map(|row| row.name.to_string()).collect();
    for stranger in found.symmetric_difference(&known) {
        problems.add(format!("crates/{stranger}: in the tree or in xtask's table, not in both"));
    }
    ROWS.iter().for_each(|row| check_row(root, row, problems));
    found.iter().for_each(|name| check_planted_bugs(root, name, problems));
}

/// Features are united over a whole build: one dependency that switched the planted bugs on would put them into the daemon. They
/// may be asked for by a feature of the same name, and by tests.
fn check_planted_bugs(root: &Path, name: &str, problems: &mut Problems) {
    const FEATURE: &str = "planted-bugs";
    let text = std::fs::read_to_string(root.join("crates").join(name).join("Cargo.toml")).unwrap_or_default();
    let mut manifest: toml::Table = text.parse().unwrap_or_default();
    manifest.remove("dev-dependencies");
    if let Some(features) = manifest.get_mut("features").and_then(|features| features.as_table_mut()) {
        features.remove(FEATURE);
    }
    if manifest.to_string().contains(FEATURE) {
        problems.add(format!("crates/{name}: switches {FEATURE} on in builds that are shipped"));
    }
}

fn check_row(root: &Path, row: &Row, problems: &mut Problems) {
    let path = root.join("crates").join(row.name).join("Cargo.toml");
    let manifest: toml::Table = match std::fs::read_to_string(&path).map(|text| text.parse()) {
        Ok(Ok(manifest)) => manifest,
        _ => return problems.add(format!("{}: cannot be read", path.display())),
    };
    let names = |table: &str| -> Vec<String> {
        manifest.get(table).and_then(|table| table.as_table()).map(|table| table.keys().cloned().collect()).unwrap_or_default()
    };
    for name in names("dependencies") {
        match name.strip_prefix("mainstay-") {
            Some(ours) if !row.ours.contains(&ours) => {
                problems.add(format!("crates/{}: may not depend on {ours} (dependencies point one way)", row.name))
            }
            None if row.libraries.is_some_and(|allowed| !allowed.contains(&name.as_str())) => {
                problems.add(format!("crates/{}: library {name} is not in its row; add it there with a reason", row.name))
            }
            None if CORE.contains(&row.name) && ASYNC.contains(&name.as_str()) => {
                problems.add(format!("crates/{}: {name} has no place in the core", row.name))
            }
            _ => {}
        }
    }
}
