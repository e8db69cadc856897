//! Reads a transcript: `> command` lines, each followed by what the cluster answers, up to an empty line. Lines that start with
//! `#` are for the reader. `UPDATE=1 cargo test -p mainstay-cluster --test transcripts` writes the answers anew; review them.

use mainstay_cluster::state::MaintenanceId;
use mainstay_cluster::*;
use mainstay_protocol::peer::CopyHealth;
use mainstay_protocol::*;
use std::collections::{BTreeMap, BTreeSet};

/// The cluster under test, and what its nodes would see.
pub struct Runner {
    pub state: ClusterState,
    observed: Observed,
    at: Timestamp,
    /// Names of the typed reasons that were given.
    pub reached: BTreeSet<String>,
}

struct Arguments<'a> {
    plain: Vec<&'a str>,
    named: BTreeMap<&'a str, &'a str>,
}

impl<'a> Arguments<'a> {
    /// `word`, `key=value`, and `key="several words"`.
    fn parse(line: &'a str) -> Arguments<'a> {
        let (mut plain, mut named) = (vec![], BTreeMap::new());
        let mut rest = line.trim();
        while !rest.is_empty() {
            let quoted = rest.find('"').filter(|at| !rest[..*at].contains(' '));
            let end = match quoted {
                Some(open) => rest[open + 1..].find('"').map_or(rest.len(), |close| open + close + 2),
                None => rest.find(' ').unwrap_or(rest.len()),
            };
            let word = &rest[..end];
            match word.split_once('=') {
                Some((key, value)) => drop(named.insert(key, value.trim_matches('"'))),
                None => plain.push(word.trim_matches('"')),
            }
            rest = rest[end..].trim_start();
        }
        Arguments { plain, named }
    }
    fn word(&self, at: usize) -> &'a str {
        self.plain.get(at).unwrap_or_else(|| panic!("a word is missing at {at}"))
    }
    fn text(&self, key: &str, default: &'a str) -> &'a str {
        self.named.get(key).copied().unwrap_or(default)
    }
    fn number(&self, key: &str, default: u64) -> u64 {
        self.named.get(key).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{key}={value} is no number")))
    }
}

impl Runner {
    pub fn new() -> Runner {
        Runner {
            state: ClusterState::default(),
            observed: Observed::default(),
            at: Timestamp::new(1_700_000_000, 0),
            reached: BTreeSet::new(),
        }
    }

    /// The transcript with the answers as they are.
    pub fn run(&mut self, script: &str) -> String {
        let mut out = String::new();
        let mut answering = false;
        for line in script.lines() {
            if let Some(command) = line.strip_prefix("> ") {
                out += &format!("{line}\n{}\n", self.answer(command));
                answering = true;
            } else if line.is_empty() || line.starts_with('#') {
                out += &format!("{line}\n");
                answering = false;
            } else {
                assert!(answering, "neither a command nor a comment: {line}");
            }
        }
        out
    }

    fn answer(&mut self, line: &str) -> String {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let arguments = Arguments::parse(rest);
        match verb {
            "clock" => self.clock(&arguments),
            "see" => self.see(&arguments),
            "show" => self.show(),
            "explain" => self.explain(&arguments).trim_end().to_string(),
            "explain-demote" => {
                self.state.explain_demote(self.node(arguments.word(0)), self.volume(&arguments)).to_string().trim_end().to_string()
            }
            "explain-resync" => {
                let (node, volume) = (self.node(arguments.word(0)), self.volume(&arguments));
                self.state.explain_resync(node, volume, &self.observed).to_string().trim_end().to_string()
            }
            "explain-maintenance" => {
                self.state.explain_maintenance(self.node(arguments.word(0))).to_string().trim_end().to_string()
            }
            "evidence" => self.evidence(&arguments),
            "reads" => self.reads(&arguments),
            "three" => self.three(),
            "force-quorum" => self.force(&arguments),
            _ => {
                let command = self.command(verb, &arguments);
                self.apply(&command)
            }
        }
    }

