//! One thing that was found out, and what to do about it.

use std::fmt;
use std::io;

use serde::Serialize;
use serde_json::{Map, Value};

/// How good or bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// Nothing is wrong, but the user should know it.
    Note,
    /// Keeps flows off the list.
    Problem,
}

impl State {
    /// As users read it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Problem => "problem",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An error in words, without the number that the standard library puts behind them.
pub fn cause(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Which check. Each makes one finding, always.
    pub name: &'static str,
    /// How good or bad it is.
    pub state: State,
    /// What was found.
    #[serde(rename = "text")]
    pub what: String,
    /// The next step, if there is one to take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Whether a capture can't work at all because of it.
    pub prevents_capture: bool,
    /// The numbers behind the text.
    #[serde(flatten)]
    pub values: Map<String, Value>,
}

impl Finding {
    fn new(name: &'static str, state: State, what: impl Into<String>) -> Self {
        Self {
            name,
            state,
            what: what.into(),
            next: None,
            prevents_capture: false,
            values: Map::new(),
        }
    }

    /// A finding that all is well.
    pub fn ok(name: &'static str, what: impl Into<String>) -> Self {
        Self::new(name, State::Ok, what)
    }

    /// A finding that is worth knowing and no problem.
    pub fn note(name: &'static str, what: impl Into<String>) -> Self {
        Self::new(name, State::Note, what)
    }

    /// Keeps flows off the list.
    pub fn problem(name: &'static str, what: impl Into<String>) -> Self {
        Self::new(name, State::Problem, what)
    }

    /// A problem that leaves no capture at all.
    pub fn obstacle(name: &'static str, what: impl Into<String>) -> Self {
        Self {
            prevents_capture: true,
            ..Self::problem(name, what)
        }
    }

    /// With this next step.
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// With this value, left out if it is not known.
    pub fn value(mut self, name: &str, value: impl Into<Value>) -> Self {
        match value.into() {
            Value::Null => {}
            value => {
                self.values.insert(name.to_owned(), value);
            }
        }
        self
    }
}
