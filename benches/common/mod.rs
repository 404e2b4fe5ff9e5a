//! Streams for the benches, from the flood's generator: what the kernel would send for them.

use conntracker_flood::flow::{Family, Profile, Protocol};
use conntracker_flood::settings::{Repeat, Settings};

/// `entries` events of `distinct` flows, a third of them replied to if there is room.
pub fn settings(entries: u64, distinct: u64, family: Family) -> Settings {
    Settings {
        entries,
        distinct,
        replied_percent: if entries >= distinct * 2 { 33 } else { 0 },
        repeat: Repeat::New,
        profile: Profile {
            family,
            protocols: vec![
                (Protocol::Tcp, 70),
                (Protocol::Udp, 25),
                (Protocol::Icmp, 5),
            ],
            privileged_percent: 5,
            seed: 1,
        },
    }
}
