//! The replica: one `step` per input, one `poll` per batch. All state has one owner, there are no locks and no clocks here.

use crate::contacts::Said;
use crate::core::{Core, Purpose};
use crate::event::{Effect, Event, Note, ServeMode, Settings, Status, StoredPromise};
use crate::fencing::Fencing;
use crate::gate::{Gate, observe};
use crate::presence::Presence;
use crate::primary::{Primary, waits_for_second_copy};
use crate::repair::Repairs;
use crate::secondary::{Append, Secondary, no_primary_can_serve};
use bytes::Bytes;
use mainstay_cluster::{ClusterState, Command, Observed, ReignState, StopCause};
use mainstay_protocol::marks::mark;
use mainstay_protocol::peer::Envelope;
use mainstay_protocol::planted::{Bug, planted};
use mainstay_protocol::{Epoch, FileError, Mono, NodeId, Now, PeerMessage, ProposalId};
use mainstay_volume::{Volume, VolumeEvent};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Nobody needs a timer sooner than this, however many are due.
const TICK_MS_MIN: u64 = 1;

/// How long the planted bug [`Bug::SyncDeadline`] waits.
const PLANTED_DEADLINE_LEASES: u64 = 2;

enum Role {
    /// Holds no data: promises and observes.
    Voter,
    Secondary(Secondary),
    Primary(Box<Primary>),
}

pub struct Replica {
    core: Core,
    role: Role,
    gate: Gate,
    fencing: Fencing,
    repairs: Repairs,
    /// A reign that this incarnation gave up or could not take is never taken up again.
    done_with: Epoch,
    stopping: bool,
    presence: Presence,
    stop_said: bool,
}

impl Replica {
    /// `volume` is `None` on a node that only votes; `promised` is what the shell read from its disk.
    pub fn new(settings: Settings, volume: Option<Volume>, promised: StoredPromise, view: Arc<ClusterState>, now: Now) -> Replica {
        // Not the promised epoch: that promotion may have been called off, and a Hello for it would never be answered.
        let role = match &volume {
            Some(volume) => Role::Secondary(Secondary::new(volume.last().epoch)),
            None => Role::Voter,
        };
        let core = Core::new(settings, volume, promised, view, now);
        let gate = Gate::default();
        let mut replica = Replica {
            core,
            role,
            gate,
            fencing: Fencing::default(),
            repairs: Repairs::default(),
            done_with: Epoch(0),
            stopping: false,
            presence: Presence::default(),
            stop_said: false,
        };
        replica.follow_view(now);
        replica
    }

    /// Takes one input. Effects come with the next [`Replica::poll`].
    pub fn step(&mut self, now: Now, event: Event) {
        match event {
            Event::Peer(envelope) => self.on_peer(envelope, now),
            Event::Client { ticket, request } => match &mut self.role {
                Role::Primary(primary) if self.core.failed.is_none() => primary.on_client(&mut self.core, ticket, request, now),
                Role::Secondary(secondary) if !self.stopping => secondary.on_client(&mut self.core, ticket, request, now),
                _ => self.core.out.push(Effect::Reply { ticket, result: Err(FileError::TryLater.into()) }),
            },
            Event::Disk(event) => {
                if let Some(volume) = self.core.volume.as_mut() {
                    volume.handle(event);
                }
            }
            Event::Decided(view) => self.on_decided(view, now),
            Event::PromiseStored(promise) => self.core.promise.stored(promise),
            Event::Proposed { ticket, result } => self.core.proposed(ticket, &result, now.mono),
            Event::Mark { ticket } => {
                let position = match &mut self.role {
                    Role::Primary(primary) if self.core.failed.is_none() => primary.mark(&mut self.core, now),
                    _ => None,
                };
                self.core.out.push(Effect::Marked { ticket, position });
            }
            Event::Stop(cause) => self.on_stop(cause, now),
            Event::Tick => {}
            Event::FenceHooks(hooks) => self.fencing.configured(hooks),
            Event::Fenced { proposal, result } => self.fencing.ended(proposal, result),
        }
        self.on_volume_events(now);
    }

