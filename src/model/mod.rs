//! The words of the program: flows, records, captures and what describes them.
//! Nothing in here reads, writes or asks the kernel.
//! May import: nothing else of the program.

pub mod address;
pub mod capture;
pub mod error;
pub mod evidence;
pub mod flow;
pub mod icmp;
pub mod learnt;
pub mod listing;
pub mod names;
pub mod order;
pub mod origin;
pub mod path;
pub mod printable;
pub mod record;
pub mod ruled;
pub mod selection;
pub mod services;
pub mod sighting;
pub mod timestamp;
pub mod tuple;
pub mod units;
pub mod usage;
pub mod verdict;
