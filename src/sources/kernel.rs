//! The `kernel` source: a BPF program on the socket reports each flow once, through a ring buffer.
//!
//! The program (`src/bpf/dedup.bpf.c`) drops what it has handled; what it leaves alone comes down the
//! socket and is read as the `batch` source reads it. The ring is drained on a timer: an event that
//! tells nothing new costs user space nothing.

pub mod program;
pub mod records;
mod refusal;

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use aya::include_bytes_aligned;
use aya::maps::{MapData, RingBuf};
use netfilter_conntrack::Handle;

use self::program::Program;
use self::refusal::explain;
use super::batch::Drain;
use super::receiver::{Seat, Shared, wait_time};
use super::tuning::Buffer;
use crate::intake::table::{Plan, Table, Unseen};
use crate::intake::tally::Tally;
use crate::model::flow::{Event, Flow, Key, Observation, Transport};
use crate::os::bpf::HashMap;

/// Time between two looks at the ring. Five a second cost next to nothing; more would bring nothing, since
/// a list that is asked for has the ring emptied first.
const NAP: Duration = Duration::from_millis(200);
/// The counters are read at every so many looks.
const LOOKS_A_COUNT: u32 = 2;
/// Sightings taken into the table together.
const COMMIT_LEN: usize = 512;

// As in the BPF program.
const PORT_MASK: u16 = (1 << 11) - 1;
const CLASS_SHIFT: u16 = 11;
const CLASS_MASK: u16 = 3;
const REPLIED: u16 = 1 << 13;
const IS_NEW: u16 = 1 << 14;
// Bits of a flow's value in its map.
const CONFIRMED: u32 = 1;
const UNTOLD: u32 = 2;
const KEY4_LEN: usize = 12;
const KEY6_LEN: usize = 36;
/// `BPF_RINGBUF_HDR_SZ`, and records are padded to 8 bytes.
const RECORD6_BYTES: u32 = 8 + 40;

/// How large the kernel's side is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// IPv4 flows that are told apart in the kernel.
    pub flows4: u32,
    /// How many IPv6 flows the program's map has room for.
    pub flows6: u32,
    /// Bytes of the ring, a power of two.
    pub ring_bytes: u32,
}

impl Sizes {
    /// Sizes for a list of at most `max_flows` and a receive buffer of `buffer_bytes`.
    ///
    /// Half the flows may be IPv4 and a quarter IPv6 before repeated events are delivered again, which
    /// costs time but no flow. The ring is a sixteenth of the buffer: a record takes 24 or 48 bytes of it
    /// where an event takes 1,280 of a socket's, and its pages are taken, and resident twice, from the start. What finds no
    /// room in it is read from the tables, which takes four times as long a flow.
    pub fn new(max_flows: usize, buffer_bytes: u32) -> Self {
        let flows = u32::try_from(max_flows).unwrap_or(u32::MAX);
        let ring = (buffer_bytes / 16).clamp(1 << 16, 1 << 28);
        Self {
            flows4: (flows / 2).clamp(1 << 10, 1 << 24),
            flows6: (flows / 4).clamp(1 << 10, 1 << 24),
            ring_bytes: 1 << ring.ilog2(),
        }
    }

    /// Kernel memory taken at the start: the ring's pages, and 16 bytes for each bucket of the tables.
    pub fn start_bytes(&self) -> u64 {
        let buckets =
            u64::from(self.flows4).next_power_of_two() + u64::from(self.flows6).next_power_of_two();
        u64::from(self.ring_bytes) + buckets * 16
    }

    /// Kernel memory when the tables are full: an entry is allocated with its first event and takes 96
    /// bytes for IPv4, 128 for IPv6 (`struct htab_elem` of 48, the key, the value, in the next size that the
    /// kernel has; Linux 6.18).
    pub fn max_bytes(&self) -> u64 {
        self.start_bytes() + u64::from(self.flows4) * 96 + u64::from(self.flows6) * 128
    }
}