    /// Everything that follows from the steps since the last poll, batched: records to peers, commits, replies, disk work.
    pub fn poll(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.contact(now);
        self.core.forget_stale_proposals(now.mono);
        if let Some(volume) = self.core.volume.as_mut() {
            volume.tick(now);
        }
        self.on_volume_events(now);
        if let (Role::Primary(primary), None) = (&mut self.role, &self.core.failed) {
            primary.tick(&mut self.core, now);
        }
        match &mut self.role {
            Role::Primary(primary) => primary.poll(&mut self.core, now),
            Role::Secondary(secondary) if !self.stopping => secondary.poll(&mut self.core, now),
            _ => {}
        }
        if let Role::Secondary(_) = self.role {
            // A grant that could not be taken up at once, because the volume was busy.
            self.follow_view(now);
        }
        if let Role::Secondary(_) = self.role {
            self.give_up_again(now);
        }
        let able = matches!(self.role, Role::Secondary(_)) && !self.stopping;
        // First: what shortens the wait is asked for before the words that end it.
        self.fencing.poll(&mut self.core, now);
        self.gate.poll(&mut self.core, able, self.stopping, now);
        self.presence.poll(&mut self.core, now);
        self.repairs.tick(&mut self.core, now);
        self.give_up_when_failed(now);
        self.say_stopped(now);
        effects.append(&mut self.core.out);
        if let Some(volume) = self.core.volume.as_mut() {
            effects.extend(std::iter::from_fn(|| volume.poll_effect()).map(Effect::Disk));
        }
    }

    pub fn next_timer(&self, now: Now) -> Mono {
        let contact = self.core.contacts.last_sent.after_ms(self.core.timing.heartbeat_ms);
        let role = match &self.role {
            Role::Primary(primary) => primary.next_timer(&self.core, now).min(primary.source.next_timer().unwrap_or(contact)),
            Role::Secondary(secondary) => secondary.next_timer(&self.core, now),
            Role::Voter => contact,
        };
        let volume = self.core.volume.as_ref().map_or(contact, Volume::next_timer);
        let repair = self.repairs.next_timer().unwrap_or(contact);
        let gate = self.gate.next_timer(&self.core, now);
        contact.min(role).min(volume).min(repair).min(gate).max(now.mono.after_ms(TICK_MS_MIN))
    }

    pub fn volume(&self) -> Option<&Volume> {
        self.core.volume.as_ref()
    }

    /// The agreed state, as far as this node has heard.
    pub fn view(&self) -> &ClusterState {
        &self.core.view
    }

    /// Whether it should hold a copy and has none, or the other way around: its shell then sets the copy aside, or begins an empty
    /// one, and starts anew.
    pub fn misplaced(&self) -> bool {
        let holds = self.core.state().map(|state| state.replicas.contains(&self.core.me.node));
        holds.is_some_and(|holds| holds != self.core.volume.is_some())
    }

    /// What this node has durably promised; `None` while another promise is on its way to the disk.
    pub fn promised(&self) -> Option<StoredPromise> {
        self.core.promise.kept()
    }

    /// Whether it has stopped trusting its copy.
    pub fn failed(&self) -> bool {
        self.core.failed.is_some()
    }

    /// Milliseconds since this boot of the node has known a proposal that is open, on the clock that nobody sets.
    pub fn known_ms(&self, proposal: ProposalId, now: Now) -> u64 {
        self.gate.proposed_ms(proposal, now)
    }

    /// What this node can say about a promotion now; `explain` is made of it.
    pub fn observed(&self, now: Now) -> Observed {
        observe(&self.core, now)
    }

    // ---- inputs ----------------------------------------------------------------------------------------------------------

    fn on_peer(&mut self, envelope: Envelope, now: Now) {
        let Envelope { volume, from, incarnation, message, payload } = envelope;
        let known = volume == self.core.me.volume && from != self.core.me.node && self.core.view.nodes.contains_key(&from);
        if !known || !self.core.contacts.heard(from, incarnation, now.mono) {
            mark("replica: message of an earlier boot");
            return;
        }
        match message {
            PeerMessage::Contact { epoch, last, durable, committed, complete, health, idle, leaving, seen, up_ms, wall } => {
                let (at, clock_ms) = (now.mono, wall.as_millis().saturating_sub(now.wall.as_millis()));
                let said = Said { at, epoch, last, durable, committed, complete, health, idle, leaving, seen, up_ms, clock_ms };
                self.core.contacts.said(from, said)
            }
            PeerMessage::LeaseRequest { epoch, sent } => self.on_lease_request(from, epoch, sent, now),
            PeerMessage::RepairRequest { ticket, file, extent, position, of, .. } => {
                self.repairs.requested(&mut self.core, (from, incarnation, ticket), (file, extent, position), of)
            }
            PeerMessage::Repair { ticket, boot, .. } => self.repairs.answered(&mut self.core, from, boot, ticket, one(payload)),
            message if self.core.failed.is_some() => drop(message),
            message => match &mut self.role {
                Role::Primary(primary) => {
                    Self::at_primary(primary, &mut self.core, from, incarnation, message, now);
                }
                Role::Secondary(secondary) if !self.stopping => {
                    Self::at_secondary(secondary, &mut self.core, from, message, payload, now);
                }
                _ => {}
            },
        }
    }

