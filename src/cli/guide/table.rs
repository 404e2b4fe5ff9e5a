//! A table as columns whose cells have several lines, or as a list where there is no room for columns.

use pulldown_cmark::Alignment;

use super::fill::{fill, longest, signs};

/// Between two columns.
const GAP: usize = 2;
/// Sentences are hard to read in columns that are narrower.
const NARROW: usize = 16;

/// What was read of a table.
pub struct Table {
    right: Vec<bool>,
    /// The first has the headings.
    rows: Vec<Vec<String>>,
    row: Vec<String>,
}

impl Table {
    pub fn new(alignments: &[Alignment]) -> Self {
        Self {
            right: { alignments.iter() }
                .map(|alignment| *alignment == Alignment::Right)
                .collect(),
            rows: Vec::new(),
            row: Vec::new(),
        }
    }

    pub fn cell(&mut self, text: String) {
        self.row.push(text);
    }

    pub fn end_row(&mut self) {
        self.rows.push(std::mem::take(&mut self.row));
    }

    /// The table in lines of at most so many signs.
    pub fn lines(&self, room: usize) -> Vec<String> {
        let Some((headings, rows)) = self.rows.split_first() else {
            return Vec::new();
        };
        match self.widths(room) {
            Some(widths) => self.columns(headings, rows, &widths),
            None => list(headings, rows, room),
        }
    }

    /// The widths of the columns, if they have room beside each other: as wide as their widest cells where that fits,
    /// and otherwise by how much stands in them.
    fn widths(&self, room: usize) -> Option<Vec<usize>> {
        let columns = 0..self.right.len();
        let of = |column: usize| self.rows.iter().filter_map(move |row| row.get(column));
        let whole: Vec<usize> = { columns.clone() }
            .map(|column| of(column).map(|cell| fill_width(cell)).max().unwrap_or(0))
            .collect();
        let least: Vec<usize> = columns
            .map(|column| {
                let word = of(column).map(|cell| longest(cell)).max().unwrap_or(0);
                word.max(whole[column].min(NARROW))
            })
            .collect();
        let room = room.checked_sub(GAP * self.right.len().saturating_sub(1))?;
        if least.iter().sum::<usize>() > room {
            return None;
        }
        let columns = 0..self.right.len();
        let text: Vec<usize> = { columns }
            .map(|column| of(column).map(|cell| fill_width(cell)).sum())
            .collect();
        let mut widths = least;
        let mut spare = room - widths.iter().sum::<usize>();
        while spare > 0 {
            let narrowed = (0..widths.len()).filter(|&column| widths[column] < whole[column]);
            let Some(column) =
                narrowed.min_by(|&a, &b| (widths[a] * text[b]).cmp(&(widths[b] * text[a])))
            else {
                break;
            };
            widths[column] += 1;
            spare -= 1;
        }
        Some(widths)
    }

    fn columns(&self, headings: &[String], rows: &[Vec<String>], widths: &[usize]) -> Vec<String> {
        let mut lines = Vec::new();
        if headings.iter().any(|heading| !heading.is_empty()) {
            lines.extend(self.row(headings, widths));
            let under = widths.iter().map(|&width| "-".repeat(width));
            lines.push(under.collect::<Vec<_>>().join(&" ".repeat(GAP)));
        }
        // Where a row goes on, its first cell is usually at its end; a blank line tells rows apart where it is not.
        let is_apart = { rows.iter() }.any(|row| {
            let first = row.first().zip(widths.first());
            first.is_some_and(|(cell, &width)| signs(cell) > width)
        });
        for (place, row) in rows.iter().enumerate() {
            if is_apart && place > 0 {
                lines.push(String::new());
            }
            lines.extend(self.row(row, widths));
        }
        lines
    }

    fn row(&self, cells: &[String], widths: &[usize]) -> Vec<String> {
        let cells: Vec<Vec<String>> = { cells.iter().zip(widths) }
            .map(|(cell, &width)| fill(cell, width))
            .collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(0);
        let line = |number: usize| {
            let mut line = String::new();
            for (column, (cell, &width)) in cells.iter().zip(widths).enumerate() {
                let text = cell.get(number).map_or("", |text| text);
                let padding = " ".repeat(width.saturating_sub(signs(text)));
                if column > 0 {
                    line.push_str(&" ".repeat(GAP));
                }
                match self.right[column] {
                    true => line.extend([&*padding, text]),
                    false => line.extend([text, &*padding]),
                }
            }
            line.truncate(line.trim_end().len());
            line
        };
        (0..height).map(line).collect()
    }
}

/// How many signs a cell takes in one line.
fn fill_width(cell: &str) -> usize {
    fill(cell, usize::MAX).first().map_or(0, |line| signs(line))
}

/// An item a row: its first cell, and below it the others behind their headings.
fn list(headings: &[String], rows: &[Vec<String>], room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let (mark, text) = match headings.get(column) {
                _ if column == 0 => ("- ", cell.clone()),
                Some(heading) if !heading.is_empty() => ("    ", format!("{heading}: {cell}")),
                _ => ("    ", cell.clone()),
            };
            if cell.is_empty() && column > 0 {
                continue;
            }
            let hanging = if column == 0 { 2 } else { 6 };
            let filled = fill(&text, room.saturating_sub(hanging));
            for (place, line) in filled.iter().enumerate() {
                let before = match (column, place) {
                    (_, 0) => mark,
                    (0, _) => "  ",
                    _ => "      ",
                };
                lines.push(format!("{before}{line}"));
            }
        }
    }
    lines
}
