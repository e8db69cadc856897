//! What is known of the cluster that is rehearsed: sizes and rates, and its settings. Flags win over a spec, a spec wins over
//! what the live cluster says, and what nobody says is as the scenario has it.

use super::one::Sizing;
use super::units;
use mainstay_cluster::WithoutPrimary;
use mainstay_cluster::limits::{APPROVAL_MS_MAX, APPROVAL_MS_MIN, LEASE_MS_MAX, LEASE_MS_MIN, RESYNC_BYTES_PER_SECOND_MIN};
use mainstay_simulator::Plan;

const MILLISECOND: u64 = 1_000_000;
/// As the cluster bounds it: ten of its longest leases.
const MISSING_MS_MAX: u64 = 10 * LEASE_MS_MAX;
/// Leases that healing may take longer for each by which the lease is longer than a scenario's.
const LEASES_TO_HEAL: u64 = 10;

/// Settings of the cluster; `None`: not said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    pub lease_ms: Option<u64>,
    pub approval_ms: Option<u64>,
    /// When a primary that is not heard is missing.
    pub contact_lost_ms: Option<u64>,
    /// Throttle of resync by change.
    pub resync_bytes_per_second: Option<u64>,
    pub without_primary: Option<WithoutPrimary>,
}

impl Rules {
    pub fn over(self, below: Rules) -> Rules {
        Rules {
            lease_ms: self.lease_ms.or(below.lease_ms),
            approval_ms: self.approval_ms.or(below.approval_ms),
            contact_lost_ms: self.contact_lost_ms.or(below.contact_lost_ms),
            resync_bytes_per_second: self.resync_bytes_per_second.or(below.resync_bytes_per_second),
            without_primary: self.without_primary.or(below.without_primary),
        }
    }

    /// The plan on a cluster that is set like this.
    pub fn apply(&self, plan: &mut Plan) {
        if let Some(lease_ms) = self.lease_ms {
            let longer = lease_ms.saturating_sub(plan.lease_ms) * MILLISECOND;
            plan.heal_within = plan.heal_within.saturating_add(longer * LEASES_TO_HEAL);
            plan.lease_ms = lease_ms;
        }
        plan.cluster.approval_ms = self.approval_ms.unwrap_or(plan.cluster.approval_ms);
        plan.cluster.contact_lost_ms = self.contact_lost_ms.or(plan.cluster.contact_lost_ms);
        plan.cluster.without_primary = self.without_primary.unwrap_or(plan.cluster.without_primary);
        plan.resync_bytes_per_second = self.resync_bytes_per_second.unwrap_or(plan.resync_bytes_per_second);
    }

    /// Flags and their values, as they can be given again.
    pub fn flags(&self) -> Vec<(String, String)> {
        let flag = |name: &str, value: Option<String>| value.map(|value| (format!("--{name}"), value));
        let ms = |value: Option<u64>| value.map(|ms| format!("{ms}ms"));
        let without = self.without_primary.map(|what| without_primary_name(what).to_string());
        let flags = [
            flag("lease", ms(self.lease_ms)),
            flag("approval", ms(self.approval_ms)),
            flag("missing-after", ms(self.contact_lost_ms)),
            flag("resync", self.resync_bytes_per_second.map(|rate| format!("{rate}B/s"))),
            flag("without-primary", without),
        ];
        flags.into_iter().flatten().collect()
    }
}

/// All that is known of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    pub name: Option<String>,
    pub sizing: Sizing,
    pub rules: Rules,
    /// What clients change, bytes per second.
    pub change_rate: Option<u64>,
}

pub fn without_primary_name(what: WithoutPrimary) -> &'static str {
    match what {
        WithoutPrimary::ServeReads => "serve-reads",
        WithoutPrimary::Close => "close",
    }
}

/// Milliseconds, within what the cluster allows.
fn milliseconds(text: &str, what: &str, min: u64, max: u64) -> Result<u64, String> {
    let ms = units::time(text)? / MILLISECOND;
    if (min..=max).contains(&ms) {
        return Ok(ms);
    }
    let show = |ms: u64| units::show_time(ms * MILLISECOND);
    Err(format!("{text}: {what} is from {} to {}", show(min), show(max)))
}

pub fn lease(text: &str) -> Result<u64, String> {
    milliseconds(text, "a lease", LEASE_MS_MIN, LEASE_MS_MAX)
}

pub fn approval(text: &str) -> Result<u64, String> {
    milliseconds(text, "the life of an approval", APPROVAL_MS_MIN, APPROVAL_MS_MAX)
}

pub fn missing_after(text: &str) -> Result<u64, String> {
    milliseconds(text, "the time after which a primary is missing", LEASE_MS_MIN, MISSING_MS_MAX)
}

pub fn throttle(text: &str) -> Result<u64, String> {
    let rate = units::rate(text)?;
    let least = RESYNC_BYTES_PER_SECOND_MIN;
    if rate < least { Err(format!("{text}: a resync must get on; {} kB/s is the least", least.div_ceil(1_000))) } else { Ok(rate) }
}

pub fn without_primary(text: &str) -> Result<WithoutPrimary, String> {
    match text {
        "serve-reads" => Ok(WithoutPrimary::ServeReads),
        "close" => Ok(WithoutPrimary::Close),
        _ => Err(format!("{text}: serve-reads or close is expected")),
    }
}

/// There is one policy so far.
pub fn policy(text: &str) -> Result<(), String> {
    match text {
        "manual" => Ok(()),
        "guarded" => Err("guarded: this version promotes by approval only; manual is expected".into()),
        _ => Err(format!("{text}: no such policy; manual is expected")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_bounded_as_the_cluster_bounds_them() {
        assert_eq!((lease("2s"), lease("100ms"), lease("60s")), (Ok(2_000), Ok(100), Ok(60_000)));
        assert_eq!(lease("2m").unwrap_err(), "2m: a lease is from 100 ms to 60.0 s");
        assert!(lease("99ms").is_err() && approval("25h").is_err() && missing_after("11m").is_err());
        assert!(throttle("1kB/s").unwrap_err().contains("66 kB/s is the least"));
        assert_eq!(throttle("1Gbit"), Ok(125_000_000));
        assert!(without_primary("sometimes").is_err() && policy("manual").is_ok());
        assert!(policy("guarded").unwrap_err().contains("by approval only"));
    }

    #[test]
    fn what_is_said_nearer_wins_and_the_rest_stays() {
        let near = Rules { lease_ms: Some(5_000), ..Rules::default() };
        let far = Rules { lease_ms: Some(9_000), approval_ms: Some(60_000), ..Rules::default() };
        let both = near.over(far);
        assert_eq!((both.lease_ms, both.approval_ms, both.contact_lost_ms), (Some(5_000), Some(60_000), None));
        let mut plan = Plan::calm(1);
        let before = plan.clone();
        Rules::default().apply(&mut plan);
        assert_eq!(plan, before);
        both.apply(&mut plan);
        assert_eq!((plan.lease_ms, plan.cluster.approval_ms, plan.cluster.contact_lost_ms), (5_000, 60_000, None));
        assert!(plan.heal_within > before.heal_within);
        assert_eq!(both.flags(), [("--lease".into(), "5000ms".into()), ("--approval".into(), "60000ms".to_string())]);
    }
}