    fn at_primary(
        primary: &mut Primary,
        core: &mut Core,
        from: NodeId,
        incarnation: mainstay_protocol::Incarnation,
        message: PeerMessage,
        now: Now,
    ) {
        match message {
            PeerMessage::LeasePromise { epoch, sent } => primary.on_promise(core, from, epoch, sent, now),
            PeerMessage::Hello { epoch, stream, last, durable, lineage, resync }
                if epoch == primary.epoch && stream.incarnation == incarnation =>
            {
                primary.on_hello(core, from, stream, (last, durable), &lineage, resync)
            }
            PeerMessage::Acknowledge { epoch, stream, received, durable, applied } if epoch == primary.epoch => {
                primary.on_acknowledge(from, stream, (received, durable, applied), now)
            }
            PeerMessage::ChangesRequest { epoch, cursor, bytes_max } if epoch == primary.epoch => {
                primary.source.request(core, from, cursor, bytes_max)
            }
            PeerMessage::ListRequest { epoch, query } if epoch == primary.epoch => primary.source.list(core, from, epoch, query),
            PeerMessage::Append { epoch, .. } if epoch < primary.epoch => {
                mark("primary: fences an older epoch");
                core.counters.requests_fenced += 1;
                core.note(Note::RefusedOld { from, epoch });
                core.send(from, PeerMessage::Fenced { promised: primary.epoch });
            }
            PeerMessage::Fenced { promised } if promised > primary.epoch => {
                mark("primary: is told that it is fenced");
                core.note(Note::Fenced { by: from, promised })
            }
            _ => {}
        }
    }

    fn at_secondary(secondary: &mut Secondary, core: &mut Core, from: NodeId, message: PeerMessage, payload: Vec<Bytes>, now: Now) {
        match message {
            PeerMessage::Append { epoch, stream, after, count, commit, commit_durable, sync_to } => {
                let append = Append { epoch, stream, after, count, commit, commit_durable, sync_to };
                secondary.on_append(core, from, append, payload, now)
            }
            PeerMessage::RollBack { epoch, answers, to } => secondary.on_roll_back(core, from, epoch, (answers, to)),
            PeerMessage::ResyncByChange { epoch, base, lineage } => secondary.on_resync_offer(core, from, epoch, base, lineage),
            PeerMessage::Changes { epoch, batch } => secondary.on_changes(core, from, epoch, (batch, one(payload)), now),
            PeerMessage::List { query, items, done, .. } => secondary.on_list(core, from, query, items, done),
            _ => {}
        }
    }

    /// Promises the lease, if nothing newer is promised (R13). Only to the node that this view knows to reign in that epoch;
    /// for a newer epoch than the view knows, the sender is believed: it can only have it from a grant (R1).
    fn on_lease_request(&mut self, from: NodeId, epoch: Epoch, sent: Mono, now: Now) {
        let core = &mut self.core;
        let reigning = core.state().and_then(|state| state.reign.as_ref()).map(|reign| reign.node);
        let view_epoch = core.view_epoch();
        let refused = epoch < view_epoch || (epoch == view_epoch && reigning != Some(from));
        let promise = if refused {
            mark("replica: lease of another reign refused");
            Err(core.promise.floor().max(view_epoch))
        } else {
            core.promise.lease(epoch, now.mono, core.timing.lapse_ms)
        };
        match promise {
            Ok(()) => {
                self.gate.lease_asked = Some(now.mono);
                if let Role::Secondary(secondary) = &mut self.role {
                    secondary.primary_speaks(epoch);
                }
                core.send(from, PeerMessage::LeasePromise { epoch, sent });
            }
            Err(promised) => {
                mark("replica: lease refused");
                core.send(from, PeerMessage::LeaseRefused { epoch, sent, promised })
            }
        }
    }

