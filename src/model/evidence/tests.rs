use super::*;
use crate::model::origin::Origin;
use crate::model::record::{Classic, Dnat, Snat, Translation};

fn flow(protocol: Protocol, from: (&str, u16), to: (&str, u16)) -> Record {
    Record {
        identity: Identity {
            source: from.0.parse().unwrap(),
            destination: to.0.parse().unwrap(),
            protocol,
            service: Service::Port(to.1),
            source_port: SourcePort::Exact(from.1),
            zone: 0,
            translation: None,
            netns: None,
        },
        confirmed: true,
        connections: 1,
        first_seen: None,
        last_seen: None,
        classic: Classic::Confirmed,
        origin: Origin::default(),
        usage: None,
    }
}

fn picked_up(from: (&str, u16), to: (&str, u16)) -> Record {
    let mut record = flow(Protocol::TCP, from, to);
    record.origin.begun = Begun::Unclear;
    record
}

fn honest(protocol: Protocol, from: &str, to: (&str, u16)) -> Record {
    let mut record = flow(protocol, (from, 0), to);
    record.identity.source_port = SourcePort::Ephemeral;
    record
}

fn placed(mut records: Vec<Record>, marks: Marks, listening: &Listening) -> Vec<Record> {
    place(&mut records, marks, listening);
    records
}

/// What becomes of the first of some flows.
fn first(records: Vec<Record>) -> Begun {
    placed(records, Marks::Taken, &Listening::default())[0]
        .origin
        .begun
}

const SERVER: &str = "10.0.2.2";
const CLIENT: &str = "10.0.1.2";

#[test]
fn the_table_of_services_can_be_searched() {
    assert!(SERVICES.is_sorted());
    assert!(is_service(22) && is_service(5222) && !is_service(FTP_DATA) && !is_service(801));
}

#[test]
fn ports_tell_where_only_one_is_of_a_service() {
    for (source, destination, begun) in [
        (22, 43_860, Begun::Turned),
        (5222, 41_000, Begun::Turned),
        (2049, 801, Begun::Turned),
        (43_860, 22, Begun::PickedUp),
        (801, 2049, Begun::PickedUp),
        (20, 40_000, Begun::Unclear),
        (40_000, 50_000, Begun::Unclear),
        (7777, 41_000, Begun::Unclear),
        (22, 443, Begun::Unclear),
        (179, 179, Begun::Unclear),
    ] {
        let record = picked_up((SERVER, source), (CLIENT, destination));
        assert_eq!(first(vec![record]), begun, "{source} to {destination}");
    }
}

#[test]
fn what_other_flows_ask_tells_as_well() {
    let wrong = picked_up((SERVER, 7777), (CLIENT, 41_000));
    let right = picked_up((CLIENT, 41_000), (SERVER, 7777));
    let other = honest(Protocol::TCP, "10.0.1.9", (SERVER, 7777));
    assert_eq!(first(vec![wrong.clone(), other.clone()]), Begun::Turned);
    assert_eq!(first(vec![right, other.clone()]), Begun::PickedUp);
    // One that nobody answered says nothing of a server.
    let mut refused = other;
    refused.confirmed = false;
    assert_eq!(first(vec![wrong.clone(), refused]), Begun::Unclear);
    let used = ["10.9.0.1", "10.9.0.2", "10.9.0.3"];
    let mut records = vec![wrong];
    records.extend(used.map(|server| honest(Protocol::TCP, CLIENT, (server, 7777))));
    assert_eq!(first(records), Begun::Turned);
}

#[test]
fn two_servers_are_no_evidence() {
    let record = picked_up((SERVER, 7777), (CLIENT, 41_000));
    let to = honest(Protocol::TCP, "10.0.1.9", (SERVER, 7777));
    let fro = honest(Protocol::TCP, "10.0.1.9", (CLIENT, 41_000));
    assert_eq!(first(vec![record, to, fro]), Begun::Unclear);
}

