//! Names beside addresses: from files, and from the system's resolver, for which dnsmasq is the name server.

use std::fs;
use std::process::Command;

use vendor_tests::capture::{Launch, Outcome};
use vendor_tests::checking::text;
use vendor_tests::skipped;
use vendor_tests::temp::Folder;

const FLOWS: &str = "\
tcp 6 100 ESTABLISHED src=10.0.0.7 dst=192.0.2.80 sport=40000 dport=443 src=192.0.2.80 dst=10.0.0.7 sport=443 dport=40000 [ASSURED]
tcp 6 100 ESTABLISHED src=10.0.0.8 dst=192.0.2.81 sport=40000 dport=443 src=192.0.2.81 dst=10.0.0.8 sport=443 dport=40000 [ASSURED]
tcp 6 100 ESTABLISHED src=10.0.0.9 dst=10.0.0.7 sport=40000 dport=22 src=10.0.0.7 dst=10.0.0.9 sport=22 dport=40000 [ASSURED]
";

fn written(folder: &Folder, name: &str, content: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, content).expect("the folder can be written");
    text(&path).to_owned()
}

fn show(flows: &str, args: &[&str]) -> Outcome {
    Launch::new(["show", flows].iter().chain(args)).run()
}

#[test]
fn files_give_names_to_lists_and_filters() {
    let folder = Folder::new();
    let flows = written(&folder, "flows.txt", FLOWS);
    let mine = written(
        &folder,
        "mine.toml",
        "[networks]\nweb = \"192.0.2.0/24\"\n[hosts]\n\"evil\\u001b[31m\" = \"10.0.0.9\"\n",
    );
    let leases = written(
        &folder,
        "leases",
        "1767225600 02:00:00:00:00:01 10.0.0.7 phone 01:02\n1767225600 02:00:00:00:00:02 10.0.0.8 * *\n",
    );
    let names = ["--names", &mine, "--names", &leases];
    let table = show(&flows, &names).text();
    let line = |part: &str| {
        let found = table.lines().find(|line| line.contains(part));
        found.unwrap_or_else(|| panic!("{part}: {table}"))
    };
    assert!(
        line("192.0.2.80").contains("10.0.0.7 phone ")
            && line("192.0.2.80").contains("192.0.2.80 web ")
    );
    assert!(line("192.0.2.81").contains("10.0.0.8  "), "{table}");
    // What a file says is not what a terminal is told.
    assert!(!table.contains('\u{1b}') && line("10.0.0.9").contains("evil"));

    let json = show(&flows, &[&names[..], &["--format", "json"]].concat()).text();
    let objects: Vec<serde_json::Value> = { json.lines() }
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let of = |source: &str| {
        objects
            .iter()
            .find(|object| object["src"] == source)
            .expect("its flow")
    };
    assert_eq!(of("10.0.0.7")["src_name"], "phone");
    assert_eq!(of("10.0.0.7")["dst_names"], serde_json::json!(["web"]));
    assert_eq!(of("10.0.0.9")["dst_names"], serde_json::json!(["phone"]));
    assert!(of("10.0.0.8").get("src_name").is_none());
    vendor_tests::schema::assert_holds(&json);
    // Files with names are read as others are.
    let again = written(&folder, "named.json", &json);
    let plain = |path: &str| {
        let list = show(path, &["--format", "json"]).text();
        list.lines()
            .filter(|line| line.contains("\"flow\""))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(plain(&again), plain(&flows));

    for (filter, sources) in [
        (&["--src-name", "PH*"][..], &["10.0.0.7"][..]),
        (&["--dst-name", "web"], &["10.0.0.7", "10.0.0.8"]),
        (&["--dst-name", "!web"], &["10.0.0.9"]),
        (
            &["--dst-name", "web", "--src-name", "^phone"],
            &["10.0.0.8"],
        ),
    ] {
        let list = show(
            &flows,
            &[&names[..], filter, &["--format", "json"]].concat(),
        )
        .text();
        let found: Vec<String> = { list.lines() }
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
            .filter_map(|object| Some(object["src"].as_str()?.to_owned()))
            .collect();
        assert_eq!(found, sources, "{filter:?}");
        assert!(
            list.lines().next().unwrap().contains(filter[0]),
            "the capture does not say that it was filtered"
        );
    }
    let groups = show(
        &flows,
        &[&names[..], &["--dst-name", "web", "--group", "service"]].concat(),
    )
    .text();
    assert!(groups.contains("443") && !groups.contains("22"), "{groups}");
}

#[test]
fn what_can_not_be_named_is_refused() {
    let folder = Folder::new();
    let flows = written(&folder, "flows.txt", FLOWS);
    let wrong = written(&folder, "wrong.toml", "[hosts]\nx = \"10.0.0.300\"\n");
    for (args, code, why) in [
        (
            &["--dst-name", "web"][..],
            2,
            "add --names FILE or --resolve dns",
        ),
        (&["--names", &wrong], 1, "line 2: \"x\" is no address"),
        (
            &["--names", "/no/such/file"],
            1,
            "/no/such/file: No such file",
        ),
    ] {
        let outcome = show(&flows, args);
        assert_eq!(outcome.code, Some(code), "{args:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(why), "{args:?}: {}", outcome.stderr);
    }
    let live = Launch::new(["--resolve", "dns"]).run();
    assert_eq!(live.code, Some(2), "{}", live.stderr);
    assert!(
        live.stderr.contains("conntracker show --resolve dns FILE"),
        "{}",
        live.stderr
    );
}

/// The name server answers for one address, says a name that no host can have for another one, and knows nothing of the rest.
const SERVER: &str = "\
ip link set lo up
printf 'nameserver 127.0.0.1\\noptions timeout:1 attempts:1\\n' > $0/resolv.conf
printf '10.0.0.8 from-hosts\\n' > $0/hosts
printf 'hosts: files dns\\n' > $0/nsswitch.conf
mount --bind $0/resolv.conf /etc/resolv.conf
mount --bind $0/hosts /etc/hosts
mount --bind $0/nsswitch.conf /etc/nsswitch.conf
dnsmasq --conf-file=/dev/null --pid-file= --no-hosts --no-resolv --listen-address=127.0.0.1 --bind-interfaces \
    --user=root --ptr-record=7.0.0.10.in-addr.arpa,phone.example --ptr-record='9.0.0.10.in-addr.arpa,bad name'
exec \"$@\"
";

#[test]
fn the_resolver_is_asked_for_what_no_file_names() {
    if Command::new("dnsmasq").arg("--version").output().is_err() {
        skipped!("dnsmasq is not installed");
    }
    let folder = Folder::new();
    let flows = written(&folder, "flows.txt", FLOWS);
    let script = SERVER.to_owned();
    let wrapper = [
        "unshare",
        "-nmpf",
        "--kill-child",
        "sh",
        "-ec",
        &script,
        text(folder.path()),
    ];
    let outcome = Launch::new([
        "show",
        &flows,
        "--resolve",
        "dns,services",
        "--format",
        "table",
    ])
    .under(wrapper)
    .run();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let table = outcome.text();
    for wanted in ["10.0.0.7 phone.example", "10.0.0.8 from-hosts", "443 https"] {
        assert!(table.contains(wanted), "{wanted}: {table}");
    }
    assert!(!table.contains("bad"), "{table}");
}

#[test]
fn times_of_tables_are_local_unless_utc_is_wanted() {
    let folder = Folder::new();
    let line = format!(
        "2026-07-01T10:20:30.5+00:00 gw conntrack[1]: {}",
        FLOWS.lines().next().expect("a line")
    );
    let flows = written(&folder, "flows.txt", &line);
    let berlin = ["env", "TZ=Europe/Berlin"];
    for (args, heading, time) in [
        (
            &["show", &flows][..],
            "FIRST SEEN (Europe/Berlin)",
            "2026-07-01 12:20:30",
        ),
        (
            &["show", &flows, "--utc"],
            "FIRST SEEN (UTC)",
            "2026-07-01 10:20:30",
        ),
        (
            &["show", &flows, "--group", "dst"],
            "LAST SEEN (Europe/Berlin)",
            "2026-07-01 12:20:30",
        ),
        (
            &["show", &flows, "--format", "csv"],
            "first_seen",
            "2026-07-01T10:20:30.500000Z",
        ),
    ] {
        let text = Launch::new(args.iter().copied()).under(berlin).run().text();
        assert!(
            text.contains(heading) && text.contains(time),
            "{args:?}: {text}"
        );
    }
}
