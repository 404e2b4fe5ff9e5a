//! The conntracker library.
