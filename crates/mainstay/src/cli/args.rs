//! The flags. Help, and later manual pages and completions, come from here.

use crate::names::{AloneName, PolicyName, SquashName, WithoutPrimaryName};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

#[derive(Debug, Parser)]
#[command(
    name = "mainstay",
    version,
    about = "A replicated file server whose failover is verified",
    disable_help_subcommand = true
)]
#[command(
    after_help = "Exit codes: 0 ok, 1 error, 2 replicas differ or a property is violated, 3 refused by a rule, 4 approval pending, 5 unknown outcome, 64 usage."
)]
pub struct Cli {
    /// For `init`, `join`, `node`, `credentials`: node.toml. For all others: admin.toml, with endpoints and credentials
    /// [default: $MAINSTAY_CONFIG, or node.toml or admin.toml in /etc/mainstay]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How data is printed
    #[arg(short, long, global = true, value_enum, default_value = "table")]
    pub output: Format,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
    /// One self-contained page (drills)
    Html,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a new cluster: its authority, its first node, and admin credentials
    Init(Init),
    /// Print a single-use token with which one node can join
    Token {
        /// How long it may be used
        #[arg(long, default_value_t = 60, value_name = "N")]
        minutes: u32,
    },
    /// Make this machine a node of an existing cluster
    Join(Join),
    /// Run the daemon; or remove or replace a node
    Node(Node),
    /// Give a witness whose disk is lost a new one
    #[command(subcommand)]
    Witness(WitnessCommand),
    /// Make credentials for one more person, on the node that ran `init`
    Credentials(Credentials),
    /// Make whatever a person's credentials say count for nothing, from now on and for good: a lost laptop, somebody who left
    Revoke {
        /// The name in the credentials; without one, those that are revoked are listed
        #[arg(requires = "reason")]
        name: Option<String>,
        /// Why
        #[arg(long, value_name = "TEXT", requires = "name")]
        reason: Option<String>,
    },
    /// What runs, who is primary, what is in sync, what waits for a person
    Status,
    /// Volumes
    #[command(subcommand)]
    Volume(Volume),
    /// Planned promotions and their evidence
    Proposals {
        #[command(subcommand)]
        command: Option<Proposals>,
    },
    /// Approve a promotion or a change, for exactly the evidence that you looked at
    Approve {
        /// A proposal, as 3 or p3, or a change, as c2
        #[arg(value_name = "ID")]
        id: Ticket,
        /// Hash of that evidence, or of the change, at least its first eight digits. Without it it is shown and you are asked
        #[arg(long, value_name = "HASH")]
        evidence: Option<String>,
    },
    /// Deny a promotion or a change, or call a promotion off
    Deny {
        /// A proposal, as 3 or p3, or a change, as c2
        #[arg(value_name = "ID")]
        id: Ticket,
        #[arg(long, value_name = "TEXT", default_value = "denied")]
        reason: String,
    },
    /// Hand a volume from its primary to another file server that is in sync. Clients wait for a moment, nothing fails
    Switchover(Switchover),
    /// Why something would or would not be allowed
    #[command(subcommand)]
    Explain(Explain),
    /// Maintenance of nodes
    #[command(subcommand)]
    Maintenance(Maintenance),
    /// The audit log
    Events {
        #[command(subcommand)]
        command: Option<Events>,
        /// Go on as events happen
        #[arg(long)]
        follow: bool,
        /// Only events after this number
        #[arg(long, global = true, default_value_t = 0, value_name = "N")]
        after: u64,
    },
    /// Compare the replicas of a volume by digest
    Verify {
        volume: String,
    },
    Bench(crate::bench::BenchArgs),
    /// A whole cluster on this machine: to mount, to break and to watch, or to play a story unattended
    Demo(crate::demo::DemoArgs),
    /// Rehearse failures and maintenance in a simulator that runs this same program's core
    #[command(subcommand)]
    Drill(crate::drill::args::Drill),
    /// Records that were set aside when a node returned with more than the others have: look, compare, copy out, drop
    #[command(subcommand)]
    Quarantine(Quarantine),
    /// What needs a person, what is known and unknown about it, each way out with what it may lose, and the command. Changes nothing
    Recover,
    /// Ask for a promotion, with what a node has seen; it is judged and approved like any other
    Propose {
        volume: String,
        /// Node that would become the primary
        #[arg(long, value_name = "NODE")]
        candidate: String,
        /// Give up the acknowledged writes that this node lacks, and why: only when no copy that holds them can come back. A second person
        /// must approve
        #[arg(long, value_name = "WHY")]
        give_up: Option<String>,
    },
    /// A node's copy of a volume that cannot be used any more
    #[command(subcommand)]
    Copy(CopyCommand),
    /// What waits for a second person: policies and settings that let more happen
    Changes,
    /// Put the whole cluster on hold, so that nothing is promoted, or ask to lift that
    Hold {
        #[arg(value_enum)]
        switch: Switch,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// On the node that is left when a majority is gone for good, its daemon stopped: show what it knows; with two approvers, go on with
    /// it alone
    ForceQuorum(ForceQuorum),
    /// Have a node's machine switched off by the fencing hook of another node, or see with --dry-run what that would run
    Fence(Fence),
    /// What differs between the cluster and a file that describes it, and the steps between. Exit code 0: nothing; 2: something
    Plan(PlanFile),
    /// Do the steps of `plan`, in an order that keeps majority and redundancy. Interrupted, it goes on where it stopped
    Apply(Apply),
}

#[derive(Debug, Args)]
pub struct PlanFile {
    /// What the cluster should be like, such as cluster.toml
    pub file: Option<PathBuf>,
    /// Write the file that the cluster is like now to standard output
    #[arg(long, conflicts_with = "file")]
    pub export: bool,
}

#[derive(Debug, Args)]
pub struct Apply {
    /// What the cluster should be like
    pub file: PathBuf,
    /// Hand volumes over where a primary's copy is to go; clients wait for a moment
    #[arg(long)]
    pub switchover: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Why, for the audit log [default: as FILE says]
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Take a node that holds nothing out of the cluster, for good
    Remove {
        node: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Give everything that a node holds to another one that has joined, then take it out. Run again, it goes on where it stopped
    Replace {
        old: String,
        /// The node that takes its place
        #[arg(long, value_name = "NODE")]
        with: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum WitnessCommand {
    /// Print what to type on the new machine, wait until it is there, then take the lost witness out. What a witness promised cannot be
    /// made up, so the new one comes under a name of its own. Run again, it goes on where it stopped
    Reseed {
        /// The witness that is lost
        old: String,
        /// The name of the new one
        #[arg(long, value_name = "NODE")]
        with: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

#[derive(Debug, Args)]
pub struct ForceQuorum {
    /// Every other node, by name: none of them ever runs again with the directory that it had
    #[arg(long, value_delimiter = ',', value_name = "NODE,…")]
    pub lost: Vec<String>,
    /// A volume of which no copy is left here; may be given several times
    #[arg(long, value_name = "VOLUME")]
    pub without: Vec<String>,
    /// What happened
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
    /// The admin.toml of one who approves; two people's are needed
    #[arg(long = "approver", value_name = "FILE")]
    pub approvers: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct RemoveReplica {
    /// Of which volume
    pub volume: String,
    /// Whose copy is set aside there
    pub node: String,
    /// Fewer than two copies in sync are to be enough; another person must approve it
    #[arg(long)]
    pub accept_single: bool,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

#[derive(Debug, Args)]
pub struct Fence {
    /// The node to switch off
    pub node: String,
    /// Show the commands, ask the verify command, and switch nothing off
    #[arg(long)]
    pub dry_run: bool,
    /// Why; it is kept in the audit log
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// It is the primary of volumes, and they may lose it
    #[arg(long)]
    pub primary: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    /// Another person must approve it
    Off,
}

/// What a person decides on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ticket {
    Proposal(u64),
    Change(u64),
}

impl std::str::FromStr for Ticket {
    type Err = String;
    fn from_str(text: &str) -> Result<Ticket, String> {
        let number = |digits: &str| digits.parse::<u64>().ok();
        let change = text.strip_prefix('c').and_then(number).map(Ticket::Change);
        let plain = text.strip_prefix(['p', '#']).unwrap_or(text);
        change.or_else(|| number(plain).map(Ticket::Proposal)).ok_or_else(|| "a proposal is 3 or p3, a change is c2".into())
    }
}

/// Written into node.toml when the file is not there yet.
#[derive(Debug, Args)]
pub struct NodeFlags {
    /// The node's name
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Where its data goes
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// Where other nodes reach it
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub peer_address: Option<SocketAddr>,
    /// Where operators and monitoring reach it
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub admin_address: Option<SocketAddr>,
    /// It votes, and holds no data
    #[arg(long)]
    pub witness: bool,
}

#[derive(Debug, Args)]
pub struct Init {
    /// The cluster's name
    #[arg(long, value_name = "NAME")]
    pub cluster: String,
    #[command(flatten)]
    pub node: NodeFlags,
    /// Name of the first administrator, who gets every role
    #[arg(long, value_name = "NAME", default_value = "admin")]
    pub admin: String,
    /// Where the administrator's credentials go
    #[arg(long, value_name = "FILE", default_value = "admin.toml")]
    pub admin_config: PathBuf,
}

#[derive(Debug, Args)]
pub struct Join {
    /// What `mainstay token` printed
    pub token: String,
    #[command(flatten)]
    pub node: NodeFlags,
}

#[derive(Debug, Args)]
pub struct Node {
    /// Size of new segment files. Smaller ones suit small disks and demonstrations
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=1024))]
    pub segment_mib: u64,
    #[command(subcommand)]
    pub command: Option<NodeCommand>,
}

#[derive(Debug, Args)]
pub struct Credentials {
    /// The person's name; approvals are counted by it
    pub name: String,
    #[arg(long = "role", required = true, value_enum)]
    pub roles: Vec<RoleName>,
    /// Admin address of a node; may be given several times
    #[arg(long = "endpoint", required = true, value_name = "ADDRESS:PORT")]
    pub endpoints: Vec<SocketAddr>,
    /// Where they go
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoleName {
    Viewer,
    Operator,
    Approver,
    Admin,
}

#[derive(Debug, Subcommand)]
pub enum Volume {
    /// Make a volume
    Create(CreateVolume),
    /// Change what a volume does; what lets more promotions happen waits for another person
    Set(SetVolume),
    /// All volumes
    List,
    /// One volume
    Show { name: String },
    /// Allow promotions again after one failed and its cause was mended
    ResetBreaker {
        name: String,
        /// What was mended
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Have another file server hold a copy, which begins empty
    AddReplica {
        volume: String,
        node: String,
        /// Why
        #[arg(long, value_name = "TEXT", default_value = "one more copy")]
        reason: String,
    },
    /// Have a file server hold it no longer; its copy is set aside there, never deleted
    RemoveReplica(RemoveReplica),
}

#[derive(Debug, Args)]
pub struct CreateVolume {
    /// Clients mount it as /NAME
    pub name: String,
    /// Address that follows the primary
    #[arg(long, value_name = "ADDRESS")]
    pub service_address: IpAddr,
    /// Port of NFS and MOUNT on it
    #[arg(long, default_value_t = 2049)]
    pub port: u16,
    /// Who may mount it: NETWORK, NETWORK:ro or NETWORK:rw; several times. Without it, nobody may
    #[arg(long = "client", value_name = "NETWORK[:ro]")]
    pub clients: Vec<String>,
    /// Whose identity is not taken over
    #[arg(long, value_enum, default_value = "root")]
    pub squash: SquashName,
    /// Node that holds a copy; several times [default: every file server]
    #[arg(long = "replica", value_name = "NODE")]
    pub replicas: Vec<String>,
    /// The first primary [default: the first replica]
    #[arg(long, default_value = "", value_name = "NODE")]
    pub primary: String,
    /// Do not wait until it is served
    #[arg(long)]
    pub no_wait: bool,
    /// Who decides promotions; `guarded` is set later, with `volume set`, and takes two people
    #[arg(long, value_enum, default_value = "manual")]
    pub policy: PolicyName,
}

#[derive(Debug, Args)]
pub struct SetVolume {
    pub name: String,
    /// Who decides promotions
    #[arg(long, value_enum)]
    pub policy: Option<PolicyName>,
    /// What replicas do while there is no primary
    #[arg(long, value_enum)]
    pub without_primary: Option<WithoutPrimaryName>,
    /// What the primary does while its copy is the only one in sync
    #[arg(long, value_enum)]
    pub alone: Option<AloneName>,
    /// More role changes than this open the breaker
    #[arg(long, value_name = "N")]
    pub role_changes_max: Option<u32>,
    /// … within so many minutes
    #[arg(long, value_name = "MINUTES")]
    pub role_changes_window: Option<u32>,
    /// Policy guarded acts only while a recorded drill is not older than this; 0 needs none
    #[arg(long, value_name = "DAYS")]
    pub drill_days: Option<u32>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

#[derive(Debug, Subcommand)]
pub enum Proposals {
    /// One proposal with its evidence
    Show { id: u64 },
}

#[derive(Debug, Subcommand)]
pub enum Explain {
    /// Every check for making NODE the primary of VOLUME, with its value
    Promote { node: String, volume: String },
    /// Every check for handing VOLUME over from NODE now, and who could take it
    Demote { node: String, volume: String },
    /// Why NODE's copy of VOLUME is in sync or not, and how far it is
    Resync { node: String, volume: String },
    /// Every check for taking NODE out of service now, and what its volumes live on meanwhile
    Maintenance { node: String },
}

#[derive(Debug, Args)]
pub struct Switchover {
    /// What is handed over
    pub volume: String,
    /// Who is to be the primary
    #[arg(long, value_name = "NODE")]
    pub to: String,
    /// If it is not in sync, wait until it is; at most so long, such as --wait=10m, or for ever
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, value_parser = crate::drill::units::time)]
    pub wait: Option<Option<u64>>,
    /// Do not rehearse it first
    #[arg(long)]
    pub no_preflight: bool,
    /// Begin it whatever the rehearsal shows
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct BeginMaintenance {
    /// The node that is worked on
    pub node: String,
    /// What is done, for whoever looks meanwhile
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// How long, such as 90m or 2h; after this, people are told that it is still open, and nothing else happens
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = crate::drill::units::time)]
    pub lasts: u64,
    /// Who answers for it [default: you]
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub owner: String,
    /// Also when volumes lose their primary by it
    #[arg(long)]
    pub allow_primary: bool,
    /// Hand over first what the node is the primary of
    #[arg(long, conflicts_with = "allow_primary")]
    pub switchover: bool,
    /// Do not rehearse it first
    #[arg(long)]
    pub no_preflight: bool,
    /// Begin it whatever the rehearsal shows
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Subcommand)]
pub enum Maintenance {
    /// Record that a node is worked on: nothing is promoted to it or because of it
    Begin(BeginMaintenance),
    /// Another end, so long from now: the work takes longer, or less
    Extend {
        /// Its number, or the node's name
        #[arg(value_name = "ID|NODE")]
        which: String,
        #[arg(long = "for", value_name = "TIME", value_parser = crate::drill::units::time)]
        lasts: u64,
    },
    /// The work is done; the record closes when the node is in sync again
    End {
        /// Its number, or the node's name
        #[arg(value_name = "ID|NODE")]
        which: String,
    },
    List,
}

#[derive(Debug, Subcommand)]
pub enum Quarantine {
    /// What is set aside on which node
    List,
    /// What was done in it, record by record, in words
    Show { id: String },
    /// File by file: is it in the volume by now? Exit code 0: all of it is; 2: something is not
    Diff { id: String },
    /// Write the files as they would have been into a new directory of this machine
    Export {
        id: String,
        /// A directory that does not exist yet, or is empty
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Put one file back into the volume as a new file. This machine must be a client of the volume; nothing is ever overwritten
    Restore {
        id: String,
        /// The file in the quarantine, as `diff` names it
        #[arg(long, value_name = "PATH")]
        path: String,
        /// Its new path in the volume; the directory must be there, the name must not
        #[arg(long = "as", value_name = "PATH")]
        new: String,
    },
    /// Delete it for good; the reason goes into the audit log first
    Drop {
        id: String,
        /// What was looked at, and why nothing of it is wanted
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Do not ask for the id to be typed
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum Events {
    /// Write all events that any node kept, one JSON object a line, what one node lacks from another
    Export {
        /// A new file [default: standard output]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Follow the hash chain: was an event changed, removed or reordered? Exit code 0: no; 2: yes
    Verify {
        /// What `events export` or `events -o json` wrote; no cluster is asked then [default: ask the cluster]
        file: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub enum CopyCommand {
    /// Keep a copy that failed as it is, beside the volume, and make another from the primary when the node starts next
    SetAside {
        volume: String,
        /// Node whose copy it is
        node: String,
        /// Why, for the audit log
        #[arg(long)]
        reason: String,
    },
}
