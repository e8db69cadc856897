//! `cluster.toml`: what a cluster should be like. Names decide; what the file does not mention is reported and left alone.

use crate::names::{AccessName, AloneName, PolicyName, SquashName, WithoutPrimaryName};
use mainstay_cluster::{ExportClient, ExportSettings, VolumeWish};
use mainstay_node::config::check_label;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use toml::Spanned;

/// Largest file that is read, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// As it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    cluster: Option<Spanned<String>>,
    #[serde(default)]
    nodes: BTreeMap<Spanned<String>, RawNode>,
    #[serde(default)]
    volumes: BTreeMap<Spanned<String>, RawVolume>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNode {
    #[serde(default)]
    kind: Kind,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    #[default]
    FileServer,
    Witness,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::FileServer => "file-server",
            Kind::Witness => "witness",
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawVolume {
    replicas: Spanned<Vec<Spanned<String>>>,
    policy: Option<PolicyName>,
    without_primary: Option<WithoutPrimaryName>,
    alone: Option<AloneName>,
    role_changes_max: Option<u32>,
    role_changes_window_minutes: Option<u32>,
    drill_days: Option<u32>,
    export: Option<Export>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    pub service_address: String,
    #[serde(default = "nfs_port")]
    pub port: u16,
    #[serde(default)]
    pub clients: Vec<Client>,
}

fn nfs_port() -> u16 {
    2049
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    pub network: String,
    #[serde(default = "read_write")]
    pub access: AccessName,
    #[serde(default = "squash_root")]
    pub squash: SquashName,
}

fn read_write() -> AccessName {
    AccessName::ReadWrite
}
fn squash_root() -> SquashName {
    SquashName::Root
}

impl Export {
    pub fn settings(&self) -> ExportSettings {
        let client = |client: &Client| ExportClient {
            network: client.network.clone(),
            access: client.access.into(),
            squash: client.squash.into(),
        };
        let clients = self.clients.iter().map(client).collect();
        ExportSettings { service_address: self.service_address.clone(), port: self.port, clients, ..ExportSettings::default() }
    }

    pub fn of(settings: &ExportSettings) -> Export {
        let client = |client: &ExportClient| Client {
            network: client.network.clone(),
            access: client.access.into(),
            squash: client.squash.into(),
        };
        let clients = settings.clients.iter().map(client).collect();
        Export { service_address: settings.service_address.clone(), port: settings.port, clients }
    }
}

/// What should be, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    pub cluster: Option<String>,
    pub nodes: BTreeMap<String, Kind>,
    pub volumes: BTreeMap<String, DesiredVolume>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredVolume {
    /// In the order of the file; the first is the first primary of a volume that is made.
    pub replicas: Vec<String>,
    pub wish: VolumeWish,
    pub export: Option<Export>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct FileError {
    file: String,
    line: usize,
    column: usize,
    message: String,
}

/// The text and its name, to say where something is.
struct Source<'a> {
    file: &'a str,
    text: &'a str,
}

impl Source<'_> {
    fn wrong(&self, span: Range<usize>, message: impl Into<String>) -> FileError {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        FileError { file: self.file.into(), line, column, message: message.into() }
    }
}

pub fn load(path: &Path) -> Result<Desired, String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(format!("{} is {bytes} bytes long: that is not a configuration file", path.display()));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    parse(&path.display().to_string(), &text).map_err(|error| error.to_string())
}

pub fn parse(file: &str, text: &str) -> Result<Desired, FileError> {
    let source = Source { file, text };
    let raw: Raw = toml::from_str(text).map_err(|error| source.wrong(error.span().unwrap_or(0..0), error.message().trim()))?;
    let nodes = nodes(&source, &raw)?;
    let mut volumes = BTreeMap::new();
    for (name, volume) in &raw.volumes {
        check_label("a volume's name", name.get_ref()).map_err(|message| source.wrong(name.span(), message))?;
        volumes.insert(name.get_ref().clone(), checked_volume(&source, &nodes, name.get_ref(), volume)?);
    }
    Ok(Desired { cluster: raw.cluster.map(Spanned::into_inner), nodes, volumes })
}