    pub fn apply(&mut self, command: &Command) -> String {
        let before = self.state.clone();
        self.at = Timestamp::from_millis(self.at.as_millis() + 100);
        let answer = match self.state.apply(command) {
            Ok(events) if events.is_empty() => "(nothing to do)".to_string(),
            Ok(events) => events.iter().map(|event| event.text.clone()).collect::<Vec<_>>().join("\n"),
            Err(refusal) => {
                let mut now = ClusterState { version: before.version, audit: before.audit.clone(), ..self.state.clone() };
                // Time went on: what nobody decided in time is over, whatever was asked.
                for (id, change) in now.control.changes.iter_mut().filter(|(_, change)| change.state == ChangeState::Expired) {
                    assert!(command.at() >= change.expires_at || *change == before.control.changes[id]);
                    change.state = before.control.changes[id].state.clone();
                }
                assert!(now == before, "a refused command changed the state: {refusal}");
                assert!(refusal.rule == refusal.kind.rule() && !refusal.kind.clears().is_empty());
                self.refused(&refusal)
            }
        };
        self.state.validate().expect("every state is valid");
        answer
    }

    /// No command: what happens to the survivor's state when its consensus group is made anew.
    fn force(&mut self, arguments: &Arguments) -> String {
        let before = self.state.clone();
        self.at = Timestamp::from_millis(self.at.as_millis() + 100);
        let forced = ForcedQuorum {
            survivor: self.node(arguments.word(0)),
            without: arguments.text("without", "").split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            by: (self.actor(arguments, "ann"), Actor::Person(arguments.text("second", "bob").into())),
            reason: arguments.text("reason", "the room burnt").into(),
            at: self.at,
        };
        let answer = match self.state.force_quorum(&forced) {
            Ok(events) => {
                // Nobody hears the lost nodes any more.
                self.observed = Observed { by: forced.survivor, ..Observed::default() };
                events.iter().map(|event| event.text.clone()).collect::<Vec<_>>().join("\n")
            }
            Err(refusal) => {
                assert!(self.state == before, "a refusal changed the state: {refusal}");
                self.refused(&refusal)
            }
        };
        self.state.validate().expect("every state is valid");
        answer
    }

    fn refused(&mut self, refusal: &Refusal) -> String {
        let debug = format!("{:?}", refusal.kind);
        let name = debug.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        self.reached.insert(name.to_string());
        format!("REFUSED {}: {refusal}", refusal.rule)
    }

    fn clock(&mut self, arguments: &Arguments) -> String {
        let seconds: i64 = arguments.word(0).trim_start_matches('+').parse().expect("seconds");
        self.at = Timestamp::new(self.at.seconds + seconds, 0);
        format!("{seconds} s later")
    }

    fn node(&self, name: &str) -> NodeId {
        self.state.node_named(name).map_or_else(|| NodeId(99), |(id, _)| id)
    }
    fn volume(&self, arguments: &Arguments) -> VolumeId {
        self.state.volume_named(arguments.text("volume", "files")).map_or(VolumeId(99), |(id, _)| id)
    }
    fn proposal(&self, arguments: &Arguments) -> ProposalId {
        ProposalId(arguments.word(0).trim_start_matches('#').parse().expect("#N"))
    }
    fn boot(&self, node: NodeId, arguments: &Arguments) -> Incarnation {
        let now = self.state.nodes.get(&node).map_or(Incarnation(0), |known| known.incarnation);
        Incarnation(arguments.number("boot", now.0))
    }
    fn actor(&self, arguments: &Arguments, default: &str) -> Actor {
        match arguments.text("by", default) {
            name if self.state.node_named(name).is_some() => Actor::Node(self.node(name)),
            name => Actor::Person(name.to_string()),
        }
    }

