//! Records that were made lately, for whoever is to be told of each.

use parking_lot::Mutex;

use crate::model::record::Translation;
use crate::model::tuple::Tuple;

/// So many wait to be looked at, at the most: beyond that it takes less to look at all records.
const MAX: usize = 1 << 16;

/// What a record was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fresh {
    /// The flow, its source port as the record has it.
    pub tuple: Tuple,
    /// Its translation.
    pub translation: Option<Translation>,
    /// The namespace it was seen in, by number.
    pub namespace: u16,
}

/// Which records were made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// These.
    These(Vec<Fresh>),
    /// So many that they were not noted: any record may be one.
    TooMany,
}

impl Default for News {
    fn default() -> Self {
        Self::These(Vec::new())
    }
}

/// Notes the records that are made, up to a bound.
#[derive(Debug, Default)]
pub struct Log(Mutex<News>);

impl Log {
    /// Notes one.
    pub fn note(&self, fresh: Fresh) {
        let mut news = self.0.lock();
        if let News::These(all) = &mut *news {
            if all.len() < MAX {
                all.push(fresh);
            } else {
                *news = News::TooMany;
            }
        }
    }

    /// What was noted since the last call.
    pub fn take(&self) -> News {
        std::mem::take(&mut *self.0.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_to_be_noted_is_not_forgotten() {
        let log = Log::default();
        let fresh = Fresh {
            tuple: Tuple::tcp("10.0.0.1", "10.0.0.2", 80),
            translation: None,
            namespace: 0,
        };
        log.note(fresh);
        assert_eq!(log.take(), News::These(vec![fresh]));
        assert_eq!(log.take(), News::default());
        (0..=MAX).for_each(|_| log.note(fresh));
        assert_eq!(log.take(), News::TooMany);
        log.note(fresh);
        assert_eq!(log.take(), News::These(vec![fresh]));
    }
}
