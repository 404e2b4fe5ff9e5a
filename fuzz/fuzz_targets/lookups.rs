//! Any packets of port 53 are read or passed over, and what is learnt of them are names of hosts, for clients that asked.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use conntracker::testing::lookups::Book;
use conntracker::testing::model::Timestamp;
use libfuzzer_sys::fuzz_target;

const CLIENT: [u8; 4] = [10, 0, 0, 7];
const SERVER: [u8; 4] = [192, 0, 2, 53];

/// The message in a packet of IPv4 from the client to the server, or back.
fn packet(message: &[u8], is_answer: bool) -> Vec<u8> {
    let length = u16::try_from(message.len() + 28).unwrap_or(u16::MAX);
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    let (from, to, ports) = match is_answer {
        true => (SERVER, CLIENT, [53, 4000]),
        false => (CLIENT, SERVER, [4000, 53_u16]),
    };
    packet.extend(from);
    packet.extend(to);
    for number in [ports[0], ports[1], length - 20, 0] {
        packet.extend(number.to_be_bytes());
    }
    packet.extend(message);
    packet
}

// What comes is taken for a packet, and for two messages: a question and an answer that follows it.
fuzz_target!(|bytes: &[u8]| {
    let mut book = Book::default();
    let time = Timestamp::from_us(1_000_000).expect("a time");
    book.packet(bytes, time);
    assert_eq!(book.len(), 0, "nobody asked");
    let Some((&split, rest)) = bytes.split_first() else {
        return;
    };
    let (question, answer) = rest.split_at(usize::from(split).min(rest.len()));
    if answer.len() > 4000 {
        return;
    }
    book.packet(&packet(question, false), time);
    book.packet(&packet(answer, true), time);
    let client = IpAddr::from(Ipv4Addr::from(CLIENT));
    for at in 0..answer.len().saturating_sub(3) {
        let address = [answer[at], answer[at + 1], answer[at + 2], answer[at + 3]];
        for learnt in book.names(client, IpAddr::from(address), None) {
            let usual = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            assert!(learnt.name.len() < 255 && learnt.name.bytes().all(usual));
        }
    }
});
