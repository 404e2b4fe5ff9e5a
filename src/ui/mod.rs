//! What people see while the program runs: messages, the system log, the status line and the progress bar.
//! Lists and reports are written elsewhere.
//! May import: `model`.

pub mod clock;
pub mod columns;
pub mod console;
pub mod journal;
pub mod progress;
pub mod syslog;
