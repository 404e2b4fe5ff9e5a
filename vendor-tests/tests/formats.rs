//! Lists in the formats other than the classic one.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use vendor_tests::capture::Launch;
use vendor_tests::program::{conntracker, run};
use vendor_tests::schema::SCHEMA;
use vendor_tests::temp::Folder;
use vendor_tests::vectors::{Vector, all};

const CHECK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/formats.py");

/// The vectors that are captures. Not the largest, which has nothing in it that others have not.
fn captures() -> Vec<Vector> {
    let all = all().into_iter();
    all.filter(|vector| vector.succeeds && vector.name != "large")
        .collect()
}

fn list(vector: &Vector, args: &[&str]) -> Vec<u8> {
    let pcap = vector.pcap();
    let mut words = vec!["-q", "-r", pcap.to_str().expect("a plain name")];
    words.extend(args);
    let outcome = Launch::new(words).run();
    let expected = Some(vector.code());
    assert_eq!(outcome.code, expected, "{}: {outcome:?}", vector.name);
    outcome.stdout
}

/// What `conntracker show` makes of a list on its standard input.
fn shown(list: &[u8], args: &[&str], vector: &Vector) -> Vec<u8> {
    let mut child = Command::new(conntracker())
        .args(["show", "-"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut input = child.stdin.take().expect("a pipe");
    let list = list.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&list));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("it reads all");
    // What a recording lacks, the list of it lacks too.
    assert_eq!(output.status.code(), Some(vector.code()), "{output:?}");
    output.stdout
}

#[test]
fn json_and_csv_say_the_same_in_the_form_that_is_promised() {
    let folder = Folder::new();
    let mut vectors = 0;
    for vector in captures() {
        for (form, extra) in [
            ("plain", &[][..]),
            ("keep", &["--source-ports", "keep", "--all-protocols"]),
        ] {
            for format in ["json", "csv"] {
                let mut args = vec!["--format", format];
                args.extend(extra);
                let name = format!("{}-{form}.{format}", vector.name);
                fs::write(folder.join(&name), list(&vector, &args)).expect("a folder of ours");
            }
        }
        vectors += 1;
    }
    let path = folder.path().to_str().expect("a plain name");
    let flows: u64 = run("python3", [CHECK, SCHEMA, path])
        .trim()
        .parse()
        .expect("a number");
    assert!(
        vectors > 80 && flows > 1000,
        "{vectors} vectors, {flows} flows"
    );
}

#[test]
fn the_json_form_loses_nothing_of_the_classic_list() {
    for vector in captures() {
        for extra in [&[][..], &["--all-protocols"], &["--sort", "connections"]] {
            let mut args = vec!["--format", "json"];
            args.extend(extra);
            let json = list(&vector, &args);
            let classic = shown(&json, &["--format", "classic"], &vector);
            assert!(classic == vector.expected(), "{} {extra:?}", vector.name);
        }
    }
}

#[test]
fn filters_of_the_classic_list_leave_lines_out_and_change_none() {
    // The index counts the lines that are left.
    let plain = |list: &[u8]| -> Vec<String> {
        let list = String::from_utf8_lossy(list).into_owned();
        let lines = list.lines().map(|line| match line.split_once(']') {
            Some((head, rest)) => format!("{}{rest}", &head[..7]),
            None => panic!("{line}"),
        });
        lines.collect()
    };
    type Kept = fn(&str) -> bool;
    let filters: [(&[&str], Kept); 7] = [
        (&["--confirmed"], |line| line.ends_with("(confirmed)")),
        (&["--unconfirmed"], |line| !line.ends_with("(confirmed)")),
        (&["--proto", "udp"], |line| line.starts_with(" UDP")),
        (&["-6"], |line| line[..7].contains("v6")),
        (&["--ipv4", "--proto", "!icmp"], |line| {
            line.starts_with(" TCPv4") || line.starts_with(" UDPv4")
        }),
        (&["--dport", "1-1023"], |line| {
            let port = line.split("(port=").nth(2);
            let port = port.and_then(|rest| rest.split(')').next()?.parse().ok());
            port.is_some_and(|port: u16| (1..1024).contains(&port))
        }),
        (&["--src", "10.0.0.0/8,fd00::/8"], |line| {
            line.contains("src = 10.") || line.contains("src = fd")
        }),
    ];
    for vector in captures() {
        let whole = plain(&vector.expected());
        for (args, kept) in filters {
            let expected: Vec<&String> = whole.iter().filter(|line| kept(line)).collect();
            let found = plain(&list(&vector, args));
            assert!(
                found.iter().eq(expected),
                "{} {args:?}: {found:#?}",
                vector.name
            );
        }
    }
}