    /// `see copy b 120 [synced=118] [state=resync]`, `see copy b unknown`; `see contact b 3000`, `see contact b unknown`;
    /// `see clock w 34000`: that many milliseconds ahead.
    fn see(&mut self, arguments: &Arguments) -> String {
        let node = self.node(arguments.word(1));
        let value: Option<u64> = arguments.word(2).parse().ok();
        let silent = arguments.named.contains_key("since");
        if arguments.word(0) == "clock" {
            self.observed.clocks.insert(node, arguments.word(2).parse().expect("milliseconds"));
            self.observed.by = self.node("b");
            return "seen".into();
        }
        if arguments.word(0) == "contact" {
            let contact = match value {
                None => Contact::Unknown,
                Some(ms_ago) if silent => Contact::SilentSinceBoot { ms_ago },
                Some(ms_ago) => Contact::Heard { ms_ago },
            };
            self.observed.contacts.insert(node, contact);
            return "seen".into();
        }
        let report = value.map_or(Known::Unknown, |at| Known::Known(self.copy(node, at, arguments)));
        self.observed.copies.insert(node, report);
        "seen".into()
    }

    fn copy(&self, node: NodeId, at: u64, arguments: &Arguments) -> CopyReport {
        let state = match arguments.text("state", "complete") {
            "complete" => CopyState::Complete,
            "resync" => CopyState::Resync,
            "diverged" => CopyState::Diverged,
            "failed" => CopyState::Failed,
            other => panic!("state={other}"),
        };
        let epoch = self.state.volumes.values().next().map_or(Epoch(1), |volume| volume.epoch);
        let epoch = Epoch(arguments.number("epoch", epoch.0));
        let last = LogPoint { epoch, position: Position(at), chain: Chain(at as u128) };
        let durable = Position(arguments.number("synced", at));
        let committed = Position(arguments.number("committed", durable.0));
        let health = CopyHealth {
            failed: state == CopyState::Failed,
            full: arguments.text("full", "no") == "yes",
            free_bytes: arguments.number("free", 1 << 40),
            damaged: arguments.number("damaged", 0),
        };
        let incarnation = self.boot(node, arguments);
        CopyReport { last, durable, committed, state, health, incarnation, age_ms: arguments.number("age", 100) }
    }

    /// Two file servers and a witness, booted; volume `files` served by `a`; and what is seen once `a` is gone.
    fn three(&mut self) -> String {
        let script = [
            "init main node=a",
            "add b",
            "add w kind=witness",
            "boot a 1",
            "boot b 1",
            "boot w 1",
            "create files on=a,b primary=a",
            "serving a",
            "see copy b 120 synced=118",
            "see copy a unknown",
            "see contact b 3000",
            "see contact w 3100",
            "see clock w 12",
        ];
        for line in script {
            let answer = self.answer(line);
            assert!(!answer.starts_with("REFUSED"), "{line}: {answer}");
        }
        "a and b serve files, w votes; a is the primary of epoch e1; b and w last heard it 3 s ago".into()
    }

    fn command(&self, verb: &str, arguments: &Arguments) -> Command {
        let at = self.at;
        match verb {
            "init" | "add" | "boot" | "mint" | "use" => self.node_command(verb, arguments, at),
            "create" | "shrink" | "grow" | "serving" | "fail" | "step-down" => self.volume_command(verb, arguments, at),
            "propose" | "approve" | "deny" | "void" | "expire" | "lapsed" => self.promotion_command(verb, arguments, at),
            "set" | "hold" | "approve-change" | "deny-change" | "drill" | "revoke" => self.policy_command(verb, arguments, at),
            _ => self.other_command(verb, arguments, at),
        }
    }

