//! What goes wrong in a soak.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;

use super::subject::Subjects;

/// One kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// None.
    None,
    /// Lists are asked for.
    Lists,
    /// A program is stopped for some seconds.
    Stop,
    /// The disk is full for a while.
    Disk,
    /// The clock is stepped, forwards or backwards.
    Clock,
    /// The flood comes in a namespace that was just made and is removed afterwards.
    Namespace,
}

impl Trouble {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::None,
        Self::Lists,
        Self::Stop,
        Self::Disk,
        Self::Clock,
        Self::Namespace,
    ];
    /// Those of floods in the namespace of the captures.
    pub const OTHERS: &[Self] = Self::ALL.split_at(5).0;

    /// Has it happen.
    pub fn happen(self, random: &mut Random, subjects: &Subjects, disk: &Path) {
        let who = random.below(3) as usize;
        match self {
            Self::None | Self::Namespace => {}
            Self::Lists => {
                for _ in 0..=random.below(5) {
                    sleep(Duration::from_millis(random.below(400)));
                    subjects
                        .capture(random.below(3) as usize)
                        .signal(Signal::USR1);
                }
            }
            Self::Stop => {
                let capture = subjects.capture(who);
                sleep(Duration::from_millis(random.below(300)));
                capture.stop();
                sleep(Duration::from_millis(500 + random.below(4000)));
                capture.resume();
            }
            Self::Disk => {
                let filler = disk.join("filler");
                // Until there is no room; what was written stays.
                let _ = fs::write(&filler, vec![0; 2 << 30]);
                sleep(Duration::from_millis(2000 + random.below(6000)));
                fs::remove_file(filler).expect("it is there");
            }
            Self::Clock => {
                let day = 86_400;
                subjects.step_clock(random.below(2 * day) as i64 - day as i64);
            }
        }
    }
}

/// Pseudo-random numbers: SplitMix64 (<https://prng.di.unimi.it/splitmix64.c>).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Numbers that follow from a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`.
    pub const fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
