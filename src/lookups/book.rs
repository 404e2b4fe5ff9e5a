//! Which name led which client to which address, and when: answers, matched with the questions before them.
//!
//! Memory is bounded: questions that nobody answers are forgotten, of the names those that were given last stay, and no client
//! can push out those of the others alone.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::time::Duration;

use crate::model::learnt::Learnt;
use crate::model::timestamp::Timestamp;

use super::dns::{self, Answer, Message, Question};
use super::packet::{self, DOMAIN, Packet};

/// Questions of one generation, of which two are kept.
const QUESTIONS_MAX: usize = 8192;
/// How long a generation lasts: longer than clients wait for an answer (5 s, resolv.conf(5)).
const GENERATION: Duration = Duration::from_secs(10);
/// Names by address of one client.
const CLIENT_MAX: usize = 4096;
/// Those of all clients: some 20 MB where names are as long as usual.
const ALL_MAX: usize = 65_536;

/// Who asked whom, as the packets say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Asked {
    client: (IpAddr, u16),
    server: IpAddr,
    id: u16,
}

/// What was seen of questions lately.
#[derive(Debug, Default)]
struct Generation {
    /// Questions, and whether an answer to them says nothing more.
    asked: HashMap<Asked, (Question, bool)>,
    /// Who sent a message first, by a hash of the message.
    senders: HashMap<u64, IpAddr>,
}

/// When answers gave an address.
#[derive(Clone, Copy, Debug)]
struct Span {
    first: Timestamp,
    last: Timestamp,
}

/// The names of a client, by address.
#[derive(Debug, Default)]
struct Client {
    addresses: HashMap<IpAddr, BTreeMap<Box<str>, Span>>,
    count: usize,
}

/// What was not learnt, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answers from which a name was learnt.
    pub used: u64,
    /// Answers whose question was not seen.
    pub unasked: u64,
    /// Answers that were cut, so that the client asked again by TCP.
    pub truncated: u64,
    /// Names with unusual signs.
    pub unusual: u64,
    /// Messages that follow no form, or packets that are not whole.
    pub malformed: u64,
    /// Names that had to make room.
    pub left_out: u64,
}

/// All that was learnt.
#[derive(Debug, Default)]
pub struct Book {
    now: Generation,
    before: Generation,
    /// When the generation began.
    began: Option<Timestamp>,
    clients: HashMap<IpAddr, Client>,
    count: usize,
    counts: Counts,
    hasher: RandomState,
}

impl Book {
    /// Takes in a packet of port 53, which begins with its IP header.
    pub fn packet(&mut self, bytes: &[u8], time: Timestamp) {
        let Some(packet) = packet::read(bytes) else {
            self.counts.malformed += 1;
            return;
        };
        match dns::read(packet.payload) {
            Ok(Message::Question(question)) if packet.destination.1 == DOMAIN => {
                self.question(&packet, question, time);
            }
            Ok(Message::Answer(answer)) if packet.source.1 == DOMAIN => {
                self.answer(&packet, &answer, time);
            }
            Ok(_) => {}
            Err(dns::Malformed) => self.counts.malformed += 1,
        }
    }

    /// Takes note that a packet was too long to be read whole.
    pub fn too_long(&mut self) {
        self.counts.malformed += 1;
    }

    fn question(&mut self, packet: &Packet<'_>, question: Question, time: Timestamp) {
        self.turn(time);
        let client = packet.source.0;
        let hash = self.hasher.hash_one(packet.payload);
        let sender = { [&self.now, &self.before].into_iter() }
            .find_map(|generation| generation.senders.get(&hash));
        // The same message from another address is one that this host has translated on its way, and no question of the
        // address that it was given.
        let is_translated = sender.is_some_and(|sender| *sender != client);
        if self.now.asked.len() >= QUESTIONS_MAX {
            self.next_generation(time);
        }
        if !is_translated {
            self.now.senders.insert(hash, client);
        }
        let asked = Asked {
            client: packet.source,
            server: packet.destination.0,
            id: question.id,
        };
        self.now.asked.insert(asked, (question, is_translated));
    }

