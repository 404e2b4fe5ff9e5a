//! The two rulesets, loaded beside each other.

use crate::check::judge::Judge;
use crate::check::network::Hints;
use crate::check::ruleset::Ruleset;
use crate::model::capture::Capture;
use crate::model::error::Error;

/// Them.
#[derive(Debug)]
pub(super) struct Pair {
    /// The judge of each.
    pub judges: [Judge; 2],
}

impl Pair {
    /// With the devices of both in each.
    pub fn new(sides: [&[Ruleset]; 2], captures: &[Capture], hints: &Hints) -> Result<Self, Error> {
        let load = |hints: &Hints| -> Result<[Judge; 2], Error> {
            let mut judges = [
                Judge::new(sides[0], captures, hints)?,
                Judge::new(sides[1], captures, hints)?,
            ];
            for judge in &mut judges {
                judge.note_paths()?;
            }
            Ok(judges)
        };
        let judges = load(hints)?;
        let [old, new] = [0, 1].map(|at| judges[at].setup().rules.devices.clone());
        if old == new {
            return Ok(Self { judges });
        }
        drop(judges);
        let devices = old.union(&new).cloned().collect();
        let hints = Hints {
            devices,
            ..hints.clone()
        };
        Ok(Self {
            judges: load(&hints)?,
        })
    }

    /// Texts of the rules with limits of rates and numbers, which no single flow shows.
    pub fn limited(&self, side: usize) -> Vec<&str> {
        let setup = self.judges[side].setup();
        let replaced = setup.rules.replaced.iter().map(|(_, text)| text.as_str());
        let beyond = setup.beyond.iter().map(|rule| rule.text.as_str());
        let mut texts: Vec<&str> = replaced.chain(beyond).collect();
        texts.sort_unstable();
        texts
    }
}
