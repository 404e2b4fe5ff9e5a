//! What a capture rests on besides its sockets, looked at while it runs: that events are switched on, that connections
//! are tracked, that no rule keeps events back, and that the namespace is still the one that was meant.
//!
//! Each of these can end without a word, and the capture then lists nothing more while its sockets and their drop
//! counters look as good as ever. So they are looked at on a clock, with each list, and at the end. What was found
//! broken may have been broken since the last look at which it was not.

mod look;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::doctor::ruleset::{self, Heard};
use crate::intake::Intake;
use crate::live::servers;
use crate::model::timestamp::Timestamp;
use crate::os::host;
use crate::os::namespace;
use crate::os::namespaces::{Named, Namespaces};
use crate::os::sysctl::sysctl;
use crate::os::user_namespace;

pub use look::Wanted;

use look::{Broken, Found, OFF, UNHEARD, WRITTEN, Writes, find};

/// How often everything is looked at: iptables-legacy and other namespaces don't tell of changes.
const EVERYTHING: Duration = Duration::from_secs(30);

/// The conditions of one capture.
#[derive(Debug)]
pub struct Conditions {
    /// The path of the namespace that was named, and what it was when it was entered.
    namespace: Option<(PathBuf, Identity)>,
    wanted: Wanted,
    /// Hears of every write to the switch for events, so that one that is set and set back between two looks is seen.
    writes: Option<Writes>,
    state: Mutex<State>,
}

/// Device and inode of a namespace's file: namespaces(7).
type Identity = (u64, u64);

/// What one look is at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    /// Rules and sysctls of the namespace that is listened to.
    Own,
    /// Those of another one, by its name.
    Other(Arc<str>),
    /// Which namespace the name stands for that was given.
    Name,
}

#[derive(Debug)]
struct State {
    seen: HashMap<Place, Looks>,
    /// The ruleset's generation when it was read last.
    generation: Option<u32>,
    /// Hears of the rules of this namespace that are added, from when nftables is loaded.
    heard: Option<Heard>,
    looked: Instant,
    troubles: Vec<Trouble>,
    /// Sorted, none twice.
    blind_spots: Vec<String>,
}

/// What has been seen at one place.
#[derive(Clone, Copy, Debug, Default)]
struct Looks {
    /// Whether IPv4 and IPv6 have been seen to be tracked.
    tracked: [bool; 2],
    /// Whether a look has come about.
    looked: bool,
    /// The last look at which all was well.
    good: Option<Timestamp>,
}

/// A condition that does not hold, or did not for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trouble {
    place: Place,
    what: String,
    from: Option<Timestamp>,
    /// When it was seen to hold again.
    until: Option<Timestamp>,
    /// Whether connections that began meanwhile go on without events: the kernel decides once for an entry what it
    /// tells of it (`nf_ct_ecache_ext_add`, net/netfilter/nf_conntrack_ecache.c).
    has_effects: bool,
}

/// What takes from a list besides missed events, in words.
#[derive(Debug, Default)]
pub struct Troubles {
    /// What does not hold now.
    pub lasting: Vec<String>,
    /// What did not hold for a while.
    pub over: Vec<String>,
    /// The same, where connections that began in that time still tell of nothing.
    pub lasting_effects: Vec<String>,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Place::Other(name) = &self.place {
            write!(f, "in the network namespace {name}, ")?;
        }
        f.write_str(&self.what)?;
        if let Some(from) = self.from {
            write!(f, ", possibly from {from} on")?;
        }
        if let Some(until) = self.until {
            write!(f, ", until {until}")?;
            if self.has_effects {
                f.write_str("; connections that began by then may go on without events")?;
            }
        }
        Ok(())
    }
}

