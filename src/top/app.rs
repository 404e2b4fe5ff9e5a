//! What the view shows, and what keys do to it. Knows no terminal.

use super::lines::{Filter, Key, Line, Wanted, lines};
use super::list::List;
use super::rule;
use crate::model::printable::printable;
use crate::model::ruled::Ruled;
use crate::model::timestamp::Timestamp;
use crate::model::units::{agree, counted};
use crate::output::table;

/// How filters are read: with the words that options have.
pub type ParseFilter = fn(&str) -> Result<Filter, String>;

/// A key, as far as one means something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Press {
    /// A character.
    Character(char),
    /// Enter.
    Enter,
    /// Escape.
    Escape,
    /// Delete what stands before the cursor.
    Back,
    /// So many lines down; up if negative.
    Move(isize),
    /// So many screens down; up if negative.
    Page(isize),
    /// To the first line.
    Home,
    /// To the last line.
    End,
    /// Ctrl-C.
    Interrupt,
}

/// What has to be done outside of the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing.
    Nothing,
    /// The list is to be written.
    Write,
    /// It is enough.
    Quit,
}

/// Text before the lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sheet {
    /// Its heading.
    pub title: String,
    /// Its lines.
    pub lines: Vec<String>,
    /// How many of them have been passed.
    pub passed: usize,
}

/// The view.
#[derive(Debug)]
pub struct App {
    /// What is there.
    pub list: List,
    /// Which lines are wanted.
    pub wanted: Wanted,
    /// The filter as it was typed.
    pub filter: String,
    /// The lines.
    pub lines: Vec<Line>,
    /// The flows in them.
    pub flows: u64,
    /// The line that keys act on.
    pub selected: usize,
    /// The first line that is shown.
    pub top: usize,
    /// Whether nothing new is taken in.
    pub is_paused: bool,
    /// What is being typed, as a filter.
    pub typing: Option<String>,
    /// Text that is shown instead of the lines.
    pub sheet: Option<Sheet>,
    /// What there is to say, until the next key.
    pub message: Option<String>,
    /// Lines that have room.
    pub room: usize,
    parse: ParseFilter,
}

/// What `?` shows: as many lines as a terminal of 24 has room for.
pub const HELP: [&str; 15] = [
    "up, down, j, k   one line       PgUp, PgDn   one screen   Home, End",
    "g   group by: flow, service, client, server, interfaces, rule, verdict",
    "s, S   sort by the next: newest, last-seen, connections, flows, name; reverse",
    "/   filter, with the words of options: src 10.0.0.0/8 dport !https unconfirmed",
    "    An empty filter, or Esc, shows all again.",
    "n   marked flows alone, and all again",
    "Enter   the flows of a line, or all that is known of a flow",
    "r   the rules that conntracker rules would write for the line alone",
    "w   write the flows that are shown to a JSON file, in the current folder",
    "space   pause, and go on         q, Ctrl-C   quit",
    "+   not there when this began    !   not in the baseline (--baseline FILE)",
    "ANSWER: whether packets came back. CONNS: connections that began.",
    "FIRST, LAST: how long ago; of files, before the end of the capture.",
    "The verdict at the top says whether flows may be missing. The curves show the",
    "last minute; of files, the whole time.",
];

impl App {
    /// A view of a list.
    pub fn new(list: List, wanted: Wanted, parse: ParseFilter) -> Self {
        Self {
            list,
            wanted,
            filter: String::new(),
            lines: Vec::new(),
            flows: 0,
            selected: 0,
            top: 0,
            is_paused: false,
            typing: None,
            sheet: None,
            message: None,
            room: 1,
            parse,
        }
    }

    /// Makes the lines anew. The line that was selected stays so, wherever it is now; the first one does not, so that what
    /// is new on top is seen.
    pub fn refresh(&mut self) {
        let before = self.lines.get(self.selected).map(|line| line.key.clone());
        (self.lines, self.flows) = lines(&self.list, &self.wanted);
        if let (Some(key), 1..) = (before, self.selected) {
            if let Some(at) = self.lines.iter().position(|line| line.key == key) {
                self.selected = at;
            }
        }
        self.go(0);
    }

    fn go(&mut self, by: isize) {
        let last = self.lines.len().saturating_sub(1);
        self.selected = self.selected.saturating_add_signed(by).min(last);
        let room = self.room.max(1);
        self.top = self
            .top
            .clamp((self.selected + 1).saturating_sub(room), self.selected);
        // No empty room below the last line as long as there are lines above.
        self.top = self.top.min(self.lines.len().saturating_sub(room));
    }

    /// Takes note of how many lines have room.
    pub fn resize(&mut self, room: usize) {
        if self.room != room {
            self.room = room;
            self.go(0);
        }
    }

    /// Does what a key says.
    pub fn press(&mut self, press: Press) -> Outcome {
        self.message = None;
        if press == Press::Interrupt {
            return Outcome::Quit;
        }
        if self.typing.is_some() {
            self.type_filter(press);
            return Outcome::Nothing;
        }
        if self.sheet.is_some() {
            self.read_sheet(press);
            return Outcome::Nothing;
        }
        let has_rules = self.list.has_rules();
        match press {
            Press::Character('q') => return Outcome::Quit,
            Press::Character('w') => return Outcome::Write,
            Press::Character('?' | 'h') => {
                self.show("Keys", HELP.iter().map(|line| (*line).to_owned()).collect());
            }
            Press::Character('/') => self.typing = Some(self.filter.clone()),
            Press::Character('s') => self.change(|wanted| wanted.sort = wanted.sort.next()),
            Press::Character('S') => self.change(|wanted| wanted.reverse = !wanted.reverse),
            Press::Character('g' | 'G') => self.change(|wanted| {
                wanted.group = wanted.group.next(has_rules);
                wanted.expanded.clear();
            }),
            Press::Character('n') => {
                self.change(|wanted| wanted.only_marked = !wanted.only_marked);
            }
            Press::Character(' ') => self.is_paused = !self.is_paused,
            Press::Character('r') => self.show_rule(),
            Press::Enter => self.expand(),
            Press::Character('j') => self.go(1),
            Press::Character('k') => self.go(-1),
            Press::Move(by) => self.go(by),
            Press::Page(by) => self.go(by * self.room.max(1) as isize),
            Press::Home => self.go(isize::MIN / 2),
            Press::End => self.go(isize::MAX / 2),
            Press::Escape if !self.filter.is_empty() => self.apply(String::new()),
            _ => {}
        }
        Outcome::Nothing
    }

