//! What rules say of themselves: how many flows that are wanted they are expected to stop.

/// Flows a day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statement {
    /// So many, about.
    pub about: f64,
    /// At least.
    pub low: f64,
    /// At most.
    pub high: f64,
}

impl Statement {
    /// Looks for `expect about X a day (Y to Z)`, with line breaks and comment signs wherever they fall.
    pub fn find(text: &str) -> Option<Self> {
        let words: Vec<&str> = text
            .split_whitespace()
            .filter(|word| *word != "#")
            .collect();
        let at = words
            .windows(2)
            .position(|pair| pair[0].eq_ignore_ascii_case("expect") && pair[1] == "about")?;
        let mut numbers = words[at + 2..]
            .iter()
            .take(12)
            .filter_map(|word| number(word));
        Some(Self {
            about: numbers.next()?,
            low: numbers.next()?,
            high: numbers.next()?,
        })
    }

    /// Whether a day was as it says.
    pub fn covers(&self, stopped: usize) -> bool {
        (self.low..=self.high).contains(&(stopped as f64))
    }
}

/// A number with separators of thousands, in whatever brackets.
fn number(word: &str) -> Option<f64> {
    let word = word.trim_matches(|sign: char| !sign.is_ascii_digit());
    let plain: String = word.chars().filter(|sign| *sign != ',').collect();
    plain.parse().ok()
}

/// How many rules a ruleset for nft(8) has: what stands in chains, but for their types.
pub fn rules(ruleset: &str) -> usize {
    let (mut depth, mut chain, mut rules) = (0, None, 0);
    for line in ruleset.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let begins = chain == Some(depth);
        if begins && !line.starts_with("type ") && !line.starts_with('}') {
            rules += 1;
        }
        let braces = |brace: char| line.matches(brace).count();
        if chain.is_none() && line.starts_with("chain ") {
            chain = Some(depth + 1);
        }
        depth = (depth + braces('{')).saturating_sub(braces('}'));
        if chain.is_some_and(|inside| depth < inside) {
            chain = None;
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_found_wherever_lines_break() {
        let text = "# these rules would have stopped 3 flows of 1,200 connections since. Expect\n# about 2.5 a day (0.5\n# to 1,004); blind";
        let found = Statement::find(text).unwrap();
        assert_eq!((found.about, found.low, found.high), (2.5, 0.5, 1004.0));
        assert!(found.covers(1) && found.covers(1004) && !found.covers(0));
        assert_eq!(Statement::find("can't tell"), None);
    }

    #[test]
    fn rules_are_counted_and_nothing_else() {
        let text = "table inet x {\n set s { type ipv4_addr; elements = { 1.2.3.4 }; }\n set t {\n elements = {\n 1.2.3.4\n }\n }\n\
                    chain forward {\n type filter hook forward priority 0; policy drop;\n # a\n ct state invalid drop\n\
                    ip saddr {\n 1.2.3.4,\n 1.2.3.5 } accept\n tcp dport { 1, 2 } accept\n }\n chain a {\n }\n}\n";
        assert_eq!(rules(text), 3);
    }
}
