//! `conntracker rules`: what it writes loads, says what a person wrote down, and is judged by `check` to let through
//! what was seen and nothing else.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use conntracker::testing::formats::json;
use conntracker::testing::model::{Identity, Protocol, Record, Service, SourcePort};
use conntracker::testing::rules::{ByHand, Options, Plan, iptables, is_name, nft, plan};
use proptest::prelude::*;
use serde_json::Value;
use vendor_tests::capture::{Launch, Outcome};
use vendor_tests::netns::{self, sh};
use vendor_tests::properties;
use vendor_tests::temp::Folder;
use vendor_tests::world::{Model, World, gateway, is_group, record};

fn rules(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("rules")
        .join(name)
}

/// Runs the program to its end.
fn conntracker(args: &[&str]) -> Outcome {
    Launch::new(args).run()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are text")
}

/// Loads a file, or only tests it, and says what was wrong.
fn load(program: &[&str], path: &Path) -> Result<(), String> {
    let mut command = Command::new(program[0]);
    let output = command
        .args(&program[1..])
        .arg(path)
        .output()
        .expect("it is installed");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        Ok(())
    } else {
        Err(said)
    }
}

const LOADERS: [&[&str]; 3] = [
    &["nft", "-c", "-f"],
    &["iptables-restore", "--test"],
    &["ip6tables-restore", "--test"],
];

/// Has the real programs test both forms of a plan.
fn loads(plan: &Plan, folder: &Folder) -> Result<(), String> {
    let (ours, theirs) = (folder.join("rules.nft"), folder.join("rules.iptables"));
    let mut file = Vec::new();
    nft::write(plan, nft::TABLE, &mut file).expect("memory");
    fs::write(&ours, file).expect("the folder can be written");
    let mut file = Vec::new();
    iptables::write(plan, iptables::Families::Both, &mut file).expect("memory");
    fs::write(&theirs, file).expect("the folder can be written");
    for (program, path) in LOADERS.iter().zip([&ours, &theirs, &theirs]) {
        load(program, path).map_err(|said| format!("{}: {said}", program[0]))?;
    }
    Ok(())
}

#[test]
fn the_rules_of_an_office_are_those_a_person_wrote_down() {
    let capture = rules("office.json");
    for (firewall, expected) in [("nft", "office.nft"), ("iptables", "office.iptables")] {
        let outcome = conntracker(&["rules", "--quiet", "--for", firewall, text(&capture)]);
        let expected = rules(expected);
        if std::env::var_os("CONNTRACKER_BLESS").is_some() {
            fs::write(&expected, &outcome.stdout).expect("the tests can be written");
        }
        let expected = fs::read_to_string(expected).expect("the expected rules are there");
        assert_eq!(outcome.list(), expected);
    }
}

