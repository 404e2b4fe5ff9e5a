//! The set of distinct flows: lock-striped hash tables, one entry a flow, no order kept.
//!
//! Several receivers may feed it while a reader goes over it stripe by stripe. A flow belongs to the
//! stripe that its hash picks; nothing ever locks two stripes at once.

mod entry;

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use hashbrown::HashTable;

pub use entry::Entry;
use entry::Hashable;

use crate::intake::snapshot::Snapshot;
use crate::intake::stripes::Stripes;
use crate::intake::unlisted::{Recent, Unlisted, now_ns};
use crate::model::flow::{Event, Flow, Key, Observation, Transport};

/// The tables of one address family, by transport.
type Family<A> = [HashTable<Entry<A>>; 3];

#[derive(Debug, Default)]
struct Stripe {
    v4: Family<[u8; 4]>,
    v6: Family<[u8; 16]>,
    unlisted: Unlisted,
    recent: Recent,
}

/// So many replies to flows that are not listed are noted at most while the kernel's table is read.
const UNLISTED_MAX: usize = 1 << 16;

/// Takes an entry out; whether there was one.
fn take_out<A: Copy + PartialEq>(table: &mut HashTable<Entry<A>>, hash: u64, key: &Key<A>) -> bool {
    match table.find_entry(hash, |entry| entry.holds(key)) {
        Ok(entry) => {
            entry.remove();
            true
        }
        Err(_) => false,
    }
}

/// What one observation did to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The flow was listed before and nothing changed.
    Nothing,
    /// The flow is not listed and stays so.
    Unlisted,
    /// The flow is listed now.
    Listed,
    /// The flow was listed and is confirmed now.
    Confirmed,
    /// The flow should be listed, but the table is full (or memory is).
    Refused,
}

/// How a flow that is not listed yet is treated when it shows up already replied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// It stays unlisted: the rule of the C tool for events.
    Ignore,
    /// It is listed and confirmed: the sighting is proof of a flow whose first event was missed.
    List,
    /// The same, by an event of the beginning that comes late.
    ListLate,
    /// It stays unlisted. What lists it was kept back since that time, in nanoseconds of the clock that never goes back:
    /// it counts as replied if a reply came after that.
    KeptBack(u64),
}

/// One observation, as far as the table looks at it.
#[derive(Clone, Copy, Debug)]
struct Sight {
    replied: bool,
    may_list: bool,
    /// It makes up for an event that was missed.
    recovered: bool,
    /// It is a NEW event.
    new: bool,
}

/// Room for [`Table::apply_all`] to plan its way through the stripes; kept by the caller, so that no
/// batch allocates.
#[derive(Debug, Default)]
pub struct Plan(Vec<Visit>);

#[derive(Clone, Copy, Debug)]
struct Visit {
    stripe: u32,
    /// Index of the event.
    at: u32,
    hash: u64,
}

/// The lock-striped set of flows.
#[derive(Debug)]
pub struct Table {
    stripes: Stripes<Stripe>,
    /// How many read the kernel's table just now, and since when.
    merging: AtomicUsize,
    merging_since_ns: AtomicU64,
    /// Whether events are kept back for a while before they come here.
    hears_late: AtomicBool,
    /// All that was not kept back has come that was sent before this time.
    heard_ns: AtomicU64,
    /// NEW events of flows that were made up for before, or that listed no flow.
    belated: AtomicU64,
    /// Replies that there was no room to note while the kernel's table was read.
    unnoted: AtomicU64,
}

/// For as long as it lives, replies to flows that are not listed are noted: see [`Table::merging`].
#[derive(Debug)]
pub struct Merging<'a>(&'a Table);

impl Drop for Merging<'_> {
    fn drop(&mut self) {
        if self.0.merging.fetch_sub(1, Ordering::AcqRel) == 1 {
            for mut stripe in self.0.stripes.each() {
                // Another has begun since, and ends after this.
                if self.0.merging.load(Ordering::Acquire) > 0 {
                    return;
                }
                if !self.0.hears_late.load(Ordering::Relaxed) {
                    stripe.unlisted.clear();
                }
            }
        }
    }
}

