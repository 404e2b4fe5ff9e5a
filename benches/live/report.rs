//! Tables in Markdown.

use crate::figures::{Figures, median, ratio};

/// The trials of one program in one workload.
#[derive(Debug)]
pub struct Series {
    /// The program.
    pub name: String,
    /// Whether it prints the flows.
    pub lists: bool,
    /// A trial for every round.
    pub trials: Vec<Figures>,
}

impl Series {
    fn median(&self, figure: impl Fn(&Figures) -> f64) -> f64 {
        median(self.trials.iter().map(figure))
    }

    /// The smallest of what the trials listed, as there is nothing random about it.
    fn listed(&self) -> u64 {
        self.trials
            .iter()
            .map(|trial| trial.listed)
            .min()
            .unwrap_or(0)
    }

    fn drops(&self) -> u64 {
        self.trials
            .iter()
            .map(|trial| trial.drops)
            .max()
            .unwrap_or(0)
    }

    /// The worst end of all trials.
    fn end(&self) -> String {
        let worst = self.trials.iter().max_by_key(|trial| trial.status);
        let Some(trial) = worst else {
            return String::new();
        };
        match (trial.status, trial.verdict.as_str()) {
            (status, "") => format!("exit {status}"),
            (status, verdict) => format!("exit {status}, {verdict}"),
        }
    }
}

/// Finds the floor and the C tool among the series.
fn baseline<'a>(all: &'a [Series], name: &str) -> Option<&'a [Figures]> {
    all.iter()
        .find(|series| series.name == name)
        .map(|series| &series.trials[..])
}

fn against(series: &Series, theirs: Option<&[Figures]>, ours_first: bool) -> String {
    let early = |trials: &[Figures]| trials.iter().any(|trial| trial.early);
    let Some(theirs) = theirs.filter(|theirs| !early(theirs) && !early(&series.trials)) else {
        return "–".into();
    };
    let value = if ours_first {
        ratio(&series.trials, theirs, Figures::cpu_us)
    } else {
        ratio(theirs, &series.trials, Figures::cpu_us)
    };
    format!("{value:.2}")
}

/// Backlogs: what an event costs, what a flow takes, what the end takes.
pub fn backlog(title: &str, unheard_us: f64, all: &[Series]) {
    println!("\n**{title}**\n");
    println!(
        "| program | sent | listed | drops | end | user µs | system µs | CPU µs an event | × discard | \
         C tool ÷ it | flooder µs an entry | drained in s | B a flow | peak MiB | last byte ms | gone ms |"
    );
    println!("|---|--:|--:|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    println!("| nobody listens | | | | | | | | | | {unheard_us:.2} | | | | | |");
    for series in all {
        println!(
            "| {} | {} | {} | {} | {} | {:.3} | {:.3} | {:.3} | {} | {} | {:.2} | {:.2} | {} | {:.0} | {:.0} | {:.0} |",
            series.name,
            series.trials.first().map_or(0, |trial| trial.sent),
            listed(series),
            series.drops(),
            series.end(),
            series.median(|trial| trial.user_us),
            series.median(|trial| trial.system_us),
            series.median(Figures::cpu_us),
            against(series, baseline(all, "discard"), true),
            against(series, baseline(all, "C tool"), false),
            series.median(|trial| trial.flood_us),
            series.median(|trial| trial.drain_s),
            resident(series),
            series.median(|trial| trial.peak_mib),
            series.median(|trial| trial.last_byte_ms),
            series.median(|trial| trial.exit_ms),
        );
    }
}

/// Events as they come.
pub fn paced(title: &str, unheard_us: f64, all: &[Series]) {
    println!("\n**{title}**\n");
    println!(
        "| program | sent | listed | drops | end | user µs | system µs | CPU µs an event | × discard | \
         sleeps per 1,000 events | flooder µs an entry |"
    );
    println!("|---|--:|--:|--:|---|--:|--:|--:|--:|--:|--:|");
    println!("| nobody listens | | | | | | | | | | {unheard_us:.2} |");
    for series in all {
        println!(
            "| {} | {} | {} | {} | {} | {:.3} | {:.3} | {:.3} | {} | {:.1} | {:.2} |",
            series.name,
            series.trials.first().map_or(0, |trial| trial.sent),
            listed(series),
            series.drops(),
            series.end(),
            series.median(|trial| trial.user_us),
            series.median(|trial| trial.system_us),
            series.median(Figures::cpu_us),
            against(series, baseline(all, "discard"), true),
            series.median(|trial| trial.sleeps * 1e3 / trial.sent as f64),
            series.median(|trial| trial.flood_us),
        );
    }
}

fn listed(series: &Series) -> String {
    if series.lists {
        series.listed().to_string()
    } else {
        format!("({} received)", series.listed())
    }
}

/// Of a few flows, what else has become resident is more than what they take.
fn resident(series: &Series) -> String {
    if series.lists && series.listed() >= 100_000 {
        format!("{:.1}", series.median(|trial| trial.resident_per_flow))
    } else {
        "–".into()
    }
}
