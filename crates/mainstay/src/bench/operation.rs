//! What is measured.

pub const FILE_BYTES: usize = 16 << 10;
pub const CHUNK_BYTES: usize = 1 << 20;
pub const BLOCK_BYTES: usize = 4 << 10;

/// In the order in which they run: each works on what those before it left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Operation {
    /// A new file, 16 KiB written, made durable (CREATE, WRITE, COMMIT)
    Create,
    /// The 16 KiB of such a file, compared with what was written
    Read,
    /// Attributes of such a file
    Getattr,
    /// Another name in the same directory
    Rename,
    Remove,
    /// One large file from its start in pieces of 1 MiB, one COMMIT at the end
    SeqWrite,
    /// The large file in pieces of 1 MiB, compared
    SeqRead,
    /// 4 KiB blocks of the large file, each durable when answered
    RandWrite,
}

impl Operation {
    pub const ALL: [Operation; 8] = [
        Operation::Create,
        Operation::Read,
        Operation::Getattr,
        Operation::Rename,
        Operation::Remove,
        Operation::SeqWrite,
        Operation::SeqRead,
        Operation::RandWrite,
    ];

    /// As `--only` takes it and JSON shows it.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Create => "create",
            Operation::Read => "read",
            Operation::Getattr => "getattr",
            Operation::Rename => "rename",
            Operation::Remove => "remove",
            Operation::SeqWrite => "seq-write",
            Operation::SeqRead => "seq-read",
            Operation::RandWrite => "rand-write",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Operation::Create => "create+write 16 KiB+commit",
            Operation::Read => "read 16 KiB",
            Operation::Getattr => "getattr",
            Operation::Rename => "rename",
            Operation::Remove => "remove",
            Operation::SeqWrite => "sequential write 1 MiB",
            Operation::SeqRead => "sequential read 1 MiB",
            Operation::RandWrite => "random write 4 KiB stable",
        }
    }

    /// Bytes of file data that one operation moves.
    pub fn bytes(self) -> usize {
        match self {
            Operation::Create | Operation::Read => FILE_BYTES,
            Operation::SeqWrite | Operation::SeqRead => CHUNK_BYTES,
            Operation::RandWrite => BLOCK_BYTES,
            Operation::Getattr | Operation::Rename | Operation::Remove => 0,
        }
    }

    /// Whether it needs small files that exist.
    pub fn needs_files(self) -> bool {
        matches!(self, Operation::Read | Operation::Getattr | Operation::Rename | Operation::Remove)
    }

    /// Whether it needs the large file.
    pub fn needs_large_file(self) -> bool {
        matches!(self, Operation::SeqRead | Operation::RandWrite)
    }
}
