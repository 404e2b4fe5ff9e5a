//! What a person sees on a terminal.

use std::time::{Duration, Instant};

use vendor_tests::capture::Launch;
use vendor_tests::netns;
use vendor_tests::program::{flood, run};
use vendor_tests::terminal::Terminal;
use vendor_tests::wait::{LONG, until, until_true};

const NONE: [&str; 0] = [];

#[test]
fn a_status_line_is_redrawn_a_few_times_a_second() {
    netns::run("a_status_line_is_redrawn_a_few_times_a_second", || {
        let terminal = Terminal::new(100);
        let began = Instant::now();
        let capture = Launch::new(NONE).stderr(terminal.end()).start();
        // Events must not make it draw more often.
        run(flood(), ["--entries", "4000", "--rate", "2000"]);
        until_true("the status line to count", || {
            terminal.text().contains("4,000 flows")
        });
        let outcome = capture.finish();
        let (text, took) = (terminal.text(), began.elapsed());
        let drawn = text.matches("  lost ").count();
        let most = took.as_secs_f64() * 4.0 + 1.5;
        assert!(
            drawn >= 4 && (drawn as f64) <= most,
            "{drawn} in {took:?}: {text:?}"
        );
        assert!(
            text.contains("TCPv4") && text.contains("lost 0"),
            "{text:?}"
        );
        // One line, drawn over and over, and gone at the end.
        assert!(
            !text.contains('\n') && text.ends_with("\r\x1b[K"),
            "{text:?}"
        );
        assert_eq!(
            (outcome.code, outcome.text().lines().count()),
            (Some(0), 4000)
        );
    });
}

#[test]
fn a_status_line_fits_the_terminal() {
    netns::run("a_status_line_fits_the_terminal", || {
        let terminal = Terminal::new(20);
        let capture = Launch::new(NONE).stderr(terminal.end()).start();
        until_true("a status line", || {
            terminal.text().matches('\r').count() >= 3
        });
        assert_eq!(capture.finish().code, Some(0));
        let text = terminal.text();
        let lines = text
            .split("\x1b[K")
            .map(|line| line.trim_start_matches('\r'));
        assert!(
            lines.clone().all(|line| line.chars().count() < 20),
            "{text:?}"
        );
        assert!(
            lines.clone().any(|line| line.contains("00:00:00")),
            "{text:?}"
        );
    });
}

#[test]
fn a_terminal_of_unknown_width_gets_a_status_line_too() {
    netns::run("a_terminal_of_unknown_width_gets_a_status_line_too", || {
        // A serial line has no size (`TIOCGWINSZ` gives 0).
        let terminal = Terminal::new(0);
        let capture = Launch::new(NONE).stderr(terminal.end()).start();
        until_true("a status line", || {
            terminal.text().matches('\r').count() >= 3
        });
        assert_eq!(capture.finish().code, Some(0));
        assert!(terminal.text().contains("/s  "), "{:?}", terminal.text());
    });
}

#[test]
fn nothing_is_drawn_where_nobody_looks() {
    netns::run("nothing_is_drawn_where_nobody_looks", || {
        let terminal = Terminal::new(100);
        let quiet = Launch::new(["-q", "--duration", "1s"])
            .stderr(terminal.end())
            .start();
        let piped = Launch::new(["--duration", "1s"]).start();
        assert_eq!(piped.wait().list(), "");
        assert_eq!(quiet.wait().code, Some(0));
        assert_eq!(terminal.text(), "");
    });
}

#[test]
fn silence_on_a_terminal_is_explained() {
    netns::run("silence_on_a_terminal_is_explained", || {
        let terminals = [0; 3].map(|_| Terminal::new(200));
        let ways = [&[][..], &["--track"], &["-q"]];
        let began = Instant::now();
        let captures =
            [0, 1, 2].map(|way| Launch::new(ways[way]).stderr(terminals[way].end()).start());
        until("the hint", LONG, || {
            terminals[0]
                .text()
                .contains("start again with --track")
                .then_some(())
        });
        assert!(began.elapsed() >= Duration::from_secs(5), "too early");
        // The one that has connections tracked ends last: without it, the others would have reason to complain.
        let [plain, tracking, quiet] = captures;
        for capture in [plain, quiet, tracking] {
            assert_eq!(capture.finish().code, Some(0));
        }
        assert_eq!(
            terminals[0].text().matches("--track").count(),
            1,
            "{}",
            terminals[0].text()
        );
        assert!(
            !terminals[1].text().contains("--track"),
            "{}",
            terminals[1].text()
        );
        assert_eq!(terminals[2].text(), "");
    });
}