impl Conditions {
    /// Looks for the first time. `named` is the namespace that was asked for, and that the calling thread is in.
    pub fn new(named: Option<&str>, wanted: Wanted, intake: &Intake) -> Self {
        let namespace = named.map(namespace::path).and_then(|path| {
            // Without procfs, what the name stands for just after it was entered.
            let identity = identity(namespace::OWN.into()).or_else(|| identity(path.clone()))?;
            Some((path, identity))
        });
        let writes = Writes::to_the_switch();
        // Where the switch can't be read either, each look says so.
        let is_known = sysctl("nf_conntrack_events").is_some();
        let unheard = writes.as_ref().err().filter(|_| is_known).map(|error| {
            format!(
                "flows of a moment between two looks in which net.netfilter.nf_conntrack_events is 0, since writes to it \
                 can't be watched ({error})"
            )
        });
        let conditions = Self {
            namespace,
            writes: writes.ok(),
            wanted,
            state: Mutex::new(State {
                seen: HashMap::new(),
                generation: None,
                heard: None,
                looked: Instant::now(),
                troubles: Vec::new(),
                blind_spots: unheard.into_iter().collect(),
            }),
        };
        conditions.look(intake);
        conditions
    }

    /// Looks at what has changed since, and at everything now and then.
    pub fn glance(&self, intake: &Intake) {
        let due = {
            let state = self.state.lock();
            state.looked.elapsed() >= EVERYTHING
                || state
                    .others(intake)
                    .any(|(other, seen)| other.alive && other.has_name && seen.is_none())
                || sysctl("nf_conntrack_events") == Some(0)
                || ruleset::generation().unwrap_or(None) != state.generation
        };
        if due {
            self.look(intake);
        } else {
            self.look_at_name(&mut self.state.lock());
        }
    }

    /// Looks at everything.
    pub fn look(&self, intake: &Intake) {
        let mut state = self.state.lock();
        state.looked = Instant::now();
        // Before the rules are read: a change meanwhile is seen at the next look.
        state.generation = ruleset::generation().unwrap_or(None);
        self.look_at_name(&mut state);
        if let Some(records) = intake.records() {
            records.listen(servers::look(host::addresses()));
        }
        // Before the switch is read: a write meanwhile is seen at the next look.
        let was_written = self.writes.as_ref().is_some_and(Writes::any);
        // And so before the rules are.
        let unheard = state.hear_of_rules();
        let added = state.heard.as_ref().map(Heard::take).unwrap_or_default();
        let mut found = find(state.tracked(&Place::Own), self.wanted);
        if was_written {
            found.passed.push(Broken::with_effects(WRITTEN.to_owned()));
        }
        found.blind_spots.extend(unheard);
        found.hear(&added, self.wanted);
        let is_confined =
            intake.namespaces().is_some() && user_namespace::is_initial() != Some(true);
        if is_confined {
            found.blind_spots.push(
                "flows in network namespaces of other user namespaces, whose events do not come to this one".to_owned(),
            );
        }
        state.take(Place::Own, found);
        for other in intake.namespaces().map_or_else(Vec::new, Namespaces::all) {
            let place = Place::Other(Arc::clone(&other.label));
            if !other.alive {
                // What was done in it after the last look is not known.
                if let Some(seen) = state.seen.get_mut(&place) {
                    seen.looked = false;
                }
            }
            if !other.alive || !other.has_name {
                continue;
            }
            let before = state.tracked(&place);
            // One that can't be entered may just be going.
            let found = namespace::within(&other.label, || Ok(find(before, self.wanted)));
            match found {
                Ok(found) => state.take(place, found),
                // Whoever may enter its own and not this one has no capability in the user namespace that this one belongs
                // to, without which its events are not delivered (`do_one_broadcast`, net/netlink/af_netlink.c, Linux 6.18).
                Err(error)
                    if is_confined
                        && error.kind() == io::ErrorKind::PermissionDenied
                        && namespace::within(namespace::OWN, || Ok(())).is_ok() =>
                {
                    state.take(place, Found::only(Some(Broken::new(UNHEARD.to_owned()))));
                }
                Err(_) => state.seen.entry(place).or_default().looked = false,
            }
        }
    }

    fn look_at_name(&self, state: &mut State) {
        let Some((path, meant)) = &self.namespace else {
            return;
        };
        let is_other = identity(path.clone()).is_some_and(|found| found != *meant);
        let what = format!(
            "{} is another network namespace now, in which nobody listens",
            path.display()
        );
        let broken = is_other.then(|| Broken::new(what));
        state.take(Place::Name, Found::only(broken));
    }

