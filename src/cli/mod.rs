//! The command line: options, the configuration file, commands, and which of them runs what.
//! The only folder that knows clap.
//! May import: `model`, `ui`, `os`, `files`, `service`, `intake`, `formats`, `sources`, `trace`, `rules`, `captures`, `output`, `report`, `check`, `doctor`, `live`, `top`.

pub mod command;
pub mod config;
mod conflict;
mod filters;
mod guide;
mod layout;
pub mod options;
mod purpose;
pub mod run;
mod settings;
mod topics;
mod values;