    fn policy_command(&self, verb: &str, arguments: &Arguments, at: Timestamp) -> Command {
        let (volume, actor) = (self.volume(arguments), self.actor(arguments, "ann"));
        let reason = arguments.text("reason", "as agreed").to_string();
        let change = || ChangeId(arguments.word(0).trim_start_matches('c').parse().expect("cN"));
        match verb {
            "set" => Command::SetVolume { volume, wish: wish(arguments), reason, actor, at },
            "hold" => Command::SetHold { on: arguments.word(0) == "on", reason, actor, at },
            "approve-change" => {
                let own = self.state.control.changes.get(&change()).map_or(Digest::default(), |known| known.digest);
                let digest = if arguments.named.contains_key("hash") { Digest::of(b"another") } else { own };
                Command::ApproveChange { change: change(), digest, actor, at }
            }
            "revoke" => Command::Revoke { name: arguments.word(0).into(), reason, actor, at },
            "deny-change" => Command::DenyChange { change: change(), reason, actor, at },
            _ => {
                let own = self.state.volumes.get(&volume).map_or(Digest::default(), |known| self.state.drill_digest(known));
                let config = if arguments.named.contains_key("config") { Digest::of(b"another") } else { own };
                Command::DrillPassed { volume, config, scenario: arguments.word(0).into(), actor, at }
            }
        }
    }

    fn node_command(&self, verb: &str, arguments: &Arguments, at: Timestamp) -> Command {
        let number = usize::from(self.state.last_node.0) + 1;
        let peer_address = arguments.text("peer", "").to_string();
        let peer_address = if peer_address.is_empty() { format!("127.0.0.{}:7300", 10 + number) } else { peer_address };
        let admin_address = format!("127.0.0.{}:7400", 10 + number);
        let kind = if arguments.text("kind", "server") == "witness" { NodeKind::Witness } else { NodeKind::FileServer };
        let actor = self.actor(arguments, "ann");
        let token = || Digest::of(arguments.word(0).as_bytes());
        match verb {
            "init" => Command::Init {
                cluster: ClusterId([7; 16]),
                name: arguments.word(0).into(),
                settings: Settings { lease_ms: arguments.number("lease_ms", 2000), ..Settings::default() },
                node: arguments.text("node", "a").into(),
                kind,
                peer_address,
                admin_address,
                actor,
                at,
            },
            "add" => Command::AddNode { name: arguments.word(0).into(), kind, peer_address, admin_address, actor, at },
            "boot" => {
                let incarnation = Incarnation(arguments.word(1).parse().expect("boot number"));
                Command::Booted {
                    node: self.node(arguments.word(0)),
                    incarnation,
                    software: arguments.text("runs", "0.1.0").into(),
                    at,
                }
            }
            "mint" => {
                let expires_at = Timestamp::new(at.seconds + arguments.number("seconds", 600) as i64, 0);
                Command::MintToken { token: token(), expires_at, actor, at }
            }
            _ => Command::UseToken { token: token(), name: arguments.text("for", "").into(), at },
        }
    }

    fn volume_command(&self, verb: &str, arguments: &Arguments, at: Timestamp) -> Command {
        if verb == "create" {
            return self.create(arguments, at);
        }
        let (volume, node) = (self.volume(arguments), self.node(arguments.word(0)));
        let incarnation = self.boot(node, arguments);
        let known = self.state.volumes.get(&volume);
        let epoch = Epoch(arguments.number("epoch", known.map_or(0, |known| known.epoch.0)));
        let expected = arguments.number("expected", known.map_or(0, |known| known.in_sync_version));
        let reason = arguments.text("reason", "it did not answer").to_string();
        match verb {
            "shrink" => {
                let remove = self.node(arguments.text("remove", ""));
                Command::ShrinkInSync { volume, epoch, node, incarnation, remove, expected, reason, at }
            }
            "grow" => {
                let add = self.node(arguments.text("add", ""));
                let now = self.state.nodes.get(&add).map_or(0, |added| added.incarnation.0);
                let added_incarnation = Incarnation(arguments.number("added", now));
                let position = Position(arguments.number("at", 130));
                Command::GrowInSync { volume, epoch, node, incarnation, add, added_incarnation, position, expected, at }
            }
            "serving" => Command::Serving { volume, epoch, node, incarnation, at },
            "fail" => Command::GrantFailed { volume, epoch, node, incarnation, reason, at },
            _ => Command::StepDown { volume, epoch, node, incarnation, at },
        }
    }

