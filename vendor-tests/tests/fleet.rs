//! Captures of several gateways in one database: the statements of docs/fleet, run by the real ones.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use vendor_tests::capture::Launch;
use vendor_tests::netns;
use vendor_tests::program::{conntracker, run};
use vendor_tests::skipped;
use vendor_tests::temp::Folder;
use vendor_tests::witness::insert;

const SQL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/fleet");
const CLICKHOUSE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/clickhouse.py");
/// Where `make test` unpacks PostgreSQL.
const POSTGRESQL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/postgresql");
/// Where `make test FLEET=1` installs chdb.
const CHDB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/chdb");

/// Captures of two hosts, the first one's twice: as it was in the middle, and as it was at the end. They share
/// flows, and have some that only one saw.
fn captures(folder: &Folder) -> [PathBuf; 3] {
    let paths = ["early.json", "gw1.json", "gw2.json"].map(|name| folder.join(name));
    let start = |host: &str, path: &Path| {
        let script = format!("hostname {host} && exec \"$@\"");
        let args = ["--all-protocols", "--format", "json", "-o"];
        let args = args.into_iter().chain(path.to_str());
        Launch::new(args)
            .under(["unshare", "--uts", "sh", "-c", &script, "sh"])
            .start()
    };
    let one = start("gw1", &paths[1]);
    insert("-p udp -s 10.0.0.1 -d 10.0.0.2 --sport 5000 --dport 53 -t 60");
    insert("-p udp -s fd00::1 -d fd00::2 --sport 123 --dport 123 -t 60 -u SEEN_REPLY");
    one.drained();
    one.signal(rustix::process::Signal::USR1);
    vendor_tests::wait::until_true("a list", || {
        fs::read_to_string(&paths[1]).is_ok_and(|list| list.lines().count() == 4)
    });
    fs::copy(&paths[1], &paths[0]).expect("a folder of ours");
    let two = start("gw2", &paths[2]);
    insert("-p udp -s 10.0.0.1 -d 10.0.0.2 --sport 5001 --dport 53 -t 60");
    insert(
        "-p tcp -s 10.0.0.1 -d 10.0.0.9 --sport 5001 --dport 80 -t 60 --state SYN_SENT \
            --dst-nat 10.1.0.1:8080",
    );
    insert("-p icmp -s 10.0.0.1 -d 10.0.0.2 --icmp-type 8 --icmp-code 0 --icmp-id 7 -t 60");
    insert("-p udp -s 10.0.0.1 -d 10.0.0.2 --sport 5002 --dport 53 -t 60 --zone 7");
    insert("-p gre -s 10.0.0.1 -d 10.0.0.2 --srckey 1 --dstkey 2 -t 60");
    assert_eq!(one.finish().list(), "");
    insert("-p udp -s 10.0.0.3 -d 10.0.0.2 --sport 5003 --dport 53 -t 60");
    assert_eq!(two.finish().list(), "");
    paths
}

