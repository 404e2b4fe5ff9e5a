//! `conntracker check` in pipelines: expectations, and reports for what runs checks.

use serde_json::Value;
use vendor_tests::files::{file, on};
use vendor_tests::netns;
use vendor_tests::program::run;
use vendor_tests::temp::Folder;

const RULES: &str = "\
table inet filter {
  chain input { type filter hook input priority 0; policy drop;
    ct state established,related accept
    iifname \"lan\" tcp dport 22 accept
  }
  chain forward { type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname \"wan\" tcp dport 23   reject
    iifname \"lan\" oifname \"wan\" tcp dport { 80, 443 } accept
  }
}
";

/// Expectations about the host of `RULES`: what is met, what is not, and one of which nothing is known.
const EXPECTED: &str = "\
local = [\"192.168.1.1/24\", \"203.0.113.1/30\"]
[interfaces]
lan = \"192.168.0.0/16\"
wan = \"0.0.0.0/0\"

[[flow]]
name = \"the office reaches the web\"
from = \"192.168.1.0/24\"
to = \"198.51.100.7\"
service = [\"tcp/80\", \"tcp/443\"]
verdict = \"accepted\"

[[flow]]
name = \"no ssh from outside\"
from = \"198.51.100.7\"
to = [\"203.0.113.1\", \"192.168.1.10\"]
service = \"tcp/22\"
verdict = \"stopped\"
";

const UNMET: &str = "
[[flow]]
name = \"telnet <&> \\\"none\\\"\"
from = \"198.51.100.7\"
to = \"192.168.1.10\"
service = \"tcp/23\"
verdict = \"dropped\"
";

const CAPTURE: &str = r#"{"type":"capture","schema":1,"host":"gw","interfaces":[{"name":"lan","addresses":["192.168.1.1/24"]},{"name":"wan","addresses":["203.0.113.1/30"]}],"routes":[{"destination":"0.0.0.0/0","interface":"wan"}]}
{"type":"flow","family":"ipv4","protocol":"tcp","protocol_number":6,"src":"192.168.1.5","src_port":1024,"src_port_collapsed":true,"dst":"198.51.100.9","dst_port":443,"confirmed":true,"connections":1}
{"type":"flow","family":"ipv4","protocol":"tcp","protocol_number":6,"src":"198.51.100.9","src_port":1024,"src_port_collapsed":true,"dst":"192.168.1.5","dst_port":23,"confirmed":true,"connections":1}
"#;

#[test]
fn expectations_need_no_capture_and_decide_with_one() {
    netns::run("expectations_need_no_capture_and_decide_with_one", || {
        let folder = Folder::new();
        let rules = file(&folder, "fw.nft", RULES);
        let met = file(&folder, "met.toml", EXPECTED);
        let expecting = |path: &std::path::Path| format!("check --expect {}", path.display());
        let outcome = on(&expecting(&met), &[&rules]);
        assert_eq!(
            (outcome.code, &*outcome.stderr),
            (Some(0), ""),
            "{outcome:?}"
        );
        assert!(
            outcome.text().contains("every flow is as expected"),
            "{outcome:?}"
        );
        assert!(
            outcome
                .text()
                .contains("6 expected flows: 6 as expected, 0 not\n"),
            "{outcome:?}"
        );

        let unmet = file(&folder, "unmet.toml", format!("{EXPECTED}{UNMET}"));
        let outcome = on(&expecting(&unmet), &[&rules]);
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        let why = "unmet.toml:20 (telnet <&> \"none\"): has to be dropped, is rejected by table inet filter, chain \
                   forward, rule ";
        assert!(outcome.text().contains(why), "{outcome:?}");

        // A multicast source: the kernel drops it, whatever the rules say.
        let unknown = EXPECTED.replace("from = \"198.51.100.7\"", "from = \"224.0.0.9\"");
        let unknown = file(&folder, "unknown.toml", unknown);
        let outcome = on(&expecting(&unknown), &[&rules]);
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        assert!(
            outcome.text().contains("4 as expected, 0 not, 2 undecided"),
            "{outcome:?}"
        );

        // Captured flows are judged beside them: one is stopped.
        let flows = file(&folder, "flows.json", CAPTURE);
        let outcome = on(&expecting(&met), &[&rules, &flows]);
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        for part in ["some confirmed flows do not pass", "6 as expected, 0 not"] {
            assert!(outcome.text().contains(part), "{outcome:?}");
        }

        let wrong = file(&folder, "wrong.toml", EXPECTED.replace("tcp/22", "tcp/ssh"));
        let outcome = on(&expecting(&wrong), &[&rules]);
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        assert!(
            outcome
                .stderr
                .contains("wrong.toml:17: \"tcp/ssh\" is no service"),
            "{outcome:?}"
        );
        let outcome = on("check", &[&rules]);
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        assert!(outcome.stderr.contains("required arguments"), "{outcome:?}");
    });
}

#[test]
fn junit_is_read_by_another_parser() {
    netns::run("junit_is_read_by_another_parser", || {
        let folder = Folder::new();
        let rules = file(&folder, "fw.nft", RULES);
        let flows = file(&folder, "flows.json", CAPTURE);
        let expected = file(&folder, "fw.toml", format!("{EXPECTED}{UNMET}"));
        let words = format!("check --format junit --expect {}", expected.display());
        let outcome = on(&words, &[&rules, &flows]);
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        let report = file(&folder, "report.xml", outcome.text());
        let script = "import sys, xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
print(root.get('tests'), root.get('failures'), root.get('errors'))
for case in root.iter('testcase'):
    print(case.get('name'), [(it.tag, it.get('message')) for it in case])";
        let said = run("python3", ["-c", script, report.to_str().expect("a path")]);
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!((lines[0], lines.len()), ("9 2 0", 10), "{said}");
        assert_eq!(lines[1], "tcp 192.168.1.5 -> 198.51.100.9:443 []");
        assert!(
            lines[2].contains("[('failure', 'rejected by table inet filter, chain forward, rule"),
            "{said}"
        );
        assert!(
            lines[9].contains("(telnet <&> \"none\"): tcp 198.51.100.7 -> 192.168.1.10:23"),
            "{said}"
        );
    });
}

#[test]
fn sarif_and_markdown_say_what_stops_what() {
    netns::run("sarif_and_markdown_say_what_stops_what", || {
        let folder = Folder::new();
        let rules = file(&folder, "fw.nft", RULES);
        let flows = file(&folder, "flows.json", CAPTURE);
        let expected = file(&folder, "fw.toml", format!("{EXPECTED}{UNMET}"));
        let words = |format| format!("check --format {format} --expect {}", expected.display());
        let outcome = on(&words("sarif"), &[&rules, &flows]);
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        let report: Value = serde_json::from_str(&outcome.text()).expect("JSON");
        let results = report["runs"][0]["results"].as_array().expect("results");
        let line = |result: &Value| {
            let place = &result["locations"][0]["physicalLocation"];
            let path = place["artifactLocation"]["uri"].as_str().expect("a file");
            let file = path.rsplit('/').next().expect("a name").to_owned();
            let line = place["region"]["startLine"].as_u64();
            (
                result["ruleId"].as_str().expect("an id").to_owned(),
                file,
                line,
            )
        };
        let found: Vec<_> = results.iter().map(line).collect();
        // The line of the rule in the file, which spells it with more blanks than nft lists it.
        let of = |id: &str, file: &str, line| (id.to_owned(), file.to_owned(), Some(line));
        assert_eq!(
            found,
            [of("rejected", "fw.nft", 8), of("unexpected", "fw.toml", 20)]
        );

        let outcome = on(&words("markdown"), &[&rules, &flows]);
        let text = outcome.text();
        for part in [
            "| confirmed flows | 2 | 1 | 0 | 1 | 0 |",
            "**1 flow rejected** by table inet filter, chain forward, rule",
            "`iifname \"wan\" tcp dport 23 reject`",
            "- `tcp 198.51.100.9 -> 192.168.1.5:23`",
            "(telnet &lt;&amp;> \"none\")",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    });
}
