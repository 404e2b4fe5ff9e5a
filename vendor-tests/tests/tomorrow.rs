//! Rules of a week of real traffic on the next day: other leases, other addresses of content networks, other visitors.
//! A day takes seconds; what its capture says of time is moved back by as many days.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use vendor_tests::capture::Launch;
use vendor_tests::estate::{
    ADMIN, Estate, FILES, LAN, WAN, WEB, browses, lacking, opens, resolves,
};
use vendor_tests::lab::Namespace;
use vendor_tests::netns::{self, sh};
use vendor_tests::skipped;
use vendor_tests::temp::Folder;
use vendor_tests::world::Dice;

/// Each with whether it works.
type Attempts = Vec<(String, bool)>;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn end(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip(address), port)
}

/// Tries something up to three times, since the machine may have other things to do.
fn works(namespace: &Namespace, attempt: impl Fn() -> bool + Send + Clone + 'static) -> bool {
    (0..3).any(|_| namespace.run(attempt.clone()))
}

/// An address of a content network, which other days have others of.
fn cloud(dice: &mut Dice, network: u8) -> IpAddr {
    IpAddr::from([198, 18 + network / 128, network, 1 + dice.below(250) as u8])
}

/// What a day brings. Most devices come again, some are new.
fn wanted(estate: &Estate, day: u32) -> Attempts {
    let mut dice = Dice(u64::from(day) + 1);
    let mut attempts = Attempts::new();
    let mut note = |what: String, works: bool| attempts.push((what, works));
    estate.forget_leases();
    for device in day * 3..day * 3 + 8 {
        let lease = estate.lease(device);
        note(format!("a lease for device {device}"), lease.is_some());
        let Some(address) = lease else { continue };
        let lan = &estate.lan;
        note(
            format!("names for {address}"),
            works(lan, move || resolves(address, LAN)),
        );
        for _ in 0..5 {
            let network = 10 + dice.below(12) as u8;
            let to = SocketAddr::new(cloud(&mut dice, network), 443);
            note(
                format!("web, {address} to {to}"),
                works(lan, move || browses(address, to)),
            );
        }
        note(
            format!("mDNS of {address}"),
            (0..3).any(|_| estate.mdns_is_answered(address)),
        );
        let intranet = works(lan, move || browses(address, end(WEB, 443)));
        note(format!("intranet, {address}"), intranet);
        let port = 600 + dice.below(400) as u16;
        let nfs = works(lan, move || {
            opens(address, port, end(FILES, 2049)).is_some()
        });
        note(format!("network file system, {address} port {port}"), nfs);
        if device % 3 == 0 {
            // The data connection is for the helper to find in both ways.
            let passive = device % 2 == 0;
            let ftp = (0..2).any(|_| estate.ftp(address, passive));
            note(format!("FTP, {address}, passive {passive}"), ftp);
        }
    }
    for (what, to) in [("server", end(FILES, 22)), ("gateway", end(LAN, 22))] {
        let ssh = works(&estate.lan, move || opens(ip(ADMIN), 0, to).is_some());
        note(format!("administration of the {what}"), ssh);
    }
    for _ in 0..12 {
        let visitor = IpAddr::from([198, 19, dice.below(256) as u8, 1 + dice.below(250) as u8]);
        let web = works(&estate.internet, move || browses(visitor, end(WAN, 443)));
        note(format!("published web, {visitor}"), web);
    }
    attempts
}

/// What nobody wants, and a device that may do it with a lease.
fn unwanted(estate: &Estate, device: IpAddr) -> Attempts {
    let visitor = ip("198.19.7.7");
    let mut attempts = Attempts::new();
    for (what, place, from, to) in [
        ("device to server, ssh", &estate.lan, device, end(FILES, 22)),
        (
            "device to server, desktop",
            &estate.lan,
            device,
            end(FILES, 3389),
        ),
        ("device to gateway, ssh", &estate.lan, device, end(LAN, 22)),
        (
            "device out, mail",
            &estate.lan,
            device,
            end("198.18.9.9", 25),
        ),
        (
            "device out, IRC",
            &estate.lan,
            device,
            end("198.18.9.9", 6667),
        ),
        (
            "server out, mail",
            &estate.servers,
            ip(WEB),
            end("198.18.9.9", 25),
        ),
        (
            "server to device",
            &estate.servers,
            ip(WEB),
            SocketAddr::new(device, 445),
        ),
        (
            "server to gateway",
            &estate.servers,
            ip(WEB),
            end("192.168.20.1", 22),
        ),
        (
            "outside to gateway",
            &estate.internet,
            visitor,
            end(WAN, 22),
        ),
        (
            "outside to backend, directly",
            &estate.internet,
            visitor,
            end(WEB, 443),
        ),
        (
            "outside to server, FTP",
            &estate.internet,
            visitor,
            end(FILES, 21),
        ),
        (
            "outside to server, ssh",
            &estate.internet,
            visitor,
            end(FILES, 22),
        ),
        (
            "outside to server, files",
            &estate.internet,
            visitor,
            end(FILES, 2049),
        ),
        (
            "outside to device",
            &estate.internet,
            visitor,
            SocketAddr::new(device, 445),
        ),
    ] {
        let opened = place.run(move || opens(from, 0, to).is_some());
        attempts.push((what.to_owned(), opened));
    }
    attempts
}

/// A day as a capture of so many days ago.
fn captured(estate: &Estate, folder: &Folder, day: u32, ago: u64) -> String {
    let path = folder.join(&format!("day-{day}.json"));
    let text = path.to_str().expect("test paths are text").to_owned();
    let run = Launch::new(["--all-protocols", "--format", "json", "-o", &text]).start();
    for (what, works) in wanted(estate, day) {
        assert!(works, "{what}: on day {day}, without rules");
    }
    run.drained();
    let outcome = run.finish();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    move_back(&path, ago);
    text
}

