//! Lists, comparisons and summaries on their way out: layouts, orders, and where each list goes.
//! What a format's bytes are is in `formats`; here it is chosen, and what only people read is laid out.
//! May import: `model`, `ui`, `files`, `intake`, `formats`, `rules`, `captures`.

pub mod changes;
pub mod groups;
pub mod layout;
pub mod printer;
pub mod ruleset;
pub mod sort;
pub mod table;
mod windows;
