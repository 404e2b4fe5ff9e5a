//! One look at what events rest on in one network namespace.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, inotify};

use crate::doctor::need::Needs;
use crate::doctor::ruleset::Added;
use crate::doctor::tracking::Tracking;
use crate::doctor::xtables;
use crate::os::sysctl::sysctl;

/// What a capture is to see.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Flows of IPv4.
    pub ipv4: bool,
    /// Flows of IPv6.
    pub ipv6: bool,
    /// Whether it has connections tracked itself.
    pub track: bool,
    /// Whether ends of connections matter.
    pub ends: bool,
}

/// What does not hold in one namespace at one look.
pub struct Found {
    pub broken: Vec<Broken>,
    /// Whether IPv4 and IPv6 are tracked, or were at an earlier look.
    pub tracked: [bool; 2],
    /// What can't be seen although all holds.
    pub blind_spots: Vec<String>,
    /// Whether the rules could be read, so that what is not among the broken is sound.
    pub is_whole: bool,
    /// What was broken since the last look, or may have been. It may be so still.
    pub passed: Vec<Broken>,
}

/// What does not hold.
pub struct Broken {
    /// What does not hold, in words for people.
    pub what: String,
    /// Whether connections that began meanwhile go on without events: the kernel decides once for an entry what it
    /// tells of it (`nf_ct_ecache_ext_add`, net/netfilter/nf_conntrack_ecache.c).
    pub has_effects: bool,
}

impl Broken {
    pub fn new(what: String) -> Self {
        Self {
            what,
            has_effects: false,
        }
    }

    pub fn with_effects(what: String) -> Self {
        Self {
            what,
            has_effects: true,
        }
    }
}

const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];

/// Looks at the namespace that the calling thread is in. `before` is which families were tracked.
pub fn find(before: [bool; 2], wanted: Wanted) -> Found {
    let mut broken = Vec::new();
    let mut blind_spots = Vec::new();
    match sysctl("nf_conntrack_events") {
        Some(0) => broken.push(Broken::with_effects(OFF.to_owned())),
        Some(_) => {}
        None => blind_spots.push(UNKNOWN_SWITCH.to_owned()),
    }
    let tracking = Tracking::look();
    let mut tracked = before;
    // Only root may see which tables iptables-legacy has (/proc/net/ip_tables_names), and the service is not. Without
    // procfs nobody sees it.
    let may_ask = |error: &io::Error| {
        let kind = error.kind();
        !matches!(
            kind,
            io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound
        )
    };
    let is_whole = tracking
        .nftables
        .as_ref()
        .is_ok_and(|ruleset| ruleset.complete)
        && !tracking.legacy.as_ref().is_err_and(may_ask);
    if !is_whole {
        broken.push(Broken::new(UNREAD.to_owned()));
    }
    // What could be read counts, whatever could not: a mask is one also beside rules that are not known.
    let unknown = Needs::default();
    let nftables = tracking.nftables.as_ref().map(|ruleset| &ruleset.needs);
    let legacy = tracking.legacy.as_ref().unwrap_or(&unknown);
    let needs = nftables.unwrap_or(&unknown).clone().and(legacy);
    let now = [needs.ipv4, needs.ipv6];
    let mut lost = Vec::new();
    for (family, name) in FAMILIES.into_iter().enumerate() {
        tracked[family] |= now[family];
        // Rules that could not be read may need it.
        if before[family] && !now[family] && is_whole && tracking.legacy.is_ok() {
            lost.push(name);
        }
    }
    if !lost.is_empty() {
        broken.push(Broken::new(format!(
            "the last firewall rule that had {} connections tracked was deleted, and later connections are missing",
            lost.join(" and ")
        )));
    }
    broken.extend(kept_back(&needs, wanted));
    let missing = |family: usize| {
        let wanted = [wanted.ipv4, wanted.ipv6][family] && !wanted.track;
        wanted && !tracked[family] && tracked[1 - family] && tracking.is_in_use(family)
    };
    // Rules that could not be read may have it tracked.
    if let Some(family) = [0, 1]
        .into_iter()
        .find(|&family| is_whole && tracking.legacy.is_ok() && missing(family))
    {
        broken.push(Broken::with_effects(format!(
            "{name} is in use here and no firewall rule has it tracked, so that its flows are missing (capture with \
             --track)",
            name = FAMILIES[family]
        )));
    }
    if let Err(error) = &tracking.legacy {
        if xtables::may_have_raw() {
            blind_spots.push(format!(
                "flows whose events or packets a rule of iptables-legacy keeps back, if there is one: {}",
                match error.kind() {
                    io::ErrorKind::PermissionDenied => "only root may read its table raw",
                    _ => "/proc, which names its tables, is not to be seen",
                }
            ));
        }
    }
    blind_spots.extend(exempted(&needs));
    let flowtables = tracking
        .nftables
        .iter()
        .flat_map(|ruleset| &ruleset.flowtables);
    blind_spots.extend(flowtables.map(|table| {
        format!(
            "later events of established connections, which a flowtable takes past ({})",
            table.place
        )
    }));
    Found {
        broken,
        tracked,
        blind_spots,
        is_whole,
        passed: Vec::new(),
    }
}

