//! How `conntracker doctor` says what it finds.

use std::fs;

use vendor_tests::capture::Launch;
use vendor_tests::findings::{CHECKS, doctor};
use vendor_tests::netns;
use vendor_tests::terminal::Terminal;
use vendor_tests::wait::until_true;

#[test]
fn both_forms_say_the_same() {
    netns::run("both_forms_say_the_same", || {
        let findings = doctor();
        let outcome = Launch::new(["doctor"]).run();
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
        let text = outcome.text();
        assert_eq!(text.lines().count(), CHECKS.len(), "{text}");
        for (line, name) in text.lines().zip(CHECKS) {
            let finding = &findings.0[name];
            let mut words = line.split_whitespace();
            let head = (words.next(), words.next());
            assert_eq!(head, (finding["state"].as_str(), Some(name)), "{line}");
            if name != "traffic" {
                assert!(
                    line.contains(finding["text"].as_str().unwrap()),
                    "{line}: {finding}"
                );
            }
            if let Some(next) = finding["next"].as_str() {
                assert!(line.ends_with(&format!("; {next}")), "{line}: {finding}");
            }
        }
        assert!(!text.contains('\x1b'));
    });
}

#[test]
fn only_a_terminal_gets_colours() {
    netns::run("only_a_terminal_gets_colours", || {
        for (variable, coloured) in [("TERM=xterm", true), ("NO_COLOR=1", false)] {
            let terminal = Terminal::new(200);
            let under = ["env", "-u", "NO_COLOR", "TERM=xterm", variable];
            let launch = Launch::new(["doctor"]).under(under);
            assert_eq!(launch.stdout(terminal.end()).run().code, Some(0));
            until_true("the last line", || terminal.text().contains("timestamps"));
            let problem = terminal
                .text()
                .contains("\x1b[1;31mproblem\x1b[0m  tracking");
            assert_eq!(problem, coloured, "{}", terminal.text());
        }
    });
}

#[test]
fn its_output_can_be_cut_short() {
    netns::run("its_output_can_be_cut_short", || {
        let closed = std::os::unix::net::UnixStream::pair().expect("a pair").0;
        let outcome = Launch::new(["doctor"]).stdout(closed).run();
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    });
}

#[test]
fn every_check_and_value_is_documented() {
    netns::run("every_check_and_value_is_documented", || {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/doctor.md");
        let text = fs::read_to_string(path).expect("the documentation is there");
        for (name, finding) in doctor().0 {
            let heading = |line: &str| {
                let names = line.strip_prefix("### ");
                names.is_some_and(|names| names.split(", ").any(|other| other == name))
            };
            assert!(text.lines().any(heading), "{name} has no section");
            for value in finding.as_object().expect("an object").keys() {
                assert!(text.contains(&format!("`{value}`")), "{name}: {value}");
            }
        }
    });
}

#[test]
fn a_bad_format_is_refused() {
    let outcome = Launch::new(["doctor", "--format", "csv"]).run();
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.contains("table, json"), "{}", outcome.stderr);
}