    /// What can't be seen although all holds, at any look so far.
    #[must_use]
    pub fn blind_spots(&self) -> Vec<String> {
        self.state.lock().blind_spots.clone()
    }

    /// Whether connections were tracked at any look, as far as rules tell.
    #[must_use]
    pub fn has_tracking(&self) -> bool {
        let state = self.state.lock();
        state.seen.values().any(|seen| seen.tracked.contains(&true))
    }

    /// What does not hold, and what did not hold for a while and does again.
    pub fn troubles(&self) -> Troubles {
        let state = self.state.lock();
        let mut all = Troubles::default();
        for trouble in &state.troubles {
            let texts = match trouble.until {
                None => &mut all.lasting,
                Some(_) if trouble.has_effects => &mut all.lasting_effects,
                Some(_) => &mut all.over,
            };
            texts.push(trouble.to_string());
        }
        all
    }

    /// Whether rules or settings keep back events now, or did, so that connections go on without any.
    pub fn keep_events_back(&self) -> bool {
        let state = self.state.lock();
        state.troubles.iter().any(|trouble| trouble.has_effects)
    }

    /// The namespaces that are listened to and could not be looked at, never or not up to their end, so that nothing is
    /// known of their sysctls and rules then.
    pub fn unseen(&self, intake: &Intake) -> Vec<Arc<str>> {
        let state = self.state.lock();
        let unseen = state
            .others(intake)
            .filter(|(_, seen)| !seen.is_some_and(|seen| seen.looked));
        unseen.map(|(other, _)| other.label).collect()
    }
}

impl State {
    /// Begins to listen to what is added to the ruleset, once there is nftables. Returns what can't be seen if that fails.
    fn hear_of_rules(&mut self) -> Option<String> {
        if self.heard.is_some() {
            return None;
        }
        match Heard::begin() {
            Ok(heard) => {
                self.heard = heard;
                None
            }
            Err(error) => Some(format!(
                "flows whose events a rule kept back for a moment between two looks, since changes of rules can't be \
                 heard of ({error})"
            )),
        }
    }

    fn tracked(&self, place: &Place) -> [bool; 2] {
        self.seen.get(place).map_or([false; 2], |seen| seen.tracked)
    }

    /// The other namespaces that are listened to, with what was seen in them if it was tried.
    fn others(&self, intake: &Intake) -> impl Iterator<Item = (Named, Option<Looks>)> {
        let all = intake.namespaces().map_or_else(Vec::new, Namespaces::all);
        all.into_iter().map(|other| {
            let place = Place::Other(Arc::clone(&other.label));
            let seen = self.seen.get(&place).copied();
            (other, seen)
        })
    }

    /// Takes note of what is broken at one place, and so of what is not any more.
    fn take(&mut self, place: Place, mut found: Found) {
        let now = Timestamp::now();
        for spot in found.blind_spots {
            let spot = match &place {
                Place::Other(name) => format!("in the network namespace {name}, {spot}"),
                Place::Own | Place::Name => spot,
            };
            if let Err(at) = self.blind_spots.binary_search(&spot) {
                if self.blind_spots.len() < SPOTS_MAX {
                    self.blind_spots.insert(at, spot);
                }
            }
        }
        let seen = self.seen.entry(place.clone()).or_default();
        seen.tracked = found.tracked;
        seen.looked = true;
        let good = seen.good;
        if found.broken.is_empty() {
            seen.good = Some(now);
        }
        let lasting = |trouble: &&mut Trouble| trouble.place == place && trouble.until.is_none();
        let mut ended = Vec::new();
        for trouble in self.troubles.iter_mut().filter(lasting) {
            let is_found = found
                .broken
                .iter()
                .any(|broken| broken.what == trouble.what);
            if !is_found && found.is_whole {
                trouble.until = Some(now);
                ended.push(trouble.what.clone());
            }
        }
        // What lasts says more, and so does what has lasted up to now.
        let says_more = |passed: &Broken| {
            let lasts = |broken: &Broken| {
                broken.what == passed.what || passed.what == WRITTEN && broken.what == OFF
            };
            found.broken.iter().any(lasts) || ended.contains(&passed.what)
        };
        found.passed.retain(|passed| !says_more(passed));
        for Broken { what, has_effects } in found.passed {
            self.troubles.push(Trouble {
                place: place.clone(),
                what,
                from: good,
                until: Some(now),
                has_effects,
            });
        }
        for Broken { what, has_effects } in found.broken {
            let known = |trouble: &Trouble| {
                trouble.place == place && trouble.until.is_none() && trouble.what == what
            };
            if !self.troubles.iter().any(known) {
                self.troubles.push(Trouble {
                    place: place.clone(),
                    what,
                    from: good,
                    until: None,
                    has_effects,
                });
            }
        }
        self.limit();
    }