/// The loaded program and its maps. Nothing of it outlives this value or the process.
#[derive(Debug)]
pub struct Kernel {
    program: Program,
    flows4: HashMap<[u8; KEY4_LEN], u32>,
    flows6: HashMap<[u8; KEY6_LEN], u32>,
    ring: Ring,
    ring_bytes: u32,
}

/// The ring, as user space has it mapped.
struct Ring(RingBuf<MapData>);

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ring")
    }
}

/// What the program has counted since it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events of listed classes that it handled.
    pub events: u64,
    /// Those of them that are NEW events.
    pub begun: u64,
    /// Sightings lost because both the ring and the table were full.
    pub ring_full: u64,
    /// Those of them that are NEW events.
    pub lost_new: u64,
    /// Sightings delivered unmarked because the table was full.
    pub table_full: u64,
    /// Messages left to the socket.
    pub passed: u64,
    /// Sightings that found no room in the ring, and that the tables keep for
    /// [`Kernel::fetch_untold`].
    pub untold: u64,
}

impl Kernel {
    /// Loads the program and attaches it to a socket.
    ///
    /// Errors: why this kernel or this user can't: no CAP_BPF, a kernel before 5.8, a verifier that wants more.
    pub fn attach(socket: impl AsFd, sizes: Sizes) -> Result<Self, String> {
        let object = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/dedup.bpf.o"));
        let max_entries = [
            ("flows4", sizes.flows4),
            ("flows6", sizes.flows6),
            ("sightings", sizes.ring_bytes),
        ];
        let max_bytes = sizes.max_bytes();
        let mut program = Program::attach(socket, object, "dedup", &max_entries, max_bytes)?;
        Ok(Self {
            flows4: program.take_table("flows4")?,
            flows6: program.take_table("flows6")?,
            ring: Ring(RingBuf::try_from(program.take("sightings")?).map_err(explain)?),
            program,
            ring_bytes: sizes.ring_bytes,
        })
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
        let [
            events,
            begun,
            ring_full,
            lost_new,
            table_full,
            passed,
            untold,
            _,
        ] = self.program.counts()?;
        Ok(Counts {
            events,
            begun,
            ring_full,
            lost_new,
            table_full,
            passed,
            untold,
        })
    }

    /// The IPv4 flows that the kernel knows, by the bytes of `struct key4`, and whether a reply was seen: for a look, not
    /// for the way of an event.
    ///
    /// Errors: those of bpf(2).
    pub fn known4(&self) -> io::Result<Vec<([u8; KEY4_LEN], bool)>> {
        let mut known = Vec::new();
        self.flows4.each(false, |key, state| {
            known.push((*key, state & CONFIRMED != 0));
        })?;
        Ok(known)
    }

    /// Takes the flows of which a sighting found no room in the ring into `table`. What is known there already changes
    /// nothing.
    ///
    /// Errors: those of bpf(2).
    pub fn fetch_untold(&self, table: &Table) -> io::Result<()> {
        let take = |key: &[u8], state: u32| {
            let sighting = decode(key).filter(|_| state & UNTOLD != 0);
            if let Some(mut sighting) = sighting {
                // What found no room may have been the NEW event: then what the kernel's table gave of the flow
                // meanwhile makes up for nothing.
                sighting.event = Event::New;
                table.apply(&sighting, Unseen::Ignore);
                if state & CONFIRMED != 0 {
                    let replied = true;
                    table.apply(
                        &Observation {
                            replied,
                            event: Event::Update,
                            ..sighting
                        },
                        Unseen::Ignore,
                    );
                }
            }
        };
        self.flows4.each(false, |key, state| take(key, *state))?;
        self.flows6.each(false, |key, state| take(key, *state))
    }

    /// Takes the next sighting out of the ring.
    pub fn next_sighting(&mut self) -> Option<Observation> {
        loop {
            let record = self.ring.0.next()?;
            if let Some(observation) = decode(&record) {
                return Some(observation);
            }
        }
    }
}