    fn on_decided(&mut self, view: Arc<ClusterState>, now: Now) {
        if view.version < self.core.view.version {
            return;
        }
        let before = self.core.state().map(|state| (state.epoch, state.reign.map(|reign| (reign.node, reign.incarnation))));
        self.core.timing = crate::core::Timing::of(&view);
        self.core.view = view;
        let after = self.core.state().map(|state| (state.epoch, state.reign.map(|reign| (reign.node, reign.incarnation))));
        if before != after {
            self.gate.reign_changed(now.mono);
            if let Role::Secondary(secondary) = &mut self.role {
                secondary.reign_changed();
            }
        }
        self.follow_view(now);
    }

    /// Takes up or gives up the reign as the view says. This is the only way into [`Role::Primary`] (R3, R7).
    fn follow_view(&mut self, now: Now) {
        let (me, epoch) = (self.core.me, self.core.view_epoch());
        let granted = self.core.state().is_some_and(|state| state.reigns(me.node, me.incarnation));
        let fencing = self.core.view.promise_floor(me.volume) > epoch;
        match &mut self.role {
            Role::Primary(primary) if primary.epoch != epoch || !granted || fencing => self.abdicate(epoch, granted, now),
            Role::Primary(primary) => primary.follow_view(&self.core, now.mono),
            Role::Secondary(_) if granted && !fencing && epoch > self.done_with && !self.stopping => self.take_up(epoch, now),
            _ => {}
        }
        self.gate.follow_view(&mut self.core);
    }

    fn take_up(&mut self, epoch: Epoch, now: Now) {
        let fit = self.core.volume.as_ref().is_some_and(|volume| volume.complete() && volume.last().epoch <= epoch);
        if planted(Bug::SyncDeadline) && !self.synchronised_in_time(epoch, now) {
            return;
        }
        let loss_epoch = self.core.state().map_or(0, |state| state.loss_epoch);
        let primary = if fit { Primary::take_up(&mut self.core, epoch, loss_epoch, now) } else { None };
        match primary {
            Some(mut primary) => {
                mark("replica: takes up a grant");
                // The service address stays bound over this, and clients' connections with it.
                if let Role::Secondary(secondary) = &mut self.role {
                    primary.inherit(secondary.hand_over());
                }
                self.role = Role::Primary(Box::new(primary));
            }
            None if fit && self.core.failed.is_none() => mark("replica: grant waits for the volume"),
            None => self.refuse_grant(epoch, now),
        }
    }

    /// The planted bug: a new primary that lacks something waits for it, and gives up after a fixed time. Nobody sends what it lacks,
    /// because it is the primary itself. A copy that lacks nothing, of a small volume perhaps, never notices.
    fn synchronised_in_time(&mut self, epoch: Epoch, now: Now) -> bool {
        let Some(volume) = self.core.volume.as_ref() else { return true };
        let (last, known) = (volume.last().position, self.core.contacts.highest_position());
        if volume.complete() && last >= known {
            return true;
        }
        let waited_ms = self.gate.lease_asked.map_or(0, |granted| now.mono.ms_since(granted));
        if waited_ms >= PLANTED_DEADLINE_LEASES * self.core.timing.lease_ms {
            let reason = format!("synchronisation timed out after {waited_ms} ms: the copy ends at {last}, others reach {known}");
            self.give_back(epoch, reason, now);
        }
        false
    }

    fn refuse_grant(&mut self, epoch: Epoch, now: Now) {
        mark("replica: refuses a grant");
        let reason = self.core.failed.clone().unwrap_or_else(|| "the copy is not complete".into());
        self.give_back(epoch, reason, now);
    }

    fn give_back(&mut self, epoch: Epoch, reason: String, now: Now) {
        let me = self.core.me;
        let command =
            Command::GrantFailed { volume: me.volume, epoch, node: me.node, incarnation: me.incarnation, reason, at: now.wall };
        self.core.propose(Purpose::GrantFailed, now, command);
    }

    /// Stops at once, then says so: the successor need not wait for the lease.
    fn abdicate(&mut self, epoch: Epoch, granted: bool, now: Now) {
        let Role::Primary(primary) = std::mem::replace(&mut self.role, Role::Secondary(Secondary::new(epoch))) else { return };
        let (old, served) = (primary.epoch, primary.has_served());
        self.done_with = self.done_with.max(old);
        primary.abdicate(&mut self.core);
        self.core.note(Note::Role { epoch: old, role: "secondary" });
        mark(if old == epoch { "replica: gives up its own reign" } else { "replica: abdicates" });
        match old == epoch && granted {
            // A promotion whose candidate cannot serve has failed: stepping down would leave the breaker closed (R8).
            true if self.core.failed.is_some() && !served => self.refuse_grant(epoch, now),
            true => self.step_down(epoch, now),
            false => {}
        }
    }

