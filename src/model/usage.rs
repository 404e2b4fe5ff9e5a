//! What ended connections have carried, as the kernel counted it (`net.netfilter.nf_conntrack_acct`).

/// Sums over the ended connections of a flow.
///
/// Its order is that of its fields, and adding the same to two of them never turns that order round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Usage {
    /// How many connections these are the sums of.
    pub ended: u64,
    /// Bytes from the side that opened them, with the headers of IP and what is in it.
    pub bytes: u64,
    /// Bytes of the other side.
    pub reply_bytes: u64,
    /// Packets from the side that opened them.
    pub packets: u64,
    /// Packets of the other side.
    pub reply_packets: u64,
    /// How long their entries were in the kernel's table, in microseconds; only if it is known of all of them.
    pub duration_us: Option<u64>,
}

impl Usage {
    /// The sum of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        // No duration is one that is not known, except of no connections at all.
        let duration_us = match (self.duration_us, other.duration_us) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (known, None) if other.ended == 0 => known,
            (None, known) if self.ended == 0 => known,
            _ => None,
        };
        Self {
            ended: self.ended.saturating_add(other.ended),
            bytes: self.bytes.saturating_add(other.bytes),
            reply_bytes: self.reply_bytes.saturating_add(other.reply_bytes),
            packets: self.packets.saturating_add(other.packets),
            reply_packets: self.reply_packets.saturating_add(other.reply_packets),
            duration_us,
        }
    }

    /// The same as seen from the other side.
    #[must_use]
    pub const fn turned(self) -> Self {
        Self {
            bytes: self.reply_bytes,
            reply_bytes: self.bytes,
            packets: self.reply_packets,
            reply_packets: self.packets,
            ..self
        }
    }

    /// What the formats call these numbers.
    pub const FIELDS: [&'static str; 6] = [
        "ended",
        "packets",
        "bytes",
        "reply_packets",
        "reply_bytes",
        "duration_us",
    ];

    /// The numbers as the formats have them; none if nothing is known.
    #[must_use]
    pub fn fields(usage: Option<&Self>) -> [Option<u64>; 6] {
        let Some(usage) = usage else {
            return [None; 6];
        };
        [
            Some(usage.ended),
            Some(usage.packets),
            Some(usage.bytes),
            Some(usage.reply_packets),
            Some(usage.reply_bytes),
            usage.duration_us,
        ]
    }

    /// What the numbers of a format say.
    ///
    /// Errors: which of them is missing.
    pub fn of_fields(fields: [Option<u64>; 6]) -> Result<Option<Self>, String> {
        if fields == [None; 6] {
            return Ok(None);
        }
        let [
            ended,
            packets,
            bytes,
            reply_packets,
            reply_bytes,
            duration_us,
        ] = fields;
        let needed = |at: usize, value: Option<u64>| {
            value.ok_or_else(|| {
                format!(
                    "{} is missing beside the others of its kind",
                    Self::FIELDS[at]
                )
            })
        };
        Ok(Some(Self {
            ended: needed(0, ended)?,
            packets: needed(1, packets)?,
            bytes: needed(2, bytes)?,
            reply_packets: needed(3, reply_packets)?,
            reply_bytes: needed(4, reply_bytes)?,
            duration_us,
        }))
    }

    /// Adds what may be known to what may be known.
    pub fn join(known: &mut Option<Box<Self>>, more: Option<&Self>) {
        match (known.as_mut(), more) {
            (_, None) => {}
            (Some(known), Some(more)) => **known = known.and(*more),
            (None, Some(more)) => *known = Some(Box::new(*more)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(bytes: u64, duration_us: Option<u64>) -> Usage {
        Usage {
            ended: 1,
            bytes,
            reply_bytes: bytes.saturating_mul(2),
            packets: 3,
            reply_packets: 4,
            duration_us,
        }
    }

    #[test]
    fn sums_know_the_duration_only_if_all_do() {
        let sum = usage(10, Some(5)).and(usage(20, Some(6)));
        assert_eq!((sum.ended, sum.bytes, sum.reply_bytes), (2, 30, 60));
        assert_eq!((sum.packets, sum.reply_packets), (6, 8));
        assert_eq!(sum.duration_us, Some(11));
        assert_eq!(sum.and(usage(1, None)).duration_us, None);
        assert_eq!(usage(1, None).and(sum).duration_us, None);
        assert_eq!(Usage::default().and(sum), sum);
        assert_eq!(sum.and(Usage::default()), sum);
        assert_eq!(usage(u64::MAX, None).and(sum).bytes, u64::MAX);
    }

    #[test]
    fn fields_lead_back() {
        for known in [None, Some(usage(7, None)), Some(usage(7, Some(9)))] {
            let fields = Usage::fields(known.as_ref());
            assert_eq!(Usage::of_fields(fields), Ok(known));
        }
        let mut fields = Usage::fields(Some(&usage(7, None)));
        fields[2] = None;
        assert_eq!(
            Usage::of_fields(fields),
            Err("bytes is missing beside the others of its kind".into())
        );
    }

    #[test]
    fn the_other_side_sees_it_the_other_way_round() {
        let turned = usage(10, Some(5)).turned();
        assert_eq!((turned.bytes, turned.reply_bytes), (20, 10));
        assert_eq!((turned.packets, turned.reply_packets), (4, 3));
        assert_eq!(turned.turned(), usage(10, Some(5)));
    }
}
