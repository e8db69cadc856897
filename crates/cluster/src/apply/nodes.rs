//! The cluster itself, its nodes, their boots, and the tokens to join.

use super::Applied;
use crate::audit::Event;
use crate::command::{Actor, Command};
use crate::digest::Digest;
use crate::input;
use crate::limits::{NODES_MAX, TOKEN_LIFE_MS_MAX, TOKENS_MAX};
use crate::refusal::{RefusalKind, instant};
use crate::state::{ClusterState, Left, Maintenance, MaintenanceState, Node, NodeKind, StopCause, Token};
use mainstay_protocol::{ClusterId, Incarnation, NodeId, Timestamp, VolumeId};

impl ClusterState {
    /// The first command of a cluster's life, and possible once.
    pub(super) fn init(&mut self, command: &Command) -> Applied {
        let Command::Init { cluster, name, settings, node, kind, peer_address, admin_address, actor, at } = command else {
            return Ok(());
        };
        if self.initialised() {
            return Err(RefusalKind::AlreadyInitialised(self.name.clone()));
        }
        if *cluster == ClusterId::default() {
            return Err(input::bad("cluster identity", &cluster.to_string(), "is zero"));
        }
        input::label("cluster", name)?;
        input::settings(settings)?;
        self.check_node(node, peer_address, admin_address)?;
        self.id = *cluster;
        self.name = name.clone();
        self.settings = settings.clone();
        self.record(*at, actor, None, Event::ClusterCreated, format!("cluster {name} was made, identity {cluster}"));
        self.insert_node(node, *kind, (peer_address, admin_address), actor, *at);
        Ok(())
    }

    /// What must hold of every new node: a name and addresses that nobody else has.
    fn check_node(&self, name: &str, peer_address: &str, admin_address: &str) -> Applied {
        input::label("node", name)?;
        input::address("peer address", peer_address)?;
        input::address("admin address", admin_address)?;
        let taken = |what: &str, value: &str, owner: &Node| {
            Err(RefusalKind::Taken { what: what.into(), value: value.into(), owner: format!("node {}", owner.name) })
        };
        for other in self.nodes.values() {
            // Names become file names and host names, which some systems compare without case.
            if other.name.eq_ignore_ascii_case(name) {
                return taken("node name", name, other);
            }
            if other.peer_address == peer_address {
                return taken("peer address", peer_address, other);
            }
            if other.admin_address == admin_address {
                return taken("admin address", admin_address, other);
            }
        }
        Ok(())
    }

    /// Ids are given out here and nowhere else, one after the other, so that none is used twice.
    fn insert_node(&mut self, name: &str, kind: NodeKind, addresses: (&str, &str), actor: &Actor, at: Timestamp) {
        self.last_node = NodeId(self.last_node.0 + 1);
        let node = self.last_node;
        let added = Node {
            name: name.to_string(),
            kind,
            peer_address: addresses.0.to_string(),
            admin_address: addresses.1.to_string(),
            incarnation: Incarnation(0),
            joined_at: at,
            booted_at: Timestamp::default(),
            left: None,
            off_asked: None,
            software: String::new(),
            set_back: None,
        };
        let kind = if kind == NodeKind::Witness { "witness" } else { "file server" };
        assert!(self.nodes.insert(node, added).is_none(), "a node's id is never reused");
        self.record(at, actor, None, Event::NodeAdded { node }, format!("{kind} {name} joined as {node}, at {}", addresses.0));
    }

    /// A node is let in by a person, or by another node that saw a token being used for exactly this name.
    pub(super) fn add_node(&mut self, command: &Command) -> Applied {
        let Command::AddNode { name, kind, peer_address, admin_address, actor, at } = command else { return Ok(()) };
        self.check_node(name, peer_address, admin_address)?;
        if self.nodes.len() >= NODES_MAX || self.last_node.0 == u16::MAX {
            return Err(RefusalKind::LimitReached { what: "nodes".into(), max: NODES_MAX });
        }
        match actor {
            Actor::Person(_) => input::person(actor)?,
            Actor::Node(via) => {
                self.known_node(*via)?;
                let admitted = self.tokens.values().any(|token| token.used_for.as_deref() == Some(name));
                admitted.then_some(()).ok_or_else(|| RefusalKind::TokenMissing(name.clone()))?;
            }
            Actor::Cluster => return Err(RefusalKind::NotAPerson(actor.clone())),
        }
        self.insert_node(name, *kind, (peer_address, admin_address), actor, *at);
        Ok(())
    }

