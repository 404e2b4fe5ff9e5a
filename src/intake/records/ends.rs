//! What ended connections have carried, on its way to the records of their flows.

use std::mem;

use parking_lot::Mutex;

use crate::intake::unlisted::now_ns;
use crate::model::record::Translation;
use crate::model::sighting::Sighting;
use crate::model::tuple::Tuple;
use crate::model::usage::Usage;

/// The end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// Its flow, ports as they were.
    pub tuple: Tuple,
    /// The flow's translation.
    pub translation: Option<Translation>,
    /// Where it was seen.
    pub namespace: u16,
    /// When that was read, by the clock of `intake::unlisted`.
    pub read_ns: u64,
    /// What it has carried.
    pub usage: Usage,
}

impl End {
    /// What a sighting says of an end, if it tells what the connection has carried.
    pub fn of(sighting: &Sighting) -> Option<Self> {
        Some(Self {
            tuple: sighting.tuple,
            translation: sighting.translation,
            namespace: sighting.namespace,
            usage: sighting.usage?,
            read_ns: now_ns(),
        })
    }

    /// The flows that it may be of, the one that is told apart by its ports first.
    pub fn flows(&self) -> impl Iterator<Item = (Tuple, Option<Translation>)> {
        let mut folded = self.tuple;
        folded.source_port = folded.source_port.collapsed();
        let translation = self.translation.and_then(|both| both.collapsed(&folded));
        let exact = (self.tuple, self.translation);
        [exact, (folded, translation)].into_iter()
    }
}

/// Ends that wait for their flows, while what was seen of these is kept in the kernel.
#[derive(Debug, Default)]
pub struct Waiting(Mutex<Option<Vec<End>>>);

/// So many ends may wait. Whoever reads them sees to it that there are never nearly so many.
const MAX: usize = 1 << 18;

impl Waiting {
    /// Has ends wait from here on.
    pub fn begin(&self) {
        self.0.lock().get_or_insert_default();
    }

    /// Keeps an end, if ends are to wait.
    pub fn add(&self, end: End) {
        if let Some(ends) = self.0.lock().as_mut().filter(|ends| ends.len() < MAX) {
            ends.push(end);
        }
    }

    /// Number of ends that wait.
    pub fn len(&self) -> usize {
        self.0.lock().as_ref().map_or(0, Vec::len)
    }

    /// Takes them out.
    pub fn take(&self) -> Vec<End> {
        self.0.lock().as_mut().map(mem::take).unwrap_or_default()
    }
}
