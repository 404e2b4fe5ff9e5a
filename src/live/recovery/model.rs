//! Recovery against a kernel that can be stepped: whatever happens between any two steps of the program, a list lacks
//! no flow and no reply, or owns up to it.
//!
//! The kernel here does as Linux does with `NETLINK_BROADCAST_ERROR`: an event that finds no room is sent with the
//! entry's next one, and an end that finds none is kept back and tried again. What a filter drops counts as delivered.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;

use proptest::prelude::*;

use super::{Delivery, Kernel, KernelMemory, Recovery};
use crate::intake::Intake;
use crate::intake::contents::Contents;
use crate::intake::table::Table;
use crate::intake::tally::Tally;
use crate::live::dumps::{Copied, copy};
use crate::model::flow::{Event, Flow, Key, Observation, Transport};
use crate::model::verdict::{Loss, Verdict};

/// Flows are numbers.
type Number = u8;
const NUMBERS: Number = 6;

fn flow(number: Number) -> Flow {
    Flow::V4(
        Transport::Udp,
        Key {
            source: [10, 0, 0, number],
            destination: [10, 0, 1, 1],
            service: 53,
            source_port: 1024,
        },
    )
}

/// What may happen beside the program.
#[derive(Clone, Copy, Debug)]
enum Step {
    Begin(Number),
    Reply(Number),
    End(Number),
    /// The kernel tries to send what it has kept back.
    Retry,
    /// The receiver takes in so many events.
    Receive(u8),
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    replied: bool,
    /// An event of it has found no room.
    owed: bool,
}

struct World<'a> {
    intake: &'a Intake,
    reliable: bool,
    delivery: Option<Delivery>,
    room: usize,
    table: BTreeMap<Number, Entry>,
    kept_back: VecDeque<(Number, Entry)>,
    queue: VecDeque<Observation>,
    drops: u64,
    /// What was dropped before the kernel was asked to remember; `None` until then.
    unprotected: Option<u64>,
    steps: VecDeque<Step>,
    /// How many steps happen at each pause of the program.
    pauses: VecDeque<u8>,
    /// Flows that have begun, and whether they were replied to.
    happened: BTreeMap<Number, bool>,
}

impl World<'_> {
    fn send(&mut self, number: Number, replied: bool, event: Event) -> bool {
        let is_dropped = match self.delivery {
            None => event == Event::Destroy && !self.reliable,
            Some(Delivery::Nothing) => true,
            Some(_) => event != Event::Destroy,
        };
        if is_dropped {
            return true;
        }
        if self.queue.len() >= self.room {
            self.drops += 1;
            // Forgotten, as long as nobody has asked for anything else.
            return self.unprotected.is_none();
        }
        self.queue.push_back(Observation {
            flow: flow(number),
            replied,
            event,
        });
        true
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Begin(number) => {
                if !self.table.contains_key(&number) {
                    let owed = !self.send(number, false, Event::New);
                    let replied = false;
                    self.table.insert(number, Entry { replied, owed });
                    self.happened.entry(number).or_insert(false);
                }
            }
            Step::Reply(number) => {
                if let Some(&entry) = self.table.get(&number) {
                    let event = if entry.owed {
                        Event::New
                    } else {
                        Event::Update
                    };
                    let owed = !self.send(number, true, event);
                    let replied = true;
                    self.table.insert(number, Entry { replied, owed });
                    self.happened.insert(number, true);
                }
            }
            Step::End(number) => {
                if let Some(entry) = self.table.remove(&number) {
                    if !self.send(number, entry.replied, Event::Destroy) {
                        self.kept_back.push_back((number, entry));
                    }
                }
            }
            Step::Retry => {
                while let Some((number, entry)) = self.kept_back.pop_front() {
                    if !self.send(number, entry.replied, Event::Destroy) {
                        self.kept_back.push_front((number, entry));
                        break;
                    }
                }
            }
            Step::Receive(events) => {
                for _ in 0..events {
                    self.receive();
                }
            }
        }
    }

    fn receive(&mut self) -> bool {
        let Some(observation) = self.queue.pop_front() else {
            return false;
        };
        let mut tally = Tally::default();
        match observation.event {
            Event::Destroy if self.drops > 0 => self.intake.recovered(&observation, &mut tally),
            Event::Destroy => {}
            Event::New | Event::Update => {
                self.intake.event(&observation, self.drops > 0, &mut tally);
            }
        }
        self.intake.count(tally);
        true
    }

    fn drain(&mut self) {
        while self.receive() {}
    }

    /// The program is interrupted, and the world goes on.
    fn pause(&mut self) {
        for _ in 0..self.pauses.pop_front().unwrap_or(0) {
            if let Some(step) = self.steps.pop_front() {
                self.step(step);
            }
        }
    }
}

