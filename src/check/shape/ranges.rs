//! Sets of numbers, as ranges.

/// Ranges with both ends, in order, none of which touches another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<(u128, u128)>);

impl Ranges {
    /// Those of a list in any order.
    pub fn new(mut list: Vec<(u128, u128)>) -> Self {
        list.retain(|(first, last)| first <= last);
        list.sort_unstable();
        let mut ranges: Vec<(u128, u128)> = Vec::new();
        for (first, last) in list {
            match ranges.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => {
                    before.1 = before.1.max(last);
                }
                _ => ranges.push((first, last)),
            }
        }
        Self(ranges)
    }

    /// Each range.
    pub fn iter(&self) -> impl Iterator<Item = (u128, u128)> {
        self.0.iter().copied()
    }

    /// Whether a number is among them.
    pub fn contains(&self, number: u128) -> bool {
        let at = self.0.partition_point(|(first, _)| *first <= number);
        at > 0 && self.0[at - 1].1 >= number
    }

    /// Whether all of these are among the others.
    pub fn is_within(&self, others: &Self) -> bool {
        self.0.iter().all(|(first, last)| {
            let at = others.0.partition_point(|(begin, _)| begin <= first);
            at > 0 && others.0[at - 1].1 >= *last
        })
    }

    /// What is in both.
    #[must_use]
    pub fn and(&self, others: &Self) -> Self {
        let mut both = Vec::new();
        for (first, last) in self.iter() {
            for (begin, end) in others.iter() {
                if begin <= last && first <= end {
                    both.push((first.max(begin), last.min(end)));
                }
            }
        }
        Self::new(both)
    }

    /// What of the others is not among these.
    #[must_use]
    pub fn complement(&self, others: &Self) -> Self {
        let mut left = Vec::new();
        for (begin, end) in others.iter() {
            let mut next = Some(begin);
            for (first, last) in self.iter() {
                let Some(from) = next.filter(|from| *from <= end) else {
                    break;
                };
                if last < from {
                    continue;
                }
                if first > end {
                    break;
                }
                if first > from {
                    left.push((from, first - 1));
                }
                next = last.checked_add(1);
            }
            if let Some(from) = next.filter(|from| *from <= end) {
                left.push((from, end));
            }
        }
        Self::new(left)
    }

    /// How many numbers there are.
    pub fn size(&self) -> u128 {
        let sizes = self
            .0
            .iter()
            .map(|(first, last)| (last - first).saturating_add(1));
        sizes.fold(0, u128::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_sets() {
        let of = |list: &[(u128, u128)]| Ranges::new(list.to_vec());
        let some = of(&[(10, 20), (5, 7), (21, 30), (8, 8)]);
        assert_eq!(some, of(&[(5, 8), (10, 30)]));
        assert!(some.contains(5) && some.contains(30) && !some.contains(9) && !some.contains(31));
        assert!(of(&[(11, 30)]).is_within(&some) && !of(&[(8, 10)]).is_within(&some));
        assert_eq!(some.and(&of(&[(0, 5), (29, 40)])), of(&[(5, 5), (29, 30)]));
        let bytes = of(&[(0, 255)]);
        assert_eq!(some.complement(&bytes), of(&[(0, 4), (9, 9), (31, 255)]));
        assert_eq!(of(&[(0, 255)]).complement(&bytes), of(&[]));
        let all = of(&[(0, u128::MAX)]);
        assert_eq!(of(&[(7, u128::MAX)]).complement(&all), of(&[(0, 6)]));
        assert_eq!((some.size(), all.size()), (25, u128::MAX));
    }
}