    fn create(&self, arguments: &Arguments, at: Timestamp) -> Command {
        let export = ExportSettings {
            service_address: arguments.text("address", "127.0.0.10").into(),
            clients: vec![ExportClient {
                network: arguments.text("clients", "127.0.0.0/8").into(),
                access: Access::ReadWrite,
                squash: Squash::None,
            }],
            ..ExportSettings::default()
        };
        Command::CreateVolume {
            name: arguments.word(0).into(),
            replicas: arguments.text("on", "a,b").split(',').map(|name| self.node(name)).collect(),
            primary: self.node(arguments.text("primary", "a")),
            policy: policy(arguments.text("policy", "manual")),
            without_primary: match arguments.text("without_primary", "reads") {
                "reads" => WithoutPrimary::ServeReads,
                _ => WithoutPrimary::Close,
            },
            export,
            actor: self.actor(arguments, "ann"),
            at,
        }
    }

    fn promotion_command(&self, verb: &str, arguments: &Arguments, at: Timestamp) -> Command {
        if verb == "propose" {
            return self.propose(arguments, at);
        }
        let proposal = self.proposal(arguments);
        let actor = self.actor(arguments, "ann");
        let reason = arguments.text("reason", "not now").to_string();
        let known = self.state.proposals.get(&proposal);
        match verb {
            "approve" => {
                let own = known.map_or(Digest::default(), |known| known.evidence_hash);
                let evidence_hash = if arguments.named.contains_key("hash") { Digest::of(b"another") } else { own };
                let asked = known.map_or(at, |known| known.at);
                let waited_ms = (at.seconds - asked.seconds).max(0) as u64 * 1_000;
                let waited_ms = if arguments.named.contains_key("early") { 0 } else { waited_ms };
                Command::Approve { proposal, evidence_hash, actor, waited_ms, at }
            }
            "deny" => Command::Deny { proposal, reason, actor, at },
            "void" => {
                let seen = arguments.text("seen", "the primary was heard again").to_string();
                let by = self.node(arguments.text("by", "w"));
                Command::Void { proposal, field: EvidenceField::PrimaryHeard, seen, by, at }
            }
            "expire" => {
                let limit_ms = self.state.settings.approval_ms;
                let waited_ms = if arguments.named.contains_key("early") { limit_ms - 1 } else { limit_ms };
                let approved = known.is_some_and(|known| known.approval.is_some()) && arguments.text("pending", "no") == "no";
                Command::Expire { proposal, approved, waited_ms, at }
            }
            _ => {
                let node = self.node(arguments.word(1));
                let incarnation = self.boot(node, arguments);
                let promised = Epoch(arguments.number("promised", known.map_or(0, |known| known.parent_epoch.0 + 1)));
                let epoch = Epoch(arguments.number("epoch", 1));
                let point = |at| LogPoint { epoch, position: Position(at), chain: Chain(at as u128) };
                let last = Some(point(arguments.number("last", 120))).filter(|_| arguments.text("copy", "yes") == "yes");
                let waited_ms = 1_000 * arguments.number("waited", 0);
                Command::Lapsed { proposal, node, incarnation, promised, last, waited_ms, at }
            }
        }
    }