/// A record of the ring: `struct key4` or `struct key6` of the program.
fn decode(record: &[u8]) -> Option<Observation> {
    let (addresses, rest) = match record.len() {
        KEY4_LEN => record.split_at(8),
        KEY6_LEN => record.split_at(32),
        _ => return None,
    };
    let &[s0, s1, p0, p1] = rest else {
        return None;
    };
    let service = u16::from_ne_bytes([s0, s1]);
    let bits = u16::from_ne_bytes([p0, p1]);
    let transport = Transport::ALL.get(usize::from(bits >> CLASS_SHIFT & CLASS_MASK))?;
    let source_port = bits & PORT_MASK;
    let (source, destination) = addresses.split_at(addresses.len() / 2);
    let flow = if record.len() == KEY4_LEN {
        Flow::V4(*transport, key(source, destination, service, source_port)?)
    } else {
        Flow::V6(*transport, key(source, destination, service, source_port)?)
    };
    Some(Observation {
        flow,
        replied: bits & REPLIED != 0,
        event: if bits & IS_NEW != 0 {
            Event::New
        } else {
            Event::Update
        },
    })
}

fn key<const N: usize>(
    source: &[u8],
    destination: &[u8],
    service: u16,
    source_port: u16,
) -> Option<Key<[u8; N]>> {
    Some(Key {
        source: source.try_into().ok()?,
        destination: destination.try_into().ok()?,
        service,
        source_port,
    })
}

/// Receives until told to stop, and both the socket and the ring are empty.
///
/// Errors: those of the socket or the maps that no retry helps.
pub fn receive(
    handle: &Handle,
    mut kernel: Kernel,
    mut buffer: Buffer,
    shared: &Shared<'_>,
    seat: &Seat,
) -> io::Result<()> {
    let mut drain = Drain::new(shared.intake);
    let mut sightings = Vec::with_capacity(COMMIT_LEN);
    let mut plan = Plan::default();
    let mut counted = Counts::default();
    // No more than a million events come in a second.
    let room = kernel.ring_bytes / RECORD6_BYTES;
    let half_full = Duration::from_micros(u64::from(room / 2));
    for look in (0..LOOKS_A_COUNT).cycle() {
        let stopping = shared.stopping();
        let flush = seat.wanted(handle);
        if !shared.closing() {
            buffer.grow_under_pressure(handle)?;
        }
        // The socket first: what came before the program was attached lies there.
        let lost = || kernel.counts().map_or(true, |counts| counts.ring_full > 0);
        drain.run(handle, shared, None, lost)?;
        let mut taken = 0;
        loop {
            sightings.extend(std::iter::from_fn(|| kernel.next_sighting()).take(COMMIT_LEN));
            shared.intake.table().apply_all(&sightings, &mut plan);
            let received = sightings.len();
            taken += received;
            sightings.clear();
            if received < COMMIT_LEN {
                break;
            }
        }
        if look == 0 || stopping || flush.is_some() {
            let counts = kernel.counts()?;
            if counts.untold > counted.untold {
                // What was counted up to now was marked before that.
                kernel.fetch_untold(shared.intake.table())?;
            }
            shared.intake.count(Tally {
                events: counts.events - counted.events,
                begun: counts.begun - counted.begun,
                ..Tally::default()
            });
            shared.lose(counts.ring_full - counted.ring_full);
            counted = counts;
        }
        if let Some(flush) = flush {
            seat.flushed(flush);
        }
        if stopping {
            break;
        }
        // Whoever has had little to do is not woken so often for the case that a million come now: what finds no room then is
        // read from the tables.
        let is_busy = taken > room as usize / 16;
        let nap = if is_busy { half_full } else { half_full * 4 };
        wait_time(nap.min(NAP), shared, seat)?;
    }
    Ok(())
}