fn nodes(source: &Source, raw: &Raw) -> Result<BTreeMap<String, Kind>, FileError> {
    let mut nodes: BTreeMap<String, Kind> = BTreeMap::new();
    for (name, node) in &raw.nodes {
        let text = name.get_ref();
        check_label("a node's name", text).map_err(|message| source.wrong(name.span(), message))?;
        // Some systems compare names without case.
        if let Some(other) = nodes.keys().find(|other| other.eq_ignore_ascii_case(text)) {
            return Err(source.wrong(name.span(), format!("two nodes of one name: {other:?} and {text:?}")));
        }
        nodes.insert(text.clone(), node.kind);
    }
    if nodes.is_empty() {
        return Err(source.wrong(0..0, "the file names no nodes; `mainstay plan --export` writes what there is"));
    }
    Ok(nodes)
}

fn checked_volume(
    source: &Source,
    nodes: &BTreeMap<String, Kind>,
    name: &str,
    raw: &RawVolume,
) -> Result<DesiredVolume, FileError> {
    if raw.replicas.get_ref().is_empty() {
        return Err(source.wrong(raw.replicas.span(), format!("volume {name} would have no replica; nothing deletes a volume")));
    }
    let mut seen = BTreeSet::new();
    for replica in raw.replicas.get_ref() {
        let node = replica.get_ref();
        let wrong = |message: String| Err(source.wrong(replica.span(), message));
        match nodes.get(node) {
            None => return wrong(format!("volume {name} is to be on {node:?}, which is not among the nodes of this file")),
            Some(Kind::Witness) => return wrong(format!("{node} is a witness: it votes and holds no data (R12)")),
            Some(Kind::FileServer) if !seen.insert(node) => return wrong(format!("{node} is named twice")),
            Some(Kind::FileServer) => {}
        }
    }
    Ok(DesiredVolume {
        replicas: raw.replicas.get_ref().iter().map(|replica| replica.get_ref().clone()).collect(),
        wish: wish(raw),
        export: raw.export.clone(),
    })
}

fn wish(raw: &RawVolume) -> VolumeWish {
    VolumeWish {
        policy: raw.policy.map(Into::into),
        without_primary: raw.without_primary.map(Into::into),
        alone: raw.alone.map(Into::into),
        role_changes_max: raw.role_changes_max,
        role_changes_window_ms: raw.role_changes_window_minutes.map(|minutes| u64::from(minutes) * 60_000),
        drill_days: raw.drill_days,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_cluster::Policy;

    const GOOD: &str = r#"
[nodes.a]
[nodes.b]
kind = "file-server"
[nodes.w]
kind = "witness"

[volumes.files]
replicas = ["a", "b"]
policy = "manual"
"#;

    fn wrong(text: &str) -> String {
        parse("cluster.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn a_good_file_says_what_it_says() {
        let desired = parse("cluster.toml", GOOD).unwrap();
        assert_eq!(desired.nodes.len(), 3);
        assert_eq!(desired.nodes["w"], Kind::Witness);
        assert_eq!(desired.volumes["files"].replicas, ["a", "b"]);
        assert_eq!(desired.volumes["files"].wish.policy, Some(Policy::Manual));
        assert_eq!(desired.volumes["files"].wish.alone, None, "what is not named stays");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_column() {
        let typo = wrong(&GOOD.replace("policy", "polcy"));
        assert!(typo.starts_with("cluster.toml:10:1: unknown field `polcy`"), "{typo}");
        let unknown = wrong(&GOOD.replace("[\"a\", \"b\"]", "[\"a\", \"x\"]"));
        assert_eq!(unknown, "cluster.toml:9:18: volume files is to be on \"x\", which is not among the nodes of this file");
        assert!(wrong(&GOOD.replace("\"b\"]", "\"w\"]")).contains(":9:18: w is a witness"));
        assert!(wrong(&GOOD.replace("\"b\"]", "\"a\"]")).contains(":9:18: a is named twice"));
        assert!(wrong(&GOOD.replace("[\"a\", \"b\"]", "[]")).contains(":9:12: volume files would have no replica"));
        assert!(
            wrong(&GOOD.replace("nodes.b", "nodes.a")).contains("cluster.toml:3:"),
            "{}",
            wrong(&GOOD.replace("nodes.b", "nodes.a"))
        );
        assert!(wrong(&GOOD.replace("nodes.b", "nodes.A")).contains("two nodes of one name"));
        assert!(wrong(&GOOD.replace("witness", "wittness")).starts_with("cluster.toml:6:8: unknown variant"));
        assert!(wrong("[nodes.a").starts_with("cluster.toml:1:"));
        assert!(wrong("").contains("names no nodes"));
    }
}