    fn answer(&mut self, packet: &Packet<'_>, answer: &Answer, time: Timestamp) {
        self.turn(time);
        let asked = Asked {
            client: packet.destination,
            server: packet.source.0,
            id: answer.question.id,
        };
        let question = match self.now.asked.get_mut(&asked) {
            Some(question) => Some(question),
            None => self.before.asked.get_mut(&asked),
        };
        match question {
            Some((question, answered)) if *question == answer.question => {
                // Whoever asked takes the first answer. The same one is seen on each interface that it passes.
                if std::mem::replace(answered, true) {
                    return;
                }
            }
            _ => {
                self.counts.unasked += 1;
                return;
            }
        }
        if answer.truncated {
            self.counts.truncated += 1;
            return;
        }
        let Some(name) = answer.question.name.host() else {
            self.counts.unusual += 1;
            return;
        };
        if !answer.addresses.is_empty() {
            self.counts.used += 1;
        }
        for address in &answer.addresses {
            self.learn(packet.destination.0, *address, &name, time);
        }
    }

    fn learn(&mut self, client: IpAddr, address: IpAddr, name: &str, time: Timestamp) {
        let known = self.clients.entry(client).or_default();
        let names = known.addresses.entry(address).or_default();
        if let Some(span) = names.get_mut(name) {
            span.first = span.first.min(time);
            span.last = span.last.max(time);
            return;
        }
        let span = Span {
            first: time,
            last: time,
        };
        names.insert(name.into(), span);
        known.count += 1;
        self.count += 1;
        if known.count > CLIENT_MAX {
            let gone = known.forget(known.oldest());
            self.count -= gone;
            self.counts.left_out += gone as u64;
        }
        if self.count > ALL_MAX {
            self.make_room();
        }
    }

    /// Forgets the oldest quarter of everything.
    fn make_room(&mut self) {
        let mut times: Vec<Timestamp> = self.clients.values().flat_map(Client::times).collect();
        let at = times.len() / 4;
        let (_, until, _) = times.select_nth_unstable(at);
        let until = *until;
        let gone: usize = { self.clients.values_mut() }
            .map(|client| client.forget(until))
            .sum();
        self.clients.retain(|_, client| client.count > 0);
        self.count -= gone;
        self.counts.left_out += gone as u64;
    }

    /// Forgets questions that are too old to be answered.
    fn turn(&mut self, time: Timestamp) {
        let began = *self.began.get_or_insert(time);
        // Packets of several processors may come out of order by a little; a clock that was set back begins another one.
        let apart = time.us().abs_diff(began.us());
        if apart > GENERATION.as_micros() as u64 {
            self.next_generation(time);
        }
    }

    fn next_generation(&mut self, time: Timestamp) {
        self.before = std::mem::take(&mut self.now);
        self.began = Some(time);
    }

    /// The names that led a client to an address until then, in their order.
    pub fn names(&self, client: IpAddr, address: IpAddr, until: Option<Timestamp>) -> Vec<Learnt> {
        let known = self.clients.get(&client);
        let names = known.and_then(|known| known.addresses.get(&address));
        let names = names.into_iter().flatten();
        names
            .filter(|(_, span)| until.is_none_or(|until| span.first <= until))
            .map(|(name, span)| Learnt {
                name: name.to_string(),
                first: span.first,
                last: span.last,
            })
            .collect()
    }

    /// What became of answers.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// How many names are known, each client's and each address's for itself.
    pub const fn len(&self) -> usize {
        self.count
    }
}

impl Client {
    fn times(&self) -> impl Iterator<Item = Timestamp> {
        let names = self.addresses.values().flat_map(BTreeMap::values);
        names.map(|span| span.last)
    }

    /// The time up to which its oldest quarter was given.
    fn oldest(&self) -> Timestamp {
        let mut times: Vec<Timestamp> = self.times().collect();
        let at = times.len() / 4;
        *times.select_nth_unstable(at).1
    }

