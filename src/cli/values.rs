//! The values of options that have a few, and what `--help` says of each.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::model::selection::SourcePorts;
use crate::output::layout::Format;
use crate::output::sort::Sort;
use crate::sources::method::Source;

/// Has an option take the values of an enum, which itself knows nothing of options.
macro_rules! values {
    ($name:ty { $($variant:ident $value:literal $help:literal)+ }) => {
        impl ValueEnum for $name {
            fn value_variants<'a>() -> &'a [Self] {
                &[$(Self::$variant),+]
            }

            fn to_possible_value(&self) -> Option<PossibleValue> {
                let (value, help) = match self {
                    $(Self::$variant => ($value, $help)),+
                };
                Some(PossibleValue::new(value).help(help))
            }
        }
    };
}

values! {
    Format {
        Classic "classic" "The lines of the C tool"
        Table "table" "Aligned columns for people"
        Json "json" "One JSON object a line: the capture, then its flows"
        Csv "csv" "Comma-separated values with a header (RFC 4180)"
        Nft "nft" "Firewall rules for nft -f that accept the confirmed flows and nothing else"
    }
}

values! {
    Sort {
        Classic "classic" "The C tool's"
        Address "address" "By source address, then destination, protocol and port, as numbers"
        Service "service" "By protocol and destination port, then destination"
        Connections "connections" "Most connections first"
        FirstSeen "first-seen" "The newest first: by when they were first seen"
        LastSeen "last-seen" "The newest first: by when they were last seen"
    }
}

values! {
    Source {
        Auto "auto" "kernel where it can be loaded and serves, else batch"
        Kernel "kernel" "Each flow once, or records of flows, by a BPF program in the kernel"
        Batch "batch" "Many at a time, decoded in place"
        Callback "callback" "One at a time, by the C library"
    }
}

values! {
    SourcePorts {
        Keep "keep" "Flows that differ only in them are different"
        Collapse "collapse" "All of 1024 to 65535 are one"
    }
}