    /// Makes one of the oldest two of a kind when there are many: a longer time than the two is no false claim.
    fn limit(&mut self) {
        while self.troubles.len() > TROUBLES_MAX {
            let old = self.troubles.remove(0);
            let alike = |other: &&mut Trouble| other.place == old.place && other.what == old.what;
            if let Some(other) = self.troubles.iter_mut().find(alike) {
                other.from = old.from;
            }
        }
    }
}

/// So many blind spots are told.
const SPOTS_MAX: usize = 64;
/// So many conditions that were broken are told one by one.
const TROUBLES_MAX: usize = 64;

fn identity(path: PathBuf) -> Option<Identity> {
    let stat = rustix::fs::stat(&path).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State {
            seen: HashMap::new(),
            generation: None,
            heard: None,
            looked: Instant::now(),
            troubles: Vec::new(),
            blind_spots: Vec::new(),
        }
    }

    fn found(broken: &[&str]) -> Found {
        Found {
            broken: broken
                .iter()
                .map(|&what| Broken::new(what.to_owned()))
                .collect(),
            tracked: [true; 2],
            is_whole: true,
            passed: Vec::new(),
            blind_spots: Vec::new(),
        }
    }

    #[test]
    fn what_breaks_is_dated_from_the_last_good_look_and_kept_when_it_is_mended() {
        let mut state = state();
        state.take(Place::Own, found(&[]));
        let good = state.seen[&Place::Own].good;
        state.take(Place::Own, found(&["it broke"]));
        state.take(Place::Own, found(&["it broke"]));
        assert_eq!(state.troubles.len(), 1);
        assert_eq!(
            (state.troubles[0].from, state.troubles[0].until),
            (good, None)
        );
        state.take(Place::Name, found(&[]));
        assert_eq!(state.troubles[0].until, None);
        state.take(Place::Own, found(&[]));
        assert!(state.troubles[0].until.is_some());
        state.take(Place::Own, found(&["it broke"]));
        assert_eq!(state.troubles.len(), 2);
        assert_eq!(state.tracked(&Place::Own), [true; 2]);
    }

    #[test]
    fn what_was_there_for_a_moment_is_told_once() {
        let passed = |what: &str, broken: &[&str]| Found {
            passed: vec![Broken::with_effects(what.to_owned())],
            ..found(broken)
        };
        let mut state = state();
        state.take(Place::Own, found(&[]));
        let good = state.seen[&Place::Own].good;
        state.take(Place::Own, passed("a rule", &[]));
        assert_eq!(state.troubles.len(), 1);
        assert_eq!(state.troubles[0].from, good);
        assert!(state.troubles[0].until.is_some() && state.troubles[0].has_effects);
        // One that is still there lasts, and was no other when it has gone.
        state.take(Place::Own, passed("another", &["another"]));
        assert_eq!((state.troubles.len(), state.troubles[1].until), (2, None));
        state.take(Place::Own, passed("another", &[]));
        assert_eq!(state.troubles.len(), 2);
        assert!(state.troubles[1].until.is_some());
    }

    #[test]
    fn what_comes_and_goes_for_months_is_told_in_few_lines() {
        let mut state = state();
        for _ in 0..1000 {
            state.take(Place::Own, found(&[]));
            state.take(Place::Own, found(&["it broke"]));
        }
        assert_eq!(state.troubles.len(), TROUBLES_MAX);
        let first = state
            .troubles
            .iter()
            .filter_map(|trouble| trouble.from)
            .min();
        assert!(first <= state.seen[&Place::Own].good);
    }
}
