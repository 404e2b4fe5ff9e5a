//! Text of a page. What is not part of this program gets into it escaped and in no other way: markup is `'static`.

use crate::model::printable::printable;
use crate::model::units::show_count;

/// A page as it grows.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// Markup of our own.
    pub fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text, in which nothing is markup, also between quotation marks.
    pub fn text(&mut self, text: &str) -> &mut Self {
        for c in printable(text).chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                c => self.0.push(c),
            }
        }
        self
    }

    /// A number for people.
    pub fn count(&mut self, number: u64) -> &mut Self {
        self.0.push_str(&show_count(number));
        self
    }

    /// A number of a name that we gave ourselves, as in `s3`.
    pub fn digits(&mut self, number: usize) -> &mut Self {
        self.0.push_str(&number.to_string());
        self
    }

    /// A coordinate, to a tenth.
    pub fn at(&mut self, value: f64) -> &mut Self {
        let text = format!("{value:.1}");
        self.0.push_str(text.strip_suffix(".0").unwrap_or(&text));
        self
    }

    /// The text of it all.
    pub fn into_string(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_markup() {
        let mut page = Page::default();
        page.raw("<b title=\"")
            .text("\"><script>alert('1')&\u{202e}\x1b[2J\n")
            .raw("\">");
        assert_eq!(
            page.into_string(),
            "<b title=\"&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&amp;\\u{202e}\\x1b[2J\\n\">"
        );
    }

    #[test]
    fn coordinates_are_short() {
        let mut page = Page::default();
        page.at(12.0).raw(" ").at(0.26).raw(" ").at(-1.04);
        assert_eq!(page.into_string(), "12 0.3 -1");
    }
}