/// What `conntracker merge` makes of them, as the rows that the databases are asked for.
fn merged(captures: &[&Path]) -> Vec<String> {
    let mut args = vec!["merge".as_ref()];
    args.extend(captures.iter().map(|path| path.as_os_str()));
    let flows = run(conntracker(), args);
    let flows = flows
        .lines()
        .filter(|line| line.contains(r#""type":"flow""#));
    let rows = flows.map(|line| {
        let flow: Value = serde_json::from_str(line).expect("an object a line");
        let zone = flow.get("zone").cloned().unwrap_or(json!(0));
        json!([
            flow["protocol_number"],
            flow["src"],
            flow["src_port"],
            flow["src_port_collapsed"],
            flow["dst"],
            flow["dst_port"],
            flow["icmp_type"],
            flow["icmp_code"],
            zone,
            flow["dnat"]["address"],
            flow["dnat"]["port"],
            flow["snat"]["address"],
            flow["snat"]["port"],
            flow["confirmed"],
            flow["connections"],
            flow["first_seen"],
            flow["last_seen"],
        ])
        .to_string()
    });
    sorted(rows)
}

fn sorted(rows: impl Iterator<Item = String>) -> Vec<String> {
    let mut rows: Vec<String> = rows.collect();
    rows.sort_unstable();
    rows
}

/// Rows as a database prints them, JSON arrays, in our spelling.
fn rows(printed: &str) -> Vec<String> {
    sorted(printed.lines().map(|line| {
        let row: Value = serde_json::from_str(line).expect("an array a line");
        row.to_string()
    }))
}

/// A PostgreSQL server of the test's own, gone with it.
struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
}

/// Anybody but root, as whom the server refuses to run.
const USER: &str = "nobody";

impl Postgres {
    fn start(folder: &Folder) -> Option<Self> {
        // Unpacked by the Makefile, or installed.
        let places = [POSTGRESQL, ""].map(|root| format!("{root}/usr/lib/postgresql"));
        let versions = places.iter().filter_map(|place| fs::read_dir(place).ok());
        let mut versions: Vec<PathBuf> = versions
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
            .filter(|programs| programs.join("initdb").exists())
            .collect();
        versions.sort();
        let server = Self {
            programs: versions.pop()?,
            folder: folder.join("postgresql"),
        };
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        fs::create_dir(&server.folder).expect("a folder of ours");
        run("chown", [USER.as_ref(), server.folder.as_os_str()]);
        let data = server.data();
        server.run("initdb", &["-D", &data, "-A", "trust", "--no-sync"], None);
        let options = format!("-c listen_addresses= -c fsync=off -k {}", server.socket());
        server.run(
            "pg_ctl",
            &[
                "-D",
                &data,
                "-w",
                "-l",
                "/dev/null",
                "-o",
                &options,
                "start",
            ],
            None,
        );
        Some(server)
    }

    fn data(&self) -> String {
        self.folder.join("data").display().to_string()
    }

    fn socket(&self) -> String {
        self.folder.display().to_string()
    }

    fn run(&self, program: &str, args: &[&str], input: Option<&Path>) -> String {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", USER, "--regid", "nogroup", "--clear-groups"])
            // Programs and statements may lie in a home that is nobody else's.
            .args([
                "--inh-caps=+dac_read_search",
                "--ambient-caps=+dac_read_search",
            ])
            // PostgreSQL asks access(2), which counts no capabilities of others than root without this
            // (fs/open.c, access_override_creds).
            .args(["--securebits", "+no_setuid_fixup"])
            .arg(self.programs.join(program))
            .args(args)
            .current_dir("/")
            .env("LC_ALL", "C")
            .env("PGTZ", "UTC")
            .env("LD_LIBRARY_PATH", libraries())
            .stdin(input.map_or_else(Stdio::null, |path| {
                Stdio::from(File::open(path).expect("a file of ours"))
            }));
        let output = command.output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn psql(&self, args: &[&str], input: Option<&Path>) -> String {
        let socket = self.socket();
        let mut all = vec!["-X", "-q", "-A", "-t", "-h", &socket, "-d", "postgres"];
        all.extend(args);
        self.run("psql", &all, input)
    }
}

/// Where the libraries lie that were unpacked with it.
fn libraries() -> String {
    format!("{POSTGRESQL}/usr/lib/{}-linux-gnu", std::env::consts::ARCH)
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let data = self.data();
        self.run("pg_ctl", &["-D", &data, "-m", "immediate", "stop"], None);
    }
}

#[test]
fn postgresql_comes_to_what_merge_comes_to() {
    netns::run("postgresql_comes_to_what_merge_comes_to", || {
        let folder = Folder::new();
        let [early, one, two] = captures(&folder);
        let Some(server) = Postgres::start(&folder) else {
            skipped!("PostgreSQL is not there: make test-packages unpacks it, if it can be had");
            return;
        };
        let expected = merged(&[&one, &two]);
        assert_eq!(expected.len(), 7, "{expected:#?}");
        let file = |name: &str| format!("{SQL}/{name}");
        server.psql(
            &["-v", "ON_ERROR_STOP=1", "-f", &file("postgresql.sql")],
            None,
        );
        // Late, early, and twice.
        for capture in [&two, &one, &early, &two, &one] {
            server.psql(&["-f", &file("postgresql-load.sql")], Some(capture));
        }
        let time = "to_char(%, 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
        let query = format!(
            "SELECT json_build_array(protocol, host(src), src_port, src_port_collapsed, host(dst), dst_port,
                    icmp_type, icmp_code, zone, host(dnat), dnat_port, host(snat), snat_port, confirmed,
                    connections, {}, {}) FROM merged_flows",
            time.replace('%', "first_seen"),
            time.replace('%', "last_seen"),
        );
        assert_eq!(rows(&server.psql(&["-c", &query], None)), expected);
    });
}

#[test]
fn clickhouse_comes_to_what_merge_comes_to() {
    netns::run("clickhouse_comes_to_what_merge_comes_to", || {
        let imports = Command::new("python3")
            .args(["-c", "import chdb"])
            .env("PYTHONPATH", CHDB)
            .output()
            .expect("it starts");
        if !imports.status.success() {
            skipped!("chdb is not installed: make test FLEET=1 does that");
            return;
        }
        let folder = Folder::new();
        let [early, one, two] = captures(&folder);
        let expected = merged(&[&one, &two]);
        let output = Command::new("python3")
            .args([CLICKHOUSE, SQL])
            .args([&two, &one, &early, &two, &one])
            .env("PYTHONPATH", CHDB)
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert_eq!(rows(&String::from_utf8_lossy(&output.stdout)), expected);
    });
}
