//! A text in Markdown as a terminal or a pipe shows it: filled paragraphs, hanging lists, aligned tables.

mod fill;
mod table;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use fill::fill;
use table::Table;

/// Under its heading a text stands a little to the right, and code again under the text.
const STEP: usize = 2;
/// Nobody reads longer lines with ease.
const WIDEST: usize = 100;
/// Narrower windows cut lines off: a column of single words would be no easier to read.
const NARROWEST: usize = 20;
/// Of lines that go to a pipe or a file.
const USUAL: usize = 80;

const BOLD: &str = "\x1b[1m";
const NORMAL: &str = "\x1b[0m";

/// What a text is shown on.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// How long lines may be.
    pub width: usize,
    /// Whether there is bold text.
    pub has_bold: bool,
}

impl Page {
    /// Standard output's: `columns` is what COLUMNS says, `terminal` how wide the terminal is, if it is one.
    pub fn new(columns: Option<&str>, terminal: Option<usize>, has_bold: bool) -> Self {
        let asked = { columns.and_then(|columns| columns.parse().ok()) }.filter(|&width| width > 0);
        let width = asked.or(terminal).unwrap_or(USUAL);
        Self {
            width: width.clamp(NARROWEST, WIDEST),
            has_bold,
        }
    }

    /// The text as lines.
    pub fn show(self, markdown: &str) -> String {
        let mut writer = Writer::new(self);
        let events: Vec<Event<'_>> = Parser::new_ext(markdown, Options::ENABLE_TABLES).collect();
        for (place, event) in events.iter().enumerate() {
            writer.take(event, &events[place + 1..]);
        }
        writer.out
    }
}

/// A list that is being written.
struct List {
    /// The number of its next item, if it is numbered.
    number: Option<u64>,
    /// Whether blank lines stand between its items.
    is_loose: bool,
    /// By how much the text of its present item is indented.
    step: usize,
}

struct Writer {
    page: Page,
    out: String,
    /// The sentences, heading, cell or code that is being read.
    text: String,
    indent: usize,
    lists: Vec<List>,
    /// What the next line begins with, in the room that its indentation leaves: the mark of an item.
    mark: Option<String>,
    /// Whether the next block follows the one before it without a blank line.
    is_joined: bool,
    bold: usize,
    is_picture: bool,
    is_code: bool,
    table: Option<Table>,
}

impl Writer {
    const fn new(page: Page) -> Self {
        Self {
            page,
            out: String::new(),
            text: String::new(),
            indent: STEP,
            lists: Vec::new(),
            mark: None,
            is_joined: true,
            bold: 0,
            is_picture: false,
            is_code: false,
            table: None,
        }
    }

