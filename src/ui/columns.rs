//! Aligned columns of text.

use std::borrow::Cow;
use std::io::{self, Write};

/// Between two columns.
const GAP: &str = "  ";
/// No column is made narrower: an IPv4 address has 15 signs.
const NARROWEST: usize = 15;

/// The widths of columns, as the cells that were measured need them.
#[derive(Debug)]
pub struct Columns {
    widths: Vec<usize>,
    right: Vec<bool>,
}

impl Columns {
    /// Columns that are as wide as their headings. `right` says which have their cells at the right edge, as numbers
    /// have.
    pub fn new(headings: &[String], right: impl IntoIterator<Item = bool>) -> Self {
        Self {
            widths: headings.iter().map(|heading| width(heading)).collect(),
            right: right.into_iter().collect(),
        }
    }

    /// Makes room for a row.
    pub fn measure(&mut self, cells: &[String]) {
        for (known, cell) in self.widths.iter_mut().zip(cells) {
            *known = (*known).max(width(cell));
        }
    }

    /// Makes the lines no longer than so many signs, as far as that goes by making these columns narrower, each down to
    /// [`NARROWEST`]: the widest one first. What does not fit into them is cut in its middle.
    pub fn fit(&mut self, signs: usize, columns: &[usize]) {
        let gaps = GAP.len() * self.widths.len().saturating_sub(1);
        let mut over = (self.widths.iter().sum::<usize>() + gaps).saturating_sub(signs);
        while over > 0 {
            let widest = columns.iter().max_by_key(|column| self.widths[**column]);
            let Some(&column) = widest.filter(|column| self.widths[**column] > NARROWEST) else {
                return;
            };
            self.widths[column] -= 1;
            over -= 1;
        }
    }

    /// Writes a row as a line without blanks at its end. `paint` makes of a cell, and its column's number, what is
    /// written: the same text with colours around it.
    pub fn write(
        &self,
        cells: &[String],
        paint: impl Fn(usize, &str) -> String,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let last = cells.iter().rposition(|cell| !cell.is_empty()).unwrap_or(0);
        let mut text = String::new();
        for (column, cell) in cells.iter().enumerate().take(last + 1) {
            if column > 0 {
                text.push_str(GAP);
            }
            let cell = &*cut(cell, self.widths[column]);
            let padding = " ".repeat(self.widths[column].saturating_sub(width(cell)));
            if self.right[column] {
                text.push_str(&padding);
            }
            text.push_str(&paint(column, cell));
            if !self.right[column] && column < last {
                text.push_str(&padding);
            }
        }
        text.push('\n');
        out.write_all(text.as_bytes())
    }
}

/// A cell that fits: its beginning and its end, which in addresses tell the most.
fn cut(cell: &str, max: usize) -> Cow<'_, str> {
    let signs = width(cell);
    if signs <= max {
        return Cow::Borrowed(cell);
    }
    let kept = max.saturating_sub(1);
    let (begin, end) = (kept.div_ceil(2), kept / 2);
    let mut text: String = cell.chars().take(begin).collect();
    text.push('…');
    text.extend(cell.chars().skip(signs - end));
    Cow::Owned(text)
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_left_and_numbers_right() {
        let rows = [["name", "n", ""], ["é", "1000", ""], ["longer", "7", "end"]];
        let rows = rows.map(|row| row.map(str::to_owned));
        let mut columns = Columns::new(&rows[0], [false, true, false]);
        let mut text = Vec::new();
        rows.iter().for_each(|row| columns.measure(row));
        for row in &rows {
            columns
                .write(row, |_, cell| cell.to_owned(), &mut text)
                .unwrap();
        }
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text, "name       n\né       1000\nlonger     7  end\n");
    }

    #[test]
    fn what_is_too_wide_is_cut_in_its_middle() {
        let row = ["2001:db8:1234:5678:9abc:def0:1234:5678", "443"].map(str::to_owned);
        let mut columns = Columns::new(&row, [false, true]);
        let mut shown = |signs| {
            columns.fit(signs, &[0]);
            let mut text = Vec::new();
            columns
                .write(&row, |_, cell| cell.to_owned(), &mut text)
                .unwrap();
            String::from_utf8(text).unwrap()
        };
        assert_eq!(shown(100), format!("{}  443\n", row[0]));
        assert_eq!(shown(25), "2001:db8:1…1234:5678  443\n");
        assert_eq!(shown(3), "2001:db…34:5678  443\n");
    }
}
