//! The program under the limits of the systemd unit: its user, capabilities, no_new_privs, system
//! calls, address families and read-only file system.

mod host;

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use host::{Namespace, Running, TRAFFIC, is_root, program, repository, run, wait_for};

/// A user without privileges, as DynamicUser= gives.
const USER: &str = "65534";

struct Unit(String);

impl Unit {
    fn read() -> Self {
        Self(fs::read_to_string(repository().join("debian/conntracker.service")).unwrap())
    }

    fn setting(&self, name: &str) -> &str {
        let mut values = self
            .0
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        let value = values.next().unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(values.next(), None, "{name} is set once");
        value
    }

    /// `limits` for confine.c.
    fn limits(&self) -> String {
        let mut calls = BTreeSet::new();
        for word in self.setting("SystemCallFilter").split_whitespace() {
            expand(word, &mut calls);
        }
        let families = self
            .setting("RestrictAddressFamilies")
            .split_whitespace()
            .map(|family| match family {
                "AF_UNIX" => libc::AF_UNIX,
                "AF_NETLINK" => libc::AF_NETLINK,
                _ => panic!("{family}?"),
            });
        let calls = calls.iter().map(|call| format!("syscall {call}\n"));
        calls
            .chain(families.map(|family| format!("family {family}\n")))
            .collect()
    }
}

fn expand(word: &str, calls: &mut BTreeSet<String>) {
    assert!(!word.starts_with('~'), "only what is allowed is named");
    if !word.starts_with('@') {
        calls.insert(word.into());
        return;
    }
    let set = run(Command::new("systemd-analyze").args(["syscall-filter", word]));
    for member in set
        .lines()
        .skip(1)
        .map(str::trim)
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        expand(member, calls);
    }
}

/// A folder that the service's user can reach, with what it needs.
struct Stage {
    folder: PathBuf,
    socket: UnixDatagram,
}

impl Stage {
    fn new(unit: &Unit, name: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("conntracker-{name}-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        fs::copy(program(), folder.join("conntracker")).unwrap();
        fs::write(folder.join("limits"), unit.limits()).unwrap();
        run(Command::new("cc")
            .args(["-Wall", "-Werror", "-o"])
            .arg(folder.join("confine"))
            .arg(repository().join("vendor-tests/c/confine.c"))
            .arg("-lseccomp"));
        for writable in ["state", "run"] {
            let writable = folder.join(writable);
            fs::create_dir(&writable).unwrap();
            std::os::unix::fs::chown(&writable, USER.parse().ok(), USER.parse().ok()).unwrap();
        }
        let socket = UnixDatagram::bind(folder.join("notify")).unwrap();
        fs::set_permissions(folder.join("notify"), Permissions::from_mode(0o666)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(120)))
            .unwrap();
        Self { folder, socket }
    }

    /// The service's command, with the options in the file that is shipped.
    fn command(&self, unit: &Unit, options: &str) -> String {
        let shipped = fs::read_to_string(repository().join("debian/conntracker.toml")).unwrap();
        self.command_with(unit, &shipped, options)
    }

    fn command_with(&self, unit: &Unit, config: &str, options: &str) -> String {
        assert_eq!(unit.setting("StateDirectory"), "conntracker");
        assert_eq!(unit.setting("RuntimeDirectory"), "conntracker");
        let place = |name: &str| self.folder.join(name).display().to_string();
        let config = config
            .replace("/var/lib/conntracker", &place("state"))
            .replace("/run/conntracker/", &format!("{}/", place("run")));
        fs::write(self.folder.join("conntracker.toml"), config).unwrap();
        unit.setting("ExecStart")
            .replace("/usr/sbin/conntracker", &place("conntracker"))
            .replace(
                "/etc/conntracker/conntracker.toml",
                &place("conntracker.toml"),
            )
            .replace("$CONNTRACKER_OPTIONS", options)
    }

