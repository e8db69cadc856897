//! A file, understood: names are slots, words are forms, numbers are draws.

use super::arguments::Argument;
use super::forms::ActionForm;
use super::settings::SettingForm;
use super::value::Draw;
use mainstay_protocol::NodeId;
use std::sync::Arc;

/// A scenario as a file describes it.
#[derive(Clone, Debug)]
pub struct Script {
    /// As in SCENARIOS.md: an id and a name, or only a name.
    pub name: Arc<str>,
    /// What happens and what must hold, for people.
    pub story: Arc<str>,
    /// Properties, P1 to P9.
    pub checks: Vec<String>,
    /// Rules, R1 to R15.
    pub rules: Vec<String>,
    /// What it should check and does not yet.
    pub unchecked: Option<Arc<str>>,
    /// Names of its variants, in the order of the file.
    pub variants: Vec<Arc<str>>,
    /// The one that is run; `None`: the seed chooses.
    pub variant: Option<usize>,
    pub(super) body: Arc<[Item]>,
    /// How many times and nodes are named.
    pub(super) times: usize,
    pub(super) nodes: usize,
}

impl Script {
    /// The same with its variant fixed, if there is one of that name.
    pub fn with_variant(&self, name: &str) -> Option<Script> {
        let variant = self.variants.iter().position(|variant| &**variant == name)?;
        Some(Script { name: format!("{}:{name}", self.name).into(), variant: Some(variant), ..self.clone() })
    }
}

/// Index into the times or nodes that are named in a file.
pub type Slot = usize;

/// A node, known when the plan is drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeRef {
    Literal(NodeId),
    Slot(Slot),
    /// The other file server.
    Other(Slot),
}

/// A moment: a sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment(pub Vec<Term>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Term {
    Named(Slot),
    /// When the faults end.
    End,
    Plus(Draw),
    Minus(Draw),
}

/// How far apart the rounds of a repeat are.
#[derive(Clone, Debug)]
pub enum Spacing {
    /// From the beginning of one to the beginning of the next.
    Every(Draw),
    /// From the end of one.
    Pause(Draw),
}

#[derive(Clone, Debug)]
pub struct Repeat {
    pub times: Option<Draw>,
    pub from: Option<Moment>,
    pub until: Option<Moment>,
    pub spacing: Spacing,
    pub body: Vec<Item>,
}

/// One thing that a file says. Most things that happen do so at the block's own time, which only `Wait` moves.
#[derive(Clone, Debug)]
pub enum Item {
    Set(&'static SettingForm, Vec<Argument>),
    Act {
        form: &'static ActionForm,
        arguments: Vec<Argument>,
        /// From the block's time, which stays.
        after: Option<Draw>,
    },
    Wait {
        time: Draw,
        name: Option<Slot>,
    },
    Let {
        slot: Slot,
        among: Vec<NodeRef>,
    },
    At {
        moment: Moment,
        name: Option<Slot>,
        body: Vec<Item>,
    },
    Repeat(Box<Repeat>),
    OneOf(Vec<Vec<Item>>),
    Maybe {
        percent: u64,
        body: Vec<Item>,
        otherwise: Vec<Item>,
    },
    Variant {
        index: usize,
        body: Vec<Item>,
    },
}
