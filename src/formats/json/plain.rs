//! How JSON is written so that it can be shown on a terminal.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::Formatter;

use crate::model::printable::is_harmful;

/// As compact as can be, and with escapes for what a terminal would obey: RFC 8259 asks for them only below U+0020.
struct Plain;

impl Formatter for Plain {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if fragment.is_ascii() && !fragment.contains('\x7f') {
            return writer.write_all(fragment.as_bytes());
        }
        for c in fragment.chars() {
            let mut buffer = [0; 4];
            if is_harmful(c) {
                // All of them are in the basic plane, so that one escape says each.
                write!(writer, "\\u{:04x}", c as u32)?;
            } else {
                writer.write_all(c.encode_utf8(&mut buffer).as_bytes())?;
            }
        }
        Ok(())
    }
}

/// Writes a value as JSON, on one line without its end.
///
/// Errors: those of `out`.
pub fn to_writer<T: Serialize>(out: &mut impl Write, value: &T) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(out, Plain);
    value.serialize(&mut serializer).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_plain_and_reads_back() {
        let text = "a\x1b\u{9b}\x7f\u{202e}\u{feff}é\"\\\n";
        let mut line = Vec::new();
        to_writer(&mut line, &text).unwrap();
        let line = String::from_utf8(line).unwrap();
        assert!(!line.contains(is_harmful), "{line}");
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
    }
}
