//! One listener, one flood, one set of figures.

use std::io::Read;
use std::process::{ChildStderr, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::Failure;
use crate::clock::Interrupt;
use crate::cpus::{self, Side};
use crate::figures::Figures;
use crate::load::Load;
use crate::namespace::Namespace;
use crate::process::{Account, Cpu, Ended, Process};
use crate::program::Program;
use crate::queue::Queue;
use crate::sink::{Kind, Sink};

/// A listener that has used less than this in [`REST`] is at rest: its clocks go on ticking.
const RESTING_NS: f64 = 1e6;
const REST: Duration = Duration::from_millis(100);
/// The slowest listener known takes 14 s for its largest backlog.
const DRAIN_LIMIT: Duration = Duration::from_secs(120);
const END_LIMIT: Duration = Duration::from_secs(120);

/// How the events meet the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// All at once, out of a buffer of that size which filled while the listener was stopped.
    Backlog {
        /// As the kernel accounts it.
        buffer_bytes: u32,
    },
    /// As they come, with the program's own settings.
    Paced,
}

/// One trial.
#[derive(Clone, Copy, Debug)]
pub struct Trial<'a> {
    /// The listener.
    pub program: &'a Program,
    /// The flood.
    pub load: &'a Load,
    /// How they meet.
    pub form: Form,
    /// Where the list goes.
    pub sink: Kind,
    /// Whether the list itself is wanted.
    pub keep: bool,
}

/// The trial's figures, and the list.
pub struct Outcome {
    /// The figures.
    pub figures: Figures,
    /// The list, if it was wanted.
    pub list: Vec<u8>,
}

/// A listener that was started.
struct Listener {
    process: Process,
    sink: Sink,
    stderr: ChildStderr,
}

