//! The same traffic as this program sees it and as ulogd2, nfdump, Suricata and conntrack's XML tell of it.

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};

use vendor_tests::capture::{Launch, sockets};
use vendor_tests::files::{file, on};
use vendor_tests::netns::{self, sh};
use vendor_tests::program::run;
use vendor_tests::temp::Folder;
use vendor_tests::wait::{bound, until_true};

/// The folder in which Debian's packages of the programs are unpacked; where one is not, they may be installed.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/exporters")
}

fn program(name: &str) -> Option<PathBuf> {
    let folders = [
        root().join("usr/bin"),
        root().join("usr/sbin"),
        "/usr/bin".into(),
        "/usr/sbin".into(),
    ];
    let mut paths = folders.into_iter().map(|folder| folder.join(name));
    paths.find(|path| path.exists())
}

fn libraries() -> PathBuf {
    let folders = fs::read_dir(root().join("usr/lib"))
        .into_iter()
        .flatten()
        .flatten();
    let mut folders = folders.map(|entry| entry.path());
    let found = folders.find(|path| path.to_string_lossy().ends_with("-linux-gnu"));
    // Where they are installed, ulogd2 looks for its plugins itself.
    found.unwrap_or_else(|| root().join("usr/lib"))
}

/// Runs one of the programs to its end, and returns what it says.
fn of(name: &Path, args: &[&str]) -> String {
    let with = format!("LD_LIBRARY_PATH={}", libraries().display());
    let name = name.to_str().expect("a name");
    run("env", [&[with.as_str(), name], args].concat())
}

/// Flows as `protocol source destination port type confirmed`.
fn facts(path: &Path, types: bool) -> BTreeSet<String> {
    let outcome = on("show --format csv", &[path]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let text = outcome.text();
    let line = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        let icmp = if types { cells[8] } else { "" };
        [cells[1], cells[3], cells[6], cells[7], icmp, cells[11]].join(" ")
    };
    text.lines().skip(1).map(line).collect()
}

fn traffic() {
    let tcp = bound(|| TcpListener::bind("10.99.0.2:443"));
    let near = TcpStream::connect("10.99.0.2:443").expect("a connection");
    drop((near, tcp.accept().expect("a connection")));
    let server = bound(|| UdpSocket::bind("10.99.0.2:53"));
    let client = bound(|| UdpSocket::bind("10.99.0.1:40002"));
    client.send_to(b"?", "10.99.0.2:53").expect("it is sent");
    let mut buffer = [0; 9];
    let (_, from) = server.recv_from(&mut buffer).expect("it comes");
    server.send_to(b"!", from).expect("it is sent");
    client.recv_from(&mut buffer).expect("it comes");
    // Nobody answers.
    let silent = bound(|| UdpSocket::bind("10.99.0.2:514"));
    let client = bound(|| UdpSocket::bind("10.99.0.1:40003"));
    client.send_to(b"?", "10.99.0.2:514").expect("it is sent");
    drop(silent);
    sh("ping -q -c 1 -W 2 -I 10.99.0.1 10.99.0.2 >/dev/null");
}

/// Sends packets of a flow that is not tracked until one of them is in the recording, and all that came before it with
/// it: dumpcap says neither when it listens nor when it has written.
fn recorded(packets: &Path, word: &str) {
    let server = bound(|| UdpSocket::bind("10.99.0.2:9"));
    let client = bound(|| UdpSocket::bind("10.99.0.1:40009"));
    until_true("a packet to be recorded", || {
        client
            .send_to(word.as_bytes(), "10.99.0.2:9")
            .expect("it is sent");
        let bytes = fs::read(packets).unwrap_or_default();
        bytes
            .windows(word.len())
            .any(|found| found == word.as_bytes())
    });
    drop(server);
}

fn ulogd_conf(folder: &Folder) -> PathBuf {
    let plugins = libraries().join("ulogd");
    let mut conf = format!(
        "[global]\nlogfile=\"{}\"\n",
        folder.join("ulogd.log").display()
    );
    if plugins.exists() {
        for plugin in [
            "inpflow_NFCT",
            "filter_IP2STR",
            "filter_PRINTFLOW",
            "output_LOGEMU",
            "output_JSON",
            "output_XML",
        ] {
            conf += &format!("plugin=\"{}/ulogd_{plugin}.so\"\n", plugins.display());
        }
    }
    conf += "stack=ends:NFCT,ip:IP2STR,json:JSON\nstack=all:NFCT,ip:IP2STR,print:PRINTFLOW,log:LOGEMU\n";
    conf += "stack=ends:NFCT,xml:XML\n[ends]\nhash_enable=1\n[all]\nhash_enable=0\n";
    for (section, name) in [("json", "flows.json"), ("log", "flows.log")] {
        conf += &format!(
            "[{section}]\nsync=1\nfile=\"{}\"\n",
            folder.join(name).display()
        );
    }
    conf += &format!("[xml]\nsync=1\ndirectory=\"{}\"\n", folder.path().display());
    file(folder, "ulogd.conf", conf)
}

