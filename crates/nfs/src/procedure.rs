//! Numbers of programs, procedures and statuses, as the RFCs assign them.

use mainstay_protocol::FileError;

/// RFC 1813 section 1.
pub const NFS_PROGRAM: u32 = 100_003;
/// RFC 1813 section 5.
pub const MOUNT_PROGRAM: u32 = 100_005;
/// RFC 1833 section 3.
pub const PORTMAP_PROGRAM: u32 = 100_000;
pub(crate) const NFS_VERSION: u32 = 3;
pub(crate) const MOUNT_VERSION: u32 = 3;
pub(crate) const PORTMAP_VERSION: u32 = 2;

macro_rules! procedures {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $number:literal $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($variant = $number,)* }
        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];
            pub fn from_number(number: u32) -> Option<$name> {
                match number { $($number => Some($name::$variant),)* _ => None }
            }
            pub const fn number(self) -> u32 {
                self as u32
            }
            /// The RFC's name, for logs and metric labels.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }
    };
}

procedures! {
    /// RFC 1813 section 3.3.
    Procedure {
        Null = 0 "NULL",
        GetAttr = 1 "GETATTR",
        SetAttr = 2 "SETATTR",
        Lookup = 3 "LOOKUP",
        Access = 4 "ACCESS",
        ReadLink = 5 "READLINK",
        Read = 6 "READ",
        Write = 7 "WRITE",
        Create = 8 "CREATE",
        MkDir = 9 "MKDIR",
        Symlink = 10 "SYMLINK",
        MkNod = 11 "MKNOD",
        Remove = 12 "REMOVE",
        RmDir = 13 "RMDIR",
        Rename = 14 "RENAME",
        Link = 15 "LINK",
        ReadDir = 16 "READDIR",
        ReadDirPlus = 17 "READDIRPLUS",
        FsStat = 18 "FSSTAT",
        FsInfo = 19 "FSINFO",
        PathConf = 20 "PATHCONF",
        Commit = 21 "COMMIT",
    }
}

procedures! {
    /// RFC 1813 section 5.2.
    MountProcedure {
        Null = 0 "NULL",
        Mnt = 1 "MNT",
        Dump = 2 "DUMP",
        Umnt = 3 "UMNT",
        UmntAll = 4 "UMNTALL",
        Export = 5 "EXPORT",
    }
}

impl Procedure {
    /// Whether doing it twice differs from doing it once, or overwrites newer data (NFS.md, "duplicate request cache"): such
    /// requests carry an identity.
    pub const fn needs_identity(self) -> bool {
        use Procedure::*;
        matches!(self, SetAttr | Write | Create | MkDir | Symlink | MkNod | Remove | RmDir | Rename | Link)
    }
}

macro_rules! statuses {
    ($($error:ident = $number:literal,)*) => {
        /// `nfsstat3` (RFC 1813 section 2.6) of a refusal.
        pub(crate) const fn status(error: FileError) -> u32 {
            match error { $(FileError::$error => $number,)* }
        }
        /// The refusal that a status word names, also of those that our own server never sends; `None` for NFS3_OK and for
        /// numbers that the RFC does not know.
        pub(crate) const fn refusal(status: u32) -> Option<FileError> {
            match status {
                $($number => Some(FileError::$error),)*
                // NXIO, NODEV, REMOTE: the server cannot reach the file.
                6 | 19 | 71 => Some(FileError::Io),
                // DQUOT.
                69 => Some(FileError::NoSpace),
                _ => None,
            }
        }
    };
}

statuses! {
    NotOwner = 1,
    NotFound = 2,
    Io = 5,
    AccessDenied = 13,
    Exists = 17,
    CrossDevice = 18,
    NotDirectory = 20,
    IsDirectory = 21,
    Invalid = 22,
    TooLarge = 27,
    NoSpace = 28,
    ReadOnly = 30,
    TooManyLinks = 31,
    NameTooLong = 63,
    NotEmpty = 66,
    Stale = 70,
    BadHandle = 10001,
    NotSync = 10002,
    BadCookie = 10003,
    NotSupported = 10004,
    TooSmall = 10005,
    ServerFault = 10006,
    BadType = 10007,
    TryLater = 10008,
}
