//! `drill run --record VOLUME`: the cluster learns that a rehearsal of its configuration passed.

use crate::cli::{CliError, runtime};
use mainstay_node::admin::api::PassedDrill;
use mainstay_node::admin::client::{AdminClient, AdminConfig};
use std::path::Path;

/// Asked before the drill, so that a configuration that changes meanwhile is not taken for the one that was rehearsed.
pub struct Record {
    client: AdminClient,
    volume: String,
    config: String,
}

impl Record {
    /// # Errors
    /// There is no cluster to record it on, or it does not answer.
    pub fn prepare(volume: &str, config: Option<&Path>) -> Result<Record, CliError> {
        let missing = || CliError::Usage("--record needs --config, the cluster to record it on".into());
        let client = AdminClient::new(&AdminConfig::load(config.ok_or_else(missing)?)?)?;
        let details = runtime()?.block_on(client.volume(volume))?;
        if details.drill_digest.is_empty() {
            return Err(CliError::Failed("the node that answered is too old to record drills; upgrade it".into()));
        }
        Ok(Record { client, volume: volume.into(), config: details.drill_digest })
    }

    /// # Errors
    /// The cluster refuses, because its configuration has changed since, or does not answer.
    pub fn passed(self, scenario: &str) -> Result<(), CliError> {
        let drill = PassedDrill { scenario: scenario.into(), config: self.config };
        runtime()?.block_on(self.client.record_drill(&self.volume, &drill))?;
        eprintln!("recorded: drill {scenario} passed for volume {} as it is configured now", self.volume);
        Ok(())
    }
}
