//! Writing files: replaced as a whole, never through a link that somebody else could have laid, a folder of lists.
//! Also the lock on a file that two programs could work on.
//! May import: `model`, `os`.

pub mod destination;
pub mod folder;
pub mod lock;
pub mod place;
pub mod temporary;
