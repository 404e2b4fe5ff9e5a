//! Words put into lines.

/// The words of a text in lines of at most `width` signs. A longer word has a line of its own.
pub fn fill(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let signs = signs(word);
        match lines.last_mut() {
            Some(line) if column + 1 + signs <= width => {
                line.push(' ');
                line.push_str(word);
                column += 1 + signs;
            }
            _ => {
                lines.push(word.to_owned());
                column = signs;
            }
        }
    }
    lines
}

/// How many signs a text takes, without what only says how they look.
pub fn signs(text: &str) -> usize {
    let mut parts = text.split('\x1b');
    let first = parts.next().map_or(0, |part| part.chars().count());
    let others = parts.map(|part| {
        let shown = part.split_once('m').map_or(part, |(_, shown)| shown);
        shown.chars().count()
    });
    first + others.sum::<usize>()
}

/// How many signs its longest word takes.
pub fn longest(text: &str) -> usize {
    text.split_whitespace().map(signs).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_long_as_they_may_be() {
        assert_eq!(fill("ab cd ef", 5), ["ab cd", "ef"]);
        assert_eq!(fill("ab cd ef", 4), ["ab", "cd", "ef"]);
        assert_eq!(fill("a abcdefgh b", 4), ["a", "abcdefgh", "b"]);
        assert_eq!(fill(" \n", 4), [""; 0]);
    }

    #[test]
    fn what_is_not_seen_takes_no_room() {
        assert_eq!(signs("\x1b[1mµ…\x1b[0m!"), 3);
        assert_eq!(fill("\x1b[1mab\x1b[0m cd", 5).len(), 1);
        assert_eq!(longest("a \x1b[1mbcd\x1b[0m ef"), 3);
    }
}