    fn propose(&self, arguments: &Arguments, at: Timestamp) -> Command {
        let (volume, candidate) = (self.volume(arguments), self.node(arguments.word(0)));
        let known = self.state.volumes.keys().next().copied().unwrap_or_default();
        let observed = Observed { by: self.node(arguments.text("seen_by", arguments.word(0))), ..self.observed.clone() };
        let mut evidence = self
            .state
            .evidence(candidate, volume, &observed)
            .or_else(|| self.state.evidence(self.node("a"), known, &observed))
            .expect("there is a volume to speak of");
        if arguments.text("fencing", "") == "own" {
            evidence.fencing = FencingProof::OwnDemotion;
        }
        if arguments.text("fencing", "") == "hand-over" {
            evidence.fencing = FencingProof::HandOver { from: self.node("a"), incarnation: Incarnation(1) };
        }
        if arguments.text("fencing", "") == "external" {
            evidence.fencing = FencingProof::ExternalFence { by: ProposalId(1) };
        }
        if let Some(version) = arguments.named.get("runs") {
            evidence.basis.software.values_mut().for_each(|known| *known = version.to_string());
        }
        if arguments.text("stale", "") == "set" {
            evidence.basis.in_sync.remove(&NodeId(1));
        }
        if let Some(reason) = arguments.named.get("give_up") {
            let kept = Some(Timestamp::new(at.seconds - 600, 0));
            let files = match arguments.text("files", "") {
                "" => LostFiles::Unknown("a does not answer".into()),
                path => {
                    let (first, last) = (Timestamp::new(at.seconds - 500, 0), Timestamp::new(at.seconds - 400, 0));
                    LostFiles::Known { files: vec![LostFile { path: path.into(), bytes: 8192, first, last }], more: 1 }
                }
            };
            let named = self.state.evidence_with_loss(candidate, volume, &observed, (kept, files, reason.to_string()));
            evidence = named.unwrap_or(evidence);
        }
        if let (Some(loss), "yes") = (&mut evidence.loss, arguments.text("smaller", "")) {
            loss.after.position.0 += 1;
        }
        let parent_epoch = Epoch(arguments.number("parent", evidence.basis.parent_epoch.0));
        let proposer = self.actor(arguments, arguments.word(0));
        Command::Propose { volume, candidate, parent_epoch, evidence: Box::new(evidence), proposer, at }
    }

    fn other_command(&self, verb: &str, arguments: &Arguments, at: Timestamp) -> Command {
        let actor = self.actor(arguments, "ann");
        match verb {
            "maintain" => Command::BeginMaintenance {
                node: self.node(arguments.word(0)),
                owner: arguments.text("owner", "ann").into(),
                reason: arguments.text("reason", "new memory").into(),
                ends_at: Timestamp::new(at.seconds + arguments.number("seconds", 3600) as i64, 0),
                allow_primary: arguments.text("primary", "no") == "yes",
                actor,
                at,
            },
            "end" => {
                let maintenance = MaintenanceId(arguments.word(0).trim_start_matches('m').parse().expect("mN"));
                let answers = arguments.text("answers", "yes") == "yes";
                Command::EndMaintenance { maintenance, answers, actor, at }
            }
            "reset" => {
                let reason = arguments.text("reason", "the address is free again").into();
                Command::ResetBreaker { volume: self.volume(arguments), reason, actor, at }
            }
            "leave" => {
                let node = self.node(arguments.word(0));
                let cause = if arguments.text("cause", "asked") == "host" { StopCause::HostShutdown } else { StopCause::Asked };
                Command::Leaving { node, incarnation: self.boot(node, arguments), cause, at }
            }
            "extend" => {
                let maintenance = MaintenanceId(arguments.word(0).trim_start_matches('m').parse().expect("mN"));
                let seconds = arguments.text("seconds", "3600").parse::<i64>().expect("seconds");
                Command::ExtendMaintenance { maintenance, ends_at: Timestamp::new(at.seconds + seconds, 0), actor, at }
            }
            "overdue" => {
                let maintenance = MaintenanceId(arguments.word(0).trim_start_matches('m').parse().expect("mN"));
                Command::MaintenanceOverdue { maintenance, by: self.node(arguments.text("by", "w")), at }
            }
            "set-aside" => {
                let reason = arguments.text("reason", "its disk was replaced").to_string();
                Command::SetAsideCopy { volume: self.volume(arguments), node: self.node(arguments.word(0)), reason, actor, at }
            }
            "switchover" => self.switchover(arguments, at),
            "drained" => {
                let (proposal, node) = (self.proposal(arguments), self.node(arguments.word(1)));
                let (position, epoch) = (arguments.number("last", 120), Epoch(arguments.number("epoch", 1)));
                let last = LogPoint { epoch, position: Position(position), chain: Chain(position as u128) };
                Command::Drained { proposal, node, incarnation: self.boot(node, arguments), last, at }
            }
            "add-replica" | "remove-replica" | "remove-node" | "members" => self.members_command(verb, arguments, at),
            "fence-begin" | "fenced" | "fence" | "fence-end" => self.fence_command(verb, arguments, at),
            "set-back" => Command::SetBack { node: self.node(arguments.word(0)), by: self.node(arguments.text("by", "b")), at },
            "note" => Command::Note { volume: None, text: arguments.text("text", "").into(), actor, at },
            other => panic!("unknown verb {other}"),
        }
    }