#[test]
fn each_family_has_its_file() {
    let folder = Folder::new();
    let capture = rules("office.json");
    let outcome = conntracker(&[
        "rules",
        "--for",
        "iptables",
        text(&capture),
        "-o",
        text(folder.path()),
    ]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    netns::run("each_family_has_its_file", || {
        load(&["iptables-restore"], &folder.join("rules.v4")).expect("it loads");
        load(&["ip6tables-restore"], &folder.join("rules.v6")).expect("it loads");
        sh(
            "iptables-save | grep -q -- '--dport 443 ' && ! iptables-save | grep -q fd01
            ip6tables-save | grep -q fd01 && ! ip6tables-save | grep -q 10.1.0",
        );
    });
}

#[test]
fn tables_can_have_every_name_that_is_let_through() {
    netns::run("tables_can_have_every_name_that_is_let_through", || {
        let folder = Folder::new();
        let path = folder.join("name.nft");
        for name in ["observed", "edge_1", "Filter", "filter", "a", "conntracker"] {
            assert!(is_name(name), "{name}");
            fs::write(&path, format!("table inet {name} {{ }}\n")).expect("a file");
            load(LOADERS[0], &path).expect(name);
        }
    });
}

/// Any flow at all, of few enough hosts that rules come together.
fn any_identity() -> impl Strategy<Value = Identity> {
    let protocol = prop_oneof![4 => prop::sample::select(vec![6_u8, 17, 1, 58, 33, 132, 136]), 1 => any::<u8>()];
    let sport = prop_oneof![
        3 => Just(SourcePort::Ephemeral), 1 => any::<u16>().prop_map(SourcePort::Exact)
    ];
    let hosts = (
        0_u32..40,
        0_u32..40,
        any::<u32>(),
        prop::bool::weighted(0.1),
    );
    (
        any::<bool>(),
        hosts,
        protocol,
        any::<u16>(),
        sport,
        0_u8..40,
    )
        .prop_map(
            |(v4, (source, destination, far, odd), protocol, port, source_port, dice)| {
                let protocol = Protocol(protocol);
                let address = |host: u32, net: u32| match (v4, odd) {
                    (true, false) => (0x0a00_0000 + (net << 8) + host).to_be_bytes().into(),
                    (true, true) => (far ^ host).to_be_bytes().into(),
                    (false, false) => [0xfd00, 0, 0, net as u16, 0, 0, 0, host as u16].into(),
                    (false, true) => {
                        [far as u16, 0, 0, net as u16, 0, 0, 1, (far >> 16) as u16].into()
                    }
                };
                let port = if dice < 20 { 443 } else { port };
                Identity {
                    source: address(source, 0),
                    destination: address(destination, 1),
                    protocol,
                    service: match protocol {
                        _ if protocol.has_ports() => Service::Port(port),
                        _ if protocol.is_icmp() => Service::Icmp(port as u8, (port >> 8) as u8),
                        _ => Service::None,
                    },
                    source_port: if protocol.has_ports() {
                        source_port
                    } else {
                        SourcePort::None
                    },
                    zone: if dice == 0 { port } else { 0 },
                    netns: None,
                    translation: None,
                }
            },
        )
}

fn seen(identity: Identity) -> Record {
    record(identity, true, 3)
}

#[test]
fn whatever_is_written_loads() {
    netns::run("whatever_is_written_loads", || {
        let folder = Folder::new();
        let sizes = prop_oneof![
            prop::collection::vec(any_identity(), 1..30),
            prop::collection::vec(any_identity(), 400..1500)
        ];
        let strategy = (sizes, prop_oneof![Just(0_u8), 1_u8..100], any::<bool>());
        let run = properties::runner(30).run(&strategy, |(flows, widen, known)| {
            let records: Vec<Record> = flows.into_iter().map(seen).collect();
            let captures = if known { vec![gateway()] } else { vec![] };
            let plan = plan(
                &captures,
                &records,
                &Options {
                    widen,
                    ..Options::default()
                },
            );
            loads(&plan, &folder).map_err(TestCaseError::fail)
        });
        run.expect("every ruleset loads");
    });
}

#[test]
fn a_hundred_thousand_flows_load() {
    netns::run("a_hundred_thousand_flows_load", || {
        let folder = Folder::new();
        let (capture, nft) = (folder.join("flows.json"), folder.join("rules.nft"));
        let mut file = Vec::new();
        let mut list = json::List::begin(&[gateway()], &mut file).expect("memory");
        let mut different = HashSet::new();
        let mut state = 1_u64;
        while different.len() < 100_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let dice = (state >> 33) as u32;
            let port = [443, 443, 80, 53, (dice >> 8) as u16 % 2000 + 1][dice as usize % 5];
            let identity = Identity {
                source: (0x0a00_0000 + (dice >> 3) % 3000 + 2).to_be_bytes().into(),
                destination: (0xc633_0000 + (state >> 11) as u32 % 40_000)
                    .to_be_bytes()
                    .into(),
                protocol: Protocol::TCP,
                service: Service::Port(port),
                source_port: SourcePort::Ephemeral,
                zone: 0,
                netns: None,
                translation: None,
            };
            if different.insert(identity.clone()) {
                list.flow(&seen(identity), &[]).expect("memory");
            }
        }
        list.end().expect("memory");
        fs::write(&capture, file).expect("the folder can be written");
        let began = Instant::now();
        let outcome = conntracker(&["rules", text(&capture), "-o", text(&nft)]);
        let wrote = began.elapsed();
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        let began = Instant::now();
        load(&["nft", "-f"], &nft).expect("it loads");
        eprintln!(
            "100,000 flows: written in {wrote:?}, loaded in {:?}",
            began.elapsed()
        );
        // And once more over itself.
        load(&["nft", "-f"], &nft).expect("it loads again");
        let outcome = conntracker(&[
            "rules",
            "--for",
            "iptables",
            text(&capture),
            "-o",
            text(&nft),
        ]);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        let began = Instant::now();
        load(LOADERS[1], &nft).expect("it loads");
        eprintln!("iptables-restore --test: {:?}", began.elapsed());
    });
}

