//! CSV: one line a flow, and a header before them.

mod reader;
mod writer;

pub use reader::{Line, Reader};
pub use writer::{Cells, List, write};
