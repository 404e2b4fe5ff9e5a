//! Rules of some days, judged by the days after them in made-up worlds (`vendor-tests/src/worlds`, `make worlds`).

use vendor_tests::schema;
use vendor_tests::worlds::calendar::Calendar;
use vendor_tests::worlds::diary::{Diary, lines};
use vendor_tests::worlds::judge::{Trial, Way};
use vendor_tests::worlds::score::{HEAD, faults};
use vendor_tests::worlds::{SITES, site};

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
        assert!(text.lines().count() > 300, "{kind}");
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
