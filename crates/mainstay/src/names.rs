//! The settings of a volume as people write them: one set of names for the command line and for `cluster.toml`.

use clap::ValueEnum;
use mainstay_cluster::{Access, Alone, Policy, Squash, WithoutPrimary};
use serde::{Deserialize, Serialize};

/// An enumeration of the core under the names that people type, and the way back and forth.
macro_rules! written {
    ($name:ident is $core:ident { $($(#[$about:meta])* $variant:ident),+ $(,)? }) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name {
            $($(#[$about])* $variant,)+
        }

        impl From<$name> for $core {
            fn from(name: $name) -> $core {
                match name { $($name::$variant => $core::$variant,)+ }
            }
        }

        impl From<$core> for $name {
            fn from(value: $core) -> $name {
                match value { $($core::$variant => $name::$variant,)+ }
            }
        }
    };
}

written!(PolicyName is Policy {
    /// A person approves every promotion
    Manual,
    /// Automatic when every guard holds, a person otherwise
    Guarded,
    /// Nothing is promoted, approved or not
    Hold,
});

written!(WithoutPrimaryName is WithoutPrimary {
    /// Complete replicas serve reads, marked as such
    #[serde(alias = "read-only")]
    #[value(alias = "read-only")]
    ServeReads,
    /// Nothing is served
    #[serde(alias = "stop")]
    #[value(alias = "stop")]
    Close,
});

written!(AloneName is Alone {
    /// One copy is enough
    Serve,
    /// Changes wait until a second copy is in sync; reads go on
    ReadOnly,
});

written!(AccessName is Access { ReadOnly, ReadWrite });

written!(SquashName is Squash {
    /// Everybody is who they say they are
    None,
    /// Root becomes nobody
    Root,
    /// Everybody becomes nobody
    All,
});
