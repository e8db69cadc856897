//! `--spec FILE`: what a drill is told about the cluster that it rehearses.

use super::given::{self, Given, Rules};
use super::one::Sizing;
use super::units;
use crate::cli::CliError;
use mainstay_cluster::WithoutPrimary;
use serde::Deserialize;
use std::path::Path;

/// Whatever is left out is as the live cluster says, or as the scenario has it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    name: Option<String>,
    #[serde(default, deserialize_with = "size")]
    volume_size: Option<u64>,
    #[serde(default, deserialize_with = "size")]
    changed: Option<u64>,
    #[serde(default, deserialize_with = "rate")]
    change_rate: Option<u64>,
    #[serde(default, deserialize_with = "rate")]
    link: Option<u64>,
    #[serde(default, deserialize_with = "rate")]
    disk: Option<u64>,
    #[serde(default, deserialize_with = "time")]
    rtt: Option<u64>,
    #[serde(default, deserialize_with = "lease")]
    lease: Option<u64>,
    #[serde(default, deserialize_with = "approval")]
    approval: Option<u64>,
    #[serde(default, deserialize_with = "missing_after")]
    missing_after: Option<u64>,
    #[serde(default, deserialize_with = "throttle")]
    resync: Option<u64>,
    #[serde(default, deserialize_with = "without_primary")]
    without_primary: Option<WithoutPrimary>,
    #[serde(default, deserialize_with = "policy")]
    #[expect(dead_code, reason = "there is one policy; naming it is allowed, naming another is a mistake")]
    policy: Option<()>,
}

/// One `deserialize_with` for each kind of value.
macro_rules! values {
    ($($name:ident: $parse:path => $value:ty;)*) => {
        $(fn $name<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Option<$value>, D::Error> {
            let text = String::deserialize(input)?;
            $parse(&text).map(Some).map_err(serde::de::Error::custom)
        })*
    };
}

values! {
    size: units::size => u64;
    rate: units::rate => u64;
    time: units::time => u64;
    lease: given::lease => u64;
    approval: given::approval => u64;
    missing_after: given::missing_after => u64;
    throttle: given::throttle => u64;
    without_primary: given::without_primary => WithoutPrimary;
    policy: given::policy => ();
}

/// # Errors
/// A file that cannot be read, and a mistake in it with its line and column.
pub fn load(path: &Path) -> Result<Given, CliError> {
    let failed = |error: String| CliError::Failed(format!("{}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let spec: Spec = toml::from_str(&text).map_err(|error| failed(error.to_string().trim_end().to_string()))?;
    Ok(Given {
        name: spec.name,
        sizing: Sizing {
            volume_bytes: spec.volume_size,
            changed_bytes: spec.changed,
            link_bytes_per_second: spec.link,
            disk_bytes_per_second: spec.disk,
            rtt_ns: spec.rtt,
        },
        rules: Rules {
            lease_ms: spec.lease,
            approval_ms: spec.approval,
            contact_lost_ms: spec.missing_after,
            resync_bytes_per_second: spec.resync,
            without_primary: spec.without_primary,
        },
        change_rate: spec.change_rate,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Given, CliError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        load(file.path())
    }

    #[test]
    fn a_spec_is_read_and_a_mistake_is_shown_where_it_is() {
        let text = "name = \"shop\"\nvolume_size = \"4TiB\"\nlink = \"1Gbit\"\nlease = \"5s\"\nwithout_primary = \"close\"\n\
                    policy = \"manual\"\nchange_rate = \"2MB/s\"\n";
        let spec = read(text).unwrap();
        assert_eq!(spec.sizing.volume_bytes, Some(4 << 40));
        assert_eq!(spec.sizing.link_bytes_per_second, Some(125_000_000));
        assert_eq!((spec.rules.lease_ms, spec.rules.without_primary), (Some(5_000), Some(WithoutPrimary::Close)));
        assert_eq!((spec.change_rate, spec.rules.approval_ms), (Some(2_000_000), None));
        let error = |text: &str| read(text).unwrap_err().to_string();
        let unknown = error("volume_size = \"4TiB\"\nlnik = \"1Gbit\"\n");
        assert!(unknown.contains("line 2, column 1") && unknown.contains("lnik"), "{unknown}");
        let bananas = error("volume_size = \"4 bananas\"\n");
        assert!(bananas.contains("line 1, column") && bananas.contains("4TiB"), "{bananas}");
        let long = error("name = \"x\"\nlease = \"2m\"\n");
        assert!(long.contains("line 2, column") && long.contains("from 100 ms to 60.0 s"), "{long}");
        assert!(error("policy = \"guarded\"\n").contains("by approval only"));
        assert!(load(Path::new("/nonexistent/spec.toml")).unwrap_err().to_string().contains("/nonexistent/spec.toml"));
    }
}
