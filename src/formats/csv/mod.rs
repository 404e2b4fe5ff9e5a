//! CSV: one line a flow, and a header before them.

mod reader;
mod writer;

pub use reader::{Line, parse};
pub use writer::{Cells, write};