struct Stepped<'a>(RefCell<World<'a>>);

impl Kernel for &Stepped<'_> {
    fn drops(&self) -> io::Result<u64> {
        let mut world = self.0.borrow_mut();
        world.pause();
        Ok(world.drops)
    }

    fn unprotected(&self) -> u64 {
        self.0.borrow().unprotected.unwrap_or(0)
    }

    fn read_table(&self, intake: &Intake) -> io::Result<Tally> {
        let _merging = intake.merging();
        let mut tally = Tally::default();
        for number in 0..NUMBERS {
            let mut world = self.0.borrow_mut();
            world.pause();
            if let Some(entry) = world.table.get(&number) {
                let observation = Observation {
                    flow: flow(number),
                    replied: entry.replied,
                    event: Event::Update,
                };
                intake.recovered(&observation, &mut tally);
            }
        }
        Ok(tally)
    }

    fn keeps_ends_back(&self, _: &Intake) -> io::Result<bool> {
        let mut world = self.0.borrow_mut();
        world.pause();
        let kept = !world.kept_back.is_empty();
        // Both go on while the program waits.
        world.drain();
        world.step(Step::Retry);
        Ok(kept)
    }

    fn deliver(&self, delivery: Delivery) -> io::Result<()> {
        let mut world = self.0.borrow_mut();
        world.pause();
        world.delivery = Some(delivery);
        Ok(())
    }

    fn give_up_reliability(&self) -> io::Result<()> {
        Ok(())
    }

    fn queues(&self) -> Option<(u64, u64)> {
        None
    }

    fn memory(&self) -> Option<KernelMemory> {
        None
    }
}

/// A list with its verdict.
#[derive(Debug)]
struct List {
    flows: BTreeMap<Number, bool>,
    is_incomplete: bool,
    /// What had happened when it was asked for.
    before: BTreeMap<Number, bool>,
}

impl List {
    fn of(copied: &Copied, lost_before: &Loss, before: BTreeMap<Number, bool>) -> Self {
        let Contents::Lean(snapshot) = &copied.contents else {
            panic!("no records are kept");
        };
        let listed = snapshot.v4[Transport::Udp as usize].iter();
        let verdict = copied.loss.since(lost_before).verdict();
        Self {
            flows: listed
                .map(|entry| (entry.key().source[3], entry.confirmed()))
                .collect(),
            is_incomplete: matches!(verdict, Verdict::Incomplete(_)),
            before,
        }
    }
}

fn assess<K: Kernel>(recovery: &Recovery<'_, K>, intake: &Intake) -> Loss {
    recovery.look().expect("the world can be asked");
    Loss {
        missed: recovery.missed(),
        shown: recovery.shown(),
        resynced: recovery.resynced(),
        recovered: intake.tally().recovered,
        ..Loss::default()
    }
}

/// Runs a capture through it, with lists on the way, and returns these and the last one.
fn run(
    (reliable, reset): (bool, bool),
    room: usize,
    early: usize,
    steps: Vec<Step>,
    pauses: Vec<u8>,
    lists: usize,
) -> Vec<List> {
    let intake = Intake::new(Table::with_stripes(1000, 1));
    let world = Stepped(RefCell::new(World {
        intake: &intake,
        reliable,
        delivery: None,
        room,
        table: BTreeMap::new(),
        kept_back: VecDeque::new(),
        queue: VecDeque::new(),
        drops: 0,
        unprotected: None,
        steps: steps.into(),
        pauses: pauses.into(),
        happened: BTreeMap::new(),
    }));
    {
        // What happens before the socket is set up.
        let mut world = world.0.borrow_mut();
        for _ in 0..early {
            if let Some(step) = world.steps.pop_front() {
                world.step(step);
            }
        }
        world.unprotected = Some(world.drops);
    }
    let recovery = Recovery::new(&intake, &world, 0, (reliable, !reset));
    let mut made = Vec::new();
    let mut lost_before = Loss::default();
    let happened = || world.0.borrow().happened.clone();
    let flush = || {
        let mut world = world.0.borrow_mut();
        world.pause();
        world.drain();
        true
    };
    for _ in 0..lists {
        world.0.borrow_mut().pause();
        // The watchdog has its turn now and then.
        recovery.resync();
        world.0.borrow_mut().pause();
        let before = happened();
        recovery.bring_up_to_date(flush);
        let copied = copy(&intake, reset, &|| assess(&recovery, &intake));
        made.push(List::of(&copied, &lost_before, before));
        if let Some(lost) = copied.next {
            lost_before = lost;
        }
    }
    let before = happened();
    recovery
        .end(flush, || {
            flush();
        })
        .expect("the world does as it is told");
    let copied = Copied {
        contents: intake.contents(),
        loss: assess(&recovery, &intake),
        next: None,
    };
    made.push(List::of(&copied, &lost_before, before));
    made
}

