//! The files of `scenarios/`, in the order of SCENARIOS.md.

/// File name and text.
pub const FILES: &[(&str, &str)] = &[
    ("S01-the-incident.scenario", include_str!("../../scenarios/S01-the-incident.scenario")),
    ("S03-see-saw.scenario", include_str!("../../scenarios/S03-see-saw.scenario")),
    ("S04-zombie-primary.scenario", include_str!("../../scenarios/S04-zombie-primary.scenario")),
    ("S06-peer-link-cut.scenario", include_str!("../../scenarios/S06-peer-link-cut.scenario")),
    ("S07-isolated-primary.scenario", include_str!("../../scenarios/S07-isolated-primary.scenario")),
    ("S08-one-way.scenario", include_str!("../../scenarios/S08-one-way.scenario")),
    ("S12-pause.scenario", include_str!("../../scenarios/S12-pause.scenario")),
    ("S18-slow-but-moving.scenario", include_str!("../../scenarios/S18-slow-but-moving.scenario")),
    ("S20-sync-interrupted.scenario", include_str!("../../scenarios/S20-sync-interrupted.scenario")),
    ("S27-lying-fsync.scenario", include_str!("../../scenarios/S27-lying-fsync.scenario")),
    ("S28-torn-log.scenario", include_str!("../../scenarios/S28-torn-log.scenario")),
    ("S30-diverged.scenario", include_str!("../../scenarios/S30-diverged.scenario")),
];
