//! Flows that were picked up in the middle, those that helpers expected, and privileged source ports.

use super::generated;
use super::tcp;
use crate::model::capture::Capture;
use crate::model::origin::{Begun, Expected, Helper};
use crate::model::record::{Protocol, Record, SourcePort};
use crate::model::selection::SourcePorts;
use crate::rules::block::Family;
use crate::rules::ports::PortRange;
use crate::rules::seen::Reason;
use crate::rules::{Options, Plan, aerleon, firewalld, iptables, nft, plan, ufw};

fn capture() -> Capture {
    Capture {
        options: Vec::new(),
        ..generated::capture()
    }
}

fn planned(records: &[Record]) -> Plan {
    plan(&[capture()], records, &Options::default())
}

fn from_port(mut record: Record, port: u16) -> Record {
    record.identity.source_port = SourcePort::Exact(port);
    record
}

fn begun(mut record: Record, begun: Begun) -> Record {
    record.origin.begun = begun;
    record
}

fn as_nft(plan: &Plan) -> String {
    let mut text = Vec::new();
    nft::write(plan, "observed", &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn what_was_turned_round_gets_a_rule_for_any_port_of_its_client() {
    for known in [Begun::Turned, Begun::PickedUp] {
        let record = begun(from_port(tcp("10.0.0.2", "192.0.2.1", 443), 41_000), known);
        let plan = planned(&[record]);
        assert_eq!(plan.rules.len(), 1);
        assert_eq!(plan.rules[0].sports, [PortRange::UNPRIVILEGED]);
    }
}

#[test]
fn what_could_not_be_placed_is_left_out_and_warned_of_with_ssh_first() {
    let unclear = |from: &str, to: &str, source, port| {
        begun(from_port(tcp(from, to, port), source), Begun::Unclear)
    };
    let records = [
        unclear("192.0.2.1", "10.0.0.2", 7777, 41_000),
        unclear("10.0.0.9", "10.0.0.1", 22, 22),
        tcp("10.0.0.2", "192.0.2.1", 443),
    ];
    let plan = planned(&records);
    assert_eq!(plan.rules.len(), 1);
    assert_eq!(plan.missing().flows, 2);
    assert!(
        plan.left_out
            .iter()
            .all(|left| left.reason == Reason::PickedUp)
    );
    let warning = plan
        .warnings
        .iter()
        .find(|text| text.contains("open before"));
    let warning = warning.expect("a warning");
    assert!(warning.starts_with("2 connections were open"), "{warning}");
    let ssh = warning
        .find("10.0.0.9 port 22 and 10.0.0.1 port 22")
        .unwrap();
    let other = warning
        .find("192.0.2.1 port 7777 and 10.0.0.2 port 41000")
        .unwrap();
    assert!(ssh < other, "{warning}");
    assert!(as_nft(&plan).contains("WARNING: 2 connections were open"));
}

#[test]
fn each_family_has_its_program_that_assigns_helpers() {
    let followed = |source: &str, destination: &str| {
        let mut control = tcp(source, destination, 21);
        control.origin.helper = Some(Helper::Ftp);
        control
    };
    let plan = planned(&[
        followed("10.0.0.2", "192.0.2.1"),
        followed("fd00::2", "2001:db8::1"),
    ]);
    let assigned = |program: &str| {
        format!("{program} -t raw -A PREROUTING -p tcp --dport 21 -j CT --helper ftp")
    };
    let (v4, v6) = (assigned("  iptables"), assigned("  ip6tables"));
    let heads = |families| {
        let mut text = Vec::new();
        iptables::write(&plan, families, &mut text).unwrap();
        let others = [ufw::write, firewalld::write, aerleon::write];
        let others = others.map(|write| write(&plan, families));
        let others = others.into_iter().flat_map(|foreign| foreign.files);
        let files: Vec<String> = others.map(|(_, text)| text).collect();
        let mut texts = vec![String::from_utf8(text).unwrap()];
        texts.extend(
            files
                .into_iter()
                .filter(|text| text.contains("CT --helper")),
        );
        texts
    };
    for (families, is_v4, is_v6) in [
        (iptables::Families::Both, true, true),
        (iptables::Families::Only(Family::V4), true, false),
        (iptables::Families::Only(Family::V6), false, true),
    ] {
        let texts = heads(families);
        assert_eq!(texts.len(), 4);
        for text in texts {
            assert_eq!(
                (text.contains(&v4), text.contains(&v6)),
                (is_v4, is_v6),
                "{text}"
            );
        }
    }
    // Nftables' table is of both families, where a second rule would do nothing.
    let lines = as_nft(&plan);
    assert_eq!(
        lines.matches("tcp dport 21 ct helper set").count(),
        1,
        "{lines}"
    );
}

#[test]
fn expected_connections_get_no_pinhole_but_their_helper() {
    let mut control = tcp("10.0.0.2", "192.0.2.1", 21);
    control.origin.helper = Some(Helper::Ftp);
    let mut data = tcp("10.0.0.2", "192.0.2.1", 37_619);
    data.origin.expected_by = Some(Expected {
        helper: Some(Helper::Ftp),
        protocol: Protocol::TCP,
        port: 21,
    });
    let plan = planned(&[control, data.clone()]);
    assert_eq!(plan.rules.len(), 1);
    assert_eq!((plan.carried().flows, plan.missing().flows), (2, 0));
    let text = as_nft(&plan);
    assert!(!text.contains("37619"), "{text}");
    assert!(
        text.contains("# Observed: 1 flow, related to ftp on tcp port 21."),
        "{text}"
    );
    assert!(text.contains("type \"ftp\" protocol tcp"), "{text}");
    assert!(
        text.contains("tcp dport 21 ct helper set \"ftp_tcp\""),
        "{text}"
    );
    assert!(
        plan.warnings.iter().all(|text| !text.contains("helper")),
        "{:?}",
        plan.warnings
    );
    let mut text = Vec::new();
    iptables::write(&plan, iptables::Families::Both, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.contains("-t raw -A PREROUTING -p tcp --dport 21 -j CT --helper ftp"),
        "{text}"
    );
    // Where it is not known how the helper was assigned, the administrator has to.
    let alone = planned(&[data, tcp("10.0.0.2", "192.0.2.1", 443)]);
    let warned = alone
        .warnings
        .iter()
        .any(|text| text.contains("ftp on tcp port 21"));
    assert!(warned, "{:?}", alone.warnings);
}

#[test]
fn privileged_ports_are_one_range_as_soon_as_there_were_several() {
    let nfs = |source| from_port(tcp("10.0.0.2", "192.0.2.1", 2049), source);
    let sports = |records: &[Record]| planned(records).rules[0].sports.clone();
    assert_eq!(sports(&[nfs(665)]), [PortRange::single(665)]);
    assert_eq!(sports(&[nfs(665), nfs(801)]), [PortRange::RESERVED]);
    let other = from_port(tcp("10.0.0.3", "192.0.2.1", 2049), 801);
    assert_eq!(sports(&[nfs(665), other]), [PortRange::RESERVED]);
    // Below 512 ports are no random ones, and what is the same on both sides is meant.
    let syslog = |source| from_port(tcp("10.0.0.2", "192.0.2.1", 514), source);
    let singles = [500, 514].map(PortRange::single);
    assert_eq!(sports(&[syslog(500), syslog(514)]), singles);
    assert!(as_nft(&planned(&[nfs(665), nfs(801)])).contains("512 to 1023"));
}

#[test]
fn captures_that_keep_ports_make_exact_rules() {
    let nfs = |source| from_port(tcp("10.0.0.2", "192.0.2.1", 2049), source);
    let kept = Capture {
        options: vec![SourcePorts::KEPT.to_owned()],
        ..capture()
    };
    let plan = plan(&[kept], &[nfs(665), nfs(801)], &Options::default());
    assert_eq!(plan.rules[0].sports, [665, 801].map(PortRange::single));
    assert!(!plan.reserved);
}
