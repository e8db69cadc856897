//! `mainstay propose`, also with a loss that is named, and `mainstay copy`.

use super::args::Format;
use super::output::show;
use super::{CliError, exit};
use mainstay_node::admin::api::{Done, NewProposal, ProposalStatus};
use mainstay_node::admin::client::{AdminClient, ClientError};

/// The node itself, when its address is known: it alone can say what its own copy holds.
async fn node_itself(client: &AdminClient, node: &str) -> Result<AdminClient, CliError> {
    let status = client.status().await?;
    let known = status.nodes.iter().find(|known| known.name == node);
    let names = || status.nodes.iter().map(|known| known.name.as_str()).collect::<Vec<_>>().join(", ");
    let known = known.ok_or_else(|| CliError::Failed(format!("there is no node {node:?}; the nodes are {}", names())))?;
    let address = known.admin_address.parse();
    let address = address.map_err(|_| CliError::Failed(format!("{node} has no admin address: {:?}", known.admin_address)))?;
    Ok(client.at(vec![address]))
}

/// Exit code 4 while a person has to approve it.
pub async fn propose(
    client: &AdminClient,
    volume: &str,
    candidate: &str,
    give_up: Option<String>,
    format: Format,
) -> Result<u8, CliError> {
    let new = NewProposal { candidate: candidate.into(), give_up };
    let status = match &new.give_up {
        None => client.propose(volume, &new).await?,
        // The candidate knows its own copy best; when it cannot be asked, whoever can be says what he knows of it.
        Some(_) => match node_itself(client, candidate).await?.propose(volume, &new).await {
            Err(ClientError::Unreachable(_)) => client.propose(volume, &new).await?,
            other => other?,
        },
    };
    show(format, &status, |status| text(status, new.give_up.is_some()));
    Ok(if status.state == "pending" { exit::APPROVAL_PENDING } else { exit::OK })
}

fn text(status: &ProposalStatus, gives_up: bool) -> String {
    let mut text = format!("proposal {} is {}: {}\n", status.id, status.state, status.next);
    if gives_up {
        text += "It GIVES UP acknowledged writes. Your word is the first; another approver reads it and decides:\n";
        text += &format!("  mainstay proposals show {}\n", status.id);
    }
    text
}

pub async fn set_aside(client: &AdminClient, volume: &str, node: &str, reason: &str, format: Format) -> Result<u8, CliError> {
    let done: Done = node_itself(client, node).await?.set_aside(volume, reason).await?;
    show(format, &done, |_| {
        format!(
            "The copy of {volume} on {node} is set aside when {node} starts next, and made again from the primary. Restart its process \
             now.\nNothing is removed: the old copy stays beside the volume's directory, as its name with .aside- and a number.\n"
        )
    });
    Ok(exit::OK)
}
