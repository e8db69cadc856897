//! The volume through its public face, on disks that behave and on disks that do not.

mod basics;
mod crash;
mod crash_disk;
mod damage;
mod quarantine;
mod resync;
mod rig;
mod rollback;
mod space;