    /// Starts a command under the limits.
    fn start(&self, unit: &Unit, namespace: &Namespace, command: &str) -> Running {
        // As setpriv takes them: +net_admin,+bpf
        let capabilities: Vec<String> = unit
            .setting("AmbientCapabilities")
            .split_whitespace()
            .map(|name| format!("+{}", name.strip_prefix("CAP_").unwrap().to_lowercase()))
            .collect();
        let capabilities = capabilities.join(",");
        assert_eq!(
            unit.setting("CapabilityBoundingSet"),
            unit.setting("AmbientCapabilities")
        );
        assert_eq!(unit.setting("NoNewPrivileges"), "yes");
        assert_eq!(unit.setting("ProtectSystem"), "strict");
        // The folders of StateDirectory= and RuntimeDirectory= become mounts of their own, and so stay writable.
        let script = format!(
            "umask {umask}
             mount --bind {folder}/state {folder}/state
             mount --bind {folder}/run {folder}/run
             mount -o remount,bind,ro /
             exec setpriv --reuid={USER} --regid={USER} --clear-groups --no-new-privs \
                --inh-caps=-all,{capabilities} --ambient-caps=-all,{capabilities} \
                --bounding-set=-all,{capabilities} \
                {folder}/confine {folder}/limits {command}",
            folder = self.folder.display(),
            umask = unit.setting("UMask"),
        );
        let child = namespace
            .command("sh")
            .args(["-euc", &script])
            .env("NOTIFY_SOCKET", self.folder.join("notify"))
            .env("WATCHDOG_USEC", "1000000")
            .env_remove("WATCHDOG_PID")
            .spawn();
        Running(child.unwrap())
    }

    /// The next message that is not a ping of the watchdog.
    fn message(&self) -> String {
        loop {
            let message = self.any_message();
            if message != "WATCHDOG=1" {
                return message;
            }
        }
    }

    fn any_message(&self) -> String {
        let mut buffer = [0; 256];
        // With a time limit a call is not begun again after a signal, such as that of a child's end (signal(7)).
        let received = loop {
            match self.socket.recv(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                received => break received,
            }
        };
        let len = received.expect("a message to the service manager");
        String::from_utf8_lossy(&buffer[..len])
            .trim_end()
            .to_owned()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn status(child: &Running, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", child.0.id())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {field}")).trim().into()
}

fn signal(child: &Running, signal: &str) {
    run(Command::new("kill").args([signal, &child.0.id().to_string()]));
}