#[test]
fn a_table_has_a_heading_and_a_line_a_flow_in_the_order_of_addresses() {
    for vector in captures() {
        let table = String::from_utf8(list(&vector, &["--format", "table"])).expect("text");
        let json = list(&vector, &["--format", "json"]);
        let json = String::from_utf8(json).expect("text");
        let sources = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
        let tabled: Vec<_> = table.lines().skip(1).filter_map(sources).collect();
        let listed: Vec<_> = json
            .lines()
            .filter(|line| line.starts_with("{\"type\":\"flow\""))
            .map(|line| {
                let after = line.split("\"src\":\"").nth(1).expect("a source");
                after.split('"').next().expect("an end").to_owned()
            })
            .collect();
        assert_eq!(tabled, listed, "{}", vector.name);
        let mut sorted = listed.clone();
        sorted.sort_by_key(|source| source.parse::<std::net::IpAddr>().expect("an address"));
        assert_eq!(listed, sorted, "{}", vector.name);
        assert!(!table.contains('\x1b'), "colours are for terminals");
    }
}

#[test]
fn rules_are_a_format_of_every_list() {
    let folder = Folder::new();
    let captures = captures();
    let vector = captures
        .iter()
        .find(|vector| vector.name == "real_nat")
        .expect("a vector of real traffic");
    let (json, nft) = (folder.join("flows.json"), folder.join("rules.nft"));
    let [json, nft] = [&json, &nft].map(|path| path.to_str().expect("a plain name"));
    fs::write(json, list(vector, &["--format", "json"])).expect("a folder of ours");
    let outcome = Launch::new(["rules", "-q", json, "-o", nft]).run();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let expected = fs::read_to_string(nft).expect("rules were written");
    assert!(expected.contains("table inet observed {"), "{expected}");
    for command in ["show", "merge"] {
        let outcome =
            Launch::new([command, "--format", "nft", json, "--sort", "connections"]).run();
        assert_eq!(outcome.text(), expected);
        assert!(
            outcome.stderr.contains("own addresses are not known"),
            "{outcome:?}"
        );
    }
    let replayed = String::from_utf8(list(vector, &["--format", "nft"])).expect("rules are text");
    assert_eq!(replayed, expected);

    for (args, reason) in [
        (&["show", "--group", "dst"][..], "rules are made of flows"),
        (&["diff", json], "a difference is no ruleset"),
    ] {
        let outcome = Launch::new([args, &["--format", "nft", json]].concat()).run();
        assert_ne!(outcome.code, Some(0), "{outcome:?}");
        assert!(outcome.stderr.contains(reason), "{outcome:?}");
        assert!(outcome.stdout.is_empty(), "{outcome:?}");
    }
}

#[test]
fn what_was_not_answered_makes_no_rules() {
    let captures = captures();
    let names = captures.iter().map(|vector| vector.pcap());
    let path = names.into_iter().next().expect("vectors");
    let path = path.to_str().expect("a plain name");
    let outcome = Launch::new(["-r", path, "--unconfirmed", "--format", "nft"]).run();
    let text = outcome.text();
    assert!(
        !text.is_empty() && text.lines().all(|line| line.starts_with('#')),
        "{text}"
    );
    assert!(
        outcome.stderr.contains("no rules were written"),
        "{outcome:?}"
    );
}
