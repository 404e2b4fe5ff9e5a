//! The classic list: the bytes of the C tool.

mod reader;
mod writer;

pub use reader::{Line, parse};
pub use writer::{write, write_records};