/// Moves all times of a capture back by days, and makes a day of it.
fn move_back(path: &Path, days: u64) {
    let text = fs::read_to_string(path).expect("the capture was written");
    let mut moved = String::new();
    for line in text.lines() {
        let mut object: Value = serde_json::from_str(line).expect("JSON");
        // Whoever changes flows leaves out what sums them up (docs/json.md).
        if object["type"] == "end" {
            continue;
        }
        let fields = object.as_object_mut().expect("an object");
        fields.remove("end_mark");
        let at = |field: &Value| {
            let time = field.as_str().expect("a time");
            let time = humantime::parse_rfc3339(time).expect("a time");
            time - Duration::from_secs(days * 86_400)
        };
        let shown = |time: SystemTime| humantime::format_rfc3339_micros(time).to_string();
        for name in ["start", "first_seen", "last_seen"] {
            if let Some(field) = fields.get_mut(name) {
                *field = shown(at(field)).into();
            }
        }
        // As if somebody had listened all day.
        if fields.contains_key("end") {
            let start = humantime::parse_rfc3339(fields["start"].as_str().expect("a time"));
            let end = start.expect("a time") + Duration::from_secs(86_399);
            fields["end"] = shown(end).into();
        }
        moved += &format!("{object}\n");
    }
    fs::write(path, moved).expect("the folder can be written");
}

/// What does not work.
fn stopped(attempts: &Attempts) -> Vec<String> {
    let stopped = attempts.iter().filter(|(_, works)| !works);
    stopped.map(|(what, _)| what.clone()).collect()
}

/// Writes rules of a capture with these options, loads them, and returns them.
fn load(capture: &str, rules: &str, options: &[&str]) -> String {
    let words = [&["rules", capture, "-o", rules], options].concat();
    let outcome = Launch::new(words).run();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    sh(&format!("nft -f {rules}; conntrack -F 2>/dev/null"));
    fs::read_to_string(rules).expect("rules were written")
}

/// Asserts that under the rules that are loaded a day goes by as usual, and that what nobody wants does not work.
fn assert_hold(estate: &Estate, day: u32, ruleset: &str) {
    let stopped = stopped(&wanted(estate, day));
    // `--generalize` may stop one flow a day on average.
    assert!(stopped.len() <= 2, "{stopped:#?}\n{ruleset}");
    let device = estate.lease(day * 3 + 7).expect("a lease");
    for (what, works) in unwanted(estate, device) {
        assert!(!works, "{what}: under the rules\n{ruleset}");
    }
}

/// What somebody would write who knows the site.
const KNOWN: &str = r#"
table inet known {
	chain input {
		type filter hook input priority filter; policy drop;
		ct state established,related accept
		iifname "lan0" udp dport { 53, 67, 5353 } accept
		iifname "lan0" ip saddr 192.168.10.5 tcp dport 22 accept
	}
	chain output {
		type filter hook output priority filter; policy drop;
		ct state established,related accept
		oifname "lan0" udp sport 67 accept
		oifname "lan0" ip daddr 224.0.0.251 udp dport 5353 accept
		oifname "wan0" ip daddr 198.18.53.53 udp dport 53 accept
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established,related accept
		iifname "lan0" oifname "wan0" tcp dport 443 accept
		iifname "lan0" oifname "srv0" ip daddr 192.168.20.80 tcp dport 443 accept
		iifname "lan0" oifname "srv0" ip daddr 192.168.20.10 tcp dport { 21, 2049 } accept
		iifname "lan0" oifname "srv0" ip saddr 192.168.10.5 ip daddr 192.168.20.10 tcp dport 22 accept
		iifname "wan0" oifname "srv0" ct status dnat ip daddr 192.168.20.80 tcp dport 443 accept
	}
}
"#;

#[test]
fn rules_of_a_week_hold_on_the_next_day() {
    if let Some(what) = lacking() {
        skipped!("rules_of_a_week_hold_on_the_next_day: {what}");
        return;
    }
    netns::run("rules_of_a_week_hold_on_the_next_day", || {
        let estate = Estate::new();
        let folder = Folder::new();
        let days: Vec<String> = (0..7)
            .map(|day| captured(&estate, &folder, day, u64::from(7 - day)))
            .collect();
        // Of the last day.
        let device = estate.lease(25).expect("a lease");
        for (what, works) in unwanted(&estate, device) {
            // Or nothing would be shown by its not working later.
            assert!(works, "{what}: without rules");
        }
        let [week, rules] = ["week.json", "rules.nft"].map(|name| {
            let path = folder.join(name);
            path.to_str().expect("test paths are text").to_owned()
        });
        let mut merge = vec!["merge", "--format", "json", "-o", &week];
        merge.extend(days.iter().map(String::as_str));
        let outcome = Launch::new(merge).run();
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        let text = load(&week, &rules, &["--generalize"]);
        assert_hold(&estate, 7, &text);
        // What was seen and nothing else: a question to all of the link counts as unanswered.
        let text = load(&week, &rules, &[]);
        assert_eq!(estate.lease(40), None, "{text}");
        sh("nft delete table inet observed");
        // Somebody who knows the site: what the estate does and what is tried there can be told apart.
        fs::write(&rules, KNOWN).expect("the folder can be written");
        sh(&format!("nft -f {rules}; conntrack -F 2>/dev/null"));
        assert_hold(&estate, 8, KNOWN);
    });
}
