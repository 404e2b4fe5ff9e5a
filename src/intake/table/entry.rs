//! One flow in its table.

use std::hash::Hasher;

use crate::model::flow::Key;

/// Bit of [`Key::source_port`] that an entry uses for "confirmed". Free, since collapsed ports end at
/// 1024: the flag costs no byte, and an IPv4 flow takes 12.
const CONFIRMED: u16 = 0x8000;
/// The next bit: the flow was listed by an entry of the kernel's table or by its end, and no NEW event of it has
/// come yet.
const RECOVERED: u16 = 0x4000;
const FLAGS: u16 = CONFIRMED | RECOVERED;

/// A flow as the table keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<A> {
    key: Key<A>,
}

impl<A: Copy + PartialEq> Entry<A> {
    /// A flow that is not confirmed.
    pub(super) const fn new(key: Key<A>) -> Self {
        Self { key }
    }

    /// Marks it as confirmed.
    pub(super) fn confirm(&mut self) {
        self.key.source_port |= CONFIRMED;
    }

    /// Marks it as listed by something else than an event.
    pub(super) fn make_up(&mut self) {
        self.key.source_port |= RECOVERED;
    }

    /// Takes that mark off; whether it was there.
    pub(super) fn take_recovered(&mut self) -> bool {
        let recovered = self.key.source_port & RECOVERED != 0;
        self.key.source_port &= !RECOVERED;
        recovered
    }

    /// The flow's identity.
    pub fn key(&self) -> Key<A> {
        Key {
            source_port: self.key.source_port & !FLAGS,
            ..self.key
        }
    }

    /// Whether a reply was seen after the flow was listed.
    pub fn confirmed(&self) -> bool {
        self.key.source_port & CONFIRMED != 0
    }

    pub(super) fn holds(&self, key: &Key<A>) -> bool {
        self.key.destination == key.destination
            && self.key.source == key.source
            && self.key.service == key.service
            && self.key.source_port & !FLAGS == key.source_port
    }
}

/// The key's bytes as the hash takes them.
pub(super) trait Hashable {
    fn feed(&self, hasher: &mut impl Hasher);
}

impl<const N: usize> Hashable for Key<[u8; N]> {
    #[inline]
    fn feed(&self, hasher: &mut impl Hasher) {
        hasher.write(&self.source);
        hasher.write(&self.destination);
        hasher.write_u32(u32::from(self.service) << 16 | u32::from(self.source_port));
    }
}
