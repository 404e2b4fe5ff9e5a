//! The lines of a text, of bounded length.

use std::io::{self, BufRead};

/// The longest line that is read. A description of a host with a full routing table takes some 100 MB; a
/// longer line is no text.
const LINE_MAX: usize = 256 << 20;

/// A line of a file, or why there is none.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// Without its end, `\n` or `\r\n`, and whether it had one.
    Whole(&'a [u8], bool),
    /// It is longer than any line that makes sense, and was passed over.
    TooLong,
}

/// Reads lines into one buffer.
#[derive(Debug)]
pub struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
    number: u64,
    line_max: usize,
    ended: bool,
    /// Whether the rest of a line that is too long is left unread.
    stops: bool,
}

impl<R: BufRead> Lines<R> {
    /// The lines of `input`.
    pub const fn new(input: R) -> Self {
        Self {
            input,
            buffer: Vec::new(),
            number: 0,
            line_max: LINE_MAX,
            ended: true,
            stops: false,
        }
    }

    /// The same, of which the first line that is too long is the last: whoever needs all lines need not wait for
    /// the end of one that may have none.
    pub fn up_to_the_first_too_long(input: R) -> Self {
        let mut lines = Self::new(input);
        lines.stops = true;
        lines
    }

    /// The number of the last line, from 1.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Whether the last line had an end, as all have that programs write.
    pub const fn ended(&self) -> bool {
        self.ended
    }

    /// The next line, or `None` at the end.
    ///
    /// Errors: those of the input.
    pub fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        self.buffer.clear();
        let mut whole = true;
        loop {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let end = memchr::memchr(b'\n', chunk);
            let part = &chunk[..end.unwrap_or(chunk.len())];
            if self.buffer.len() + part.len() > self.line_max {
                if self.stops {
                    self.number += 1;
                    return Ok(Some(Line::TooLong));
                }
                whole = false;
                self.buffer.clear();
            } else if whole {
                self.buffer.extend_from_slice(part);
            }
            let used = part.len() + usize::from(end.is_some());
            let has_end = end.is_some();
            let ended = end.is_some() || chunk.is_empty();
            self.input.consume(used);
            let began = !self.buffer.is_empty() || !whole || end.is_some();
            if ended {
                if !began {
                    return Ok(None);
                }
                self.ended = has_end;
                break;
            }
        }
        self.number += 1;
        if !whole {
            return Ok(Some(Line::TooLong));
        }
        let line = self.buffer.as_slice();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Ok(Some(Line::Whole(line, self.ended)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_every_kind() {
        for chunk_len in [1, 2, 64] {
            let text: &[u8] = b"a\r\n\nlonger than nine\nb";
            let input = io::BufReader::with_capacity(chunk_len, text);
            let mut lines = Lines::new(input);
            lines.line_max = 9;
            for expected in [
                Line::Whole(b"a", true),
                Line::Whole(b"", true),
                Line::TooLong,
                Line::Whole(b"b", false),
            ] {
                let last = expected == Line::Whole(b"b", false);
                assert_eq!(lines.next_line().unwrap(), Some(expected));
                assert_eq!(lines.ended(), !last);
            }
            assert_eq!(lines.next_line().unwrap(), None);
            assert_eq!(lines.number(), 4);
            assert!(!lines.ended());
        }
    }
}
