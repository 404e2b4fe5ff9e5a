//! Aligned columns of text.

use std::io::{self, Write};

/// Between two columns.
const GAP: &str = "  ";

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
}
