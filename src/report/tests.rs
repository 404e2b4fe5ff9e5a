//! What reports of made-up captures say, counted anew from the flows.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::digest::Digest;
use super::services::{Detail, Table};
use super::{html, markdown};
use crate::model::capture::{Capture, Completeness, Interface, Route};
use crate::model::learnt::Learnt;
use crate::model::listing::{Flow, Listing};
use crate::model::names::Names;
use crate::model::record::{Identity, Record};
use crate::model::services::Services;
use crate::model::timestamp::Timestamp;
use crate::model::tuple::Tuple;

/// A page of so many flows, whatever they are, has at most so many bytes.
const FLOWS: u32 = 10_000;
const BYTES: usize = 1_000_000;
const DAY_US: u64 = 86_400_000_000;

/// Makes a flow of a number.
type Make = fn(u32) -> Flow;

fn gateway() -> Capture {
    let interface = |name: &str, address: &str| Interface {
        name: name.to_owned(),
        addresses: vec![address.parse().unwrap()],
        ..Interface::default()
    };
    Capture {
        host: Some("gw1".to_owned()),
        start: Timestamp::from_us(DAY_US),
        end: Timestamp::from_us(9 * DAY_US),
        verdict: Some(Completeness::Complete),
        interfaces: vec![
            interface("lan0", "10.1.0.1/16"),
            interface("wan0", "203.0.113.1/24"),
        ],
        routes: vec![Route {
            destination: "0.0.0.0/0".parse().unwrap(),
            gateway: None,
            interface: "wan0".to_owned(),
        }],
        marks_picked_up: true,
        ..Capture::default()
    }
}

fn flow(source: impl Into<IpAddr>, destination: impl Into<IpAddr>, port: u16, number: u32) -> Flow {
    let tuple = Tuple::tcp(
        &source.into().to_string(),
        &destination.into().to_string(),
        port,
    );
    let seen = Timestamp::from_us(DAY_US + 1 + u64::from(number % 8) * DAY_US);
    Flow::from(Record {
        connections: u64::from(number % 3),
        first_seen: seen,
        last_seen: seen,
        ..Record::new(Identity::of(&tuple), number % 4 != 0)
    })
}

fn few() -> Listing {
    let flows = (0..400_u32).map(|number| {
        let [_, _, high, low] = (number + 16).to_be_bytes();
        flow(
            [10, 1, high, low],
            [198, 51, 100, low % 7],
            440 + u16::from(low % 5),
            number,
        )
    });
    Listing {
        captures: vec![gateway()],
        flows: flows.collect(),
        ..Listing::default()
    }
}

fn digest(listing: Listing) -> Digest {
    Digest::new(listing, None, Services::default(), &Names::default())
}

#[test]
fn every_flow_is_counted_once() {
    let listing = few();
    let records: Vec<Record> = listing
        .flows
        .iter()
        .map(|flow| flow.record.clone())
        .collect();
    let confirmed = records.iter().filter(|record| record.confirmed).count() as u64;
    let answering: BTreeSet<_> = { records.iter() }
        .filter(|record| record.confirmed)
        .map(|record| (record.identity.destination, record.identity.service))
        .collect();
    let of_answering = { records.iter() }.filter(|record| {
        answering.contains(&(record.identity.destination, record.identity.service))
    });
    let digest = digest(listing);
    assert_eq!(digest.totals.flows, 400);
    assert_eq!(digest.totals.confirmed, confirmed);
    assert_eq!(digest.services.flows(), of_answering.count() as u64);
    assert_eq!(digest.services.rows.len(), answering.len());
    assert_eq!(digest.services.detail, Detail::Flows);
    assert_eq!(digest.unanswered.flows(), 400 - confirmed);
    let once = { records.iter() }.filter(|record| record.confirmed && record.connections == 1);
    assert_eq!(digest.rare.unwrap().flows(), once.count() as u64);
    let drawn: u64 = digest.matrix.cells.iter().map(|cell| cell.flows).sum();
    assert_eq!(drawn, confirmed);
    let growth = digest.growth.unwrap();
    assert_eq!(growth.steps.len(), 8);
    assert_eq!(growth.steps.last().unwrap().known, confirmed);
    assert_eq!(digest.rules.carried, confirmed);
    assert_eq!(digest.rules.missing, 400 - confirmed);
    let (from, to): (Vec<&str>, Vec<&str>) = (
        digest
            .matrix
            .sources
            .iter()
            .map(|place| place.name())
            .collect(),
        digest
            .matrix
            .destinations
            .iter()
            .map(|place| place.name())
            .collect(),
    );
    assert_eq!(from, ["lan0 10.1.0.0/16"]);
    assert_eq!(to, ["Internet (wan0)"]);
}

#[test]
fn the_same_flows_give_the_same_bytes_in_any_order() {
    let mut turned = few();
    turned.flows.reverse();
    let (one, other) = (digest(few()), digest(turned));
    assert_eq!(html::write(&one), html::write(&other));
    assert_eq!(markdown::write(&one), markdown::write(&other));
}

