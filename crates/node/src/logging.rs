//! One line per event on standard error. ERROR means that a person must look.

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Levels by module, as `warn,mainstay_node=debug`.
const LEVELS: &str = "MAINSTAY_LOG";

/// Once per process. The journal stamps lines itself.
pub fn start() {
    let levels = std::env::var(LEVELS).ok().and_then(|text| text.parse::<Targets>().ok()).unwrap_or_else(default_levels);
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_target(false).with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(levels);
    let started = match std::env::var_os("JOURNAL_STREAM") {
        Some(_) => registry.with(lines.without_time()).try_init(),
        None => registry.with(lines).try_init(),
    };
    // A second start, in tests, changes nothing.
    drop(started);
}

fn default_levels() -> Targets {
    // The consensus library calls a peer that is away, and its own stop, an error at every turn. What a person must look at
    // (`Health::failed`) is logged by the daemon.
    Targets::new().with_default(LevelFilter::INFO).with_target("openraft", LevelFilter::OFF)
}
