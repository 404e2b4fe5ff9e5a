//! Patterns of names: `*.example.com`.

use std::fmt;
use std::str::FromStr;

use crate::model::selection::{Not, passes};

/// A name in which `*` stands for any number of signs and `?` for one. Capital letters are as small ones, and a dot at the
/// end is none (RFC 1035, 2.3.3 and 5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Whether it is a pattern for this name.
    pub fn fits(&self, name: &str) -> bool {
        let name = plain(name);
        // Where the last `*` was, and what of the name it stands for so far: on a misfit it takes one sign more.
        let (pattern, name): (Vec<char>, Vec<char>) =
            (self.0.chars().collect(), name.chars().collect());
        let (mut at, mut of_name) = (0, 0);
        let mut star = None;
        while of_name < name.len() {
            match pattern.get(at) {
                Some('*') => {
                    star = Some((at, of_name));
                    at += 1;
                }
                Some(&sign) if sign == '?' || sign == name[of_name] => {
                    at += 1;
                    of_name += 1;
                }
                _ => {
                    let Some((before, taken)) = star else {
                        return false;
                    };
                    star = Some((before, taken + 1));
                    (at, of_name) = (before + 1, taken + 1);
                }
            }
        }
        pattern[at..].iter().all(|sign| *sign == '*')
    }
}

/// Whether an address of these names is wanted. One without a name has the empty one, which only `*` is a pattern for.
pub fn are_wanted(conditions: &[Not<Pattern>], names: &[&str]) -> bool {
    passes(conditions, |pattern| match names {
        [] => pattern.fits(""),
        names => names.iter().any(|name| pattern.fits(name)),
    })
}

fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_lowercase()
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("write a name, for example printer or *.example.com".into());
        }
        Ok(Self(plain(text)))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_number_of_signs() {
        for (pattern, fitting, other) in [
            ("printer", "Printer", "printer2"),
            ("*.example.com", "a.b.example.com.", "example.com"),
            ("*ex*com", "exexcom", "example.org"),
            ("pc-??", "pc-07", "pc-7"),
            ("*", "anything", ""),
        ] {
            let parsed: Pattern = pattern.parse().unwrap();
            assert!(parsed.fits(fitting), "{pattern}: {fitting}");
            assert!(!parsed.fits(other) || pattern == "*", "{pattern}: {other}");
        }
        assert!("".parse::<Pattern>().is_err());
    }
}
