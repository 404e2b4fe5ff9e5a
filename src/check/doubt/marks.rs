//! The marks that rulesets set themselves. A rule that asks for one of those can be judged.

/// Which mark: that of a packet or of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `meta mark`.
    Packet,
    /// `ct mark`.
    Connection,
}

/// What the rulesets do with marks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    packet: Vec<u32>,
    connection: Vec<u32>,
    /// Whether one is made from the other.
    saved: bool,
    restored: bool,
}

impl Marks {
    /// A rule sets a mark to this, or these bits of it.
    pub fn set(&mut self, kind: Kind, value: u32) {
        let values = match kind {
            Kind::Packet => &mut self.packet,
            Kind::Connection => &mut self.connection,
        };
        if !values.contains(&value) {
            values.push(value);
        }
    }

    /// A rule makes this kind of mark from the other.
    pub const fn copy_to(&mut self, kind: Kind) {
        match kind {
            Kind::Packet => self.restored = true,
            Kind::Connection => self.saved = true,
        }
    }

    /// Whether it is by the rulesets alone that a mark is, under this mask, this value. What has no mark in these bits
    /// may still be given one elsewhere, unless it is the rulesets that give them.
    pub fn decide(&self, kind: Kind, value: u32, mask: u32) -> bool {
        let (own, other, copied) = match kind {
            Kind::Packet => (&self.packet, &self.connection, self.restored),
            Kind::Connection => (&self.connection, &self.packet, self.saved),
        };
        let mut values = own.iter().chain(other.iter().filter(|_| copied));
        values.any(|set| match value & mask {
            0 => set & mask != 0,
            wanted => set & mask == wanted,
        })
    }
}

/// A number as rules have it, decimal or hexadecimal, with a mask behind a slash or without.
pub fn number(text: &str) -> Option<(u32, u32)> {
    let one = |text: &str| match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    match text.split_once('/') {
        Some((value, mask)) => Some((one(value)?, one(mask)?)),
        None => Some((one(text)?, u32::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_rulesets_set_is_theirs() {
        let mut marks = Marks::default();
        assert!(!marks.decide(Kind::Packet, 0x4000, 0x4000));
        marks.set(Kind::Packet, 0x4000);
        assert!(marks.decide(Kind::Packet, 0x4000, 0x4000));
        assert!(marks.decide(Kind::Packet, 0, 0x4000));
        assert!(!marks.decide(Kind::Packet, 0xca6c, u32::MAX));
        assert!(!marks.decide(Kind::Packet, 0, 0x8000));
        assert!(!marks.decide(Kind::Connection, 0x4000, u32::MAX));
        marks.copy_to(Kind::Connection);
        assert!(marks.decide(Kind::Connection, 0x4000, u32::MAX));
        assert_eq!(number("0x4000/0x4000"), Some((0x4000, 0x4000)));
        assert_eq!(number("5"), Some((5, u32::MAX)));
        assert_eq!(number("x"), None);
    }
}