    /// R3: a boot ends what the node held in older boots. The new process holds the data directory's lock, so the old one is
    /// gone, and its lease with it: the volume counts as fenced (R13).
    pub(super) fn booted(&mut self, node: NodeId, incarnation: Incarnation, software: &str, at: Timestamp) -> Applied {
        let known = self.known_node(node)?;
        let (name, current) = (known.name.clone(), known.incarnation);
        if incarnation == current && incarnation.0 > 0 {
            return Ok(());
        }
        if incarnation < current || incarnation.0 == 0 {
            return Err(RefusalKind::IncarnationNotRisen { node: name, given: incarnation, current });
        }
        input::version(software)?;
        if current.0 == 0 {
            self.members_may_be(&self.voters().chain([node]).collect())?;
        }
        let text = format!("{name} booted, boot {incarnation}, runs {software}");
        self.record(at, &Actor::Node(node), None, Event::NodeBooted { node, incarnation }, text);
        let reigns = |reign: Option<crate::state::Reign>| reign.is_some_and(|r| r.node == node && r.incarnation < incarnation);
        let ended: Vec<VolumeId> = self.volumes.iter().filter(|(_, v)| reigns(v.reign)).map(|(id, _)| *id).collect();
        for volume in ended {
            self.end_reign(volume, "it restarted", at);
        }
        // After the reigns: a promotion that fails by this is remembered as the plan of the old boot.
        if let Some(known) = self.nodes.get_mut(&node) {
            known.incarnation = incarnation;
            known.booted_at = at;
            known.left = None;
            known.software = software.to_string();
        }
        let ended = |m: &&mut Maintenance| m.node == node && m.state == MaintenanceState::Returning;
        self.maintenance.values_mut().filter(ended).for_each(|m| m.back = true);
        self.count_members();
        Ok(())
    }

    /// The boot's last word. It is no proof of anything: a lease still runs out, and a primary gives its epoch back besides (R13).
    pub(super) fn leaving(&mut self, node: NodeId, incarnation: Incarnation, cause: StopCause, at: Timestamp) -> Applied {
        let known = self.known_node(node)?;
        let (name, current) = (known.name.clone(), known.incarnation);
        if incarnation != current {
            return Err(RefusalKind::OldBoot { node: name, given: incarnation, current });
        }
        if known.left.is_some() {
            return Ok(());
        }
        let planned = self.maintenance_of(node).map_or(String::new(), |(id, _)| format!(", in maintenance {id}"));
        if let Some(known) = self.nodes.get_mut(&node) {
            known.left = Some(Left { cause, at });
        }
        let text = format!("{name} stops in order: {cause}{planned}");
        self.record(at, &Actor::Node(node), None, Event::NodeLeft { node, incarnation, cause }, text);
        Ok(())
    }

    /// On record each time that it is seen; who got no answer says the same once more. Nothing is taken from the node: what it lacks is
    /// given to it again, and whoever needs its promise waits for a lease after any boot.
    pub(super) fn set_back(&mut self, node: NodeId, by: NodeId, at: Timestamp) -> Applied {
        let by_name = self.known_node(by)?.name.clone();
        let known = self.known_node(node)?;
        if known.set_back == Some(at) {
            return Ok(());
        }
        let text = format!(
            "{} lacks decisions that it had confirmed to hold: its directory was set back (an old backup, a snapshot of the machine), or \
             its disk lost what it said was synced; {by_name} gives them to it again",
            known.name
        );
        if let Some(known) = self.nodes.get_mut(&node) {
            known.set_back = Some(at);
        }
        self.record(at, &Actor::Node(by), None, Event::NodeSetBack { node }, text);
        Ok(())
    }

    /// Tokens that are too old are forgotten here, so that they do not fill the state.
    pub(super) fn mint_token(&mut self, token: Digest, expires_at: Timestamp, actor: &Actor, at: Timestamp) -> Applied {
        input::person(actor)?;
        if let Some(known) = self.tokens.get(&token) {
            let owner = known.minted_by.to_string();
            return Err(RefusalKind::Taken { what: "join token".into(), value: token.short(), owner });
        }
        let life_ms = input::millis(expires_at).saturating_sub(input::millis(at));
        if !(1..=TOKEN_LIFE_MS_MAX).contains(&life_ms) {
            return Err(input::bad("end of the join token", &instant(expires_at), "is not within the next 24 hours"));
        }
        if self.tokens.values().filter(|old| old.expires_at > at).count() >= TOKENS_MAX {
            return Err(RefusalKind::LimitReached { what: "join tokens".into(), max: TOKENS_MAX });
        }
        self.tokens.retain(|_, old| old.expires_at > at);
        self.tokens.insert(token, Token { minted_by: actor.clone(), expires_at, used_for: None });
        let text = format!("{actor} made join token {}, good until {}", token.short(), instant(expires_at));
        self.record(at, actor, None, Event::TokenMinted { token }, text);
        Ok(())
    }

    /// Spent at once and for one name, whether or not the node then joins: a token that leaked after its use is worth nothing.
    pub(super) fn use_token(&mut self, token: Digest, name: &str, at: Timestamp) -> Applied {
        let known = self.tokens.get(&token).ok_or(RefusalKind::UnknownToken)?;
        if let Some(used_for) = &known.used_for {
            return Err(RefusalKind::TokenUsed(used_for.clone()));
        }
        if at >= known.expires_at {
            return Err(RefusalKind::TokenExpired(known.expires_at));
        }
        input::label("node", name)?;
        if let Some((_, owner)) = self.nodes.iter().find(|(_, node)| node.name.eq_ignore_ascii_case(name)) {
            let owner = format!("node {}", owner.name);
            return Err(RefusalKind::Taken { what: "node name".into(), value: name.into(), owner });
        }
        if let Some(known) = self.tokens.get_mut(&token) {
            known.used_for = Some(name.to_string());
        }
        let text = format!("join token {} was used for node {name}", token.short());
        self.record(at, &Actor::Cluster, None, Event::TokenUsed { token }, text);
        Ok(())
    }
}