/// What rules keep back that is wanted.
fn kept_back(needs: &Needs, wanted: Wanted) -> impl Iterator<Item = Broken> {
    let any = needs.masks.iter();
    let any = any.map(|mask| format!("a rule kept events back ({mask})"));
    let ends = needs.masks_of_ends.iter().filter(move |_| wanted.ends);
    let ends = ends.map(|mask| {
        format!("a rule kept back the ends of connections, on which --reliable rests ({mask})")
    });
    any.chain(ends).map(Broken::with_effects)
}

/// Flows that can't be seen since rules exempt their packets.
fn exempted(needs: &Needs) -> impl Iterator<Item = String> {
    let rules = needs.exempt.iter();
    rules
        .map(|rule| format!("flows whose packets a rule exempts from connection tracking ({rule})"))
}

impl Found {
    /// Nothing but what does not hold, if anything.
    pub fn only(broken: Option<Broken>) -> Self {
        Self {
            broken: broken.into_iter().collect(),
            tracked: [false; 2],
            blind_spots: Vec::new(),
            is_whole: true,
            passed: Vec::new(),
        }
    }

    /// Takes in what rules did that were added since the last look, whether or not they are still there.
    pub fn hear(&mut self, added: &Added, wanted: Wanted) {
        self.passed.extend(kept_back(&added.needs, wanted));
        self.blind_spots.extend(exempted(&added.needs));
        if added.overrun {
            self.blind_spots.push(
                "flows whose events or packets a rule kept back for a moment between two looks, since more rules were \
                 changed at once than could be followed"
                    .to_owned(),
            );
        }
    }
}

/// What is said where events are off.
pub const OFF: &str = "conntrack events were switched off (net.netfilter.nf_conntrack_events=0)";
/// What is said of a network namespace whose events do not come here.
pub const UNHEARD: &str =
    "no event is heard, since it belongs to another user namespace (capture outside of this one)";
/// What is said where it can't be known whether events are on.
const UNKNOWN_SWITCH: &str = "whether conntrack events are switched off, and with them every flow: \
                              net.netfilter.nf_conntrack_events can't be read";
/// What is said where rules can't be read.
const UNREAD: &str =
    "the firewall rules could not be read to their end in time, so that one may keep events back";

/// The switch for events (nf_conntrack-sysctl in the kernel's documentation).
const SWITCH: &str = "/proc/sys/net/netfilter/nf_conntrack_events";
/// What is said of a write to it.
pub const WRITTEN: &str =
    "net.netfilter.nf_conntrack_events was written to, and events may have been off for a moment";

/// Hears of every write to the switch for events of one namespace, so that one that is set and set back between two looks
/// is seen (inotify(7)). Those through another mount of procfs are not.
#[derive(Debug)]
pub struct Writes {
    inotify: OwnedFd,
    /// Open, so that the file stays the same one: memory pressure makes the kernel forget those that nobody has open, and
    /// the next writer gets another that nobody watches.
    _switch: OwnedFd,
}

impl Writes {
    /// Of the namespace that the calling thread is in.
    ///
    /// Errors: those of open(2), `inotify_init1(2)` (`EMFILE`: too many instances) and `inotify_add_watch(2)`.
    pub fn to_the_switch() -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let switch = rustix::fs::open(SWITCH, flags, Mode::empty())?;
        let inotify =
            inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        inotify::add_watch(&inotify, SWITCH, inotify::WatchFlags::MODIFY)?;
        Ok(Self {
            inotify,
            _switch: switch,
        })
    }

    /// Whether there were any since this was asked last.
    pub fn any(&self) -> bool {
        let mut buffer = [0; 1 << 12];
        matches!(rustix::io::read(&self.inotify, &mut buffer), Ok(1..))
    }
}
