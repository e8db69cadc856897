//! Bounds of the cluster state. It is cloned for every decision and sent whole in snapshots, so everything in it is bounded.

/// Nodes of one cluster. Three is the usual number; leases ask every one several times a second.
pub const NODES_MAX: usize = 15;
/// Volumes of one cluster.
pub const VOLUMES_MAX: usize = 256;
/// Join tokens that are remembered, used ones included.
pub const TOKENS_MAX: usize = 64;
/// Longest life of a join token, milliseconds: a day.
pub const TOKEN_LIFE_MS_MAX: i64 = 24 * 3600 * 1000;
/// Open maintenance records.
pub const MAINTENANCE_MAX: usize = 64;
/// Longest maintenance from now, milliseconds: 30 days. It can be extended.
pub const MAINTENANCE_LIFE_MS_MAX: i64 = 30 * 24 * 3600 * 1000;
/// Closed proposals that are kept for people to look at; the oldest is forgotten first.
pub const PROPOSALS_CLOSED_MAX: usize = 64;
/// Failed plans remembered per volume (R8); the oldest is forgotten first, but the breaker stays open.
pub const FAILED_PLANS_MAX: usize = 16;
/// Audit events kept in the state; nodes write all of them to their own logs.
pub const AUDIT_EVENTS_MAX: usize = 512;
/// Newest events among which a refusal is looked up before it is recorded, so that a node that insists is recorded once.
pub const REFUSAL_REPEAT_WINDOW: usize = 32;
/// Free text: reasons, notes, owners.
pub const TEXT_BYTES_MAX: usize = 512;
/// An address, `host:port`.
pub const ADDRESS_BYTES_MAX: usize = 255;
/// Client networks of one export.
pub const EXPORT_CLIENTS_MAX: usize = 64;
/// An encoded command.
pub const COMMAND_BYTES_MAX: usize = 256 << 10;
/// An encoded state.
pub const STATE_BYTES_MAX: usize = 16 << 20;
/// Bounds of the lease, milliseconds: below, a busy node loses it; above, nobody waits for a failover.
pub const LEASE_MS_MIN: u64 = 100;
pub const LEASE_MS_MAX: u64 = 60_000;
/// Wall clocks that differ by more, milliseconds, keep policy `guarded` from promoting. A message may take a part of it.
pub const CLOCK_DRIFT_MS_MAX: u64 = 5_000;
/// Bounds of an approval's life, milliseconds.
pub const APPROVAL_MS_MIN: u64 = 1_000;
pub const APPROVAL_MS_MAX: u64 = 24 * 3600 * 1000;
/// A switchover whose primary has not given its word after so long, milliseconds, is called off: clients wait meanwhile.
pub const DRAIN_MS_MAX: u64 = 10_000;
/// A resync must make progress (R11).
pub const RESYNC_BYTES_PER_SECOND_MIN: u64 = 64 << 10;
/// Names whose credentials were revoked; they stay so.
pub const REVOKED_MAX: usize = 1024;
/// Changes that wait for a second person.
pub const CHANGES_OPEN_MAX: usize = 32;
/// Closed changes that are kept for people to look at; the oldest is forgotten first.
pub const CHANGES_CLOSED_MAX: usize = 32;
/// Denied plans remembered per volume; the oldest is forgotten first.
pub const DENIED_PLANS_MAX: usize = 16;
/// Times of role changes remembered per volume; the breaker can be set to open after fewer.
pub const ROLE_CHANGES_KEPT_MAX: usize = 32;
/// Bounds of the window in which role changes are counted, milliseconds: a minute to a week.
pub const ROLE_CHANGES_WINDOW_MS_MIN: u64 = 60_000;
pub const ROLE_CHANGES_WINDOW_MS_MAX: u64 = 7 * 24 * 3600 * 1000;
/// Copies of one volume: each more is one more that clients wait for.
pub const REPLICAS_MAX: usize = 5;
/// Longest that a drill may be good for, days.
pub const DRILL_DAYS_MAX: u32 = 365;
/// Files that the evidence of a promotion with a loss names; the rest is counted.
pub const LOST_FILES_MAX: usize = 200;
/// Bytes of a path among them.
pub const LOST_PATH_BYTES_MAX: usize = 4096;
/// And of all of them: the list is a quarter of what a command may be, so that a loss can always be named.
pub const LOST_PATHS_BYTES_MAX: usize = COMMAND_BYTES_MAX / 4;
/// While an attempt to switch a machine off may be under way, that machine is not promoted. Who began it says what came of it; if that
/// one is gone, so many milliseconds by wall clocks must do. Longer than any fencing hook may take.
pub const FENCE_UNDER_WAY_MS_MAX: i64 = 15 * 60 * 1000;
