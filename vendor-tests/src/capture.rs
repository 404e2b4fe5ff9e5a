//! A run of the program.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::program;
use crate::temp::Folder;
use crate::wait::{LONG, until, until_true};

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its standard output; empty if that went elsewhere.
    pub stdout: Vec<u8>,
    /// Its standard error, without the notes that [`without_usual_notes`] leaves out.
    pub stderr: String,
    /// Its standard error, all of it.
    pub said: String,
    /// Its exit status, if no signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

/// Standard error without what most tests are not about: that no event came, since many captures only begin and end; and,
/// in a user namespace of a test's own, that nobody may force buffers there.
pub fn without_usual_notes(said: &str) -> String {
    // On a terminal a status line may stand before it.
    let lines = said.split_inclusive('\n');
    let said: String = lines
        .map(|line| {
            line.split("conntracker: no event came")
                .next()
                .unwrap_or(line)
        })
        .collect();
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    // All of them: the initial user namespace (user_namespaces(7)).
    if map.split_whitespace().last() == Some("4294967295") {
        return said;
    }
    let lines = said.split_inclusive('\n');
    lines
        .filter(|line| !line.contains("conntracker: receive buffer of"))
        .collect()
}

impl Outcome {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The list, of a run that went well and had nothing to say about it.
    ///
    /// Panics: if it went otherwise.
    pub fn list(&self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:?}");
        self.text()
    }
}

/// What to run, and where.
#[derive(Debug)]
pub struct Launch {
    wrapper: Vec<OsString>,
    program: OsString,
    args: Vec<OsString>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    sockets: usize,
    notify: Option<PathBuf>,
}

/// How long a program that listens, but may be unable to say that it is ready, is given to become so.
const UNTOLD: Duration = Duration::from_secs(5);

impl Launch {
    /// The program with these arguments.
    pub fn new<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Self {
        Self::of(program::conntracker(), args)
    }

    /// Another program that listens as this one does.
    pub fn of<S: AsRef<OsStr>>(
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = S>,
    ) -> Self {
        let args: Vec<OsString> = args
            .into_iter()
            .map(|arg| arg.as_ref().to_owned())
            .collect();
        let workers = args.windows(2).find(|pair| pair[0] == "--workers");
        Self {
            wrapper: Vec::new(),
            program: program.as_ref().to_owned(),
            sockets: workers.map_or(1, |pair| {
                pair[1]
                    .to_str()
                    .and_then(|number| number.parse().ok())
                    .expect("a number of workers")
            }),
            args,
            stdout: None,
            stderr: None,
            notify: None,
        }
    }

    /// Started by another program, which this one's path and arguments are appended to.
    pub fn under<S: AsRef<OsStr>>(mut self, wrapper: impl IntoIterator<Item = S>) -> Self {
        self.wrapper = wrapper
            .into_iter()
            .map(|arg| arg.as_ref().to_owned())
            .collect();
        self
    }

    /// With standard output going there.
    pub fn stdout(mut self, to: impl Into<OwnedFd>) -> Self {
        self.stdout = Some(to.into());
        self
    }

    /// With standard error going there.
    pub fn stderr(mut self, to: impl Into<OwnedFd>) -> Self {
        self.stderr = Some(to.into());
        self
    }

    /// Starts it in the calling thread's namespace and returns when it listens.
    ///
    /// Panics: if it does not come to that.
    pub fn start(mut self) -> Capture {
        let sockets = self.sockets;
        // What starts it may keep the word from coming through, as another mount namespace or user does.
        let may_say_ready = self.program == program::conntracker();
        let says_ready = may_say_ready && self.wrapper.is_empty();
        let folder = Folder::new();
        let word = folder.join("notify");
        let ready = UnixDatagram::bind(&word).expect("a socket can be made");
        ready.set_nonblocking(true).expect("a socket");
        self.notify = Some(word);
        let mut capture = self.spawn();
        let mut listens_since = None;
        until("the program to listen", LONG, || {
            if let Some(status) = capture.child.try_wait().expect("a child can be waited for") {
                panic!("it ended with {status}: {}", capture.stderr());
            }
            if subscribed(capture.pid()) < sockets {
                return None;
            }
            // Listening is not all of it: filters are attached and open connections are read after that.
            let since = *listens_since.get_or_insert_with(Instant::now);
            let told = matches!(ready.recv(&mut [0; 256]), Ok(1..));
            let waits = says_ready || (may_say_ready && since.elapsed() < UNTOLD);
            (told || !waits).then_some(())
        });
        capture
    }

    /// Starts it, listening or not.
    ///
    /// Panics: if it can't be started.
    pub fn spawn(self) -> Capture {
        let mut words = self.wrapper;
        words.push(self.program);
        words.extend(self.args);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        // Tables show local time, which is another one on each machine.
        command.env("TZ", "UTC");
        if let Some(word) = self.notify {
            command.env("NOTIFY_SOCKET", word);
        }
        command.stdout(self.stdout.map_or_else(Stdio::piped, Stdio::from));
        command.stderr(self.stderr.map_or_else(Stdio::piped, Stdio::from));
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Capture {
            stdout: Collector::new(child.stdout.take()),
            stderr: Collector::new(child.stderr.take()),
            child,
        }
    }