    /// Forgets what was not given since. Returns how many that were.
    fn forget(&mut self, until: Timestamp) -> usize {
        self.addresses.retain(|_, names| {
            names.retain(|_, span| span.last > until);
            !names.is_empty()
        });
        let left = self.addresses.values().map(BTreeMap::len).sum();
        std::mem::replace(&mut self.count, left) - left
    }
}

#[cfg(test)]
mod tests {
    use super::super::dns::tests::{answer, labels, message};
    use super::super::packet::tests::ipv4;
    use super::*;

    const SERVER: (&str, u16) = ("192.0.2.53", 53);

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_us(1_000_000 + ms * 1000).unwrap()
    }

    fn ask(book: &mut Book, client: &str, name: &str, ms: u64) {
        let question = message(0x0100, &labels(name), dns::A, &[]);
        book.packet(&ipv4((client, 4000), SERVER, &question), at(ms));
    }

    fn reply(book: &mut Book, client: &str, name: &str, address: [u8; 4], ms: u64) {
        let record = answer(&[0xc0, 12], dns::A, &address);
        let reply = message(0x8180, &labels(name), dns::A, &[record]);
        book.packet(&ipv4(SERVER, (client, 4000), &reply), at(ms));
    }

    fn names(book: &Book, client: &str, address: &str) -> Vec<String> {
        let found = book.names(client.parse().unwrap(), address.parse().unwrap(), None);
        found.into_iter().map(|learnt| learnt.name).collect()
    }

    #[test]
    fn a_name_is_that_of_the_client_who_asked() {
        let mut book = Book::default();
        ask(&mut book, "10.0.0.7", "www.example.com", 0);
        reply(&mut book, "10.0.0.7", "www.example.com", [192, 0, 2, 1], 1);
        ask(&mut book, "10.0.0.7", "alias.example.com", 2);
        reply(
            &mut book,
            "10.0.0.7",
            "alias.example.com",
            [192, 0, 2, 1],
            3,
        );
        assert_eq!(
            names(&book, "10.0.0.7", "192.0.2.1"),
            ["alias.example.com", "www.example.com"]
        );
        assert!(names(&book, "10.0.0.8", "192.0.2.1").is_empty());
        // A flow that was over before the answer came was not led by it.
        let until = |ms| {
            let (client, server) = ("10.0.0.7".parse().unwrap(), "192.0.2.1".parse().unwrap());
            book.names(client, server, Some(at(ms))).len()
        };
        assert_eq!([until(0), until(1), until(3)], [0, 1, 2]);
    }

    #[test]
    fn an_answer_without_its_question_says_nothing() {
        let mut book = Book::default();
        reply(&mut book, "10.0.0.7", "bank.example", [192, 0, 2, 66], 0);
        ask(&mut book, "10.0.0.7", "www.example.com", 1);
        // Another name than was asked for, to another client, and a second answer after the first.
        reply(&mut book, "10.0.0.7", "bank.example", [192, 0, 2, 66], 2);
        reply(&mut book, "10.0.0.8", "www.example.com", [192, 0, 2, 66], 2);
        reply(&mut book, "10.0.0.7", "www.example.com", [192, 0, 2, 1], 3);
        reply(&mut book, "10.0.0.7", "www.example.com", [192, 0, 2, 66], 4);
        assert!(names(&book, "10.0.0.7", "192.0.2.66").is_empty());
        assert!(names(&book, "10.0.0.8", "192.0.2.66").is_empty());
        assert_eq!(names(&book, "10.0.0.7", "192.0.2.1"), ["www.example.com"]);
        assert_eq!((book.counts().used, book.counts().unasked), (1, 3));
        // Long after it was asked.
        ask(&mut book, "10.0.0.9", "late.example", 10);
        ask(&mut book, "10.0.0.7", "x.example", 10_011);
        ask(&mut book, "10.0.0.7", "y.example", 20_022);
        reply(
            &mut book,
            "10.0.0.9",
            "late.example",
            [192, 0, 2, 2],
            20_030,
        );
        assert!(names(&book, "10.0.0.9", "192.0.2.2").is_empty());
    }

    #[test]
    fn packets_may_be_out_of_order() {
        let mut book = Book::default();
        ask(&mut book, "10.0.0.7", "www.example.com", 500);
        for ms in (1..100).rev() {
            ask(&mut book, "10.0.0.8", &format!("n{ms}.example"), ms);
        }
        reply(
            &mut book,
            "10.0.0.7",
            "www.example.com",
            [192, 0, 2, 1],
            501,
        );
        assert_eq!(names(&book, "10.0.0.7", "192.0.2.1"), ["www.example.com"]);
    }

    #[test]
    fn a_question_that_was_translated_is_its_senders_alone() {
        let mut book = Book::default();
        ask(&mut book, "10.0.0.7", "www.example.com", 0);
        ask(&mut book, "198.51.100.1", "www.example.com", 0);
        reply(
            &mut book,
            "198.51.100.1",
            "www.example.com",
            [192, 0, 2, 1],
            1,
        );
        reply(&mut book, "10.0.0.7", "www.example.com", [192, 0, 2, 1], 1);
        assert_eq!(names(&book, "10.0.0.7", "192.0.2.1"), ["www.example.com"]);
        assert!(names(&book, "198.51.100.1", "192.0.2.1").is_empty());
        assert_eq!((book.counts().used, book.counts().unasked), (1, 0));
    }

    #[test]
    fn memory_is_bounded_and_what_goes_is_counted() {
        let mut book = Book::default();
        let flood = |book: &mut Book, client: &str, from: u64, count: u64| {
            for number in from..from + count {
                let name = format!("n{number}.example");
                ask(book, client, &name, number);
                let [_, .., third, last] = number.to_be_bytes();
                reply(book, client, &name, [192, 0, third, last], number);
            }
        };
        flood(&mut book, "10.0.0.1", 0, 1);
        flood(&mut book, "10.0.0.7", 1, CLIENT_MAX as u64 + 1);
        assert!(book.len() <= CLIENT_MAX + 1);
        assert!(book.counts().left_out >= 1);
        // The client with few names keeps them; of the other the oldest have gone.
        assert_eq!(names(&book, "10.0.0.1", "192.0.0.0"), ["n0.example"]);
        assert!(names(&book, "10.0.0.7", "192.0.0.1").is_empty());
        for client in 8..30_u8 {
            let from = 10_000 * u64::from(client);
            flood(&mut book, &format!("10.0.0.{client}"), from, 4000);
        }
        assert!(book.len() <= ALL_MAX, "{}", book.len());
        assert!(book.now.asked.len() <= QUESTIONS_MAX);
        let counted: usize = book.clients.values().map(|client| client.count).sum();
        let there: usize = book
            .clients
            .values()
            .map(|client| client.times().count())
            .sum();
        assert_eq!((counted, there), (book.len(), book.len()));
        assert!(names(&book, "10.0.0.1", "192.0.0.0").is_empty());
        assert!(book.clients.contains_key(&"10.0.0.29".parse().unwrap()));
    }

    #[test]
    fn unusual_names_cut_answers_and_nonsense_are_counted() {
        let mut book = Book::default();
        ask(&mut book, "10.0.0.7", "a\u{1b}[31m.example", 0);
        reply(
            &mut book,
            "10.0.0.7",
            "a\u{1b}[31m.example",
            [192, 0, 2, 1],
            1,
        );
        ask(&mut book, "10.0.0.7", "big.example", 2);
        let cut = message(0x8380, &labels("big.example"), dns::A, &[]);
        book.packet(&ipv4(SERVER, ("10.0.0.7", 4000), &cut), at(3));
        book.packet(&ipv4(SERVER, ("10.0.0.7", 4000), b"?"), at(4));
        book.packet(b"", at(5));
        assert_eq!(
            book.counts(),
            Counts {
                unusual: 1,
                truncated: 1,
                malformed: 2,
                ..Counts::default()
            }
        );
        assert_eq!(book.len(), 0);
    }
}
