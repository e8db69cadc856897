//! `node.toml`: who this node is and where it listens. Everything else is cluster state, so that it cannot differ between nodes.

use mainstay_protocol::limits::LABEL_BYTES_MAX;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Largest configuration file read, bytes: it has four lines.
const FILE_BYTES_MAX: u64 = 64 << 10;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// The node's name in the cluster, for people.
    pub name: String,
    /// Where everything durable lives; owned by this node alone.
    pub directory: PathBuf,
    /// Where other nodes reach it.
    pub peer_address: SocketAddr,
    /// Where operators and monitoring reach it.
    pub admin_address: SocketAddr,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("{path}: {message}")]
    Parse { path: PathBuf, message: String },
    #[error("{path}: {message}")]
    Invalid { path: PathBuf, message: String },
}

impl NodeConfig {
    pub fn load(path: &Path) -> Result<NodeConfig, ConfigError> {
        let text = read_bounded(path)?;
        let mut config: NodeConfig = toml::from_str(&text).map_err(|error| parse_error(path, &text, &error))?;
        config.check().map_err(|message| ConfigError::Invalid { path: path.into(), message })?;
        // A relative directory means the same thing from wherever the daemon is started.
        if config.directory.is_relative() {
            config.directory = path.parent().unwrap_or(Path::new(".")).join(&config.directory);
        }
        Ok(config)
    }

    pub fn save(&self, path: &Path) -> Result<(), ConfigError> {
        self.check().map_err(|message| ConfigError::Invalid { path: path.into(), message })?;
        let text = toml::to_string(self).expect("four plain fields always encode");
        std::fs::write(path, text).map_err(|source| ConfigError::Write { path: path.into(), source })
    }

    /// Says what is wrong and what would be right, in one line.
    pub fn check(&self) -> Result<(), String> {
        check_label("name", &self.name)?;
        if self.directory.as_os_str().is_empty() {
            return Err("directory is empty; give the path where this node may keep its data".into());
        }
        for (field, address) in [("peer_address", self.peer_address), ("admin_address", self.admin_address)] {
            if address.ip().is_unspecified() || address.port() == 0 {
                return Err(format!("{field} is {address}; give the address and port under which other nodes reach this one"));
            }
        }
        if self.peer_address == self.admin_address {
            return Err(format!("peer_address and admin_address are both {}; give them different ports", self.peer_address));
        }
        Ok(())
    }
}

/// Names of nodes, volumes and people go into certificates, paths and metrics: one alphabet that is safe in all of them.
pub fn check_label(field: &str, label: &str) -> Result<(), String> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if label.is_empty() || label.len() > LABEL_BYTES_MAX {
        return Err(format!("{field} must have 1 to {LABEL_BYTES_MAX} characters, not {}", label.len()));
    }
    if !label.bytes().all(fine) || !label.as_bytes()[0].is_ascii_alphanumeric() {
        return Err(format!("{field} {label:?} may hold letters, digits, '-', '_' and '.', and must start with a letter or digit"));
    }
    Ok(())
}

fn read_bounded(path: &Path) -> Result<String, ConfigError> {
    let read_error = |source| ConfigError::Read { path: path.into(), source };
    let length = std::fs::metadata(path).map_err(read_error)?.len();
    if length > FILE_BYTES_MAX {
        let message = format!("is {length} bytes long; that is not a configuration file");
        return Err(ConfigError::Invalid { path: path.into(), message });
    }
    std::fs::read_to_string(path).map_err(read_error)
}

/// toml's own message spans lines; operators get one with the line's number.
fn parse_error(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let line = error
        .span()
        .map_or(1, |span| 1 + text.as_bytes()[..span.start.min(text.len())].iter().filter(|byte| **byte == b'\n').count());
    ConfigError::Parse { path: path.into(), message: format!("line {line}: {}", error.message().trim()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<NodeConfig, String> {
        let dir = crate::test_dir::TestDir::new("config");
        let path = dir.path().join("node.toml");
        std::fs::write(&path, text).unwrap();
        NodeConfig::load(&path).map_err(|error| error.to_string())
    }

    const GOOD: &str =
        "name = \"a\"\ndirectory = \"data\"\npeer_address = \"127.0.0.11:7401\"\nadmin_address = \"127.0.0.11:7400\"\n";

    #[test]
    fn a_good_file_loads_and_a_relative_directory_is_beside_it() {
        let config = load(GOOD).unwrap();
        assert_eq!(config.name, "a");
        assert!(config.directory.is_absolute() && config.directory.ends_with("data"));
    }

    #[test]
    fn every_mistake_is_one_clear_line() {
        let cases = [
            (GOOD.replace("\"a\"", "\"a/b\""), "may hold letters"),
            (GOOD.replace("\"a\"", "\"\""), "1 to 63"),
            (GOOD.replace("127.0.0.11:7401", "0.0.0.0:7401"), "peer_address"),
            (GOOD.replace(":7401", ":7400"), "different ports"),
            (GOOD.replace(":7401", ""), "line 3"),
            (format!("{GOOD}role = \"primary\"\n"), "line 5: unknown field"),
            (GOOD.replace("name = \"a\"\n", ""), "missing field"),
        ];
        for (text, want) in cases {
            let message = load(&text).unwrap_err();
            assert!(message.contains(want), "{message:?} should contain {want:?}");
            assert_eq!(message.lines().count(), 1, "{message:?}");
        }
        assert!(NodeConfig::load(Path::new("/nonexistent/node.toml")).unwrap_err().to_string().contains("/nonexistent/node.toml"));
    }
}
