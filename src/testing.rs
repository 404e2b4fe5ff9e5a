//! What the tests, benches and fuzz targets of this repository use of the program. It is no interface for anybody
//! else, and changes with what they need.

pub use crate::captures::reader::Reader;
pub use crate::captures::union::Collection;
pub use crate::live::track::Track;
pub use crate::netlink::uapi::ALL as UAPI;

pub mod check {
    pub use crate::check::judge::Judge;
    pub use crate::check::network::Hints;
    pub use crate::check::ruleset::Ruleset;
    pub use crate::check::verdict::{Outcome, Verdict};
}

pub mod config {
    pub use crate::cli::config::{names, parse, read};
}

pub mod doctor {
    pub use crate::doctor::tracking::Tracking;
}

pub mod formats {
    pub mod classic {
        pub use crate::formats::classic::write;
    }
    pub mod json {
        pub use crate::formats::json::{Line, List, parse};
    }
    pub mod pcap {
        pub use crate::formats::pcap::{Reader, Record};
    }
}

pub mod intake {
    pub use crate::intake::contents::Contents;
    pub use crate::intake::records::Records;
    pub use crate::intake::table::{Plan, Table, Unseen};
    pub use crate::intake::unlisted::now_ns;
    pub use crate::intake::{Detail, Intake, Pending};
}

pub mod lookups {
    pub use crate::lookups::book::Book;
}

pub mod model {
    pub use crate::model::address::Text6;
    pub use crate::model::capture::{Capture, Interface, Route};
    pub use crate::model::flow::{Event, Flow, Key, Observation, Transport};
    pub use crate::model::icmp;
    pub use crate::model::origin::{Begun, Origin};
    pub use crate::model::record::{
        Dnat, Identity, Protocol, Record, Service, Snat, SourcePort, Translation,
    };
    pub use crate::model::sighting::Sighting;
    pub use crate::model::timestamp::Timestamp;
}

pub mod netlink {
    pub use crate::netlink::conntrack::{decode, layouts_agree, sighting};
    pub use crate::netlink::framing::messages;
}

pub mod os {
    pub use crate::os::classic_bpf::Instruction;
    pub use crate::os::prefilter::{Share, filter, nothing};
    pub use crate::os::socket::{BATCH_LEN, Batch, attach_filter, memory, set_mark};
}

pub mod rules {
    pub use crate::rules::block::Family;
    pub use crate::rules::by_hand::{ByHand, End, Given, Wanted};
    pub use crate::rules::{Options, Plan, plan};
    pub mod iptables {
        pub use crate::rules::iptables::{Families, write};
    }
    pub mod nft {
        pub use crate::rules::nft::{TABLE, write};
    }
    pub use crate::rules::nft_words::is_name;
    pub use crate::rules::report::write as write_report;
}

pub mod sources {
    pub use crate::sources::tuning::{Settings, open};
    pub mod entry {
        pub use crate::sources::entry::{observe, sighting};
    }
    pub mod file {
        pub use crate::sources::file::read;
    }
    #[cfg(feature = "ebpf")]
    pub use crate::sources::kernel::{Kernel, Sizes, records};
}

pub mod ui {
    pub use crate::ui::console::{Console, Verbosity};
}
