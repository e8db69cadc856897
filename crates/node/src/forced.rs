//! `force-quorum`: a majority is gone for good, and two people go on with one node (docs/decisions/0014-forced-quorum.md).
//!
//! The daemon of that node does not run meanwhile. Nothing that is there is changed but one line of `identity.toml`, and that comes last:
//! whatever interrupts it, the node belongs to the old group or to the new one.

use crate::admin::client::AdminConfig;
use crate::clock;
use crate::config::NodeConfig;
use crate::directory::{Directory, DirectoryError};
use crate::pki::{self, AUTHORITY_CERTIFICATE, AUTHORITY_KEY, Credentials, Identity, NODE_CERTIFICATE, NODE_KEY, PkiError, Role};
use crate::tls::{self, TlsError, TlsIdentity};
use mainstay_cluster::{Actor, ClusterState, ForcedQuorum, Refusal};
use mainstay_coordination::{OpenError, Remains, found_anew, remains};
use mainstay_protocol::ClusterId;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// How long a node that is said to be lost may take to say that it is not.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
pub enum ForceError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Coordination(#[from] OpenError),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("{0}")]
    Input(String),
}

/// The node that is left, opened, with its lock.
pub struct Survivor {
    directory: Directory,
    remains: Remains,
    tls: TlsIdentity,
}

/// What two people say.
pub struct Wish {
    /// Names of all the other nodes.
    pub lost: BTreeSet<String>,
    /// As [`ForcedQuorum::without`].
    pub without: BTreeSet<String>,
    pub reason: String,
    pub approvers: [AdminConfig; 2],
}

/// It is done.
pub struct Forced {
    pub by: (Actor, Actor),
    /// The old group's file, as it was, is in there.
    pub kept: PathBuf,
}

/// A volume as the survivor knows it.
pub struct Held {
    pub name: String,
    pub epoch: u64,
    pub primary: Option<String>,
    pub in_sync: Vec<String>,
    /// The survivor is in sync, as far as it knows; None: it has no copy.
    pub here: Option<bool>,
}

impl Survivor {
    /// # Errors
    /// The daemon runs, the directory is somebody else's, or what it knows cannot be read.
    pub fn open(config: &NodeConfig) -> Result<Survivor, ForceError> {
        let directory = Directory::open(&config.directory, &config.name)?;
        let identity = &directory.identity;
        let cluster = identity.cluster_id().unwrap_or_default();
        let remains = remains(&directory.coordination(), identity.group_id().unwrap_or(cluster), identity.node_id())?;
        let own = Credentials { certificate: directory.read_key(NODE_CERTIFICATE)?, key: directory.read_key(NODE_KEY)? };
        let tls = TlsIdentity::new(cluster, &directory.read_key(AUTHORITY_CERTIFICATE)?, Some(&own))?;
        let survivor = Survivor { directory, remains, tls };
        match survivor.state().nodes.contains_key(&survivor.directory.identity.node_id()) {
            true => Ok(survivor),
            false => Err(ForceError::Input(format!("{} was removed from the cluster: nothing goes on with it", config.name))),
        }
    }

    fn state(&self) -> &ClusterState {
        &self.remains.state
    }

    pub fn name(&self) -> &str {
        &self.directory.identity.name
    }

    pub fn cluster_name(&self) -> &str {
        &self.directory.identity.cluster_name
    }

    /// Raft's term and index, and how many of the entries are not known to be final.
    pub fn reach(&self) -> (u64, u64, u64) {
        let (term, index) = self.remains.reach();
        (term, index, self.remains.unconfirmed)
    }

    /// Everybody else, by name.
    pub fn others(&self) -> BTreeSet<String> {
        let me = self.directory.identity.node_id();
        self.state().nodes.iter().filter(|(id, _)| **id != me).map(|(_, node)| node.name.clone()).collect()
    }

    /// Without the authority's key nobody can join.
    pub fn has_authority(&self) -> bool {
        self.directory.key_path(AUTHORITY_KEY).exists()
    }

    pub fn volumes(&self) -> Vec<Held> {
        let me = self.directory.identity.node_id();
        let state = self.state();
        let held = state.volumes.values().map(|volume| Held {
            name: volume.name.clone(),
            epoch: volume.epoch.0,
            primary: volume.primary().map(|node| state.node_name(node)),
            in_sync: volume.in_sync.keys().map(|node| state.node_name(*node)).collect(),
            here: volume.replicas.contains(&me).then(|| volume.in_sync.contains_key(&me)),
        });
        held.collect()
    }

    /// Goes on with this node alone, if nobody and nothing stands against it.
    ///
    /// # Errors
    /// Others are named than all the other nodes, one of them answers, who approves may not, or a rule or the disk refuses. The node
    /// belongs to the old group then.
    pub async fn force(mut self, wish: &Wish) -> Result<Forced, ForceError> {
        if wish.lost != self.others() {
            let others: Vec<String> = self.others().into_iter().collect();
            let others = others.join(",");
            return Err(ForceError::Input(format!("--lost must name every other node, and nobody else: --lost {others}")));
        }
        let [first, second] = &wish.approvers;
        let by = (self.approver(first).await?, self.approver(second).await?);
        self.nobody_answers().await?;
        let node = self.directory.identity.node_id();
        let mut state = self.remains.state.clone();
        let (without, reason, at) = (wish.without.clone(), wish.reason.clone(), clock::wall());
        state.force_quorum(&ForcedQuorum { survivor: node, without, by: by.clone(), reason, at })?;
        let kept = self.directory.coordination();
        let group = ClusterId(pki::entropy());
        let place = self.directory.root().join(format!("coordination-{}", &group.to_string()[..8]));
        found_anew(&place, group, node, &state, &self.remains)?;
        self.directory.change_group(group)?;
        Ok(Forced { by, kept })
    }

    /// One that answers is not lost, whatever it says: it may be too busy, or too alone, to say anything.
    async fn nobody_answers(&self) -> Result<(), ForceError> {
        let me = self.directory.identity.node_id();
        for (id, node) in self.state().nodes.iter().filter(|(id, _)| **id != me) {
            let (name, address) = (&node.name, &node.admin_address);
            if let Ok(Ok(_)) = tokio::time::timeout(ANSWER_TIME_MAX, tokio::net::TcpStream::connect(address)).await {
                return Err(ForceError::Input(format!(
                    "{name} ({id}) answers at {address}: it is not lost. Mend the way between the nodes; if {name} is to go, switch it off for good first"
                )));
            }
        }
        Ok(())
    }

    /// Who it is, if they may say this.
    async fn approver(&self, credentials: &AdminConfig) -> Result<Actor, ForceError> {
        let own = Credentials { certificate: credentials.certificate.clone(), key: credentials.key.clone() };
        // The authority is the node's own, whatever the file says.
        let theirs = TlsIdentity::new(self.tls.cluster, &self.directory.read_key(AUTHORITY_CERTIFICATE)?, Some(&own))?;
        match tls::holder(&self.tls, self.directory.identity.node_id(), &theirs).await? {
            Identity::Person { name, .. } if name.is_empty() => Err(ForceError::Input("a certificate names nobody".into())),
            who @ Identity::Person { .. } if who.may(Role::Approver) => Ok(Actor::Person(who.name().into())),
            who => Err(ForceError::Input(format!("{} is no approver: two people with the role approver are needed", who.name()))),
        }
    }
}
