//! The view without a terminal.
