//! Word to whoever started this program and waits for it: a service manager, or the foreground half
//! of a daemon.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::service::daemon::Daemon;
use crate::ui::console::Console;

/// The one who is told how the capture goes. Told nothing, if there is none.
#[derive(Debug)]
pub struct Supervisor {
    daemon: Option<Daemon>,
    /// Silence for this long has the service manager start the program anew.
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// The supervisor that the environment names (`sd_notify(3)`, `sd_watchdog_enabled(3)`) and, for
    /// the background half of a daemon, the foreground half.
    pub fn new(daemon: Option<Daemon>) -> Self {
        Self {
            daemon,
            watchdog: sd_notify::watchdog_enabled(),
        }
    }

    /// The capture runs: nothing that passes from here on is missed. A daemon lets go of its terminal.
    pub fn ready(&self, console: &Console) {
        if let Some(daemon) = &self.daemon {
            daemon.release(console);
        }
        tell(&[NotifyState::Ready]);
    }

    /// A list is being printed on request.
    pub fn printing(&self) {
        // systemd 253 and newer refuse a reload without its time (org.freedesktop.systemd1(5)).
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(_) => tell(&[NotifyState::Reloading]),
        }
    }

    /// The list that was asked for is printed, or could not be.
    pub fn printed(&self) {
        tell(&[NotifyState::Ready]);
    }

    /// The capture is over; what is left is the last list.
    pub fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }

    /// The main loop goes round.
    pub fn alive(&self) {
        if self.watchdog.is_some() {
            tell(&[NotifyState::Watchdog]);
        }
    }

    /// How long the main loop may take to go round once. Half of what would count as a hang, as
    /// `sd_watchdog_enabled(3)` recommends.
    pub fn patience(&self) -> Duration {
        self.watchdog.map_or(Duration::MAX, |time| time / 2)
    }
}

fn tell(state: &[NotifyState<'_>]) {
    // A manager that can't be told finds out by its own time limits.
    let _ = sd_notify::notify(state);
}
