//! An entry as the C library hands it over, to an [`Observation`].

use std::net::{Ipv4Addr, Ipv6Addr};

use netfilter_conntrack::{Conntrack, EventType, status};

use crate::decode::Skip;
use crate::flow::{Event, Flow, Key, Observation, Transport, collapse, icmp_service};

const IPPROTO_ICMP: u8 = libc::IPPROTO_ICMP as u8;
const IPPROTO_TCP: u8 = libc::IPPROTO_TCP as u8;
const IPPROTO_UDP: u8 = libc::IPPROTO_UDP as u8;
const IPPROTO_ICMPV6: u8 = libc::IPPROTO_ICMPV6 as u8;
