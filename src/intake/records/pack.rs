//! Records on their way into a list: copied or taken out of their table, and packed as they are there.
//!
//! Unpacked, a record takes three times as much, and a list may be of millions. So they are unpacked one by one while it is
//! written, and what can be known of them only together, such as which side opened a connection, is found out before and
//! kept beside.

use std::collections::HashMap;
use std::iter;
use std::sync::Arc;

use super::stored::Stored;
use crate::model::evidence::{self, Found, HelperNames, Listening, Marks};
use crate::model::origin::Origin;
use crate::model::record::{Classic, Record};

/// Packed records, in no order. Each has a place in it, counted from 0.
#[derive(Debug, Default)]
pub struct Pack {
    v4: Vec<Stored<[u8; 4]>>,
    v6: Vec<Stored<[u8; 16]>>,
    /// The names of namespaces by number.
    namespaces: Vec<Option<Arc<str>>>,
    /// What helpers have to do with them, by number.
    origins: Vec<Origin>,
    /// What was found out about those in doubt.
    found: HashMap<usize, Found>,
}

impl Pack {
    /// An empty one. `namespaces` are the names of namespaces by number.
    pub(super) fn new(namespaces: &[Option<Arc<str>>]) -> Self {
        Self {
            namespaces: namespaces.to_vec(),
            ..Self::default()
        }
    }

    /// Puts records in, none of which it has.
    pub(super) fn extend(
        &mut self,
        v4: impl ExactSizeIterator<Item = Stored<[u8; 4]>>,
        v6: impl ExactSizeIterator<Item = Stored<[u8; 16]>>,
    ) {
        // Doubling would leave up to half of it unused.
        self.v4.reserve_exact(v4.len());
        self.v4.extend(v4);
        self.v6.reserve_exact(v6.len());
        self.v6.extend(v6);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says of the records from these places on how the classic list shows them.
    pub(super) fn mark(&mut self, (v4, v6): (usize, usize), of: impl Fn(&Record) -> Classic) {
        let (namespaces, no_helper) = (&self.namespaces, Origin::default());
        for stored in &mut self.v4[v4..] {
            stored.mark(of(&stored.unpack(namespaces, no_helper)));
        }
        for stored in &mut self.v6[v6..] {
            stored.mark(of(&stored.unpack(namespaces, no_helper)));
        }
    }

    /// How many there are of each address family.
    pub(super) fn lens(&self) -> (usize, usize) {
        (self.v4.len(), self.v6.len())
    }

    /// What the numbers of helpers stand for that its records have.
    pub(super) fn helped(&mut self, origins: Vec<Origin>) {
        self.origins = origins;
    }

    /// Finds out which side opened connections that were picked up in the middle, and what helpers are called.
    pub(super) fn place(&mut self, listening: &Listening) {
        if self.origins.iter().any(|origin| origin.is_nameless()) {
            let names = HelperNames::of(self.iter());
            self.origins
                .iter_mut()
                .for_each(|origin| names.name(origin));
        }
        // What the source port was is known then of every flow in doubt.
        let found = evidence::find(self.iter(), |at| self.get(at), Marks::Taken, listening);
        self.found = found.into_iter().collect();
    }

    /// The record at a place.
    ///
    /// # Panics
    /// If there is none.
    pub fn get(&self, place: usize) -> Record {
        let mut record = match place.checked_sub(self.v4.len()) {
            None => {
                let stored = &self.v4[place];
                stored.unpack(&self.namespaces, self.origin(stored.helped()))
            }
            Some(place) => {
                let stored = &self.v6[place];
                stored.unpack(&self.namespaces, self.origin(stored.helped()))
            }
        };
        if !self.found.is_empty() {
            if let Some(found) = self.found.get(&place) {
                found.clone().tell(&mut record);
            }
        }
        record
    }

    fn origin(&self, number: u16) -> Origin {
        match number {
            0 => Origin::default(),
            _ => self.origins[usize::from(number) - 1],
        }
    }

    /// All records in the order of their places, each unpacked when its turn comes.
    pub fn iter(&self) -> impl Iterator<Item = Record> + Clone + '_ {
        let mut places = 0..self.len();
        let next = move || places.next().map(|place| self.get(place));
        iter::from_fn(next)
    }
}
