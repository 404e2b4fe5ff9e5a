//! Lock striping: what the tables of flows and of records have in common.
//!
//! A flow belongs to the stripe that its hash picks; nothing ever locks two stripes at once.

use std::hash::RandomState;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};

/// A stripe on cache lines of its own (two: Intel prefetches pairs), so that locking one does not
/// slow down the neighbours.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<S>(Mutex<S>);

/// Stripes of type `S`, and the bound of what they hold together.
#[derive(Debug)]
pub struct Stripes<S> {
    stripes: Box<[Padded<S>]>,
    /// Keyed SipHash-1-3 with random keys for every table: keys come from the network, and whoever
    /// sends them must not be able to choose collisions.
    hasher: RandomState,
    len: AtomicUsize,
    max: usize,
    refused: AtomicU64,
}

impl<S: Default> Stripes<S> {
    /// As many stripes as suit the machine, for at most `max` entries.
    pub fn for_this_machine(max: usize) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self::new(max, cpus * 4)
    }

    /// A given number of stripes, rounded up to a power of two, for at most `max` entries.
    pub fn new(max: usize, stripes: usize) -> Self {
        // Bounded by the hash bits that `index` uses.
        let count = stripes.clamp(1, 1 << 12).next_power_of_two();
        Self {
            stripes: (0..count).map(|_| Padded::default()).collect(),
            hasher: RandomState::new(),
            len: AtomicUsize::new(0),
            max,
            refused: AtomicU64::new(0),
        }
    }

    /// Empty stripes of the same number and hashes, for what is taken out of these.
    pub fn alike(&self) -> Self {
        Self {
            stripes: self.stripes.iter().map(|_| Padded::default()).collect(),
            hasher: self.hasher.clone(),
            len: AtomicUsize::new(0),
            max: usize::MAX,
            refused: AtomicU64::new(0),
        }
    }

    /// Number of stripes.
    pub fn count(&self) -> usize {
        self.stripes.len()
    }

    /// What to hash keys with.
    pub const fn hasher(&self) -> &RandomState {
        &self.hasher
    }

    /// The stripe of a hash.
    ///
    /// hashbrown 0.17 tags slots with the upper 7 bits of the hash and picks buckets by the lower ones;
    /// the bits from 40 on are neither until a stripe holds 2^40 buckets.
    #[inline]
    pub fn index(&self, hash: u64) -> usize {
        (hash >> 40) as usize & (self.stripes.len() - 1)
    }

    /// Locks one stripe. Its holder must not lock another.
    #[inline]
    pub fn lock(&self, index: usize) -> MutexGuard<'_, S> {
        self.stripes[index].0.lock()
    }

    /// All stripes, each locked while it is looked at.
    pub fn each(&self) -> impl Iterator<Item = MutexGuard<'_, S>> {
        self.stripes.iter().map(|stripe| stripe.0.lock())
    }

    /// Whether there is no room for one more.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.len() >= self.max
    }

    /// Counts an entry that was added.
    #[inline]
    pub fn added(&self) {
        self.len.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts entries that were taken out.
    pub fn removed(&self, entries: usize) {
        self.len.fetch_sub(entries, Ordering::Relaxed);
    }

    /// Counts one that found no room.
    pub fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Number of entries. Locks nothing.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// What found no room. Locks nothing.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}