    fn step_down(&mut self, epoch: Epoch, now: Now) {
        let me = self.core.me;
        let command = Command::StepDown { volume: me.volume, epoch, node: me.node, incarnation: me.incarnation, at: now.wall };
        self.core.propose(Purpose::StepDown, now, command);
    }

    /// A reign that was given up must be seen to be given up, or nobody else can be promoted: said again until the view shows it,
    /// whatever became of the first word.
    fn give_up_again(&mut self, now: Now) {
        let epoch = self.core.view_epoch();
        let granted = self.core.state().is_some_and(|state| state.reigns(self.core.me.node, self.core.me.incarnation));
        if !granted || epoch > self.done_with || self.core.is_asked(Purpose::StepDown) || self.core.is_asked(Purpose::GrantFailed) {
            return;
        }
        mark("replica: gives up again");
        let served = self.core.state().and_then(|state| state.reign).is_some_and(|reign| reign.state == ReignState::Serving);
        match self.core.failed.is_some() && !served {
            true => self.refuse_grant(epoch, now),
            false => self.step_down(epoch, now),
        }
    }

    // ---- volume ----------------------------------------------------------------------------------------------------------

    fn on_volume_events(&mut self, now: Now) {
        while let Some(event) = self.core.volume.as_mut().and_then(Volume::poll_event) {
            match event {
                VolumeEvent::Durable(_) => {
                    if let Role::Secondary(secondary) = &mut self.role {
                        secondary.on_durable(&self.core);
                    }
                }
                VolumeEvent::Read { ticket, result } => match &mut self.role {
                    Role::Primary(primary) => primary.on_read(&mut self.core, ticket, result, now),
                    Role::Secondary(secondary) => secondary.on_read(&mut self.core, ticket, result),
                    Role::Voter => {}
                },
                VolumeEvent::Records { ticket, result } => {
                    if let Role::Primary(primary) = &mut self.role {
                        primary.on_records(&mut self.core, ticket, result.unwrap_or_default(), now);
                    }
                }
                VolumeEvent::Changes { ticket, result } => {
                    if let Role::Primary(primary) = &mut self.role {
                        match result {
                            Ok((batch, payload)) => primary.source.changes_read(ticket, batch, payload),
                            Err(_) => primary.source.failed(ticket),
                        }
                    }
                }
                VolumeEvent::RepairWanted { ticket, file, extent, position } => {
                    let epoch = self.core.view_epoch();
                    self.repairs.wanted(&mut self.core, (ticket, file, extent, position), epoch, now)
                }
                VolumeEvent::RepairData { ticket, data } => self.repairs.read(&mut self.core, ticket, data),
                VolumeEvent::Digest { position, digest } => self.core.out.push(Effect::Digest { position, digest }),
                VolumeEvent::Checkpointed(_) => {}
                VolumeEvent::Failed(error) => self.core.fail(error.to_string()),
            }
        }
    }

    /// A primary whose volume failed hands the epoch back, so that a person can approve a healthy one.
    fn give_up_when_failed(&mut self, now: Now) {
        if self.core.failed.is_some() && matches!(self.role, Role::Primary(_)) {
            mark("replica: primary whose volume failed");
            let granted = self.core.state().is_some_and(|state| state.reigns(self.core.me.node, self.core.me.incarnation));
            self.abdicate(self.core.view_epoch(), granted, now);
        }
    }

    // ---- contact, stop, status ---------------------------------------------------------------------------------------------

    fn contact(&mut self, now: Now) {
        let core = &self.core;
        if now.mono.ms_since(core.contacts.last_sent) >= core.timing.heartbeat_ms || core.contacts.last_sent == Mono::ZERO {
            self.say_contact(now);
        }
    }

    fn say_contact(&mut self, now: Now) {
        let core = &mut self.core;
        core.contacts.last_sent = now.mono;
        let (epoch, idle) = (core.view_epoch(), core.promise.lapsed(now.mono));
        let seen = core.contacts.seen(now.mono);
        let up_ms = core.contacts.up_ms(now.mono);
        let (serving, leaving) = (matches!(self.role, Role::Primary(_)), self.stopping);
        let health = core.health();
        let (last, durable, committed, complete) = match core.volume.as_ref() {
            Some(volume) => (volume.last(), volume.durable(), volume.committed(), volume.complete() && core.failed.is_none()),
            None => Default::default(),
        };
        for node in core.others() {
            let idle = idle && !serving;
            let (seen, wall) = (seen.clone(), now.wall);
            core.send(
                node,
                PeerMessage::Contact { epoch, last, durable, committed, complete, health, idle, leaving, seen, up_ms, wall },
            );
        }
    }