#[test]
fn a_page_stays_small_and_no_flow_is_lost_in_it() {
    // Clients of few servers; each flow with a server of its own; the longest addresses; more than are promised to be listed.
    let kinds: [(u32, Make); 4] = [
        (FLOWS, |number| {
            let [_, high, middle, low] = number.to_be_bytes();
            flow(
                [10, 1 + high, middle, low],
                [198, 51, 100, low % 9],
                443,
                number,
            )
        }),
        (FLOWS, |number| {
            let [_, high, middle, low] = number.to_be_bytes();
            flow(
                [10, 1, 0, 5],
                [20 + high, middle, low, 9],
                1024 + (number % 50_000) as u16,
                number,
            )
        }),
        (FLOWS, |number| {
            let [a, b, c, d] = number.to_be_bytes().map(u16::from);
            let ends = [0xfd12, 0x2001].map(|first| {
                [
                    first,
                    0x3456,
                    0x789a,
                    0xbcde,
                    0xf012 + a,
                    0x3456 + b,
                    0x789a + c,
                    0xbcde + d,
                ]
            });
            flow(ends[0], ends[1], 1024 + (number % 50_000) as u16, number)
        }),
        (FLOWS + FLOWS / 2, |number| {
            let [_, high, middle, low] = number.to_be_bytes();
            flow(
                [10, 1, high, low],
                [20 + high, middle, low, 9],
                1024 + (number % 60_000) as u16,
                number,
            )
        }),
    ];
    for (kind, (count, make)) in kinds.into_iter().enumerate() {
        let listing = Listing {
            captures: vec![Capture {
                start: Timestamp::from_us(8 * DAY_US),
                ..gateway()
            }],
            flows: (0..count).map(make).collect(),
            ..Listing::default()
        };
        let before = Listing {
            captures: listing.captures.clone(),
            flows: Vec::new(),
            ..Listing::default()
        };
        let confirmed = listing
            .flows
            .iter()
            .filter(|flow| flow.record.confirmed)
            .count() as u64;
        let digest = Digest::new(
            listing,
            Some(before),
            Services::default(),
            &Names::default(),
        );
        let size = html::write(&digest).len();
        assert!(size < BYTES, "kind {kind}: {size} bytes");
        let shown = |table: &Table| table.flows();
        assert_eq!(
            shown(&digest.unanswered),
            u64::from(count) - confirmed,
            "kind {kind}"
        );
        let changes = digest.changes.unwrap();
        assert_eq!(shown(&changes.parts[0]), u64::from(count), "kind {kind}");
        if kind == 0 {
            assert_eq!(
                digest.services.detail,
                Detail::Flows,
                "as many as are promised are listed"
            );
        }
    }
}

#[test]
fn what_captures_say_is_text_and_nothing_else() {
    let hostile = "\"><script>alert(1)</script><img src=x onerror=alert(2)>|`a`\u{202e}\x1b[2J";
    let capture = Capture {
        host: Some(hostile.to_owned()),
        verdict: Some(Completeness::Incomplete),
        filters: vec![hostile.to_owned()],
        interfaces: vec![Interface {
            name: hostile.to_owned(),
            addresses: vec!["10.1.0.1/16".parse().unwrap()],
            ..Interface::default()
        }],
        loss: Some(crate::model::capture::Counts {
            reasons: vec![hostile.to_owned()],
            ..Default::default()
        }),
        ..gateway()
    };
    let digest = digest(Listing {
        captures: vec![capture],
        ..few()
    });
    let page = html::write(&digest);
    assert_eq!(page.matches("<script").count(), 1, "ours");
    assert!(page.contains("&lt;script&gt;alert(1)") && !page.contains("<img"));
    let text = markdown::write(&digest);
    assert!(text.contains("&lt;script&gt;") && !text.contains("<script"));
    for written in [page, text] {
        assert!(!written.contains(['\u{202e}', '\x1b']));
        assert!(written.contains("ncomplete"));
    }
}

#[test]
fn nothing_is_claimed_of_captures_that_say_nothing() {
    let digest = digest(Listing {
        captures: vec![Capture::default()],
        flows: few()
            .flows
            .into_iter()
            .map(|mut flow| {
                flow.record.first_seen = None;
                flow.record.last_seen = None;
                flow.record.connections = 0;
                flow
            })
            .collect(),
        ..Listing::default()
    });
    assert!(digest.growth.is_none() && digest.rare.is_none());
    assert_eq!(digest.verdict, None);
    let page = html::write(&digest);
    assert!(page.contains("Not judged") && page.contains("do not count connections"));
    assert!(page.contains("can&#39;t tell what tomorrow brings"));
    let nothing = Digest::new(
        Listing::default(),
        None,
        Services::default(),
        &Names::default(),
    );
    assert_eq!(nothing.verdict, None);
    assert!(html::write(&nothing).contains("No flow was answered"));
    assert!(markdown::write(&nothing).contains("No flow was answered"));
}

#[test]
fn names_stand_behind_addresses_and_are_never_markup() {
    let time = |us| Timestamp::from_us(us).unwrap();
    let mut listing = few();
    let of = |listing: &Listing, at: usize| listing.flows[at].record.identity.clone();
    let (one, other) = (of(&listing, 1), of(&listing, 2));
    assert_ne!(one.destination, other.destination);
    for (name, last) in [("www.example.com", 9), ("<b>older", 2)] {
        let learnt = Learnt {
            name: name.to_owned(),
            first: time(1),
            last: time(last),
        };
        listing.told.learn(&one, vec![learnt]);
    }
    let mut names = Names::default();
    names.add(
        other.destination,
        "<script>alert(1)</script>\u{1b}[m".to_owned(),
    );
    names.add(one.source, "printer".to_owned());
    let digest = Digest::new(listing, None, Services::default(), &names);
    let page = html::write(&digest);
    assert!(page.contains(&format!("{} www.example.com (+1)", one.destination)));
    assert!(page.contains(&format!("{} printer", one.source)));
    assert!(page.contains("&lt;script&gt;alert(1)") && !page.contains("<script>alert"));
    assert!(!page.contains('\u{1b}') && !page.contains("<b>older"));
    let text = markdown::write(&digest);
    assert!(text.contains("www&#46;example.com (+1)") && !text.contains("<script>"));
}
