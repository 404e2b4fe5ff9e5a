//! The release of the running kernel (`uname -r`).

/// Its first two numbers, by which releases are compared.
pub fn release() -> Option<(u32, u32)> {
    numbers(&rustix::system::uname().release().to_string_lossy())
}

fn numbers(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        for (text, expected) in [
            ("6.18.0-1-amd64", Some((6, 18))),
            ("5.10.0", Some((5, 10))),
            ("6.4-rc1", Some((6, 4))),
            ("7", None),
            ("next", None),
        ] {
            assert_eq!(numbers(text), expected);
        }
        assert!((5, 9) < (5, 11) && (6, 4) >= (6, 4) && (7, 0) > (6, 4));
    }
}