    fn on_stop(&mut self, cause: StopCause, now: Now) {
        self.stopping = true;
        // Before a primary's step-down: whoever reads that it stepped down can read why.
        self.presence.stop(cause, now.mono);
        self.presence.poll(&mut self.core, now);
        match &mut self.role {
            Role::Primary(primary) => primary.stop(&mut self.core, now),
            Role::Secondary(secondary) => {
                secondary.abandon(&mut self.core);
                self.core.serve(ServeMode::Closed);
            }
            Role::Voter => {}
        }
        if let Some(volume) = self.core.volume.as_mut() {
            volume.want_sync(volume.last().position);
        }
        // Without this word the primary would wait for it, and clients with it, until its silence is long enough.
        self.say_contact(now);
    }

    fn say_stopped(&mut self, now: Now) {
        let settled = match &self.role {
            Role::Primary(primary) => primary.stopped(&self.core),
            Role::Secondary(_) if self.core.failed.is_none() => {
                self.core.volume.as_ref().is_none_or(|volume| volume.durable() >= volume.last().position)
            }
            _ => true,
        };
        if self.stopping && settled && self.presence.told(&self.core, now.mono) && !self.stop_said {
            self.stop_said = true;
            self.core.out.push(Effect::Stopped);
        }
    }

    pub fn status(&self, now: Now) -> Status {
        let core = &self.core;
        let (role, commits, lease_ms, waiting, peers) = match &self.role {
            Role::Voter => ("voter", Default::default(), 0, 0, BTreeMap::new()),
            Role::Secondary(secondary) => {
                let commits = (secondary.commit, secondary.commit_durable);
                (self.secondary_role(now), commits, 0, 0, BTreeMap::new())
            }
            Role::Primary(primary) => {
                let commits = (primary.commit, primary.commit_durable);
                ("primary", commits, primary.lease_ms(now), primary.clients_waiting(), primary.peer_status(core))
            }
        };
        let volume = core.volume.as_ref();
        let position = core.last_position();
        let heard_ms =
            core.others().into_iter().filter_map(|node| Some((node, core.contacts.silent_ms(node, now.mono)?))).collect();
        let resync = match &self.role {
            Role::Secondary(secondary) => secondary.resync_status(core),
            _ => None,
        };
        Status {
            volume: core.me.volume,
            node: core.me.node,
            incarnation: core.me.incarnation,
            role: if core.failed.is_some() { "failed" } else { role },
            epoch: core.view_epoch(),
            promised: core.promise.durable(),
            serve: core.serve,
            position,
            durable: volume.map_or_else(Default::default, Volume::durable),
            applied: if volume.is_some_and(Volume::complete) { position } else { Default::default() },
            commit: commits.0,
            commit_durable: commits.1,
            lease_ms,
            clients_waiting: waiting,
            peers,
            heard_ms,
            resync,
            bytes_sent: core.counters.bytes_sent,
            bytes_received: core.counters.bytes_received,
            requests_fenced: core.counters.requests_fenced,
            waits_for_space: volume.is_some_and(|volume| volume.health().full),
            waits_for_second_copy: matches!(self.role, Role::Primary(_)) && waits_for_second_copy(&self.core),
            failure: core.failed.clone(),
        }
    }

    fn secondary_role(&self, now: Now) -> &'static str {
        let core = &self.core;
        let volume = core.volume.as_ref();
        let in_sync = core.state().is_some_and(|state| state.in_sync.contains_key(&core.me.node));
        match volume {
            Some(volume) if volume.resync_cursor().is_some() || !volume.complete() => "resyncing",
            _ if in_sync && no_primary_can_serve(core, now) => "in-sync-no-primary",
            _ if in_sync => "secondary",
            _ => "catching-up",
        }
    }
}

/// The payload as one run of bytes; over a socket it is one already.
fn one(mut parts: Vec<Bytes>) -> Bytes {
    match parts.len() {
        0 => Bytes::new(),
        1 => parts.swap_remove(0),
        _ => Bytes::from(parts.concat()),
    }
}