/// Flows and replies that had happened when a list was asked for are in it, or it owns up to it.
fn is_honest(list: &List) -> bool {
    let has = |(number, replied): (&Number, &bool)| {
        list.flows
            .get(number)
            .is_some_and(|confirmed| confirmed >= replied)
    };
    list.is_incomplete || list.before.iter().all(has)
}

/// The same for intervals that each begin with an empty list: what happened in one is in one of the lists up to then,
/// or one of these owns up to it.
fn are_honest(lists: &[List]) -> bool {
    (0..lists.len()).all(|at| {
        let upto = &lists[..=at];
        let listed: BTreeSet<Number> = upto
            .iter()
            .flat_map(|list| list.flows.keys().copied())
            .collect();
        upto.iter().any(|list| list.is_incomplete)
            || lists[at]
                .before
                .keys()
                .all(|number| listed.contains(number))
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..NUMBERS).prop_map(Step::Begin),
        2 => (0..NUMBERS).prop_map(Step::Reply),
        4 => (0..NUMBERS).prop_map(Step::End),
        1 => Just(Step::Retry),
        2 => (1..4_u8).prop_map(Step::Receive),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(2000), ..ProptestConfig::default() })]

    #[test]
    fn a_list_lacks_nothing_or_owns_up_to_it(
        reliable: bool,
        room in 1..5_usize,
        early in 0..6_usize,
        steps in prop::collection::vec(step(), 0..60),
        pauses in prop::collection::vec(0..4_u8, 0..60),
        lists in 0..3_usize,
    ) {
        for list in run((reliable, false), room, early, steps, pauses, lists) {
            prop_assert!(is_honest(&list), "{list:?}");
        }
    }

    #[test]
    fn intervals_lack_nothing_or_own_up_to_it(
        reliable: bool,
        room in 1..5_usize,
        early in 0..6_usize,
        steps in prop::collection::vec(step(), 0..60),
        pauses in prop::collection::vec(0..4_u8, 0..60),
        lists in 1..4_usize,
    ) {
        let lists = run((reliable, true), room, early, steps, pauses, lists);
        prop_assert!(are_honest(&lists), "{lists:?}");
    }
}

/// That the property is no matter of course: a reliable capture that is overrun comes out whole.
#[test]
fn a_reliable_capture_is_whole_after_an_overrun() {
    let steps: Vec<Step> = (0..NUMBERS)
        .flat_map(|n| [Step::Begin(n), Step::End(n)])
        .collect();
    let all = steps.len() as u8;
    let lists = run((true, false), 1, 0, steps, vec![all], 1);
    let last = lists.last().expect("there is the last one");
    assert_eq!(
        (last.flows.len(), last.is_incomplete),
        (usize::from(NUMBERS), false)
    );
}

/// A kernel whose table takes long to read, and whose events never find room.
#[derive(Default)]
struct Slow {
    looks: Cell<u64>,
    reads: Cell<u64>,
}

impl Kernel for &Slow {
    fn drops(&self) -> io::Result<u64> {
        self.looks.set(self.looks.get() + 1);
        Ok(self.looks.get())
    }

    fn unprotected(&self) -> u64 {
        0
    }

    fn read_table(&self, _: &Intake) -> io::Result<Tally> {
        self.reads.set(self.reads.get() + 1);
        std::thread::sleep(std::time::Duration::from_millis(100));
        Ok(Tally::default())
    }

    fn keeps_ends_back(&self, _: &Intake) -> io::Result<bool> {
        Ok(false)
    }

    fn deliver(&self, _: Delivery) -> io::Result<()> {
        Ok(())
    }

    fn give_up_reliability(&self) -> io::Result<()> {
        Ok(())
    }

    fn queues(&self) -> Option<(u64, u64)> {
        None
    }

    fn memory(&self) -> Option<KernelMemory> {
        None
    }
}

#[test]
fn the_guard_does_not_wait_for_the_rest_after_a_long_read() {
    let intake = Intake::new(Table::with_stripes(1000, 1));
    let slow = Slow::default();
    let recovery = Recovery::new(&intake, &slow, 0, (true, true));
    let mut waits = 0;
    recovery.watch(|_| {
        waits += 1;
        waits <= 50
    });
    assert!(slow.looks.get() >= 50, "{}", slow.looks.get());
    assert!((1..50).contains(&slow.reads.get()), "{}", slow.reads.get());
}
