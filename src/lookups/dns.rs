//! Messages of DNS (RFC 1035, section 4), as far as they lead from a name to an address. Everything comes from the network, so
//! each step is bounded by the length of the message.

use std::net::IpAddr;

/// A (RFC 1035, 3.2.2).
pub const A: u16 = 1;
/// AAAA (RFC 3596, 2.1).
pub const AAAA: u16 = 28;
/// CNAME (RFC 1035, 3.2.2).
const CNAME: u16 = 5;
/// IN (RFC 1035, 3.2.4).
const IN: u16 = 1;

/// RFC 1035, 4.1.1.
const HEADER: usize = 12;
/// RFC 1035, 2.3.4: the longest name, with the lengths of its labels and the one of the root.
const NAME_MAX: usize = 255;
/// Aliases that are followed. Resolvers stop earlier (11 in BIND, 12 in unbound).
const ALIASES_MAX: usize = 16;

/// A name as messages have it, without compression and in small letters, so that equal names are equal bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name(Vec<u8>);

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// By which the client knows the answer.
    pub id: u16,
    /// The name.
    pub name: Name,
    /// [`A`] or [`AAAA`].
    pub kind: u16,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What was asked, as the answer repeats it.
    pub question: Question,
    /// Whether it was cut, so that the client asks again by TCP.
    pub truncated: bool,
    /// The addresses that the name leads to, by aliases too.
    pub addresses: Vec<IpAddr>,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A question for an address.
    Question(Question),
    /// An answer to one.
    Answer(Answer),
    /// Anything else: other types and classes, other operations, answers that say that there is nothing.
    Other,
}

/// What does not follow the form of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl Name {
    /// The name as people write it. `None` if it has other signs than names of hosts have (RFC 1123, 2.1; and `_`), or looks like
    /// an address, whose last label has no letter: whoever sends an answer chooses its bytes.
    pub fn host(&self) -> Option<String> {
        let mut text = String::new();
        let mut rest = &self.0[..];
        while let [length, after @ ..] = rest {
            let label = after.get(..usize::from(*length))?;
            if label.is_empty() {
                break;
            }
            let usual = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
            if !label.iter().all(usual) {
                return None;
            }
            if !text.is_empty() {
                text.push('.');
            }
            text.extend(label.iter().map(|byte| char::from(*byte)));
            rest = &after[usize::from(*length)..];
        }
        let last = text.rsplit('.').next().unwrap_or_default();
        let is_name = last.contains(|c: char| c.is_ascii_alphabetic());
        is_name.then_some(text)
    }
}

/// Reads a message.
///
/// Errors: one that ends too early, has a name that is none, or says of a length what can't be.
pub fn read(message: &[u8]) -> Result<Message, Malformed> {
    let mut at = Cursor { message, at: 0 };
    let id = at.number()?;
    let flags = at.number()?;
    let (questions, answers) = (at.number()?, at.number()?);
    at.skip(HEADER - at.at)?;
    let is_answer = flags & 1 << 15 != 0;
    let operation = flags >> 11 & 0xf;
    let failure = flags & 0xf;
    if operation != 0 || questions != 1 {
        return Ok(Message::Other);
    }
    let name = at.name()?;
    let (kind, class) = (at.number()?, at.number()?);
    if !matches!(kind, A | AAAA) || class != IN {
        return Ok(Message::Other);
    }
    let question = Question { id, name, kind };
    if !is_answer {
        return Ok(Message::Question(question));
    }
    if failure != 0 {
        return Ok(Message::Other);
    }
    let truncated = flags & 1 << 9 != 0;
    let addresses = match truncated {
        // A part of the addresses would look like all of them.
        true => Vec::new(),
        false => at.addresses(&question, answers)?,
    };
    Ok(Message::Answer(Answer {
        question,
        truncated,
        addresses,
    }))
}