    /// `add-replica d [expected=1]`, `remove-replica b [single]`, `remove-node d [answers=a,w]`, `members a [number=2]`.
    fn members_command(&self, verb: &str, arguments: &Arguments, at: Timestamp) -> Command {
        let (volume, node, actor) = (self.volume(arguments), self.node(arguments.word(0)), self.actor(arguments, "ann"));
        let reason = arguments.text("reason", "a new machine").to_string();
        let known = self.state.volumes.get(&volume);
        let expected = arguments.number("expected", known.map_or(0, |known| known.members.version));
        match verb {
            "add-replica" => Command::AddReplica { volume, node, expected, reason, actor, at },
            "remove-replica" => {
                let accept_single = arguments.plain.contains(&"single");
                Command::RemoveReplica { volume, node, expected, accept_single, reason, actor, at }
            }
            "remove-node" => {
                let answering = match arguments.named.get("answers") {
                    Some(names) => names.split(',').map(|name| self.node(name)).collect(),
                    None => self.state.nodes.keys().copied().collect(),
                };
                Command::RemoveNode { node, answering, reason, actor, at }
            }
            _ => {
                let epoch = Epoch(arguments.number("epoch", known.map_or(0, |known| known.epoch.0)));
                let members = arguments.number("number", self.state.membership.number);
                Command::MembersKnown { volume, epoch, node, incarnation: self.boot(node, arguments), members, at }
            }
        }
    }

    /// `fence-begin #1 b target=a`, `fenced #1 b target=a [failed="why"]`, `fence a through=b`.
    fn fence_command(&self, verb: &str, arguments: &Arguments, at: Timestamp) -> Command {
        let target = self.node(arguments.text("target", "a"));
        let known = |node: NodeId| self.state.nodes.get(&node).map_or(0, |known| known.incarnation.0);
        let target_incarnation = Incarnation(arguments.number("target_boot", known(target)));
        if verb == "fence" {
            let target = self.node(arguments.word(0));
            return Command::FenceAsked {
                node: self.node(arguments.text("through", "b")),
                target,
                target_incarnation: Incarnation(arguments.number("boot", known(target))),
                allow_primary: arguments.text("primary", "no") == "yes",
                reason: arguments.text("reason", "it hangs").into(),
                actor: self.actor(arguments, "ann"),
                at,
            };
        }
        if verb == "fence-end" {
            let (node, target) = (self.node(arguments.text("through", "b")), self.node(arguments.word(0)));
            let failed = arguments.named.get("failed").map(|why| FenceOutcome::Failed(why.to_string()));
            let asked = self.state.nodes.get(&target).and_then(|known| known.off_asked);
            let asked_at = asked.map_or(at, |asked| asked.at);
            let asked_at = if arguments.named.contains_key("other") { Timestamp::new(asked_at.seconds - 1, 0) } else { asked_at };
            let outcome = failed.unwrap_or(FenceOutcome::Confirmed);
            return Command::FenceEnded { node, target, asked_at, outcome, at };
        }
        let (proposal, node) = (self.proposal(arguments), self.node(arguments.word(1)));
        let incarnation = self.boot(node, arguments);
        if verb == "fence-begin" {
            return Command::FenceBegun { proposal, node, incarnation, target, target_incarnation, at };
        }
        let failed = arguments.named.get("failed").map(|why| FenceOutcome::Failed(why.to_string()));
        let outcome = failed.unwrap_or(FenceOutcome::Confirmed);
        Command::Fenced { proposal, node, incarnation, target, target_incarnation, outcome, at }
    }