    fn change(&mut self, change: impl FnOnce(&mut Wanted)) {
        change(&mut self.wanted);
        (self.selected, self.top) = (0, 0);
        self.refresh();
    }

    fn type_filter(&mut self, press: Press) {
        let Some(typed) = &mut self.typing else {
            return;
        };
        match press {
            Press::Character(c) => typed.push(c),
            Press::Back => {
                typed.pop();
            }
            Press::Escape => self.typing = None,
            Press::Enter => {
                let typed = self.typing.take().unwrap_or_default();
                self.apply(typed);
            }
            _ => {}
        }
    }

    /// Filters by what was typed; what can't be read is said, and changes nothing.
    pub fn apply(&mut self, typed: String) {
        if typed.trim().is_empty() {
            self.filter.clear();
            return self.change(|wanted| wanted.filter = None);
        }
        match (self.parse)(&typed) {
            Ok(filter) => {
                self.filter = typed;
                self.change(|wanted| wanted.filter = Some(filter));
            }
            Err(why) => self.message = Some(printable(&why).into_owned()),
        }
    }

    fn read_sheet(&mut self, press: Press) {
        let room = self.room as isize;
        let Some(sheet) = &mut self.sheet else { return };
        let by = match press {
            Press::Move(by) => by,
            Press::Page(by) => by * room,
            Press::Character('j') => 1,
            Press::Character('k') => -1,
            _ => {
                self.sheet = None;
                return;
            }
        };
        let most = sheet.lines.len().saturating_sub(1);
        sheet.passed = sheet.passed.saturating_add_signed(by).min(most);
    }

    fn show(&mut self, title: &str, lines: Vec<String>) {
        self.sheet = Some(Sheet {
            title: title.to_owned(),
            lines,
            passed: 0,
        });
    }

    fn expand(&mut self) {
        let Some(line) = self.lines.get(self.selected) else {
            return;
        };
        if let Key::Flow(_) = line.key {
            let lines = details(&self.list, line.members[0]);
            return self.show("Flow", lines);
        }
        let key = line.key.clone();
        let expanded = &mut self.wanted.expanded;
        if !expanded.remove(&key) {
            expanded.insert(key);
        }
        self.refresh();
    }

    fn show_rule(&mut self) {
        let Some(line) = self.lines.get(self.selected) else {
            return;
        };
        let passed = line
            .members
            .iter()
            .filter(|at| !self.list.marks[**at].is_denied);
        let records = passed.map(|at| self.list.flows[*at].record.clone());
        let mut lines = rule::rules(&self.list.captures, records.collect(), &self.list.services);
        let denied = { line.members.iter() }.filter(|at| self.list.marks[**at].is_denied);
        if let denied @ 1.. = denied.count() as u64 {
            lines.push(format!(
                "No rule for {} that {} denied: conntracker rules --include-denied",
                counted(denied, "flow"),
                agree(denied, "was", "were")
            ));
        }
        self.show("What conntracker rules writes for it", lines);
    }

    /// The flows that are shown.
    pub fn shown(&self) -> Vec<usize> {
        let lines = self.lines.iter().filter(|line| !line.is_member);
        let mut shown: Vec<usize> = lines.flat_map(|line| line.members.clone()).collect();
        shown.sort_unstable();
        shown
    }
}

/// All that is known of a flow.
fn details(list: &List, at: usize) -> Vec<String> {
    let record = &list.flows[at].record;
    let identity = &record.identity;
    let host = |address| match list.names.of(address) {
        Some(name) => format!("{address} {}", printable(name)),
        None => address.to_string(),
    };
    let time = |time: Option<Timestamp>| {
        time.map_or_else(|| "unknown".to_owned(), |time| time.to_string())
    };
    let mut lines = vec![
        format!("protocol     {}", identity.protocol),
        format!("client       {}", host(identity.source)),
        format!("client port  {}", table::source_port(identity.source_port)),
        format!("server       {}", host(identity.destination)),
        format!("service      {}", table::service(identity, None)),
        format!(
            "answered     {}",
            if record.confirmed { "yes" } else { "no" }
        ),
        format!("connections  {}", record.connections),
        format!("first seen   {}", time(record.first_seen)),
        format!("last seen    {}", time(record.last_seen)),
    ];
    let more = table::translation(record);
    if !more.is_empty() {
        lines.push(format!("besides      {more}"));
    }
    for learnt in list.told.names(identity) {
        lines.push(format!(
            "asked for    {} ({} to {})",
            printable(&learnt.name),
            learnt.first,
            learnt.last
        ));
    }
    if let Some(verdict) = list.verdict(at) {
        let rule = list.ruled(at).map(Ruled::last_word);
        let rule = rule.map_or_else(String::new, |rule| format!(" by {rule}"));
        lines.push(format!(
            "verdict      {}",
            printable(&format!("{verdict}{rule}"))
        ));
    }
    lines
}
