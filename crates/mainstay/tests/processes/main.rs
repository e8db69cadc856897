//! The second tier of the drills: the real processes, through scenarios that the simulator plays too, with real signals, real
//! sockets, cut cables and full disks. What clients were told is judged by the simulator's own model and checkers.
//!
//! Needs root and a few tools (see docs/DRILLS.md). Where something is missing the tests say so and do nothing, unless
//! MAINSTAY_REQUIRE_ALL=1 asks for everything.

mod clients;
mod cluster;
mod disks;
mod harness;
mod network;
mod router;
mod scenarios;
mod verdict;
mod watch;
