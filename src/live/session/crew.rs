//! The threads of a capture. All of them are made before the capture counts as started, and the end of any one is the
//! end of all.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread::{Builder, Scope, ScopedJoinHandle};

use super::Session;
use crate::live::conditions;
use crate::live::dumps::Due;
use crate::live::listen::Socket;
use crate::live::watch;
use crate::sources::receiver::Shared;

/// The threads of a capture, and how they are spoken to.
#[derive(Debug)]
pub struct Crew<'scope> {
    receivers: Vec<ScopedJoinHandle<'scope, ()>>,
    helpers: Vec<ScopedJoinHandle<'scope, ()>>,
    lists: mpsc::Sender<Due>,
    watch: mpsc::Sender<()>,
    news: mpsc::Sender<()>,
    stop: StopOnDrop<'scope>,
}

/// Has the receivers return whenever the crew goes, also if that is by a panic.
#[derive(Debug)]
struct StopOnDrop<'a>(&'a Shared<'a>);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl<'scope> Crew<'scope> {
    /// Starts all threads.
    ///
    /// Errors: if one can't be made: `EAGAIN` at a limit of processes (pthread_create(3)). Those that were made end then.
    pub fn start<'env: 'scope>(
        scope: &'scope Scope<'scope, 'env>,
        session: &'scope Session<'env>,
        sockets: Vec<Socket>,
    ) -> io::Result<Self> {
        let (lists, due) = mpsc::channel();
        let (watch, watch_end) = mpsc::channel();
        let (news, news_end) = mpsc::channel();
        // Dropped on an error, and with it the ends of the channels: whatever runs by then ends.
        let mut crew = Self {
            receivers: Vec::with_capacity(sockets.len()),
            helpers: Vec::with_capacity(2),
            lists,
            watch,
            news,
            stop: StopOnDrop(session.shared),
        };
        let watching = guarded(session, "watching for loss", move || {
            session.watch(&watch_end)
        });
        let writing = guarded(session, "writing lists", move || session.serve(&due));
        let comparing = guarded(session, "comparing with the baseline", move || {
            session.compare(&news_end);
        });
        let tracing = guarded(session, "following packets through rules", move || {
            session.trace();
        });
        let learning = guarded(session, "learning names", move || {
            session.learn_names();
        });
        let following = guarded(session, "following namespaces", move || {
            session.follow_namespaces();
        });
        let mut helpers = vec![("watch", watching), ("lists", writing)];
        if session.intake.namespaces().is_some() {
            helpers.push(("namespaces", following));
        }
        if session.watch.is_some() {
            helpers.push(("news", comparing));
        }
        if session.rulings.is_some() {
            helpers.push(("rules", tracing));
        }
        if session.lookups.is_some() {
            helpers.push(("names", learning));
        }
        for (name, body) in helpers {
            let thread = Builder::new().name(name.into()).spawn_scoped(scope, body)?;
            crew.helpers.push(thread);
        }
        for (index, socket) in sockets.into_iter().enumerate() {
            let body = guarded(session, "receiving", move || session.receive(index, socket));
            let body = move || {
                body();
                session.shared.seat(index).leave();
            };
            let name = format!("receive {index}");
            let thread = Builder::new().name(name).spawn_scoped(scope, body)?;
            crew.receivers.push(thread);
        }
        Ok(crew)
    }

    /// Has the thread for lists do what is due.
    pub fn do_lists(&self, due: Due) {
        // It is gone only if it has panicked, which has ended the capture already.
        let _ = self.lists.send(due);
    }

    /// Has every thread finish what it is at, and waits for all.
    pub fn finish(self) {
        let Self {
            receivers,
            helpers,
            lists,
            watch,
            news,
            stop,
        } = self;
        drop(stop);
        // A panic has been noted by the thread itself.
        receivers.into_iter().for_each(|thread| drop(thread.join()));
        drop((lists, watch, news));
        helpers.into_iter().for_each(|thread| drop(thread.join()));
    }
}

/// What a thread runs: a panic ends the capture, and no thread is waited for in vain.
fn guarded<'a>(
    session: &'a Session<'_>,
    what: &'static str,
    body: impl FnOnce() + Send + 'a,
) -> Box<dyn FnOnce() + Send + 'a> {
    Box::new(move || {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(body)) {
            session.failed(what, &*panic);
        }
    })
}

impl Session<'_> {
    fn receive(&self, index: usize, socket: Socket) {
        crate::os::fault::point("receive");
        let seat = self.shared.seat(index);
        let received = socket
            .method
            .receive(socket.handle, socket.buffer, self.shared, seat);
        if let Err(error) = received {
            self.trouble(format!("receiving ended: {error}"));
            self.signals.request_end();
        }
    }

    fn watch(&self, end: &mpsc::Receiver<()>) {
        self.recovery.watch(|time| {
            crate::os::fault::point("watch");
            if let Some(namespaces) = self.intake.namespaces() {
                // What can't be looked at now can be at the next round.
                let _ = namespaces.scan();
            }
            self.conditions.glance(self.intake);
            self.kernel_stat.glance(self.intake);
            end.recv_timeout(time) == Err(mpsc::RecvTimeoutError::Timeout)
        });
    }

    /// Takes in what the kernel says of rules, until the end.
    fn trace(&self) {
        let Some(rulings) = self.rulings else {
            return;
        };
        while !self.shared.stopping() {
            if let Err(error) = rulings.listen(self.shared.stop_wakes()) {
                return self.console.note(&format!(
                    "rules can't be followed any more, and lists have those up to now: {error}"
                ));
            }
        }
    }

    /// Takes in DNS that passes, until the end.
    fn learn_names(&self) {
        let Some(lookups) = self.lookups else {
            return;
        };
        while !self.shared.stopping() {
            if let Err(error) = lookups.listen(self.shared.stop_wakes()) {
                return self.console.note(&format!(
                    "names can't be learnt any more, and lists have those up to now: {error}"
                ));
            }
        }
    }

    /// Compares what has come with what is expected, now and then, and once more when all that came is taken in.
    fn compare(&self, end: &mpsc::Receiver<()>) {
        let Some(watch) = self.watch else {
            return;
        };
        loop {
            let timeout = mpsc::RecvTimeoutError::Timeout;
            let ended = end.recv_timeout(watch::CLOCK) != Err(timeout);
            if !ended {
                self.shared.settle();
            }
            let conditions::Troubles { lasting, over, .. } = self.conditions.troubles();
            let missing = (self.recovery.missed(), [lasting, over].concat());
            if let Err(error) = watch.look(self.intake, missing, self.console) {
                // Whoever read it has gone, as with a list.
                if error.kind() != io::ErrorKind::BrokenPipe {
                    self.trouble(format!("standard output: {error}"));
                }
                self.signals.request_end();
                return;
            }
            if ended {
                return;
            }
        }
    }

    /// Has each namespace's flows listed under its own name: events that are queued when one goes are taken in before
    /// another one gets its id, as far as that is possible.
    fn follow_namespaces(&self) {
        let Some(namespaces) = self.intake.namespaces() else {
            return;
        };
        while !self.shared.stopping() {
            if namespaces.are_changing(self.shared.stop_wakes()) {
                let turn = namespaces.turn();
                while !self.shared.flush() && !self.shared.stopping() {}
                namespaces.settle(turn);
            }
        }
    }

    fn serve(&self, requests: &mpsc::Receiver<Due>) {
        while let Ok(due) = requests.recv() {
            // Several that have come meanwhile are one.
            self.do_due(requests.try_iter().fold(due, Due::or));
        }
    }
}
