//! What a drill is told about the cluster that it rehearses: from a file, or from the cluster itself.

use super::one::Sizing;
use super::units;
use crate::cli::CliError;
use mainstay_node::admin::client::{AdminClient, AdminConfig};
use serde::Deserialize;
use std::path::Path;

/// `--spec FILE`. Whatever is left out is as the scenario has it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    pub name: Option<String>,
    #[serde(default, deserialize_with = "size")]
    volume_size: Option<u64>,
    #[serde(default, deserialize_with = "size")]
    changed: Option<u64>,
    #[serde(default, deserialize_with = "rate")]
    link: Option<u64>,
    #[serde(default, deserialize_with = "rate")]
    disk: Option<u64>,
    #[serde(default, deserialize_with = "time")]
    rtt: Option<u64>,
}

type Parser = fn(&str) -> Result<u64, String>;

fn value<'de, D: serde::Deserializer<'de>>(input: D, parse: Parser) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(input)?;
    parse(&text).map(Some).map_err(serde::de::Error::custom)
}

fn size<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Option<u64>, D::Error> {
    value(input, units::size)
}

fn rate<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Option<u64>, D::Error> {
    value(input, units::rate)
}

fn time<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Option<u64>, D::Error> {
    value(input, units::time)
}

impl Spec {
    /// # Errors
    /// A file that cannot be read, and a mistake in it with its line and column.
    pub fn load(path: &Path) -> Result<Spec, CliError> {
        let failed = |error: String| CliError::Failed(format!("{}: {error}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        toml::from_str(&text).map_err(|error| failed(error.to_string().trim_end().to_string()))
    }

    pub fn sizing(&self) -> Sizing {
        Sizing {
            volume_bytes: self.volume_size,
            changed_bytes: self.changed,
            link_bytes_per_second: self.link,
            disk_bytes_per_second: self.disk,
            rtt_ns: self.rtt,
        }
    }
}

/// Asks the cluster that `path` (an admin.toml) is for; gives its name.
///
/// # Errors
/// The file cannot be used, the cluster does not answer, or it is of a shape that the simulator does not have.
pub fn ask(path: &Path) -> Result<String, CliError> {
    let client = AdminClient::new(&AdminConfig::load(path)?)?;
    let status = crate::cli::runtime()?.block_on(client.status())?;
    let count = |kind: &str| status.nodes.iter().filter(|node| node.kind == kind).count();
    match (count("file-server"), count("witness")) {
        (2, 1) => Ok(status.cluster),
        (servers, witnesses) => Err(CliError::Failed(format!(
            "cluster {} has {servers} file servers and {witnesses} witnesses; two and one can be rehearsed",
            status.cluster
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Spec, CliError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Spec::load(file.path())
    }

    #[test]
    fn a_spec_is_read_and_a_mistake_is_shown_where_it_is() {
        let spec = load("name = \"shop\"\nvolume_size = \"4TiB\"\nlink = \"1Gbit\"\n").unwrap();
        assert_eq!(spec.sizing().volume_bytes, Some(4 << 40));
        assert_eq!(spec.sizing().link_bytes_per_second, Some(125_000_000));
        let error = load("volume_size = \"4TiB\"\nlnik = \"1Gbit\"\n").unwrap_err().to_string();
        assert!(error.contains("line 2, column 1") && error.contains("lnik"), "{error}");
        let error = load("volume_size = \"4 bananas\"\n").unwrap_err().to_string();
        assert!(error.contains("line 1, column") && error.contains("4TiB"), "{error}");
        assert!(Spec::load(Path::new("/nonexistent/spec.toml")).unwrap_err().to_string().contains("/nonexistent/spec.toml"));
    }
}
