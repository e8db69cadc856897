//! `mainstay fence`: fencing hooks, by hand.

use super::args::{Fence, Format};
use super::output::show;
use super::{CliError, exit};
use mainstay_node::admin::api::{FenceTried, FenceWish};
use mainstay_node::admin::client::AdminClient;

pub async fn fence(client: &AdminClient, fence: &Fence, format: Format) -> Result<u8, CliError> {
    let reason = match (&fence.reason, fence.dry_run) {
        (Some(reason), _) => reason.clone(),
        (None, true) => "dry run".into(),
        (None, false) => return Err(CliError::Usage("give --reason TEXT, or --dry-run to see what would be run".into())),
    };
    let wish = FenceWish { dry_run: fence.dry_run, allow_primary: fence.primary, reason };
    let tried = client.fence(&fence.node, &wish).await?;
    show(format, &tried, |tried| text(&fence.node, tried));
    let failed = tried.outcome.as_ref().is_some_and(|outcome| outcome.starts_with("failed"));
    Ok(if tried.refused.is_some() || failed { exit::REFUSED } else { exit::OK })
}

fn text(node: &str, tried: &FenceTried) -> String {
    let FenceTried { through, command, verify, refused, looked, outcome } = tried;
    let mut lines =
        vec![format!("through  {through}"), format!("command  {}", command.join(" ")), format!("verify   {}", verify.join(" "))];
    if let Some(looked) = looked {
        lines.push(format!("now      the verify command {looked}"));
        lines.push(match refused {
            Some(refused) => format!("refused  {refused}"),
            None => format!("nothing was switched off; `mainstay fence {node} --reason …` does it"),
        });
    } else {
        lines.push(match outcome {
            Some(outcome) => format!("outcome  {outcome}"),
            None => "outcome  it still runs; `mainstay events --follow` tells what comes of it".into(),
        });
        lines.push("It proves nothing to a promotion: the lease of an old primary runs out by itself.".into());
    }
    lines.join("\n") + "\n"
}
