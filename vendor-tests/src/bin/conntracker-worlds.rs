//! Judges rules of a week by the week after it, in made-up worlds. As root.
//!
//! What there is to choose comes from the environment:
//!
//! - `WORLD`: kinds of sites, `home,office`; all of them without it.
//! - `SEED`: one seed, or `1-20` as without it.
//! - `DAYS`: days that are judged, 7 without it. `CAPTURED`: days of the capture before them.
//! - `RULES`: options of `conntracker rules`, `--generalize` without it; `ideal` for the rulesets of people who know the
//!   sites.
//! - `MONTH_END=1`: worlds in which a month ends after the capture and not during it.
//! - `KEEP`: a folder for the rulesets.
//! - `WRITE`: a folder for the captures, a folder in it for each world, which are written and not judged.

use std::process::ExitCode;

use vendor_tests::worlds::calendar::Calendar;
use vendor_tests::worlds::judge::{Trial, Way};
use vendor_tests::worlds::score::{HEAD, Score, faults};
use vendor_tests::worlds::{SITES, site};

fn setting(name: &str, otherwise: &str) -> String {
    std::env::var(name)
        .ok()
        .filter(|value| !value.is_empty())
        .unwrap_or_else(|| otherwise.to_owned())
}

/// `3`, or `1-20`.
fn range(text: &str) -> Option<std::ops::RangeInclusive<u64>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

fn main() -> ExitCode {
    let worlds = setting("WORLD", &SITES.join(","));
    let kinds: Vec<&'static str> = { SITES.into_iter() }
        .filter(|kind| worlds.split(',').any(|named| named == *kind))
        .collect();
    let seeds = range(&setting("SEED", "1-20"));
    let days = setting("DAYS", "7").parse();
    let captured = setting("CAPTURED", "7").parse();
    let (Some(seeds), Ok(judged), Ok(captured)) = (seeds, days, captured) else {
        eprintln!("SEED is a number or two with - between them; DAYS and CAPTURED are numbers");
        return ExitCode::from(2);
    };
    if kinds.is_empty() {
        eprintln!("WORLD={worlds}: there are {}", SITES.join(", "));
        return ExitCode::from(2);
    }
    let way = match setting("RULES", "--generalize").as_str() {
        "ideal" => Way::Ideal,
        "exact" => Way::Made(Vec::new()),
        options => Way::Made(options.split_whitespace().map(str::to_owned).collect()),
    };
    let trial = Trial {
        captured,
        judged,
        way,
    };
    let month_end = setting("MONTH_END", "0") == "1";
    println!("{HEAD}");
    let mut well = true;
    let mut told = String::new();
    for kind in kinds {
        let scores: Vec<Score> = { seeds.clone() }
            .filter_map(|seed| {
                let calendar = if month_end {
                    Calendar::before_month_end(seed, captured)
                } else {
                    Calendar::new(seed)
                };
                if let Ok(folder) = std::env::var("WRITE") {
                    let folder = std::path::Path::new(&folder).join(format!("{kind}-{seed}"));
                    std::fs::create_dir_all(&folder).expect("WRITE can be written");
                    trial.capture(&folder, &mut *site(kind, seed, calendar), calendar, seed);
                    return None;
                }
                let score = trial.run(kind, seed, calendar);
                println!("{}", score.line());
                if let Ok(folder) = std::env::var("KEEP") {
                    let path = format!("{folder}/{kind}-{seed}.nft");
                    std::fs::write(&path, &score.ruleset).expect("KEEP can be written");
                }
                Some(score)
            })
            .collect();
        well &= scores
            .iter()
            .all(|score| score.passed() >= 99.0 && score.stopped() >= 97.0 && score.ratio() <= 2.0);
        told += &format!("{}\n{}", summary(kind, &scores), faults(&scores));
    }
    println!("\n{told}");
    if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The worlds of a kind in a line.
fn summary(kind: &str, scores: &[Score]) -> String {
    let count = scores.len().max(1) as f64;
    let mean = |figure: fn(&Score) -> f64| scores.iter().map(figure).sum::<f64>() / count;
    let least = |figure: fn(&Score) -> f64| scores.iter().map(figure).fold(100.0, f64::min);
    let covered: usize = scores.iter().filter_map(Score::covered).sum();
    let days: usize = scores.iter().map(|score| score.days.len()).sum();
    format!(
        "{kind}: wanted {:.2} % pass (worst world {:.2}, worst day {:.2}), attacks {:.2} % stopped (worst world {:.2}), \
         {:.2} rules for one ({:.0} rules, {:.0} lines), statement covers {covered} of {days} days",
        mean(Score::passed),
        least(Score::passed),
        least(Score::worst_day),
        mean(Score::stopped),
        least(Score::stopped),
        mean(Score::ratio),
        mean(|score| score.rules as f64),
        mean(|score| score.lines as f64),
    )
}