impl Trial<'_> {
    /// Runs it.
    pub fn run(&self, interrupt: &Interrupt) -> Result<Outcome, Failure> {
        let namespace = Namespace::new()?;
        let mut listener = self.start(&namespace)?;
        let process = &mut listener.process;
        let subscribed = interrupt.until("subscribing", Duration::from_secs(10), || {
            if process.end_within(Duration::ZERO)?.is_some() {
                return Err("the listener ended before it listened".into());
            }
            Queue::read(process)
        })?;
        if let (Form::Backlog { buffer_bytes }, true) =
            (self.form, self.program.has_no_buffer_option())
        {
            subscribed.enlarge(process, buffer_bytes as usize)?;
        }
        rest(process, interrupt)?;

        let mut figures = Figures {
            sent: self.load.events,
            ..Figures::default()
        };
        let resident_before = process.resident_bytes()?;
        let before = process.account()?;
        if self.form != Form::Paced {
            process.stop(interrupt)?;
        }
        let flood = self
            .load
            .flood(&namespace, self.form != Form::Paced, interrupt)?;
        let resumed = Instant::now();
        process.signal(Signal::CONT)?;
        let drained = rest(process, interrupt)?;
        if let Some(drained) = &drained {
            figures.drops = drained.queue.drops;
            figures.sleeps = (drained.account.sleeps - before.sleeps) as f64;
            figures.set_cpu(drained.account.since(before));
            figures.drain_s = resumed.elapsed().saturating_sub(REST).as_secs_f64();
            let grown = process.resident_bytes()?.saturating_sub(resident_before);
            figures.resident_per_flow = grown as f64 / self.load.flows as f64;
        }
        figures.flood_us = per_event(flood, self.load);

        let signalled = Instant::now();
        process.signal(Signal::INT)?;
        let ended = process.end(interrupt, END_LIMIT)?;
        let list = self.finish(listener, ended, signalled, drained.is_none(), &mut figures)?;
        // The kernel clears a namespace's entries in the background, about 2 us each; the next trial
        // is not to pay for it.
        drop(namespace);
        interrupt.sleep(Duration::from_micros(self.load.events * 3))?;
        Ok(Outcome { figures, list })
    }

    /// The floor's one line is always read.
    fn keeps(&self) -> bool {
        self.keep || !self.program.lists()
    }

    fn start(&self, namespace: &Namespace) -> Result<Listener, Failure> {
        let buffer_bytes = match self.form {
            Form::Backlog { buffer_bytes } => Some(buffer_bytes),
            Form::Paced => None,
        };
        let mut command = self.program.command(buffer_bytes)?;
        let mut sink = Sink::new(self.sink, &mut command)?;
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let bound = self.form != Form::Paced;
        let mut child = namespace.inside(move || {
            if bound {
                cpus::bind(Side::Receiver)?;
            }
            Ok(command.spawn()?)
        })?;
        let process = Process::new(&child)?;
        sink.attach(&mut child, self.keeps());
        let stderr = child.stderr.take().ok_or("no pipe for standard error")?;
        Ok(Listener {
            process,
            sink,
            stderr,
        })
    }

    fn finish(
        &self,
        listener: Listener,
        ended: Ended,
        signalled: Instant,
        early: bool,
        figures: &mut Figures,
    ) -> Result<Vec<u8>, Failure> {
        let Listener {
            process,
            sink,
            mut stderr,
        } = listener;
        drop(process);
        let taken = sink.take(self.keeps())?;
        let mut said = String::new();
        stderr.read_to_string(&mut said)?;
        figures.listed = if self.program.lists() {
            taken.lines.saturating_sub(self.program.frame_lines())
        } else {
            std::str::from_utf8(&taken.bytes)?.trim().parse()?
        };
        figures.peak_mib = ended.peak_bytes as f64 / f64::from(1 << 20);
        figures.status = ended.status.code().unwrap_or(-1);
        if early {
            figures.set_cpu(ended.cpu);
            figures.early = true;
            figures.verdict = "ended early".into();
            return Ok(taken.bytes);
        }
        figures.exit_ms = ended.at.duration_since(signalled).as_secs_f64() * 1e3;
        let last_byte = taken.last_byte.unwrap_or(ended.at);
        figures.last_byte_ms = last_byte.duration_since(signalled).as_secs_f64() * 1e3;
        if matches!(self.program, Program::Source(_) | Program::Records(_)) {
            let last = said.lines().last().unwrap_or_default();
            figures.verdict = last.trim_start_matches("conntracker: ").into();
        }
        Ok(taken.bytes)
    }
}

/// A flood that nobody hears of: what making the entries costs.
pub fn unheard(load: &Load, form: Form, interrupt: &Interrupt) -> Result<f64, Failure> {
    let namespace = Namespace::new()?;
    namespace.without_events()?;
    let cpu = load.flood(&namespace, form != Form::Paced, interrupt)?;
    drop(namespace);
    interrupt.sleep(Duration::from_micros(load.events * 3))?;
    Ok(per_event(cpu, load))
}

fn per_event(cpu: Cpu, load: &Load) -> f64 {
    cpu.total_ns() / 1e3 / load.events as f64
}

/// A listener at rest.
pub struct Drained {
    /// What it had used by then.
    pub account: Account,
    /// Its queue.
    pub queue: Queue,
}

/// Waits until the queue is empty and the processor is not used any more; none if the program ended.
pub fn rest(process: &mut Process, interrupt: &Interrupt) -> Result<Option<Drained>, Failure> {
    let mut last = Account::default();
    let mut since = Instant::now();
    interrupt.until("an empty queue", DRAIN_LIMIT, || {
        let seen = Queue::read(process).and_then(|queue| Ok((queue, process.account()?)));
        // Whether it has ended is asked after looking, since it may end in between.
        if process.end_within(Duration::ZERO)?.is_some() {
            return Ok(Some(None));
        }
        let (queue, account) = seen?;
        let queue = queue.unwrap_or_default();
        if queue.queued_bytes > 0 || account.since(last).total_ns() > RESTING_NS {
            (last, since) = (account, Instant::now());
        }
        Ok((since.elapsed() >= REST).then_some(Some(Drained { account, queue })))
    })
}
