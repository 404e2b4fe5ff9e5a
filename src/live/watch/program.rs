//! The program that is started for what is told, with the JSON object as its standard input.
//!
//! One at a time, and few in a while: whoever can open connections could otherwise have a machine start programs as fast as
//! it can.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::model::units::{agree, counted};
use crate::ui::console::Console;

/// So many times it is started in [`WHILE`] at the most.
const STARTS: usize = 10;
const WHILE: Duration = Duration::from_secs(10);
/// So many notices wait while it runs.
const WAITING: usize = 10;
/// After this time it is killed.
const PATIENCE: Duration = Duration::from_secs(30);
/// At the end of the watch what still runs is given less.
const PATIENCE_AT_END: Duration = Duration::from_secs(5);
/// How often it is looked at while it runs.
const NAP: Duration = Duration::from_millis(10);
/// How often it is said how many notices it was not given.
const SAID: Duration = Duration::from_secs(10);

/// The program, and who starts it.
#[derive(Debug)]
pub struct Program {
    name: String,
    notices: Option<mpsc::SyncSender<String>>,
    starter: Option<JoinHandle<()>>,
    /// When it was started, of late.
    starts: Vec<Instant>,
    left_out: u64,
    said: Option<Instant>,
    failed: mpsc::Receiver<String>,
}

impl Program {
    /// A program with its arguments. It is started by [`tell`](Self::tell) only.
    ///
    /// Errors: no thread can be made.
    ///
    /// Panics: without a program.
    pub fn new(words: &[OsString]) -> io::Result<Self> {
        let words = words.to_vec();
        let name = words[0].to_string_lossy().into_owned();
        let (notices, wanted) = mpsc::sync_channel::<String>(WAITING);
        let (fails, failed) = mpsc::channel();
        let starter = thread::Builder::new().name("exec".into()).spawn(move || {
            while let Ok(notice) = wanted.recv() {
                if let Err(error) = run(&words, &notice) {
                    // Whoever is to be told may be gone, at the end.
                    let _ = fails.send(error.to_string());
                }
            }
        })?;
        Ok(Self {
            name,
            notices: Some(notices),
            starter: Some(starter),
            starts: Vec::new(),
            left_out: 0,
            said: None,
            failed,
        })
    }

    /// Has it started with a notice, unless that is too much. The object says then how many were left out before it.
    pub fn tell(&mut self, object: &str) {
        self.starts.retain(|start| start.elapsed() < WHILE);
        let object = match self.left_out {
            0 => object.to_owned(),
            // Every object ends like that.
            left_out => format!("{},\"left_out\":{left_out}}}", &object[..object.len() - 1]),
        };
        let sent = self.starts.len() < STARTS
            && self
                .notices
                .as_ref()
                .is_some_and(|notices| notices.try_send(object).is_ok());
        if sent {
            self.starts.push(Instant::now());
            self.left_out = 0;
        } else {
            self.left_out += 1;
        }
    }

    /// Says what went wrong since the last call, now and then.
    pub fn report(&mut self, console: &Console) {
        let failed: Vec<String> = self.failed.try_iter().collect();
        if let Some(last) = failed.last() {
            let times = failed.len();
            console.error(&match times {
                1 => format!("{}: {last}", self.name),
                _ => format!("{}: {last} ({times} times)", self.name),
            });
        }
        if self.left_out > 0 && self.said.is_none_or(|said| said.elapsed() > SAID) {
            self.said = Some(Instant::now());
            console.note(&format!(
                "{} {} not given to {}, which is started {STARTS} times in {} seconds at the most, and not twice at once",
                counted(self.left_out, "notice"),
                agree(self.left_out, "was", "were"),
                self.name,
                WHILE.as_secs()
            ));
        }
    }

    /// Waits for what was told.
    pub fn finish(mut self, console: &Console) {
        self.said = None;
        drop(self.notices.take());
        let deadline = Instant::now() + PATIENCE_AT_END;
        if let Some(starter) = self.starter.take() {
            while !starter.is_finished() && Instant::now() < deadline {
                thread::sleep(NAP);
            }
            if !starter.is_finished() {
                console.note(&format!("{} still runs, and is left alone", self.name));
            }
        }
        self.report(console);
    }
}

/// Runs the program to its end.
///
/// Errors: it can't be started, takes too long, or fails.
fn run(words: &[OsString], notice: &str) -> io::Result<()> {
    let mut child = Command::new(&words[0])
        .args(&words[1..])
        .stdin(Stdio::piped())
        // Standard output is for what is told.
        .stdout(io::stderr().as_fd().try_clone_to_owned()?)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A pipe has room for an object (pipe(7)); a program need not read it.
        let _ = stdin.write_all(notice.as_bytes());
        let _ = stdin.write_all(b"\n");
    }
    let ended = wait(&mut child)?;
    match ended {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(io::Error::other(format!("ended with {status}"))),
        None => Err(io::Error::other(format!(
            "was killed, since it had run for {} seconds",
            PATIENCE.as_secs()
        ))),
    }
}

/// Waits for a program's end, and kills it if that takes too long.
fn wait(child: &mut Child) -> io::Result<Option<std::process::ExitStatus>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(NAP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::console::Verbosity;

    #[test]
    fn a_program_gets_what_is_told_and_how_much_it_was_not_given() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("told");
        let words = ["/bin/sh", "-c", "cat >>\"$0\"", path.to_str().unwrap()].map(OsString::from);
        let mut program = Program::new(&words).unwrap();
        for number in 0..STARTS + 5 {
            program.tell(&format!("{{\"number\":{number}}}"));
            // Each has its turn.
            while std::fs::read_to_string(&path)
                .unwrap_or_default()
                .lines()
                .count()
                < (number + 1).min(STARTS)
            {
                thread::sleep(NAP);
            }
        }
        assert_eq!(program.left_out, 5);
        program.starts.clear();
        program.tell("{\"number\":99}");
        program.finish(&Console::stderr(Verbosity::Quiet));
        let told = std::fs::read_to_string(&path).unwrap();
        let last = told.lines().last().unwrap();
        assert_eq!(told.lines().count(), STARTS + 1);
        assert_eq!(last, "{\"number\":99,\"left_out\":5}");
    }
}
