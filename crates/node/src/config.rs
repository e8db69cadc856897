//! `node.toml`: who this node is and where it listens. Everything else is cluster state, so that it cannot differ between nodes.

use mainstay_protocol::limits::LABEL_BYTES_MAX;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest configuration file read, bytes: it has a few dozen lines.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// What a hook gets when nothing is said.
const HOOK_TIME: Duration = Duration::from_secs(30);
/// Longest time for a hook, seconds. A node that is being switched off cannot be promoted meanwhile.
const HOOK_SECONDS_MAX: u64 = 600;
// The cluster forgets an attempt whose outcome it is never told, but not before it can be over.
const _: () = assert!((HOOK_SECONDS_MAX as i64) * 1000 < mainstay_cluster::limits::FENCE_UNDER_WAY_MS_MAX);
/// Fencing hooks of one node.
const FENCES_MAX: usize = 16;
/// The kernel's bound for the name of an interface.
const INTERFACE_BYTES_MAX: usize = 15;

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
    /// On which interface service addresses come and go with the reign. None: they are bound where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceConfig>,
    #[serde(default, skip_serializing_if = "HooksConfig::is_empty")]
    pub hooks: HooksConfig,
    /// Which nodes this one can switch off, and how.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fence: Vec<FenceConfig>,
}

/// `[service]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceConfig {
    pub interface: String,
    /// Length of the network's prefix, of IPv4 addresses; 32 is the address alone.
    #[serde(default = "ServiceConfig::prefix_max", skip_serializing_if = "ServiceConfig::is_prefix_max")]
    pub prefix: u8,
    /// The same of IPv6 addresses; 128 is the address alone.
    #[serde(default = "ServiceConfig::prefix6_max", skip_serializing_if = "ServiceConfig::is_prefix6_max")]
    pub prefix6: u8,
}

impl ServiceConfig {
    const fn prefix_max() -> u8 {
        32
    }
    const fn prefix6_max() -> u8 {
        128
    }
    fn is_prefix_max(prefix: &u8) -> bool {
        *prefix == Self::prefix_max()
    }
    fn is_prefix6_max(prefix: &u8) -> bool {
        *prefix == Self::prefix6_max()
    }

    fn check(&self) -> Result<(), String> {
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
        if self.interface.is_empty() || self.interface.len() > INTERFACE_BYTES_MAX || !self.interface.bytes().all(plain) {
            return Err(format!("[service] interface {:?} is not the name of an interface, such as \"eth0\"", self.interface));
        }
        match (self.prefix, self.prefix6) {
            (1..=32, 1..=128) => Ok(()),
            _ => Err("[service] prefix is 1 to 32, prefix6 1 to 128".into()),
        }
    }
}

/// `[hooks]`: commands that are run after a volume is served here, and after it is not any more. Nothing waits for them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HooksConfig {
    pub on_promoted: Vec<String>,
    pub on_demoted: Vec<String>,
    pub timeout: Seconds,
}

impl HooksConfig {
    pub fn is_empty(&self) -> bool {
        *self == HooksConfig::default()
    }
}

/// `[[fence]]`: how to switch one node's machine off, and how to know that it is off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FenceConfig {
    /// Name of the node that it switches off.
    pub node: String,
    /// Switches it off; exit code 0 when that is under way or done.
    pub command: Vec<String>,
    /// Exit code 0 says that the machine is off, and nothing else does.
    pub verify: Vec<String>,
    /// For both together.
    #[serde(default)]
    pub timeout: Seconds,
}

impl FenceConfig {
    fn check(&self, own: &str) -> Result<(), String> {
        check_label("[[fence]] node", &self.node)?;
        if self.node == own {
            return Err(format!("[[fence]] node {own:?} is this node itself; it cannot confirm that it is off"));
        }
        for (field, command) in [("command", &self.command), ("verify", &self.verify)] {
            if command.first().is_none_or(|program| program.is_empty()) {
                return Err(format!("[[fence]] {field} for {} is empty; give the program and its arguments", self.node));
            }
        }
        match self.command == self.verify {
            true => Err(format!("[[fence]] command and verify for {} are the same; verify must ask, not act", self.node)),
            false => Ok(()),
        }
    }
}

/// How long a command may take, written as `"30s"` or `"2m"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub Duration);