fn serve(name: &str, options: &str) {
    if !is_root(name) {
        return;
    }
    let unit = Unit::read();
    let stage = Stage::new(&unit, name);
    let namespace = Namespace::new(name);
    let state = stage.folder.join("state");
    let command = stage.command(&unit, options);
    // What a killed service has left goes with the next start: that takes a lock.
    let left = state.join(".conntracker-0123456789abcdef.tmp");
    fs::write(&left, "").unwrap();
    std::os::unix::fs::chown(&left, USER.parse().ok(), USER.parse().ok()).unwrap();
    let mut child = stage.start(&unit, &namespace, &command);
    assert_eq!(stage.message(), "READY=1");
    assert!(!left.exists());

    // CAP_NET_ADMIN and CAP_BPF, by their numbers in include/uapi/linux/capability.h.
    let capabilities = format!("{:016x}", 1_u64 << 12 | 1 << 39);
    for (field, expected) in [
        ("Uid", [USER; 4].join("\t")),
        ("Gid", [USER; 4].join("\t")),
        ("CapEff", capabilities.clone()),
        ("CapPrm", capabilities.clone()),
        ("CapBnd", capabilities),
        ("NoNewPrivs", "1".into()),
        ("Seccomp", "2".into()),
    ] {
        assert_eq!(status(&child, field), expected, "{field}");
    }

    namespace.make_traffic();
    for _ in 0..2 {
        assert_eq!(stage.any_message(), "WATCHDOG=1");
    }
    signal(&child, "-USR1");
    assert!(stage.message().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(stage.message(), "READY=1");
    assert_eq!(
        fs::read_to_string(state.join("flows.txt")).unwrap(),
        TRAFFIC
    );

    fs::remove_file(state.join("flows.txt")).unwrap();
    signal(&child, "-TERM");
    assert_eq!(stage.message(), "STOPPING=1");
    let end = wait_for("the end", || child.0.try_wait().unwrap());
    assert_eq!(end.code(), Some(0));
    assert_eq!(
        fs::read_to_string(state.join("flows.txt")).unwrap(),
        TRAFFIC
    );

    // A restart loses nothing of it.
    fs::remove_file(state.join("flows.txt")).unwrap();
    let mut child = stage.start(&unit, &namespace, &command);
    assert_eq!(stage.message(), "READY=1");
    signal(&child, "-TERM");
    let end = wait_for("the end", || child.0.try_wait().unwrap());
    assert_eq!(end.code(), Some(0));
    assert_eq!(
        fs::read_to_string(state.join("flows.txt")).unwrap(),
        TRAFFIC
    );
}

#[test]
fn the_metrics_of_the_service_can_be_read_by_others() {
    if !is_root("the_metrics_of_the_service_can_be_read_by_others") {
        return;
    }
    let unit = Unit::read();
    let stage = Stage::new(&unit, "metrics");
    let namespace = Namespace::new("metrics");
    let shipped = fs::read_to_string(repository().join("debian/conntracker.toml")).unwrap();
    let config = shipped.replace("#metrics-file", "metrics-file");
    assert_ne!(config, shipped);
    let _child = stage.start(&unit, &namespace, &stage.command_with(&unit, &config, ""));
    assert_eq!(stage.message(), "READY=1");
    let path = stage.folder.join("run/conntracker.prom");
    let found = wait_for("the metrics", || fs::metadata(&path).ok());
    assert_eq!(found.permissions().mode() & 0o777, 0o644);
    assert_eq!(unit.setting("RuntimeDirectoryMode"), "0755");
    // Metrics are no reload.
    assert_eq!(stage.any_message(), "WATCHDOG=1");
}

#[test]
fn the_service_works_within_its_limits() {
    serve("service", "--track");
}

#[test]
fn every_way_to_capture_works_within_the_limits() {
    serve(
        "service-reliable",
        "--track --existing --reliable --workers 2",
    );
    serve(
        "service-callback",
        "--track --source callback --no-prefilter",
    );
    serve("service-kernel", "--track --source kernel");
    serve("service-batch", "--track --source batch");
}

#[test]
fn the_limits_of_the_test_hold() {
    if !is_root("the_limits_of_the_test_hold") {
        return;
    }
    let unit = Unit::read();
    let stage = Stage::new(&unit, "limits");
    let namespace = Namespace::new("limits");
    let succeeds = |command: &str| {
        stage
            .start(&unit, &namespace, command)
            .0
            .wait()
            .unwrap()
            .success()
    };
    let state = stage.folder.join("state/x").display().to_string();
    assert!(succeeds("/usr/bin/true"));
    assert!(succeeds(&format!("/usr/bin/touch {state}")));
    assert!(!succeeds(&format!(
        "/usr/bin/touch {}",
        stage.folder.join("x").display()
    )));
    // Allowed to everybody, but @resources.
    run(Command::new("ionice").args(["-c", "3", "true"]));
    assert!(!succeeds("/usr/bin/ionice -c 3 true"));
    // AF_INET.
    assert!(!succeeds("/usr/bin/nc -u -w 1 -z 127.0.0.1 9"));
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    // Where the package is not installed, the unit has to name a program that is there.
    let folder = tempfile_folder();
    let unit = Unit::read()
        .0
        .replace("/usr/sbin/conntracker", &program().display().to_string());
    let path = folder.join("conntracker.service");
    fs::write(&path, unit).unwrap();
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&path)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success() && said.is_empty(),
        "{}",
        String::from_utf8_lossy(&said)
    );

    let report = run(Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(&path));
    let exposure: f32 = report
        .lines()
        .find_map(|line| {
            line.split_once("Overall exposure level for conntracker.service: ")?
                .1
                .split(' ')
                .next()
        })
        .and_then(|figure| figure.parse().ok())
        .expect("a figure");
    assert!(exposure <= 1.5, "{report}");
    fs::remove_dir_all(folder).unwrap();
}

fn tempfile_folder() -> PathBuf {
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("unit-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}
