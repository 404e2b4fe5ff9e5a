//! [`Groups`]: which events a handle subscribes to.

use std::ops::{BitOr, BitOrAssign};

use netfilter_conntrack_sys as sys;

/// A set of ctnetlink multicast groups, the second argument of `nfct_open`.
///
/// The values are the kernel's (`NF_NETLINK_CONNTRACK_*`,
/// `linux/netfilter/nfnetlink_compat.h`), so they pass through unchanged.
///
/// ```
/// use netfilter_conntrack::Groups;
///
/// let births_and_deaths = Groups::NEW | Groups::DESTROY;
/// assert!(births_and_deaths.contains(Groups::NEW));
/// assert!(!births_and_deaths.contains(Groups::UPDATE));
/// assert!(Groups::NONE.is_empty());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Groups(u32);

impl Groups {
    /// No subscription: the handle serves dumps and other requests only.
    pub const NONE: Groups = Groups(0);
    /// A new entry was confirmed.
    pub const NEW: Groups = Groups(sys::NF_NETLINK_CONNTRACK_NEW);
    /// An entry changed: first reply, assured, protocol state, mark, helper.
    pub const UPDATE: Groups = Groups(sys::NF_NETLINK_CONNTRACK_UPDATE);
    /// An entry was removed.
    pub const DESTROY: Groups = Groups(sys::NF_NETLINK_CONNTRACK_DESTROY);
    /// All three (`NFCT_ALL_CT_GROUPS`).
    pub const ALL: Groups = Groups(sys::NFCT_ALL_CT_GROUPS);

    /// The bits as C takes them.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether no group is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether every group of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Groups) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Groups {
    type Output = Groups;

    fn bitor(self, other: Groups) -> Groups {
        Groups(self.0 | other.0)
    }
}

impl BitOrAssign for Groups {
    fn bitor_assign(&mut self, other: Groups) {
        self.0 |= other.0;
    }
}