impl Default for Seconds {
    fn default() -> Seconds {
        Seconds(HOOK_TIME)
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{}s", self.0.as_secs()))
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Seconds, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (number, factor) = match (text.strip_suffix('s'), text.strip_suffix('m')) {
            (Some(number), _) => (number, 1),
            (_, Some(number)) => (number, 60),
            _ => ("", 1),
        };
        let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
        match seconds {
            Some(seconds @ 1..=HOOK_SECONDS_MAX) => Ok(Seconds(Duration::from_secs(seconds))),
            _ => Err(D::Error::custom(format!("timeout {text:?} is not a time such as \"30s\" or \"2m\", at most \"10m\""))),
        }
    }
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
        if is_admin_config(&text) {
            let message =
                "this is a person's admin.toml, and this command wants the machine's node.toml: --config /PATH/TO/node.toml";
            return Err(ConfigError::Invalid { path: path.into(), message: message.into() });
        }
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
        let text = toml::to_string(self).expect("plain fields and tables always encode");
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
        self.check_hooks()
    }

    fn check_hooks(&self) -> Result<(), String> {
        self.service.iter().try_for_each(ServiceConfig::check)?;
        self.fence.iter().try_for_each(|fence| fence.check(&self.name))?;
        let twice =
            self.fence.iter().enumerate().find(|(at, fence)| self.fence[..*at].iter().any(|other| other.node == fence.node));
        if let Some((_, fence)) = twice {
            return Err(format!("there are two [[fence]] for {}; give one", fence.node));
        }
        if self.fence.len() > FENCES_MAX {
            return Err(format!("there are {} [[fence]], at most {FENCES_MAX} are possible", self.fence.len()));
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

/// `MAINSTAY_CONFIG` is for both, so one is easily given for the other.
fn is_admin_config(text: &str) -> bool {
    let has = |table: &toml::Table| ["authority", "certificate", "endpoints"].iter().all(|key| table.contains_key(*key));
    toml::from_str::<toml::Table>(text).is_ok_and(|table| has(&table))
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

    const HOOKED: &str = "
[service]
interface = \"eth0\"
prefix = 24

[hooks]
on_promoted = [\"/etc/mainstay/promoted\"]
timeout = \"5s\"

[[fence]]
node = \"b\"
command = [\"bmc\", \"off\", \"{target}\"]
verify = [\"bmc\", \"is-off\", \"{target}\"]
timeout = \"2m\"
";

    #[test]
    fn hooks_are_read_and_written_back_the_same() {
        let config = load(&format!("{GOOD}{HOOKED}")).unwrap();
        assert_eq!(config.fence[0].timeout, Seconds(Duration::from_secs(120)));
        assert_eq!(config.hooks.timeout, Seconds(Duration::from_secs(5)));
        assert_eq!(config.service.as_ref().map(|service| (service.prefix, service.prefix6)), Some((24, 128)));
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<NodeConfig>(&text).unwrap(), config, "{text}");
        let plain = load(GOOD).unwrap();
        assert!(plain.fence.is_empty() && plain.hooks.is_empty() && plain.service.is_none());
        assert_eq!(toml::to_string(&plain).unwrap().lines().count(), 4, "what nobody set is not written");
    }

    #[test]
    fn mistakes_in_hooks_are_one_clear_line() {
        let good = format!("{GOOD}{HOOKED}");
        let cases = [
            (good.replace("\"2m\"", "\"2h\""), "at most \"10m\""),
            (good.replace("\"2m\"", "\"-1s\""), "is not a time"),
            (good.replace("\"5s\"", "\"0s\""), "is not a time"),
            (good.replace("node = \"b\"", "node = \"a\""), "this node itself"),
            (good.replace("\"is-off\"", "\"off\""), "verify must ask, not act"),
            (good.replace("command = [\"bmc\", \"off\", \"{target}\"]", "command = []"), "command for b is empty"),
            (good.replace("[\"bmc\", \"is-off\", \"{target}\"]", "[\"\"]"), "verify for b is empty"),
            (good.replace("verify =", "check ="), "unknown field"),
            (good.replace("prefix = 24", "prefix = 33"), "prefix is 1 to 32"),
            (good.replace("\"eth0\"", "\"an interface\""), "not the name of an interface"),
            (format!("{good}{}", &HOOKED[HOOKED.find("[[fence]]").unwrap()..]), "two [[fence]] for b"),
        ];
        for (text, want) in cases {
            let message = load(&text).unwrap_err();
            assert!(message.contains(want), "{message:?} should contain {want:?}");
            assert_eq!(message.lines().count(), 1, "{message:?}");
        }
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
