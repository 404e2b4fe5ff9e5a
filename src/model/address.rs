//! The text of IPv4 and IPv6 addresses, as glibc's `inet_ntop` writes it.
//!
//! `std::net::Ipv6Addr` writes some addresses differently (`::1.2.3.4` as `::102:304`), and the text
//! of an IPv6 address is also what the classic list is sorted by.

/// The text of an IPv6 address, padded with zeros and cut into words so that comparing the words
/// compares the texts byte by byte, a prefix first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text6([u64; 5]);

impl Text6 {
    /// Writes out an address given in network order.
    pub fn new(address: &[u8; 16]) -> Self {
        let mut bytes = [0; 40];
        write6(address, &mut bytes);
        let mut text = [0; 5];
        for (word, chunk) in text.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = chunk
                .iter()
                .fold(0, |word, &byte| word << 8 | u64::from(byte));
        }
        Self(text)
    }

    /// Appends the text to `out`.
    pub fn append(&self, out: &mut Vec<u8>) {
        for word in self.0 {
            let used = 8 - word.trailing_zeros() as usize / 8;
            out.extend_from_slice(&word.to_be_bytes()[..used]);
            if used < 8 {
                break;
            }
        }
    }
}

/// Appends the dotted text of an IPv4 address given in network order.
pub fn append4(address: [u8; 4], out: &mut Vec<u8>) {
    for (i, octet) in address.into_iter().enumerate() {
        if i > 0 {
            out.push(b'.');
        }
        append_number(u32::from(octet), out);
    }
}

/// Appends a decimal number.
pub fn append_number(mut number: u32, out: &mut Vec<u8>) {
    let mut digits = [0; 10];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The longest run of two or more zero words, the first of equals: its start and length.
fn zero_run(words: &[u16; 8]) -> (usize, usize) {
    let (mut best, mut start) = ((0, 0), 0);
    while start < 8 {
        let len = words[start..].iter().take_while(|&&word| word == 0).count();
        if len >= 2 && len > best.1 {
            best = (start, len);
        }
        start += len.max(1);
    }
    best
}

fn write6(address: &[u8; 16], out: &mut [u8; 40]) {
    let mut words = [0; 8];
    for (word, pair) in words.iter_mut().zip(address.chunks_exact(2)) {
        *word = u16::from_be_bytes([pair[0], pair[1]]);
    }
    let (run, run_len) = zero_run(&words);
    // glibc 2.36, resolv/inet_ntop.c: IPv4-compatible and IPv4-mapped addresses end in dotted form.
    let dotted = run == 0 && (run_len == 6 || (run_len == 5 && words[5] == 0xffff));
    let mut at = 0;
    let mut put = |byte| {
        out[at] = byte;
        at += 1;
    };
    let mut i = 0;
    while i < 8 {
        if run_len > 0 && i == run {
            put(b':');
            i += run_len;
            if i == 8 {
                put(b':');
            }
            continue;
        }
        if i > 0 {
            put(b':');
        }
        if dotted && i == 6 {
            let mut tail = Vec::with_capacity(15);
            append4(
                [address[12], address[13], address[14], address[15]],
                &mut tail,
            );
            tail.into_iter().for_each(&mut put);
            return;
        }
        let word = words[i];
        let mut shift = 12;
        while shift > 0 && word >> shift == 0 {
            shift -= 4;
        }
        loop {
            put(b"0123456789abcdef"[usize::from(word >> shift & 0xf)]);
            if shift == 0 {
                break;
            }
            shift -= 4;
        }
        i += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(address: &str) -> String {
        let address: std::net::Ipv6Addr = address.parse().unwrap();
        let mut out = Vec::new();
        Text6::new(&address.octets()).append(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_longest_zero_run_is_shortened_and_the_first_of_equals() {
        assert_eq!(text("::"), "::");
        assert_eq!(text("::1"), "::1");
        assert_eq!(text("1::"), "1::");
        assert_eq!(text("1:0:2:0:0:3:0:0"), "1:0:2::3:0:0");
        assert_eq!(text("1:0:0:2:3:0:0:4"), "1::2:3:0:0:4");
        assert_eq!(text("1:0:2:3:4:5:6:7"), "1:0:2:3:4:5:6:7");
        let longest = "fd12:3456:789a:bcde:f012:3456:789a:bcde";
        assert_eq!(text(longest), longest);
        assert_eq!(longest.len(), 39);
    }

    #[test]
    fn dotted_tails_in_exactly_two_cases() {
        assert_eq!(text("::1.2.3.4"), "::1.2.3.4");
        assert_eq!(text("::1:0"), "::0.1.0.0");
        assert_eq!(text("::ffff:0:0"), "::ffff:0.0.0.0");
        assert_eq!(text("::ffff"), "::ffff");
        assert_eq!(text("64:ff9b::102:304"), "64:ff9b::102:304");
        assert_eq!(text("::ffff:0:1.2.3.4"), "::ffff:0:102:304");
    }

    #[test]
    fn the_words_compare_as_the_texts_do() {
        let addresses = [
            "::",
            "::1",
            "::1.2.3.4",
            "::ffff:1.2.3.4",
            "1::",
            "10::",
            "1::a",
            "a::",
            "fd00::1",
        ];
        let mut by_words = addresses.map(|a| {
            (
                Text6::new(&a.parse::<std::net::Ipv6Addr>().unwrap().octets()),
                text(a),
            )
        });
        by_words.sort();
        let mut by_text = addresses.map(text);
        by_text.sort();
        assert_eq!(by_words.map(|(_, text)| text), by_text);
    }

    #[test]
    fn numbers_and_ipv4() {
        let mut out = Vec::new();
        append4([10, 0, 255, 1], &mut out);
        out.push(b' ');
        append_number(u32::MAX, &mut out);
        assert_eq!(out, b"10.0.255.1 4294967295");
    }
}
