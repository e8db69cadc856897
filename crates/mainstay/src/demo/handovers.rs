//! The play of switchovers: to and fro under load, with what clients felt of each.

use super::cluster::{DemoError, VOLUME, volume};
use super::play::{Stage, in_sync, setup};
use std::time::{Duration, Instant};

/// From asking to the end of one; it is called off long before.
const HAND_OVER_TIME_MAX: Duration = Duration::from_secs(30);
/// Between two looks at one that is under way: what is measured is at the clients.
const LOOK_PAUSE: Duration = Duration::from_millis(10);
/// Clients work so long before the next one, at least.
const REST: Duration = Duration::from_millis(150);
const SERVERS: [&str; 2] = ["a", "b"];

pub async fn play(stage: &mut Stage, cycles: u32) -> Result<(), DemoError> {
    stage.act().await;
    let mut pauses = Vec::new();
    for cycle in 1..=cycles {
        let (to, from) = (SERVERS[cycle as usize % 2], SERVERS[(cycle as usize + 1) % 2]);
        let asked = Instant::now();
        stage.forget_waits();
        hand_over(stage, to).await?;
        let served = asked.elapsed();
        let back = stage.cluster.until(&format!("{from} is in sync"), |status| in_sync(status, from)).await?;
        let in_step = asked.elapsed();
        stage.check(
            volume(&back).is_some_and(|volume| volume.primary.as_deref() == Some(to)),
            format!("{to} should be the primary"),
        );
        tokio::time::sleep(REST).await;
        let (pause, errors, lost) = stage.seen(|seen| (seen.waited, seen.errors.len(), seen.lost.len()));
        pauses.push(pause);
        stage.note(&format!(
            "{cycle}/{cycles}: {from} → {to}; longest wait {} ms, served after {} ms, {from} in sync after {} ms; {errors} errors",
            pause.as_millis(),
            served.as_millis(),
            in_step.as_millis()
        ));
        if errors + lost > 0 {
            break;
        }
    }
    pauses.sort_unstable();
    let at = |percent: usize| pauses.get((pauses.len() * percent).div_ceil(100).saturating_sub(1)).map_or(0, Duration::as_millis);
    stage.note(&format!(
        "{} switchovers; longest wait of any client in each: median {} ms, 90 % {} ms, 99 % {} ms, longest {} ms",
        pauses.len(),
        at(50),
        at(90),
        at(99),
        at(100)
    ));
    Ok(())
}

async fn hand_over(stage: &mut Stage, to: &str) -> Result<(), DemoError> {
    let begun = Instant::now();
    let proposal = stage.cluster.admin.switchover(VOLUME, to).await.map_err(setup)?;
    loop {
        // A node that is busy for a moment says nothing about the switchover.
        if let Ok(details) = stage.cluster.admin.proposal(proposal.id).await
            && !details.proposal.state.open()
        {
            let good = details.state == "serving";
            stage.check(good, format!("switchover {} to {to} is {}: {:?}", details.id, details.state, details.reason));
            return Ok(());
        }
        if begun.elapsed() > HAND_OVER_TIME_MAX {
            return Err(DemoError::Late { what: format!("the end of the switchover to {to}"), last: "it is open".into() });
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}
