//! Text that is not ours on its way to a terminal.
//!
//! Captures, states, rulesets and system files come from elsewhere, and so may what they say: a terminal obeys the
//! control characters in it (ECMA-48), and some formatting characters of Unicode turn what stands beside them round
//! (UAX #9). Whatever comes from a file gets into messages, tables and reports through here.

use std::borrow::Cow;

/// Whether a character does something else than to be seen.
pub const fn is_harmful(c: char) -> bool {
    matches!(
        c,
        // C0 and DEL, C1.
        '\0'..='\x1f' | '\x7f'..='\u{9f}'
        // Marks, embeddings, overrides and isolates of the bidirectional algorithm.
        | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        // Ends of lines and paragraphs that are no newlines, and what has no width.
        | '\u{2028}' | '\u{2029}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}'
    )
}

/// The text on one line, with every character that does something else than to be seen written as an escape.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// The same for text of several lines, which keeps its ends of lines and tabs.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| matches!(c, '\n' | '\t'))
}

fn escaped(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    let wrong = |c: char| is_harmful(c) && !keep(c);
    if !text.contains(wrong) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !wrong(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x100 => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.extend(c.escape_unicode()),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        assert_eq!(
            printable("a\x1b[2J\u{9b}b\x7f\r\n\u{202e}"),
            "a\\x1b[2J\\x9bb\\x7f\\r\\n\\u{202e}"
        );
        assert_eq!(printable_lines("a\tb\n\x07"), "a\tb\n\\x07");
        let all: String = (0..0x3000).filter_map(char::from_u32).collect();
        assert!(!printable(&all).contains(is_harmful));
        assert!(!printable_lines(&all).contains(|c| char::is_control(c) && c != '\n' && c != '\t'));
    }

    #[test]
    fn text_that_is_seen_stays() {
        for text in ["", "gw1", "Zürich, 東京", "a\\b 'c' \"d\""] {
            assert_eq!(printable(text), text);
        }
    }
}