#[test]
fn a_socket_that_waits_is_a_server() {
    let listening = Listening::new([(Protocol::TCP, 7777)], [SERVER.parse().unwrap()]);
    let place = |record| {
        placed(vec![record], Marks::Taken, &listening)[0]
            .origin
            .begun
    };
    assert_eq!(
        place(picked_up((SERVER, 7777), (CLIENT, 41_000))),
        Begun::Turned
    );
    assert_eq!(
        place(picked_up((CLIENT, 41_000), (SERVER, 7777))),
        Begun::PickedUp
    );
    // The port of another host.
    assert_eq!(
        place(picked_up((CLIENT, 7777), (SERVER, 41_000))),
        Begun::Unclear
    );
}

#[test]
fn datagrams_are_turned_only_when_answered_and_told_apart() {
    let answer = flow(Protocol::UDP, (SERVER, 53), (CLIENT, 41_000));
    assert_eq!(first(vec![answer.clone()]), Begun::Turned);
    let mut unanswered = answer;
    unanswered.confirmed = false;
    assert_eq!(first(vec![unanswered]), Begun::Usual);
    for (source, destination) in [
        (123, 123),
        (67, 68),
        (41_000, 53),
        (41_000, 42_000),
        (514, 514),
        // Peers, and whoever chooses such a port.
        (51_820, 41_414),
        (5060, 41_000),
        (4500, 41_414),
        (53, 27_015),
        (443, 5000),
    ] {
        let record = flow(Protocol::UDP, (SERVER, source), (CLIENT, destination));
        assert_eq!(
            first(vec![record]),
            Begun::Usual,
            "{source} to {destination}"
        );
    }
}

#[test]
fn tcp_that_is_not_marked_is_in_doubt_only_where_nothing_is_marked() {
    let record = flow(Protocol::TCP, (SERVER, 22), (CLIENT, 43_860));
    assert_eq!(first(vec![record.clone()]), Begun::Usual);
    let settled = placed(vec![record.clone()], Marks::Settled, &Listening::default());
    assert_eq!(settled[0].origin.begun, Begun::Usual);
    let old = placed(vec![record], Marks::None, &Listening::default());
    assert_eq!(old[0].origin.begun, Begun::Turned);
}

#[test]
fn turning_twice_is_not_turning() {
    let mut record = picked_up((SERVER, 443), (CLIENT, 41_000));
    record.identity.translation = Some(Box::new(Translation {
        dnat: None,
        snat: Some(Snat {
            address: "203.0.113.2".parse().unwrap(),
            port: SourcePort::Exact(8443),
        }),
    }));
    let placed = placed(vec![record.clone()], Marks::Taken, &Listening::default());
    let turned = &placed[0].identity;
    // The published server answers first: the client asked for the published address.
    assert_eq!(turned.source.to_string(), CLIENT);
    assert_eq!(turned.source_port, SourcePort::Exact(41_000));
    assert_eq!(turned.destination.to_string(), "203.0.113.2");
    assert_eq!(turned.service, Service::Port(8443));
    let dnat = Dnat {
        address: SERVER.parse().unwrap(),
        port: Some(443),
    };
    assert_eq!(turned.dnat(), Some(dnat));
    assert_eq!(*placed[0].tracked(), record.identity);
    assert_eq!(placed[0].classic_flow(), record.classic_flow());
}

#[test]
fn what_is_there_the_right_way_round_too_is_not_there_twice() {
    let answer = flow(Protocol::UDP, (SERVER, 53), (CLIENT, 41_000));
    let question = flow(Protocol::UDP, (CLIENT, 41_000), (SERVER, 53));
    let placed = placed(
        vec![answer.clone(), question.clone()],
        Marks::Taken,
        &Listening::default(),
    );
    let mut answer = answer;
    answer.origin.begun = Begun::Unclear;
    assert_eq!(placed, [answer, question]);
}