    /// Runs it to its end.
    pub fn run(self) -> Outcome {
        self.spawn().wait()
    }
}

/// A program that is running. It is killed if it still is when this is dropped.
#[derive(Debug)]
pub struct Capture {
    child: Child,
    stdout: Collector,
    stderr: Collector,
}

impl Capture {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    ///
    /// Panics: if it is gone.
    pub fn signal(&self, signal: Signal) {
        kill_process(pid(&self.child), signal).expect("the program is there to take a signal");
    }

    /// What it has said on standard error so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.so_far()).into_owned()
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> Vec<u8> {
        self.stdout.so_far()
    }

    /// Whether it has not ended.
    ///
    /// Panics: if the system can't tell.
    pub fn is_running(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("a child can be waited for")
            .is_none()
    }

    /// Ends it as Ctrl-C does.
    pub fn finish(self) -> Outcome {
        self.signal(Signal::INT);
        self.wait()
    }

    /// Waits for its end.
    ///
    /// Panics: if it does not end.
    pub fn wait(mut self) -> Outcome {
        let status = until("the program to end", LONG, || {
            self.child.try_wait().expect("a child can be waited for")
        });
        let said = String::from_utf8_lossy(&self.stderr.all()).into_owned();
        Outcome {
            stdout: self.stdout.all(),
            stderr: without_usual_notes(&said),
            said,
            code: status.code(),
            signal: status.signal(),
        }
    }

    /// Stops it until [`resume`](Self::resume), and returns when it has stopped.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        until_true("the program to stop", || state(self.pid()) == Some('T'));
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits until it has taken in everything that the kernel has queued for it.
    pub fn drained(&self) {
        until_true("the queue to run empty", || {
            sockets(self.pid())
                .iter()
                .all(|socket| socket.queued_bytes == 0)
        });
        // What was taken from the queue last may still be in hand.
        until_true("its threads to rest", || rests(self.pid()));
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// The state letter of proc_pid_stat(5).
fn state(pid: u32) -> Option<char> {
    state_of(Path::new(&format!("/proc/{pid}")))
}

/// Whether no thread of a process is doing anything.
fn rests(pid: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    let mut tasks = tasks.into_iter().flatten().flatten();
    tasks.all(|task| !matches!(state_of(&task.path()), Some('R' | 'D')))
}

fn state_of(task: &Path) -> Option<char> {
    let stat = std::fs::read_to_string(task.join("stat")).ok()?;
    // The name before it is in parentheses and may hold any character.
    stat.rsplit_once(") ")?.1.chars().next()
}

/// A netlink socket of a process that listens to conntrack events.
#[derive(Clone, Copy, Debug)]
pub struct Listening {
    /// Bytes charged for what is queued.
    pub queued_bytes: u64,
    /// Messages dropped.
    pub drops: u64,
}

/// `NETLINK_NETFILTER` as `/proc/net/netlink` shows it.
const NETFILTER: &str = "12";

/// The sockets of a process that are subscribed to events of new entries.
pub fn sockets(pid: u32) -> Vec<Listening> {
    // Also while the process is on its way out.
    let own: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let link = std::fs::read_link(entry.ok()?.path()).ok()?;
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    let all = std::fs::read_to_string(format!("/proc/{pid}/net/netlink")).unwrap_or_default();
    all.lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let &[_, protocol, _, groups, queued, _, _, _, drops, inode] = fields.as_slice() else {
                return None;
            };
            let groups = u32::from_str_radix(groups, 16).ok()?;
            if protocol != NETFILTER || groups & 1 == 0 || !own.iter().any(|own| own == inode) {
                return None;
            }
            Some(Listening {
                queued_bytes: queued.parse().ok()?,
                drops: drops.parse().ok()?,
            })
        })
        .collect()
}

fn subscribed(pid: u32) -> usize {
    sockets(pid).len()
}

/// Collects what a pipe delivers, so that the writer never waits.
#[derive(Debug)]
struct Collector {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    fn new(pipe: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&bytes);
        let thread = pipe.map(|mut pipe| {
            thread::spawn(move || {
                let mut chunk = vec![0; 1 << 16];
                while let Ok(len @ 1..) = pipe.read(&mut chunk) {
                    to.lock()
                        .expect("a collector does not panic")
                        .extend_from_slice(&chunk[..len]);
                }
            })
        });
        Self { bytes, thread }
    }

    fn so_far(&self) -> Vec<u8> {
        self.bytes
            .lock()
            .expect("a collector does not panic")
            .clone()
    }

    /// Everything, up to the end of the pipe.
    fn all(&mut self) -> Vec<u8> {
        if let Some(thread) = self.thread.take() {
            until("the end of the output", LONG, || {
                thread.is_finished().then_some(())
            });
            thread.join().expect("a collector does not panic");
        }
        std::mem::take(&mut self.bytes.lock().expect("a collector does not panic"))
    }
}
