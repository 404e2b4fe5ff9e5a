//! What connection tracking helpers have to do with flows: few different things, which records have by number.

use parking_lot::RwLock;

use crate::model::origin::{Expected, Helper, Origin};

/// So many different things are told apart; there are as many as control connections have ports.
const MAX: usize = 4096;

/// What helpers have to do with flows, by number. Number 0 is nothing.
#[derive(Debug, Default)]
pub struct Helpers(RwLock<Vec<Origin>>);

impl Helpers {
    /// The number of what a sighting says. Of what comes after the most, only that a helper expected it is kept.
    pub fn number(&self, helper: Option<Helper>, expected_by: Option<Expected>) -> u16 {
        if helper.is_none() && expected_by.is_none() {
            return 0;
        }
        let wanted = Origin {
            helper,
            expected_by,
            ..Origin::default()
        };
        if let Some(at) = find(&self.0.read(), &wanted) {
            return at;
        }
        let mut all = self.0.write();
        if let Some(at) = find(&all, &wanted) {
            return at;
        }
        if all.len() < MAX {
            all.push(wanted);
            return all.len() as u16;
        }
        let alike = |known: &Origin| known.expected_by.is_some() == wanted.expected_by.is_some();
        all.iter().position(alike).map_or(0, |at| at as u16 + 1)
    }

    /// What a number stands for.
    pub fn get(&self, number: u16) -> Origin {
        match number {
            0 => Origin::default(),
            _ => self.0.read()[usize::from(number) - 1],
        }
    }

    /// What all numbers from 1 on stand for, so far.
    pub fn all(&self) -> Vec<Origin> {
        self.0.read().clone()
    }

    /// The number of what is known after another sighting of the same flow.
    pub fn and(&self, known: u16, seen: u16) -> u16 {
        if known == seen {
            return known;
        }
        let sum = self.get(known).and(self.get(seen));
        self.number(sum.helper, sum.expected_by)
    }
}

fn find(all: &[Origin], wanted: &Origin) -> Option<u16> {
    let at = all.iter().position(|known| known == wanted)?;
    Some(at as u16 + 1)
}
