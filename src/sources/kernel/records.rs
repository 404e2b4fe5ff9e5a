//! Records of flows that a BPF program keeps in the kernel, for what needs more than the classic list.
//!
//! The program (`src/bpf/records.bpf.c`) adds events up in its maps and drops them; what it leaves alone comes down the
//! socket and is read as the `batch` source reads it. What the maps hold is collected when a list is made, when they are
//! half full, and now and then.

mod entry;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use aya::include_bytes_aligned;
use netfilter_conntrack::Handle;
use rustix::time::{ClockId, clock_gettime};

use self::entry::{Key4, Key6, Offset, Value};
use super::program::{self, Program};
use super::refusal::explain;
use crate::intake::Intake;
use crate::intake::folded::{Early, Folded};
use crate::intake::tally::Tally;
use crate::intake::unlisted::now_ns;
use crate::model::timestamp::Timestamp;
use crate::os::bpf::{Grace, HashMap, set_first};
use crate::sources::batch::Drain;
use crate::sources::receiver::{Seat, Shared, wait_time};
use crate::sources::tuning::Buffer;

/// Time between two looks at the socket, and at every so many the counters are read.
const NAP: Duration = Duration::from_millis(200);
/// And at the least, however small the maps are: what finds no room in them is decoded.
const NAP_MIN: Duration = Duration::from_millis(5);
const LOOKS_A_COUNT: u32 = 2;
/// So often what the maps hold is collected at least, for those who watch.
const OFTEN: Duration = Duration::from_secs(10);
/// When so many ends of connections wait for what was seen of their flows, it is collected.
const ENDS_MAX: usize = 1 << 13;
/// A clock that is set is set by more than this.
const STEP_NS: Offset = 10_000_000;

/// How large the kernel's side is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// IPv4 flows that a generation has room for.
    pub flows4: u32,
    /// IPv6 flows likewise.
    pub flows6: u32,
}

impl Sizes {
    /// Sizes for lists of at most `max_flows`.
    ///
    /// Half of the flows may be IPv4 and an eighth IPv6 before what is left over is decoded one by one, which costs time
    /// but no flow: maps are collected before they are full, unless the program is stopped.
    pub fn new(max_flows: usize) -> Self {
        let flows = u32::try_from(max_flows).unwrap_or(u32::MAX);
        Self {
            flows4: (flows / 2).clamp(1 << 10, 1 << 24),
            flows6: (flows / 8).clamp(1 << 10, 1 << 24),
        }
    }

    /// Kernel memory taken at the start: 16 bytes for each bucket of the tables, of which there are two generations.
    pub fn start_bytes(&self) -> u64 {
        let buckets =
            u64::from(self.flows4).next_power_of_two() + u64::from(self.flows6).next_power_of_two();
        2 * buckets * 16
    }

    /// Kernel memory when the tables of one generation are full, the other one being empty but for the moment in which it
    /// is read: an entry takes 128 bytes for IPv4 and 192 for IPv6 (`struct htab_elem` of 48, the key, the value, in the
    /// next size that the kernel has; Linux 6.18).
    pub fn max_bytes(&self) -> u64 {
        self.start_bytes() + u64::from(self.flows4) * 128 + u64::from(self.flows6) * 192
    }
}

/// The maps of one generation.
#[derive(Debug)]
struct Generation {
    four: HashMap<Key4, Value>,
    six: HashMap<Key6, Value>,
}

/// The loaded program and its maps. Nothing of it outlives this value or the process.
#[derive(Debug)]
pub struct Records {
    program: Program,
    generations: [Generation; 2],
    /// Which one is written to.
    odd: bool,
    control: OwnedFd,
    exact: bool,
    others: bool,
    grace: Grace,
    sizes: Sizes,
    /// What was counted before events went to the generation that is written to.
    base: Counts,
    offset: Offset,
}

/// What the program has counted since it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events that it handled.
    pub events: u64,
    /// Those of them that are NEW events.
    pub begun: u64,
    /// Records that were made, of IPv4 flows.
    pub made4: u64,
    /// And of IPv6 flows.
    pub made6: u64,
    /// Answers to what had not been seen unanswered.
    pub early: u64,
    /// Messages left to the socket because a record found no room.
    pub full: u64,
    /// All messages left to the socket.
    pub passed: u64,
}

/// What the program has to tell apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// Source ports as they are.
    pub exact_ports: bool,
    /// Protocols that the classic list does not have.
    pub all_protocols: bool,
}

impl Records {
    /// Loads the program and attaches it to a socket.
    ///
    /// Errors: why this kernel or this user can't: no CAP_BPF, a kernel before 5.8, a verifier that wants more.
    pub fn attach(socket: impl AsFd, sizes: Sizes, wants: Wants) -> Result<Self, String> {
        let grace = Grace::new().map_err(explain)?;
        let object = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/records.bpf.o"));
        let max_entries = [
            ("even4", sizes.flows4),
            ("odd4", sizes.flows4),
            ("even6", sizes.flows6),
            ("odd6", sizes.flows6),
        ];
        let max_bytes = sizes.max_bytes();
        let mut program = Program::attach(&socket, object, "records", &max_entries, max_bytes)?;
        let mut generation = |four, six| -> Result<_, String> {
            Ok(Generation {
                four: program.take_table(four)?,
                six: program.take_table(six)?,
            })
        };
        let generations = [generation("even4", "even6")?, generation("odd4", "odd6")?];
        let mut records = Self {
            control: program::descriptor(&program.take("control")?)?,
            program,
            generations,
            odd: false,
            exact: wants.exact_ports,
            others: wants.all_protocols,
            grace,
            sizes,
            base: Counts::default(),
            offset: clock_offset(),
        };
        records.steer(false).map_err(explain)?;
        Ok(records)
    }

