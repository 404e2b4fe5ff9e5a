//! Rules of some days, judged by the days after them in made-up worlds (`vendor-tests/src/worlds`, `make worlds`).

use vendor_tests::schema;
use vendor_tests::worlds::calendar::Calendar;
use vendor_tests::worlds::diary::{Diary, lines};
use vendor_tests::worlds::judge::{Trial, Way};
use vendor_tests::worlds::score::{HEAD, faults};
use vendor_tests::worlds::statement::Statement;
use vendor_tests::worlds::{SITES, site};

/// `--generalize`, judged for so many days after as many of capture.
fn general(captured: u32, judged: u32) -> Trial {
    Trial {
        captured,
        judged,
        way: Way::Made(vec!["--generalize".to_owned()]),
    }
}

/// What a world is on a day, as a capture.
fn capture(kind: &str, seed: u64, day: u32) -> String {
    let calendar = Calendar::new(seed);
    let mut site = site(kind, seed, calendar);
    let mut diary = Diary::new(seed);
    for before in 0..=day {
        diary = Diary::new(seed ^ u64::from(before));
        site.live(before, &mut diary);
    }
    let head = site.gateway(day).head(&calendar, day, &[]);
    format!("{head}\n{}", lines(diary.flows(), &calendar, day))
}

/// Each world is the same whenever it is made, another one with another seed, and a capture by docs/schema.json.
#[test]
fn worlds_are_captures_that_only_the_seed_decides() {
    for kind in SITES {
        let text = capture(kind, 3, 1);
        assert_eq!(text, capture(kind, 3, 1), "{kind}");
        assert_ne!(text, capture(kind, 4, 1), "{kind}");
        assert!(text.lines().count() > 100, "{kind}");
        let some: Vec<&str> = text.lines().take(300).collect();
        schema::assert_holds(&some.join("\n"));
    }
}

/// Rules of a person who knows the site pass what is wanted and stop what is not: otherwise the world, or what judges,
/// would be wrong.
#[test]
fn who_knows_the_site_writes_rules_that_hold() {
    let trial = Trial {
        captured: 1,
        judged: 2,
        way: Way::Ideal,
    };
    for kind in SITES {
        // A month ends on the last of the days that are judged.
        let score = trial.run(kind, 1, Calendar::before_month_end(1, 0));
        let told = || {
            format!(
                "{HEAD}\n{}\n{}",
                score.line(),
                faults(std::slice::from_ref(&score))
            )
        };
        assert!(score.passed() >= 99.9, "{}", told());
        assert!(score.stopped() >= 100.0, "{}", told());
    }
}

/// Exact rules of the days before stop most of what a day brings, and all attacks: the judge can tell.
#[test]
fn rules_of_what_was_seen_do_not_hold_tomorrow() {
    let trial = Trial {
        captured: 2,
        judged: 1,
        way: Way::Made(Vec::new()),
    };
    let score = trial.run("office", 1, Calendar::new(1));
    let told = format!("{HEAD}\n{}", score.line());
    assert!((2.0..40.0).contains(&score.passed()), "{told}");
    assert!(score.stopped() >= 99.9, "{told}");
    // Rules for anybody let some attacks through.
    let options = ["--clients", "0.0.0.0/0", "--clients", "::/0"];
    let trial = Trial {
        way: Way::Made(options.map(str::to_owned).to_vec()),
        ..trial
    };
    let open = trial.run("office", 1, Calendar::new(1));
    assert!(open.passed() > score.passed() + 20.0, "{}", open.line());
    assert!(open.stopped() < 95.0, "{}", open.line());
}

/// Of a week's worlds, the next days' flows pass, attacks do not, and a person could read the rules. `make worlds` has
/// all kinds and more seeds.
#[test]
fn general_rules_of_a_week_hold() {
    for kind in ["office", "datacentre"] {
        for seed in [1, 2] {
            let score = general(7, 3).run(kind, seed, Calendar::new(seed));
            println!("{HEAD}\n{}", score.line());
            let told = || {
                format!(
                    "{HEAD}\n{}\n{}",
                    score.line(),
                    faults(std::slice::from_ref(&score))
                )
            };
            assert!(score.passed() >= 99.0, "{}", told());
            assert!(score.stopped() >= 97.0, "{}", told());
            assert!(score.ratio() <= 2.0, "{}", told());
            assert!(score.lines <= 400, "{}", told());
            // The head of the ruleset says what is said aloud.
            assert!(score.statement.is_some(), "{}", score.said);
            assert_eq!(
                Statement::find(&score.said),
                Statement::find(&score.ruleset)
            );
        }
    }
}

/// The words of a text, wherever its lines break.
fn words(text: &str) -> String {
    let words: Vec<&str> = text
        .split_whitespace()
        .filter(|word| *word != "#")
        .collect();
    words.join(" ").to_lowercase()
}

/// What comes once a month can't be in a week: rules say that they are blind to it, and they are.
#[test]
fn rules_own_up_to_not_knowing_the_end_of_a_month() {
    let score = general(7, 4).run("office", 5, Calendar::before_month_end(5, 7));
    let jobs = &score.wanted["month-end"];
    assert!(jobs.all > 0 && jobs.wrong == jobs.all, "{jobs:?}");
    for text in [&score.said, &score.ruleset] {
        let text = words(text);
        assert!(
            text.contains("what comes less often than once in 7 days may not have been seen"),
            "{text}"
        );
    }
}

/// Two days show nothing of what changes from day to day: nothing is claimed then.
#[test]
fn two_days_are_too_few_to_tell() {
    let score = general(2, 1).run("office", 6, Calendar::new(6));
    assert_eq!(score.statement, None, "{}", score.said);
    for text in [&score.said, &score.ruleset] {
        assert!(words(text).contains("can't tell"), "{text}");
    }
    assert!(score.stopped() >= 97.0, "{}", score.line());
}
