//! Looking: what is there now and then, keys, and what they ask for.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::app::{App, Outcome, Press};
use super::draw::{self, Head, Palette};
use super::plain;
use super::screen::{Input, Screen};
use super::source::Source;
use crate::files::destination::Destination;
use crate::formats::json;
use crate::live::session::view::{View, Viewer};
use crate::model::listing::Flow;
use crate::model::printable::printable;
use crate::model::timestamp::Timestamp;
use crate::model::units::counted;
use crate::report::digest::hosts;

/// How often signals and keys are looked at, at least.
const TICK: Duration = Duration::from_millis(250);
/// How often flows are looked at, at most.
const LOOK: Duration = Duration::from_secs(1);
/// And how often at least, whatever it costs.
const LOOK_LEAST: Duration = Duration::from_secs(20);
/// A look may take so much of the time: one part of so many.
const SHARE: u32 = 60;

/// How it is looked at.
#[derive(Debug)]
pub struct Looking {
    /// What is shown.
    pub app: App,
    /// Lines of text instead of a screen, so often.
    pub plain: Option<Duration>,
    /// Whether there are colours.
    pub palette: Palette,
    /// What is looked at, in words.
    pub what: String,
    /// What the terminal failed with.
    pub failed: Option<io::Error>,
}

impl Viewer for Looking {
    fn watch(&mut self, view: &View<'_, '_>) {
        let mut source = view;
        self.look_at(&mut source);
    }
}

impl Looking {
    /// Looks until it is enough.
    pub fn look_at(&mut self, source: &mut impl Source) {
        let looked = match self.plain {
            Some(every) => self.in_lines(source, every),
            None => self.on_screen(source),
        };
        match looked {
            // Nobody reads it any more.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) => self.failed = Some(error),
            Ok(()) => {}
        }
    }

    fn in_lines(&mut self, source: &mut impl Source, every: Duration) -> io::Result<()> {
        self.begin(source);
        if !source.is_live() {
            let head = self.head(source);
            return plain::write(&self.app, &head, &mut io::stdout().lock());
        }
        let mut next = Instant::now() + every;
        let mut last = Instant::now();
        loop {
            while Instant::now() < next && !source.is_over() {
                std::thread::sleep(TICK.min(next.saturating_duration_since(Instant::now())));
            }
            self.take(source);
            self.app
                .list
                .step(source.figures(), last.elapsed().as_secs_f64());
            last = Instant::now();
            let head = self.head(source);
            plain::write(&self.app, &head, &mut io::stdout().lock())?;
            if source.is_over() {
                return Ok(());
            }
            next = Instant::now() + every;
        }
    }

    fn on_screen(&mut self, source: &mut impl Source) -> io::Result<()> {
        let mut screen = Screen::enter()?;
        self.begin(source);
        let (mut stepped, mut looked, mut pause) = (Instant::now(), Instant::now(), LOOK);
        let mut head = self.head(source);
        self.draw(&mut screen, &head)?;
        while !source.is_over() {
            crate::os::fault::point("top");
            let input = screen.wait(TICK)?;
            if input == Input::Gone {
                return Ok(());
            }
            let mut is_changed = input != Input::Nothing;
            if let Input::Key(press) = input {
                match self.app.press(press) {
                    Outcome::Quit => return Ok(()),
                    Outcome::Write => self.write(source),
                    Outcome::Nothing => {}
                }
                // What was missed while it was paused.
                if press == Press::Character(' ') && !self.app.is_paused {
                    pause = Duration::ZERO;
                }
            }
            if source.is_live() && looked.elapsed() >= pause {
                let begun = Instant::now();
                if !self.app.is_paused {
                    self.take(source);
                }
                // So much of the time at most goes into looking, however many flows there are.
                pause = (begun.elapsed() * SHARE).clamp(LOOK, LOOK_LEAST);
                looked = Instant::now();
                is_changed = true;
            }
            if source.is_live() && stepped.elapsed() >= LOOK {
                self.app
                    .list
                    .step(source.figures(), stepped.elapsed().as_secs_f64());
                stepped = Instant::now();
                head = self.head(source);
                is_changed = true;
            }
            if is_changed {
                self.draw(&mut screen, &head)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, source: &mut impl Source) {
        self.app.list.describe(source.captures());
        let hosts = hosts(&self.app.list.captures);
        self.what = match hosts.as_slice() {
            [] => "unknown host".to_owned(),
            [host] => printable(host).into_owned(),
            several => format!("{} hosts", several.len()),
        };
        if source.is_live() {
            self.app.list.step(source.figures(), 1.0);
            self.take(source);
        } else {
            let (flows, told) = source.flows();
            self.app.list.take_stored(flows, told);
            self.app.refresh();
        }
    }

    fn take(&mut self, source: &mut impl Source) {
        let (flows, told) = source.flows();
        self.app.list.take_live(flows, told);
        self.app.refresh();
    }

    fn head(&self, source: &impl Source) -> Head {
        let (verdict, reasons) = source.verdict();
        Head {
            what: self.what.clone(),
            elapsed: source.elapsed(),
            verdict,
            reasons,
            missed: source.figures().missed,
            is_live: source.is_live(),
            message: source.message(),
        }
    }

    fn draw(&mut self, screen: &mut Screen, head: &Head) -> io::Result<()> {
        self.app.resize(draw::room(screen.height()?));
        let (app, palette) = (&self.app, self.palette);
        screen.draw(|frame| draw::draw(frame, app, head, palette))
    }

    /// Writes the flows that are shown to a file in the current folder, and says how it is called.
    fn write(&mut self, source: &impl Source) {
        let now = Timestamp::now().to_string();
        let stamp: String = now[..19]
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let path = PathBuf::from(format!("conntracker-top-{stamp}.json"));
        let shown = self.app.shown();
        let mut captures = source.captures();
        if let Some(filter) = &self.app.wanted.filter {
            for capture in &mut captures {
                capture.filters.extend(filter.describe());
            }
        }
        if self.app.wanted.only_marked {
            for capture in &mut captures {
                capture.lacks_flows("flows with a mark alone were written by top");
            }
        }
        let whole = &self.app.list;
        let flows = &whole.flows;
        let written = Destination::new(&path).put(|out| {
            let mut out = io::BufWriter::new(out);
            let mut list = json::List::begin(&captures, &mut out)?.naming(&whole.names);
            for at in &shown {
                let Flow { record, seen_in } = &flows[*at];
                let beside = (whole.ruled(*at), whole.told.names(&record.identity));
                if whole.marks[*at].is_denied {
                    list.denied(record, seen_in, beside)?;
                } else {
                    list.told(record, seen_in, beside)?;
                }
            }
            list.end()?;
            io::Write::flush(&mut out)
        });
        self.app.message = Some(match written {
            Ok(()) => format!(
                "{} written to {}",
                counted(shown.len() as u64, "flow"),
                path.display()
            ),
            Err(error) => format!("{}: {error}", path.display()),
        });
    }
}
