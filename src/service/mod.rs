//! Running as a service: in the background, with a process-number file, supervised, and confined.
//! None of it matters to a run in a terminal.
//! May import: `model`, `ui`, `os`, `files`.

pub mod daemon;
pub mod notify;
pub mod pid_file;
pub mod sandbox;