#[test]
fn others_tell_of_the_flows_that_are_seen_here() {
    netns::run("others_tell_of_the_flows_that_are_seen_here", || {
        let folder = Folder::new();
        sh(
            "ip link set lo up; ip addr add 10.99.0.1/24 dev lo; ip addr add 10.99.0.2/24 dev lo
            nft add table inet t; nft 'add chain inet t o { type filter hook output priority 0; }'
            nft add rule inet t o ct state new counter
            nft 'add chain inet t r { type filter hook output priority raw; }'
            nft 'add chain inet t p { type filter hook prerouting priority raw; }'
            nft add rule inet t r udp dport 9 notrack; nft add rule inet t p udp dport 9 notrack",
        );
        fs::write("/proc/sys/net/netfilter/nf_conntrack_acct", "1").expect("accounting");
        let own = folder.join("own");
        let words = ["--format", "json", "--all-protocols", "-o"].map(AsRef::as_ref);
        let capture = Launch::new(words.into_iter().chain([own.as_os_str()])).start();
        let packets = folder.join("packets");
        let packets_name = packets.to_str().expect("a name");
        let dump = Launch::of("dumpcap", ["-q", "-i", "lo", "-w", packets_name]).spawn();
        let ulogd = program("ulogd").map(|ulogd| {
            let conf = ulogd_conf(&folder);
            let with = format!("LD_LIBRARY_PATH={}", libraries().display());
            let words = [
                with.as_str(),
                ulogd.to_str().expect("a name"),
                "-c",
                conf.to_str().expect("a name"),
            ];
            Launch::of("env", words).spawn()
        });
        let xml = Launch::of("conntrack", ["-E", "-o", "xml"]).start();
        recorded(&packets, "the first of all");
        if let Some(ulogd) = &ulogd {
            // One for each instance of its input.
            until_true("ulogd2 to listen", || sockets(ulogd.pid()).len() >= 2);
        }
        traffic();
        recorded(&packets, "the last of all");
        let table = file(&folder, "table.xml", run("conntrack", ["-L", "-o", "xml"]));
        capture.drained();
        let outcome = capture.finish();
        assert_eq!((outcome.code, outcome.text().as_str()), (Some(0), ""));
        run("conntrack", ["-D"]);
        let expected = facts(&own, true);
        assert_eq!(expected.len(), 4, "{expected:#?}");
        let untyped = facts(&own, false);

        until_true("conntrack to tell of four ends", || {
            String::from_utf8_lossy(&xml.stdout())
                .matches("\"destroy\"")
                .count()
                == 4
        });
        assert_eq!(
            facts(&file(&folder, "events.xml", xml.finish().text()), false),
            untyped
        );
        assert_eq!(facts(&table, false), untyped);

        if let Some(ulogd) = ulogd {
            let lines = |name: &str, count| {
                until_true("ulogd2 to write", || {
                    fs::read_to_string(folder.join(name))
                        .is_ok_and(|text| text.lines().count() >= count)
                });
                folder.join(name)
            };
            assert_eq!(facts(&lines("flows.json", 4), true), expected);
            assert_eq!(facts(&lines("flows.log", 8), false), untyped);
            ulogd.finish();
            let entries = fs::read_dir(folder.path()).expect("a folder").flatten();
            let mut paths = entries.map(|entry| entry.path());
            let flows = paths.find(|path| path.to_string_lossy().contains("ulogd-flow"));
            assert_eq!(facts(&flows.expect("a file"), false), untyped);
        } else {
            vendor_tests::skipped!("ulogd2 is not there");
        }

        dump.finish();
        match program("nfpcapd").zip(program("nfdump")) {
            Some((nfpcapd, nfdump)) => {
                let flows = folder.join("flows");
                fs::create_dir(&flows).expect("a folder");
                let name = flows.to_str().expect("a name");
                of(&nfpcapd, &["-r", packets_name, "-l", name]);
                for form in ["csv", "json"] {
                    let said = of(&nfdump, &["-R", name, "-o", form, "not port 9"]);
                    assert_eq!(facts(&file(&folder, form, said), true), expected, "{form}");
                }
            }
            None => vendor_tests::skipped!("nfdump is not there"),
        }
        match program("suricata") {
            Some(suricata) => {
                let conf = file(&folder, "suricata.yaml", SURICATA);
                let conf = conf.to_str().expect("a name");
                let logs = folder.path().to_str().expect("a name");
                let words = ["-c", conf, "-r", packets_name, "-l", logs, "-k", "none"];
                of(&suricata, &[&words[..], &["-S", "/dev/null"]].concat());
                let eve = fs::read_to_string(folder.join("eve.json")).expect("its records");
                // Its first record and the packets that only say that the recording runs.
                let of_flows = |line: &&str| !line.contains("\"dest_port\":9,");
                let eve: Vec<&str> = eve.lines().filter(of_flows).collect();
                assert_eq!(facts(&file(&folder, "eve", eve.join("\n")), true), expected);
            }
            None => vendor_tests::skipped!("suricata is not there"),
        }
    });
}

/// Records of flows alone.
const SURICATA: &str = "%YAML 1.1
---
outputs:
  - eve-log:
      enabled: yes
      filetype: regular
      filename: eve.json
      types: [flow]
";