fn write_capture(path: &Path, flows: impl IntoIterator<Item = Record>) {
    let mut file = Vec::new();
    let mut list = json::List::begin(&[gateway()], &mut file).expect("memory");
    for record in flows {
        list.flow(&record, &[]).expect("memory");
    }
    list.end().expect("memory");
    fs::write(path, file).expect("the folder can be written");
}

#[test]
fn check_accepts_what_rules_were_written_for_and_drops_the_rest() {
    let test = "check_accepts_what_rules_were_written_for_and_drops_the_rest";
    netns::run(test, || {
        let folder = Folder::new();
        let [seen, unseen, nft, v4, v6] =
            ["seen", "unseen", "rules.nft", "rules.v4", "rules.v6"].map(|name| folder.join(name));
        let strategy = (
            any::<u64>(),
            20_usize..200,
            prop_oneof![Just(0_u8), 10_u8..60],
            prop_oneof![Just("nft"), Just("iptables")],
            prop_oneof![Just(None), Just(Some("10.0.0.0/24"))],
        );
        let run =
            properties::runner(12).run(&strategy, |(seed, flows, widen, firewall, clients)| {
                let world = World::new(seed, flows, 300);
                let options = Options {
                    widen,
                    by_hand: ByHand::clients(
                        clients
                            .into_iter()
                            .map(|net| net.parse().expect("a network"))
                            .collect(),
                    ),
                    ..Options::default()
                };
                let plan = plan(&[world.capture], &world.records, &options);
                let model =
                    Model::new(world.records.iter().filter(|record| record.confirmed), true);
                let probes = world.probes.into_iter().filter(|probe| {
                    !is_group(probe.destination)
                        && !model.has_seen(probe)
                        && !plan.lists_as_extra(probe)
                });
                let others: Vec<Record> = probes.map(|probe| record(probe, true, 1)).collect();
                let count = others.len();
                write_capture(&seen, world.records);
                write_capture(&unseen, others);
                let (output, rulesets) = match firewall {
                    "nft" => (nft.as_path(), vec![text(&nft)]),
                    _ => (folder.path(), vec![text(&v4), "--also", text(&v6)]),
                };
                let percent = widen.to_string();
                let mut words = vec![
                    "rules",
                    "--for",
                    firewall,
                    "--widen",
                    &percent,
                    "--source-ports=keep",
                    text(&seen),
                    "-o",
                    text(output),
                ];
                if let Some(network) = clients {
                    words.extend(["--clients", network]);
                }
                let outcome = conntracker(&words);
                prop_assert_eq!(outcome.code, Some(0), "{:?}", outcome);
                let check = |capture: &Path, more: &[&str]| {
                    conntracker(
                        &[
                            &["check", "--source-ports=keep"],
                            &*rulesets,
                            &[text(capture)],
                            more,
                        ]
                        .concat(),
                    )
                };
                let outcome = check(&seen, &[]);
                prop_assert_eq!(outcome.code, Some(0), "{}", outcome.text());
                let outcome = check(&unseen, &["--format", "json"]);
                let lines = outcome.text();
                let verdicts = lines.lines().skip(1);
                let verdicts: Vec<Value> = verdicts
                    .map(|line| serde_json::from_str(line).expect("JSON"))
                    .collect();
                prop_assert_eq!(verdicts.len(), count, "{:?}", outcome);
                for verdict in verdicts {
                    prop_assert_eq!(&verdict["verdict"], "dropped", "{}", verdict);
                }
                Ok(())
            });
        run.expect("the round trip");
    });
}
