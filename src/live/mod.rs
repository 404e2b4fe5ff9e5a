//! A capture from its start to its verdict, from the kernel or from a recording.
//! Opening sockets, receiving, recovering what was missed, lists that are due, the state between runs, figures.
//! May import: `model`, `netlink`, `ui`, `os`, `files`, `service`, `intake`, `formats`, `sources`, `trace`, `lookups`, `captures`, `output`, `doctor`.

pub mod capture;
pub mod conditions;
pub mod description;
pub mod dumps;
pub mod kernel_stat;
pub mod listen;
pub mod lookups;
pub mod metrics;
pub mod monitor;
pub mod options;
pub mod recovery;
pub mod replay;
pub mod rulings;
pub mod servers;
pub mod session;
pub mod state;
pub mod track;
pub mod watch;
