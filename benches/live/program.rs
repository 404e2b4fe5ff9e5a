//! The programs that are compared, and how each is started.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::Failure;

/// Sources to measure; one that the binary does not know is left out.
const SOURCES: [&str; 3] = ["callback", "batch", "kernel"];
/// The program as cargo has built it.
pub const CONNTRACKER: &str = env!("CARGO_BIN_EXE_conntracker");

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// Receives and looks at nothing.
    Discard,
    /// conntracker with one of its sources.
    Source(&'static str),
    /// The same, keeping records for a list in JSON.
    Records(&'static str),
    /// The C tool.
    Reference(PathBuf),
}

impl Program {
    /// All there are here, the floor first: the others are compared with it.
    pub fn all() -> Vec<Self> {
        let mut programs = vec![Self::Discard];
        for source in SOURCES {
            let known = Command::new(CONNTRACKER)
                .args(["--source", source, "--version"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            if known.is_ok_and(|status| status.success()) {
                programs.push(Self::Source(source));
            } else {
                println!("skipped: source {source}: this build does not have it");
            }
        }
        let recording = |program: &Self| match program {
            Self::Source(source @ ("batch" | "kernel")) => Some(Self::Records(source)),
            _ => None,
        };
        let records: Vec<Self> = programs.iter().filter_map(recording).collect();
        programs.extend(records);
        match std::env::var_os("CONNTRACKER_REFERENCE") {
            Some(path) => programs.push(Self::Reference(path.into())),
            None => println!("skipped: the C tool: CONNTRACKER_REFERENCE does not name it"),
        }
        programs
    }

    /// How tables call it.
    pub fn name(&self) -> String {
        match self {
            Self::Discard => "discard".into(),
            Self::Source(source) => format!("`{source}`"),
            Self::Records(source) => format!("`{source}`, JSON"),
            Self::Reference(_) => "C tool".into(),
        }
    }

    /// Whether it prints the flows.
    pub fn lists(&self) -> bool {
        *self != Self::Discard
    }

    /// Lines of its list that are no flows.
    pub const fn frame_lines(&self) -> u64 {
        match self {
            // The capture, and the end.
            Self::Records(_) => 2,
            _ => 0,
        }
    }

    /// Whether its buffer has to be enlarged from outside.
    pub fn has_no_buffer_option(&self) -> bool {
        matches!(self, Self::Reference(_))
    }

    /// The command, with the buffer it is to have unless that is its default.
    pub fn command(&self, buffer_bytes: Option<u32>) -> Result<Command, Failure> {
        Ok(match self {
            Self::Discard => {
                let mut command = Command::new(std::env::current_exe()?);
                let bytes = buffer_bytes.unwrap_or(64 << 20);
                command.arg(format!("--discard={bytes}"));
                command
            }
            Self::Source(source) | Self::Records(source) => {
                let mut command = Command::new(CONNTRACKER);
                command.args(["--verbose", "--source", source]);
                if self.frame_lines() > 0 {
                    command.args(["--format", "json"]);
                }
                // The ring holds the backlog as it is, and pages of it count as resident.
                let buffer_bytes = buffer_bytes.filter(|_| *source != "kernel");
                if let Some(bytes) = buffer_bytes {
                    let bytes = bytes.to_string();
                    command.args(["--buffer", &bytes, "--buffer-max", &bytes]);
                }
                command
            }
            Self::Reference(path) => Command::new(path),
        })
    }
}