    /// The program and what all of them have.
    #[doc(hidden)]
    pub const fn program(&self) -> &Program {
        &self.program
    }

    /// What the program has counted so far.
    ///
    /// Errors: those of bpf(2).
    pub fn counts(&self) -> io::Result<Counts> {
        let [events, begun, made4, made6, early, full, passed, _] = self.program.counts()?;
        Ok(Counts {
            events,
            begun,
            made4,
            made6,
            early,
            full,
            passed,
        })
    }

    /// Whether the maps hold so much that they are to be collected soon.
    fn fills_up(&self, counts: &Counts) -> bool {
        let more = |made: u64, room: u32| made > u64::from(room / 2);
        more(counts.made4 - self.base.made4, self.sizes.flows4)
            || more(counts.made6 - self.base.made6, self.sizes.flows6)
    }

    /// Whether the maps hold anything.
    fn holds_any(&self, counts: &Counts) -> bool {
        (counts.made4, counts.made6) != (self.base.made4, self.base.made6)
    }

    /// Has the program write to that generation from here on.
    fn steer(&mut self, odd: bool) -> io::Result<()> {
        set_first(
            &self.control,
            &[1_u64, odd.into(), self.exact.into(), self.others.into()],
        )?;
        self.odd = odd;
        Ok(())
    }

    /// Takes all that the maps hold into the tables.
    ///
    /// Errors: those of bpf(2), after which some of it may be missing.
    pub fn collect(&mut self, intake: &Intake) -> io::Result<()> {
        let old = usize::from(self.odd);
        // What is counted before is of the old generation alone.
        let base = self.counts()?;
        let turned_ns = now_ns();
        self.steer(!self.odd)?;
        self.grace.wait()?;
        // And this has all of it.
        let counts = self.counts()?;
        let (four, six) = (
            counts.made4 != self.base.made4,
            counts.made6 != self.base.made6,
        );
        let mut early = Early::default();
        if counts.early != self.base.early {
            self.each(old, (four, six), false, |folded| {
                intake.look_for_early(folded, &mut early);
            })?;
        }
        self.each(old, (four, six), true, |folded| {
            intake.fold(folded, &mut early);
        })?;
        intake.settle_early(early);
        if let Some(records) = intake.records() {
            records.settle_ends(|ns| entry::time(ns, self.offset).map(Timestamp::us));
        }
        intake.table().forget_notes(turned_ns);
        self.base = base;
        Ok(())
    }

    fn each(
        &self,
        generation: usize,
        (four, six): (bool, bool),
        take: bool,
        mut each: impl FnMut(&Folded),
    ) -> io::Result<()> {
        let (maps, offset) = (&self.generations[generation], self.offset);
        if four {
            maps.four.each(take, |key, value| {
                entry::four(key, value, offset).iter().for_each(&mut each);
            })?;
        }
        if six {
            maps.six.each(take, |key, value| {
                entry::six(key, value, offset).iter().for_each(&mut each);
            })?;
        }
        Ok(())
    }
}

/// How far the system's clock is ahead of the one that the program reads.
fn clock_offset() -> Offset {
    let time = clock_gettime(ClockId::Realtime);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec) - i128::from(now_ns())
}

/// Receives until told to stop, and both the socket and the maps are empty.
///
/// Errors: those of the socket or the maps that no retry helps.
pub fn receive(
    handle: &Handle,
    mut records: Records,
    mut buffer: Buffer,
    shared: &Shared<'_>,
    seat: &Seat,
) -> io::Result<()> {
    let mut drain = Drain::new(shared.intake);
    let mut counted = Counts::default();
    let mut collected = Instant::now();
    let mut unnoted = 0;
    // No more than a million events come in a second.
    let half_full = Duration::from_micros(u64::from(
        records.sizes.flows6.min(records.sizes.flows4) / 2,
    ));
    for look in (0..LOOKS_A_COUNT).cycle() {
        let stopping = shared.stopping();
        let flush = seat.wanted(handle);
        if !shared.closing() {
            buffer.grow_under_pressure(handle)?;
        }
        let began_ns = now_ns();
        drain.run(handle, shared, None, || false)?;
        shared.intake.table().heard(began_ns);
        if look == 0 || stopping || flush.is_some() {
            let counts = records.counts()?;
            shared.intake.count(Tally {
                events: counts.events - counted.events,
                begun: counts.begun - counted.begun,
                ..Tally::default()
            });
            counted = counts;
            let offset = clock_offset();
            let stepped = (offset - records.offset).abs() > STEP_NS;
            let holds_any = records.holds_any(&counts);
            let waiting = { shared.intake.records() }.map_or(0, |records| records.waiting_ends());
            if (holds_any || waiting > 0)
                && (flush.is_some()
                    || stepped
                    || records.fills_up(&counts)
                    || waiting > ENDS_MAX
                    || collected.elapsed() >= OFTEN)
                || stopping
            {
                records.collect(shared.intake)?;
                collected = Instant::now();
            }
            if stopping {
                // A program that was at work may have seen the turn already.
                records.collect(shared.intake)?;
            }
            if stepped {
                records.offset = offset;
            }
            // Replies that there was no room to note, each of which may be what confirms a flow.
            let lacking = shared.intake.table().unnoted();
            shared.lose(lacking - unnoted);
            unnoted = lacking;
        }
        if let Some(flush) = flush {
            seat.flushed(flush);
        }
        if stopping {
            break;
        }
        wait_time(half_full.clamp(NAP_MIN, NAP), shared, seat)?;
    }
    Ok(())
}
