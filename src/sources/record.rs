//! Recording of raw datagrams (`-w`), so that a capture can be replayed elsewhere.
//!
//! Receivers put datagrams into a bounded buffer, and a thread of its own writes it: whoever reads the recording at
//! the other end of a pipe may take his time, and does not hold up intake. What finds no room is not recorded, and
//! the mark at the end of the recording says so.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Condvar, Mutex};

use crate::formats::pcap::Writer;
use crate::formats::pcap::audit::Count;
use crate::formats::pcap::mark::Mark;
use crate::model::units::{agree, counted};

/// So much may wait to be written: some 300,000 events.
const ROOM: usize = 64 << 20;
/// At the end it is given up when nothing was taken for so long.
const PATIENCE: Duration = Duration::from_secs(5);

/// A pcap file that the receivers append to.
#[derive(Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
    room: usize,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Woken whenever the state changes.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// What is to be written next. What is being written is as much at the most.
    waiting: Writer<Vec<u8>>,
    count: Count,
    /// Datagrams that found no room.
    left_out: u64,
    /// Bytes written so far.
    written: u64,
    ending: bool,
    done: bool,
    /// The first failure; nothing is written after it, since the file would have a hole.
    failed: Option<io::Error>,
}

impl State {
    /// Puts a datagram where it is written from.
    fn put(&mut self, time: SystemTime, datagram: &[u8]) {
        if let Err(error) = self.waiting.write(time, datagram) {
            self.failed.get_or_insert(error);
        }
    }
}

impl Recorder {
    /// Starts a recording in `file`.
    ///
    /// Errors: those of writing the header, and a thread that can't be made.
    pub fn new(file: File) -> io::Result<Self> {
        Self::with_room(file, ROOM)
    }

    fn with_room(mut file: File, room: usize) -> io::Result<Self> {
        let mut waiting = Writer::new(Vec::new())?;
        // Now, so that a file that can't be written is an error before anything is recorded.
        file.write_all(waiting.get_mut())?;
        waiting.get_mut().clear();
        let mut state = State {
            waiting,
            count: Count::default(),
            left_out: 0,
            written: 0,
            ending: false,
            done: false,
            failed: None,
        };
        let begin = Mark::Begin {
            program: concat!("conntracker ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        state.put(SystemTime::now(), &begin.datagram());
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let writer = Arc::clone(&shared);
        thread::Builder::new()
            .name("recording".into())
            .spawn(move || writer.write(file))?;
        Ok(Self { shared, room })
    }

    /// Appends datagrams, as far as there is room. The first failure ends the recording;
    /// [`finish`](Self::finish) reports it.
    pub fn record<'a>(&self, time: SystemTime, datagrams: impl Iterator<Item = &'a [u8]>) {
        let mut state = self.shared.state.lock();
        if state.failed.is_some() {
            return;
        }
        for datagram in datagrams {
            if state.waiting.get_mut().len() + datagram.len() > self.room {
                state.left_out += 1;
                continue;
            }
            state.count.add(datagram);
            state.put(time, datagram);
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Ends the recording with a mark that says whether every event is in it, writes what waits, and returns why
    /// it is not if the fault is the recording's own: whoever reads it is too slow. `missed` is why events never
    /// came here.
    ///
    /// Errors: the recording's first failure, now or earlier, and a reader that takes nothing any more.
    pub fn finish(self, missed: Vec<String>) -> io::Result<Option<String>> {
        let mut state = self.shared.state.lock();
        let own = (state.left_out > 0).then(|| {
            format!(
                "{} {} not recorded, because whoever reads the recording was too slow",
                counted(state.left_out, "event"),
                agree(state.left_out, "was", "were")
            )
        });
        let mut reasons = missed;
        reasons.extend(own.clone());
        let end = state.count.end(reasons).datagram();
        state.put(SystemTime::now(), &end);
        state.ending = true;
        self.shared.changed.notify_all();
        let mut written = state.written;
        let mut since = Instant::now();
        while !state.done {
            if state.written != written {
                (written, since) = (state.written, Instant::now());
            }
            if since.elapsed() >= PATIENCE {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "whoever reads the recording takes nothing any more",
                ));
            }
            self.shared.changed.wait_for(&mut state, PATIENCE / 10);
        }
        match state.failed.take() {
            Some(error) => Err(error),
            None => Ok(own),
        }
    }
}

impl Shared {
    /// Writes what waits until the recording ends.
    fn write(&self, mut file: File) {
        /// In steps, so that a slow reader is seen to take something.
        const STEP: usize = 1 << 16;
        let mut taken = Vec::new();
        loop {
            let mut state = self.state.lock();
            while state.waiting.get_mut().is_empty() && !state.ending {
                self.changed.wait(&mut state);
            }
            if state.failed.is_some() || state.waiting.get_mut().is_empty() {
                state.done = true;
                drop(state);
                self.changed.notify_all();
                return;
            }
            std::mem::swap(state.waiting.get_mut(), &mut taken);
            drop(state);
            let mut failed = None;
            for step in taken.chunks(STEP) {
                if let Err(error) = file.write_all(step) {
                    failed = Some(error);
                    break;
                }
                self.state.lock().written += step.len() as u64;
            }
            taken.clear();
            if let Some(error) = failed {
                let mut state = self.state.lock();
                state.waiting.get_mut().clear();
                state.failed.get_or_insert(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::formats::pcap::Reader;
    use crate::formats::pcap::audit::Audit;
    use crate::model::capture::Completeness;

    fn audited(bytes: &[u8]) -> (Option<Completeness>, Vec<String>) {
        let mut reader = Reader::new(bytes).unwrap();
        let mut audit = Audit::default();
        while let Some(record) = reader.next_record().unwrap() {
            audit.take(record);
        }
        let reasons = audit.reasons(0);
        (audit.verdict(&reasons), reasons)
    }

    #[test]
    fn a_recording_says_whether_it_is_whole() {
        for missed in [vec![], vec!["7 events missed".to_owned()]] {
            let mut file = tempfile::tempfile().unwrap();
            let recorder = Recorder::new(file.try_clone().unwrap()).unwrap();
            for event in 0..1000_u32 {
                recorder.record(SystemTime::now(), [&event.to_ne_bytes()[..]].into_iter());
            }
            assert_eq!(recorder.finish(missed.clone()).unwrap(), None);
            let mut bytes = Vec::new();
            io::Seek::rewind(&mut file).unwrap();
            file.read_to_end(&mut bytes).unwrap();
            let (verdict, reasons) = audited(&bytes);
            assert_eq!(reasons, missed);
            assert_eq!(verdict == Some(Completeness::Complete), missed.is_empty());
        }
    }

    #[test]
    fn a_slow_reader_holds_nobody_up_and_is_told() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let (mut reader, file) = (File::from(reader), File::from(writer));
        let recorder = Recorder::with_room(file, 1 << 16).unwrap();
        let event = [7; 1000];
        // Many times what the pipe and the buffers hold; nobody reads.
        for _ in 0..1000 {
            recorder.record(SystemTime::now(), [&event[..]].into_iter());
        }
        let reader = thread::spawn(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let own = recorder.finish(Vec::new()).unwrap().expect("a reason");
        let (verdict, reasons) = audited(&reader.join().unwrap());
        assert_eq!(verdict, Some(Completeness::Incomplete));
        assert_eq!(reasons, [own]);
    }

    #[test]
    fn a_reader_that_has_gone_is_an_error() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let file = File::from(writer);
        let recorder = Recorder::new(file).unwrap();
        drop(reader);
        recorder.record(SystemTime::now(), [&[1; 10][..]].into_iter());
        let error = recorder.finish(Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