/// A place in a message.
#[derive(Clone, Copy, Debug)]
struct Cursor<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(count).ok_or(Malformed)?;
        let taken = self.message.get(self.at..end).ok_or(Malformed)?;
        self.at = end;
        Ok(taken)
    }

    fn skip(&mut self, count: usize) -> Result<(), Malformed> {
        self.take(count).map(drop)
    }

    fn number(&mut self) -> Result<u16, Malformed> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A name, which may go on at earlier places (RFC 1035, 4.1.4). Each such place has to lie before the one that leads to it,
    /// so that no chain of them goes in circles.
    fn name(&mut self) -> Result<Name, Malformed> {
        let mut name = Vec::new();
        let mut part = *self;
        let mut begun = self.at;
        let mut has_jumped = false;
        loop {
            let length = usize::from(part.take(1)?[0]);
            match length >> 6 {
                0 => {
                    let label = part.take(length)?;
                    if name.len() + 1 + length > NAME_MAX {
                        return Err(Malformed);
                    }
                    name.push(length as u8);
                    name.extend(label.iter().map(u8::to_ascii_lowercase));
                    if length == 0 {
                        if !has_jumped {
                            self.at = part.at;
                        }
                        return Ok(Name(name));
                    }
                }
                3 => {
                    let to = (length & 0x3f) << 8 | usize::from(part.take(1)?[0]);
                    if to >= begun {
                        return Err(Malformed);
                    }
                    if !has_jumped {
                        self.at = part.at;
                        has_jumped = true;
                    }
                    (begun, part.at) = (to, to);
                }
                // Reserved (RFC 6891, section 5).
                _ => return Err(Malformed),
            }
        }
    }

    /// The addresses of the asked type that the answers give to the name, or to what it is an alias of.
    fn addresses(mut self, question: &Question, count: u16) -> Result<Vec<IpAddr>, Malformed> {
        let (mut aliases, mut addresses) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let owner = self.name()?;
            let (kind, class) = (self.number()?, self.number()?);
            // How long it may be kept.
            self.skip(4)?;
            let length = usize::from(self.number()?);
            let mut data = self;
            let bytes = self.take(length)?;
            if class != IN {
                continue;
            }
            if kind == CNAME {
                let target = data.name()?;
                if data.at != self.at {
                    return Err(Malformed);
                }
                aliases.push((owner, target));
            } else if kind == question.kind {
                let address = if kind == A {
                    <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok()
                } else {
                    <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok()
                };
                addresses.push((owner, address.ok_or(Malformed)?));
            }
        }
        let mut name = &question.name;
        for _ in 0..ALIASES_MAX {
            match aliases.iter().find(|(owner, _)| owner == name) {
                Some((_, target)) => name = target,
                None => break,
            }
        }
        let its = addresses.into_iter().filter(|(owner, _)| owner == name);
        Ok(its.map(|(_, address)| address).collect())
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// The labels of a name, uncompressed.
    pub fn labels(name: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for label in name.split('.').filter(|label| !label.is_empty()) {
            bytes.push(label.len() as u8);
            bytes.extend(label.as_bytes());
        }
        bytes.push(0);
        bytes
    }

    pub fn message(flags: u16, name: &[u8], kind: u16, answers: &[Vec<u8>]) -> Vec<u8> {
        let mut message = vec![0x12, 0x34];
        for number in [flags, 1, answers.len() as u16, 0, 0] {
            message.extend(number.to_be_bytes());
        }
        message.extend(name);
        message.extend(kind.to_be_bytes());
        message.extend(IN.to_be_bytes());
        message.extend(answers.concat());
        message
    }

    pub fn answer(owner: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
        let mut bytes = owner.to_vec();
        bytes.extend(kind.to_be_bytes());
        bytes.extend(IN.to_be_bytes());
        bytes.extend([0, 0, 0, 60]);
        bytes.extend((data.len() as u16).to_be_bytes());
        bytes.extend(data);
        bytes
    }

    const QUESTION: u16 = 0x0100;
    const ANSWER: u16 = 0x8180;
    /// The name of the question, which begins behind the header.
    const ASKED: [u8; 2] = [0xc0, 12];

    fn addresses(message: &[u8]) -> Vec<String> {
        match read(message) {
            Ok(Message::Answer(answer)) => {
                answer.addresses.iter().map(ToString::to_string).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn questions_and_answers_are_read() {
        let asked = labels("WWW.Example.com");
        let Ok(Message::Question(question)) = read(&message(QUESTION, &asked, A, &[])) else {
            panic!("a question");
        };
        assert_eq!((question.id, question.kind), (0x1234, A));
        assert_eq!(question.name.host().as_deref(), Some("www.example.com"));

        let plain = [
            answer(&ASKED, A, &[192, 0, 2, 1]),
            answer(&ASKED, A, &[192, 0, 2, 2]),
        ];
        let plain = message(ANSWER, &asked, A, &plain);
        assert_eq!(addresses(&plain), ["192.0.2.1", "192.0.2.2"]);

        let six = [answer(&ASKED, AAAA, &[0xfd; 16])];
        assert_eq!(
            addresses(&message(ANSWER, &asked, AAAA, &six)),
            ["fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd"]
        );
    }

    #[test]
    fn aliases_lead_from_the_name_and_nothing_else_does() {
        let (asked, edge, cdn) = (labels("www.a.example"), labels("edge.b"), labels("c.cdn"));
        let records = [
            answer(&edge, CNAME, &cdn),
            answer(&cdn, A, &[192, 0, 2, 9]),
            answer(&ASKED, CNAME, &edge),
            // Of another name, which nobody asked for.
            answer(&labels("bank.example"), A, &[192, 0, 2, 66]),
            // What an alias stands for has no addresses of its own.
            answer(&edge, A, &[192, 0, 2, 67]),
        ];
        assert_eq!(
            addresses(&message(ANSWER, &asked, A, &records)),
            ["192.0.2.9"]
        );
        let circle = [answer(&ASKED, CNAME, &edge), answer(&edge, CNAME, &asked)];
        assert!(addresses(&message(ANSWER, &asked, A, &circle)).is_empty());
    }

    #[test]
    fn lies_are_refused() {
        let asked = labels("a.example");
        let good = message(ANSWER, &asked, A, &[answer(&ASKED, A, &[192, 0, 2, 1])]);
        assert!(read(&good).is_ok());
        // Cut anywhere, it is malformed or has nothing.
        for end in 0..good.len() {
            assert_eq!(read(&good[..end]), Err(Malformed), "{end}");
        }
        let refused = |name: &[u8], answers: &[Vec<u8>]| {
            assert_eq!(read(&message(ANSWER, name, A, answers)), Err(Malformed));
        };
        // To itself, forward, in a circle of two.
        refused(&[0xc0, 12], &[]);
        refused(&[0xc0, 14], &[]);
        refused(&[1, b'a', 0xc0, 12], &[]);
        refused(&asked, &[answer(&[0xc0, 0xff], A, &[1, 2, 3, 4])]);
        // Types of labels that are reserved, a label that ends behind the message, a name that is too long.
        refused(&[0x41, b'a', 0], &[]);
        refused(&[63, b'a'], &[]);
        refused(&labels(&["a23456789"; 26].join(".")), &[]);
        // Addresses and aliases of another length than theirs.
        refused(&asked, &[answer(&ASKED, A, &[1, 2, 3])]);
        refused(&asked, &[answer(&ASKED, CNAME, &[1, b'a', 0, 0])]);
        let mut lying = answer(&ASKED, A, &[1, 2, 3, 4]);
        lying[11] = 200;
        refused(&asked, &[lying]);
    }

    #[test]
    fn a_long_chain_of_places_is_a_bounded_walk() {
        // Each owner leads to the one before, which together make the longest name there may be and more.
        let mut answers = Vec::new();
        let mut at = 12_u16;
        let mut next = 12 + 2 + 1 + 4;
        for _ in 0..200 {
            let [high, low] = (0xc000 | at).to_be_bytes();
            let record = answer(&[1, b'a', high, low], A, &[192, 0, 2, 1]);
            at = next;
            next += record.len() as u16;
            answers.push(record);
        }
        let whole = message(ANSWER, &labels("x"), A, &answers);
        assert_eq!(read(&whole), Err(Malformed));
        assert!(addresses(&message(ANSWER, &labels("x"), A, &answers[..100])).is_empty());
    }

    #[test]
    fn what_says_nothing_of_addresses_is_passed_over() {
        let asked = labels("a.example");
        let record = [answer(&ASKED, A, &[192, 0, 2, 1])];
        for (flags, kind) in [(0x8183, A), (ANSWER, 16), (0xa980, A), (QUESTION, 15)] {
            assert_eq!(
                read(&message(flags, &asked, kind, &record)),
                Ok(Message::Other)
            );
        }
        let Ok(Message::Answer(cut)) = read(&message(0x8380, &asked, A, &record)) else {
            panic!("an answer");
        };
        assert!(cut.truncated && cut.addresses.is_empty());
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        let (asked, edge) = (labels("www.a.example"), labels("edge.b"));
        let records = [
            answer(&ASKED, CNAME, &edge),
            answer(&edge, A, &[192, 0, 2, 9]),
            answer(&[0xc0, 16], A, &[192, 0, 2, 10]),
        ];
        let whole = message(ANSWER, &asked, A, &records);
        for at in 0..whole.len() {
            for value in 0..=255 {
                let mut changed = whole.clone();
                changed[at] = value;
                // Two changes: the second one a place within the message.
                for second in [at, whole.len() - 1 - at] {
                    changed[second] ^= 0xc0;
                    if let Ok(Message::Answer(answer)) = read(&changed) {
                        assert!(answer.addresses.len() <= 3);
                        assert!(answer.question.name.0.len() <= NAME_MAX);
                    }
                }
            }
        }
    }

    #[test]
    fn names_with_unusual_signs_are_none() {
        for bytes in [
            &b"\x04a\x1b[m\x00"[..],
            b"\x03a.b\x00",
            b"\x02a \x00",
            b"\x01*\x00",
            "\u{2}ü\0".as_bytes(),
            b"\x00",
        ] {
            assert_eq!(Name(bytes.to_vec()).host(), None, "{bytes:?}");
        }
        let name = Name(labels("_srv.xn--bcher-kva.example"));
        assert_eq!(name.host().as_deref(), Some("_srv.xn--bcher-kva.example"));
    }
}
