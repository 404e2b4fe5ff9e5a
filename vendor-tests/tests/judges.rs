//! `conntracker check` shares many flows out to a judge for each processor. What it says is what one judge says.

use std::fmt::Write as _;
use std::fs;

use vendor_tests::capture::Launch;
use vendor_tests::checking::text;
use vendor_tests::netns;
use vendor_tests::temp::Folder;

/// Enough for a second judge, and a share that is not full.
const FLOWS: u32 = 26_003;

/// With translation, two rules that stop some, and one that leaves some in doubt.
const RULES: &str = "\
table inet f {
    chain forward {
        type filter hook forward priority 0; policy drop
        ct state established,related accept
        tcp dport 23 drop
        meta mark 5 tcp dport 25 accept
        tcp dport 1024-65535 accept
    }
}
table ip nat {
    chain prerouting {
        type nat hook prerouting priority -100
        ip daddr 192.168.0.254 tcp dport 2000 dnat to 192.168.7.7:3000
    }
}
";

#[test]
fn several_judges_say_what_one_says() {
    netns::run("several_judges_say_what_one_says", || {
        let folder = Folder::new();
        let (rules, flows) = (folder.join("rules.nft"), folder.join("flows.json"));
        fs::write(&rules, RULES).unwrap();
        fs::write(&flows, capture()).unwrap();
        let check = [
            "check",
            text(&rules),
            text(&flows),
            "--format",
            "json",
            "-v",
        ];
        let alone = Launch::new(check).under(["taskset", "-c", "0"]).run();
        let together = Launch::new(check).run();
        assert_eq!(alone.code, Some(2), "{}", alone.said);
        assert_eq!(together.code, Some(2), "{}", together.said);
        let [alone, together] = [alone, together].map(|outcome| outcome.text());
        let count = |what: &str| alone.lines().filter(|line| line.contains(what)).count();
        // Dropped and undecided ones are told flow by flow.
        for verdict in ["dropped", "undecided"] {
            assert!(count(verdict) >= 20, "{verdict}: {}", count(verdict));
        }
        assert!(alone == together, "the reports differ");
    });
}

/// Flows of which each 1,000th is dropped, each 1,000th in doubt and each 200th translated.
fn capture() -> String {
    let mut text = String::from(
        "{\"type\":\"capture\",\"schema\":1,\"marks_picked_up\":true,\"interfaces\":[\
         {\"name\":\"lan\",\"addresses\":[\"10.0.0.1/8\"]},{\"name\":\"dmz\",\"addresses\":[\"192.168.0.254/16\"]}]}\n",
    );
    for flow in 0..FLOWS {
        let (to, port) = match flow % 1_000 {
            0 => ("192.168.1.1", 23),
            1 => ("192.168.1.1", 25),
            2..7 => ("192.168.0.254", 2_000),
            _ => ("192.168.2.2", 1_024 + flow % 50_000),
        };
        let from = format!("10.1.{}.{}", flow / 250, 1 + flow % 250);
        let _ = writeln!(
            text,
            "{{\"type\":\"flow\",\"family\":\"ipv4\",\"protocol\":\"tcp\",\"protocol_number\":6,\"src\":\"{from}\",\
             \"src_port\":1024,\"src_port_collapsed\":true,\"dst\":\"{to}\",\"dst_port\":{port},\"confirmed\":true,\
             \"connections\":1}}"
        );
    }
    text
}