    fn take(&mut self, event: &Event<'_>, rest: &[Event<'_>]) {
        match event {
            Event::Start(tag) => self.begin(tag, rest),
            Event::End(tag) => self.end(*tag),
            Event::Text(text) if self.is_code => self.text += text,
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) => self.say(text),
            // Without bold letters its marks tell code from words.
            Event::Code(code) if self.page.has_bold => {
                self.bold += 1;
                self.say(code);
                self.bold -= 1;
            }
            Event::Code(code) => self.say(&format!("`{code}`")),
            Event::SoftBreak | Event::HardBreak => self.say(" "),
            Event::Rule => {
                self.separate();
                let room = self.room();
                self.line(&"-".repeat(room));
            }
            // Options that are not set have these.
            Event::InlineMath(_)
            | Event::DisplayMath(_)
            | Event::FootnoteReference(_)
            | Event::TaskListMarker(_) => {}
        }
    }

    fn begin(&mut self, tag: &Tag<'_>, rest: &[Event<'_>]) {
        match tag {
            Tag::Heading { .. } | Tag::TableHead | Tag::Strong => self.bold += 1,
            Tag::Image { .. } => self.is_picture = true,
            Tag::BlockQuote(_) => self.indent += STEP,
            Tag::CodeBlock(_) => {
                self.flush();
                self.is_code = true;
            }
            Tag::List(number) => {
                self.flush();
                let is_loose = matches!(rest.get(1), Some(Event::Start(Tag::Paragraph)));
                self.lists.push(List {
                    number: *number,
                    is_loose,
                    step: 0,
                });
            }
            Tag::Item => self.begin_item(),
            Tag::Table(alignments) => self.table = Some(Table::new(alignments)),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(_) => {
                self.bold -= 1;
                let indent = std::mem::take(&mut self.indent);
                self.flush();
                self.indent = indent;
                self.is_joined = true;
            }
            TagEnd::Strong => self.bold -= 1,
            TagEnd::Image => self.is_picture = false,
            TagEnd::BlockQuote(_) => self.indent -= STEP,
            TagEnd::CodeBlock => self.code(),
            TagEnd::Paragraph => self.flush(),
            TagEnd::Item => self.end_item(),
            TagEnd::List(_) => {
                self.lists.pop();
                self.is_joined = self.lists.last().is_some_and(|list| !list.is_loose);
            }
            TagEnd::TableCell => {
                let cell = std::mem::take(&mut self.text);
                if let Some(table) = &mut self.table {
                    table.cell(cell);
                }
            }
            TagEnd::TableHead | TagEnd::TableRow => {
                self.bold -= usize::from(tag == TagEnd::TableHead);
                if let Some(table) = &mut self.table {
                    table.end_row();
                }
            }
            TagEnd::Table => {
                if let Some(table) = self.table.take() {
                    self.separate();
                    for line in table.lines(self.room()) {
                        self.line(&line);
                    }
                }
            }
            _ => {}
        }
    }

    fn begin_item(&mut self) {
        let Some(list) = self.lists.last_mut() else {
            return;
        };
        let mark = match &mut list.number {
            Some(number) => {
                *number += 1;
                format!("{}. ", *number - 1)
            }
            None => "- ".into(),
        };
        list.step = mark.len();
        self.indent += mark.len();
        self.separate();
        self.mark = Some(mark);
        self.is_joined = true;
    }

    fn end_item(&mut self) {
        self.flush();
        if let Some(list) = self.lists.last() {
            self.indent -= list.step;
            self.is_joined = !list.is_loose;
        }
        self.mark = None;
    }

    /// Takes in what stands in a line. Each bold word is bold by itself, wherever lines end.
    fn say(&mut self, text: &str) {
        if self.is_picture {
            return;
        }
        if self.bold == 0 || !self.page.has_bold {
            self.text += text;
            return;
        }
        for part in text.split_inclusive(char::is_whitespace) {
            let word = part.trim_end();
            if !word.is_empty() {
                self.text.extend([BOLD, word, NORMAL]);
            }
            self.text += &part[word.len()..];
        }
    }

    /// Writes the sentences that were read, if there are any.
    fn flush(&mut self) {
        let text = std::mem::take(&mut self.text);
        let lines = fill(&text, self.room());
        if lines.is_empty() {
            return;
        }
        self.separate();
        for line in lines {
            self.line(&line);
        }
        self.is_joined = self.lists.last().is_some_and(|list| !list.is_loose);
    }

    fn code(&mut self) {
        self.is_code = false;
        let code = std::mem::take(&mut self.text);
        self.separate();
        self.indent += STEP;
        for line in code.lines() {
            self.line(line);
        }
        self.indent -= STEP;
    }

    /// Sets what follows apart from what stands before it.
    fn separate(&mut self) {
        if !self.is_joined {
            self.out.push('\n');
        }
        self.is_joined = false;
    }

    fn line(&mut self, line: &str) {
        let mark = self.mark.take().unwrap_or_default();
        if !(line.is_empty() && mark.is_empty()) {
            let blanks = self.indent.saturating_sub(mark.len());
            self.out.extend([&" ".repeat(blanks), &*mark, line]);
        }
        self.out.push('\n');
    }

    fn room(&self) -> usize {
        self.page.width.saturating_sub(self.indent)
    }
}

#[cfg(test)]
mod tests;