    fn switchover(&self, arguments: &Arguments, at: Timestamp) -> Command {
        let (volume, to) = (self.volume(arguments), self.node(arguments.word(0)));
        let epoch = self.state.volumes.get(&volume).map_or(0, |known| known.epoch.0);
        let parent_epoch = Epoch(arguments.number("epoch", epoch));
        let after = ProposalId(arguments.number("after", self.state.last_proposal.0));
        Command::Switchover { volume, to, parent_epoch, after, actor: self.actor(arguments, "ann"), at }
    }

    fn evidence(&self, arguments: &Arguments) -> String {
        let proposal = self.state.proposals.get(&self.proposal(arguments));
        proposal.map_or_else(|| "no such proposal".into(), |proposal| proposal.evidence.render(&self.state))
    }

    fn explain(&self, arguments: &Arguments) -> String {
        self.state.explain_promote(self.node(arguments.word(0)), self.volume(arguments), &self.observed).to_string()
    }

    fn reads(&mut self, arguments: &Arguments) -> String {
        let complete = arguments.text("complete", "yes") == "yes";
        match self.state.may_serve_reads(self.volume(arguments), self.node(arguments.word(0)), complete) {
            Ok(()) => "reads are served".into(),
            Err(refusal) => self.refused(&refusal),
        }
    }

    /// One line for each volume, proposal and maintenance.
    fn show(&self) -> String {
        let state = &self.state;
        let volumes = state.volumes.values().map(|volume| {
            let primary = volume.reign.map_or("none".to_string(), |reign| {
                format!("{} {} ({:?})", state.node_name(reign.node), reign.incarnation, reign.state)
            });
            let in_sync = volume.in_sync.iter().map(|(node, boot)| format!("{} {boot}", state.node_name(*node)));
            let in_sync = in_sync.collect::<Vec<_>>().join(", ");
            let fenced = if volume.fenced { ", fenced" } else { "" };
            let breaker = if volume.breaker.open { ", breaker OPEN" } else { "" };
            let policy = if volume.policy == Policy::Manual { String::new() } else { format!(", policy {}", volume.policy) };
            let breaker = format!("{breaker}{policy}");
            let (name, epoch, loss) = (&volume.name, volume.epoch, volume.loss_epoch);
            format!("volume {name}: {epoch}, loss epoch {loss}, primary {primary}, in sync {{{in_sync}}}{fenced}{breaker}")
        });
        let proposals =
            state.proposals.iter().map(|(id, p)| format!("proposal {id}: {} {}", state.node_name(p.candidate), p.state));
        let maintenance =
            state.maintenance.iter().map(|(id, m)| format!("maintenance {id}: {} {:?}", state.node_name(m.node), m.state));
        let left = state.nodes.values().filter_map(|node| Some(format!("node {}: left, {}", node.name, node.left?.cause)));
        let changes = state.control.changes.iter();
        let changes = changes.map(|(id, c)| format!("change {id}: {}: {}", state.wish_text(&c.wish), c.state));
        volumes.chain(proposals).chain(maintenance).chain(left).chain(changes).collect::<Vec<_>>().join("\n")
    }
}

fn policy(name: &str) -> Policy {
    match name {
        "manual" => Policy::Manual,
        "guarded" => Policy::Guarded,
        "hold" => Policy::Hold,
        other => panic!("policy={other}"),
    }
}

fn wish(arguments: &Arguments) -> VolumeWish {
    let number = |key: &str| arguments.named.get(key).map(|value| value.parse::<u64>().expect("a number"));
    VolumeWish {
        policy: arguments.named.get("policy").map(|name| policy(name)),
        without_primary: arguments.named.get("without").map(|name| match *name {
            "close" => WithoutPrimary::Close,
            _ => WithoutPrimary::ServeReads,
        }),
        alone: arguments.named.get("alone").map(|name| if *name == "serve" { Alone::Serve } else { Alone::ReadOnly }),
        role_changes_max: number("max").map(|max| max as u32),
        role_changes_window_ms: number("minutes").map(|minutes| minutes * 60_000),
        drill_days: number("drill_days").map(|days| days as u32),
    }
}