impl Table {
    /// A table of at most `max` flows, with as many stripes as suit the machine.
    pub fn new(max: usize) -> Self {
        Self {
            stripes: Stripes::for_this_machine(max),
            merging: AtomicUsize::new(0),
            merging_since_ns: AtomicU64::new(0),
            hears_late: AtomicBool::new(false),
            heard_ns: AtomicU64::new(0),
            belated: AtomicU64::new(0),
            unnoted: AtomicU64::new(0),
        }
    }

    /// A table with a given number of stripes, rounded up to a power of two.
    pub fn with_stripes(max: usize, stripes: usize) -> Self {
        Self {
            stripes: Stripes::new(max, stripes),
            merging: AtomicUsize::new(0),
            merging_since_ns: AtomicU64::new(0),
            hears_late: AtomicBool::new(false),
            heard_ns: AtomicU64::new(0),
            belated: AtomicU64::new(0),
            unnoted: AtomicU64::new(0),
        }
    }

    /// To be called before the kernel is asked for its table, and to be kept until all that it says was taken in: an
    /// entry lists its flow as confirmed also if the reply came in as an event in between.
    pub fn merging(&self) -> Merging<'_> {
        let now_ns = now_ns();
        if self.merging.fetch_add(1, Ordering::AcqRel) == 0 {
            self.merging_since_ns.store(now_ns, Ordering::Release);
        }
        Merging(self)
    }

    /// To be called before events come that were kept back for a while, with others that were not.
    pub fn hear_late(&self) {
        self.hears_late.store(true, Ordering::Release);
    }

    /// Says that all has come that was sent before a time, but for what is kept back.
    pub fn heard(&self, before_ns: u64) {
        self.heard_ns.store(before_ns, Ordering::Release);
    }

    /// When a flow was listed, if it is: 0 for before anything was kept back that has not come. Locks one stripe.
    pub fn listed_ns(&self, flow: &Flow) -> Option<u64> {
        self.state(flow)?;
        let hash = self.hash_flow(flow);
        let stripe = self.stripes.lock(self.stripes.index(hash));
        Some(stripe.recent.listed_ns(flow))
    }

    /// Forgets what was noted before a time: all that was kept back until then has come. Locks the stripes one after the
    /// other.
    pub fn forget_notes(&self, before_ns: u64) {
        for mut stripe in self.stripes.each() {
            // Who reads the kernel's table needs them, and forgets them then.
            if self.merging.load(Ordering::Acquire) > 0 {
                return;
            }
            stripe.unlisted.clear_before(before_ns);
            stripe.recent.clear_before(before_ns);
        }
    }

    /// Takes in one observation. Locks one stripe.
    pub fn apply(&self, observation: &Observation, unseen: Unseen) -> Effect {
        let hash = self.hash_flow(&observation.flow);
        let mut stripe = self.stripes.lock(self.stripes.index(hash));
        self.apply_locked(&mut stripe, hash, observation, unseen)
    }

    /// Takes in events in their order. Locks one stripe after the other, each that is concerned once.
    ///
    /// Going to a stripe once for all its flows makes this a tenth faster than [`apply`](Self::apply) one by one with
    /// eight stripes (benches/table.rs), and spares the lock where several receivers want it.
    pub fn apply_all(&self, events: &[Observation], plan: &mut Plan) {
        plan.0.clear();
        plan.0.extend(events.iter().zip(0..).map(|(event, at)| {
            let hash = self.hash_flow(&event.flow);
            Visit {
                stripe: self.stripes.index(hash) as u32,
                at,
                hash,
            }
        }));
        // Within a stripe in the order of arrival: a flow's events must not overtake each other.
        plan.0
            .sort_unstable_by_key(|visit| (visit.stripe, visit.at));
        for visits in plan.0.chunk_by(|a, b| a.stripe == b.stripe) {
            let mut stripe = self.stripes.lock(visits[0].stripe as usize);
            for visit in visits {
                let event = &events[visit.at as usize];
                self.apply_locked(&mut stripe, visit.hash, event, Unseen::Ignore);
            }
        }
    }

    #[inline]
    fn apply_locked(
        &self,
        stripe: &mut Stripe,
        hash: u64,
        observation: &Observation,
        unseen: Unseen,
    ) -> Effect {
        let (lists, since_ns) = match unseen {
            Unseen::Ignore => (false, None),
            Unseen::KeptBack(since_ns) => (false, Some(since_ns)),
            Unseen::List | Unseen::ListLate => {
                let merging = self.merging.load(Ordering::Acquire) > 0;
                (
                    true,
                    merging.then(|| self.merging_since_ns.load(Ordering::Acquire)),
                )
            }
        };
        let may_list = !observation.replied || lists;
        let noted = |since_ns| stripe.unlisted.has_since(&observation.flow, since_ns);
        let replied = observation.replied || since_ns.is_some_and(noted);
        let sight = Sight {
            replied,
            may_list,
            recovered: unseen == Unseen::List,
            new: unseen != Unseen::List && observation.event == Event::New,
        };
        let effect = match observation.flow {
            Flow::V4(transport, key) => {
                let table = &mut stripe.v4[transport as usize];
                self.insert(table, transport, hash, key, sight)
            }
            Flow::V6(transport, key) => {
                let table = &mut stripe.v6[transport as usize];
                self.insert(table, transport, hash, key, sight)
            }
        };
        let hears_late = self.hears_late.load(Ordering::Relaxed);
        let max = UNLISTED_MAX / self.stripes.count();
        if hears_late && effect == Effect::Listed && !matches!(unseen, Unseen::KeptBack(_)) {
            let since_ns = self.heard_ns.load(Ordering::Acquire);
            stripe.recent.note(observation.flow, since_ns, max);
        }
        if effect == Effect::Unlisted {
            if sight.new {
                // It came, and listed nothing: should the kernel's table list its flow, that makes up for no event.
                self.belated.fetch_add(1, Ordering::Relaxed);
            }
            let notes = hears_late || self.merging.load(Ordering::Acquire) > 0;
            if notes && !stripe.unlisted.note(observation.flow, max) {
                self.unnoted.fetch_add(1, Ordering::Relaxed);
            }
        }
        effect
    }

    fn insert<const N: usize>(
        &self,
        table: &mut HashTable<Entry<[u8; N]>>,
        transport: Transport,
        hash: u64,
        key: Key<[u8; N]>,
        Sight {
            replied,
            may_list,
            recovered,
            new,
        }: Sight,
    ) -> Effect {
        if let Some(entry) = table.find_mut(hash, |entry| entry.holds(&key)) {
            if new && entry.take_recovered() {
                self.belated.fetch_add(1, Ordering::Relaxed);
            }
            if replied && !entry.confirmed() {
                entry.confirm();
                return Effect::Confirmed;
            }
            return Effect::Nothing;
        }
        if !may_list {
            return Effect::Unlisted;
        }
        let rehash = |entry: &Entry<[u8; N]>| self.hash(transport, &entry.key());
        if self.stripes.is_full() || table.try_reserve(1, rehash).is_err() {
            self.stripes.refuse();
            return Effect::Refused;
        }
        self.stripes.added();
        let mut entry = Entry::new(key);
        if replied {
            entry.confirm();
        }
        if recovered {
            entry.make_up();
        }
        table.insert_unique(hash, entry, rehash);
        Effect::Listed
    }

    #[inline]
    fn hash(&self, transport: Transport, key: &impl Hashable) -> u64 {
        let mut hasher = self.stripes.hasher().build_hasher();
        hasher.write_u8(transport as u8);
        key.feed(&mut hasher);
        hasher.finish()
    }

    fn hash_flow(&self, flow: &Flow) -> u64 {
        match flow {
            Flow::V4(transport, key) => self.hash(*transport, key),
            Flow::V6(transport, key) => self.hash(*transport, key),
        }
    }

    /// Whether a flow is listed, and then whether it is confirmed. Locks one stripe.
    pub fn state(&self, flow: &Flow) -> Option<bool> {
        let hash = self.hash_flow(flow);
        let stripe = self.stripes.lock(self.stripes.index(hash));
        match flow {
            Flow::V4(transport, key) => stripe.v4[*transport as usize]
                .find(hash, |entry| entry.holds(key))
                .map(Entry::confirmed),
            Flow::V6(transport, key) => stripe.v6[*transport as usize]
                .find(hash, |entry| entry.holds(key))
                .map(Entry::confirmed),
        }
    }

    /// Number of flows. Locks nothing.
    pub fn len(&self) -> usize {
        self.stripes.len()
    }

    /// Observations whose flow could not be listed because the table was full. Locks nothing.
    pub fn refused(&self) -> u64 {
        self.stripes.refused()
    }

    /// NEW events that were not missed, of flows that the kernel's table lists all the same: they were read only after
    /// it, or list no flow by themselves, since the connection had been answered by then. What the table gives of these
    /// flows makes up for nothing. Locks nothing.
    pub fn belated(&self) -> u64 {
        self.belated.load(Ordering::Relaxed)
    }

    /// Replies that there was no room to note while the kernel's table was read, so that their flows may be listed as
    /// unanswered. Locks nothing.
    pub fn unnoted(&self) -> u64 {
        self.unnoted.load(Ordering::Relaxed)
    }

    /// Flows by class, in the order of [`Class::ALL`](crate::model::flow::Class::ALL). Locks the stripes one
    /// after the other, each for a few loads.
    pub fn counts(&self) -> [usize; 6] {
        let mut counts = [0; 6];
        for stripe in self.stripes.each() {
            for (transport, count) in counts.iter_mut().enumerate() {
                *count += match transport {
                    0..3 => stripe.v4[transport].len(),
                    _ => stripe.v6[transport - 3].len(),
                };
            }
        }
        counts
    }

    /// Takes all flows out, into a table of their own. Locks the stripes one after the other, each for a few
    /// stores: an event is in the one table or in the other.
    pub fn take(&self) -> Self {
        let taken = self.stripes.alike();
        for index in 0..self.stripes.count() {
            let mut stripe = self.stripes.lock(index);
            let unlisted = std::mem::take(&mut stripe.unlisted);
            let stripe = std::mem::replace(
                &mut *stripe,
                Stripe {
                    unlisted,
                    ..Stripe::default()
                },
            );
            let v4 = stripe.v4.iter().map(HashTable::len).sum::<usize>();
            let v6 = stripe.v6.iter().map(HashTable::len).sum::<usize>();
            self.stripes.removed(v4 + v6);
            *taken.lock(index) = stripe;
        }
        Self {
            stripes: taken,
            merging: AtomicUsize::new(0),
            merging_since_ns: AtomicU64::new(0),
            hears_late: AtomicBool::new(false),
            heard_ns: AtomicU64::new(0),
            belated: AtomicU64::new(0),
            unnoted: AtomicU64::new(0),
        }
    }

    /// Takes one flow out, if it is listed. Locks one stripe.
    pub fn remove(&self, flow: &Flow) {
        let hash = self.hash_flow(flow);
        let mut stripe = self.stripes.lock(self.stripes.index(hash));
        let removed = match flow {
            Flow::V4(transport, key) => take_out(&mut stripe.v4[*transport as usize], hash, key),
            Flow::V6(transport, key) => take_out(&mut stripe.v6[*transport as usize], hash, key),
        };
        self.stripes.removed(usize::from(removed));
    }

    /// A copy of all flows, in no order. Locks the stripes one after the other, each for as long as
    /// copying it takes.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for (transport, count) in self.counts().into_iter().enumerate() {
            match transport {
                0..3 => snapshot.v4[transport].reserve(count),
                _ => snapshot.v6[transport - 3].reserve(count),
            }
        }
        for stripe in self.stripes.each() {
            for transport in 0..3 {
                snapshot.v4[transport].extend(stripe.v4[transport].iter().copied());
                snapshot.v6[transport].extend(stripe.v6[transport].iter().copied());
            }
        }
        snapshot
    }
}
