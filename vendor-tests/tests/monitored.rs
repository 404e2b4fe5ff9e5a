//! Recordings of netlink monitors and in the forms that tshark(1), dumpcap(1) and tcpdump(8) write.

use std::path::{Path, PathBuf};

use vendor_tests::capture::Launch;
use vendor_tests::files::{file, on};
use vendor_tests::pcap;
use vendor_tests::program::run;
use vendor_tests::temp::Folder;

// What `conntrack -I` sent for a TCP connection that is answered, and the kernel's events of that one and of another of
// UDP, as a monitor recorded them (Linux 6.18).
const REQUEST: &str = "\
    ac000000000105065817086b0000000002000000340001801400018008000100c000020a08000200c63364051c000280\
    050001000600000006000200c73800000600030001bb0000340002801400018008000100c633640508000200c000020a\
    1c00028005000100061000000600020001bb000006000300c7380000080003000000000e080007000006977620000480\
    1c0001800500010003720000060004000a0a0000060005000a0a0000";

const TCP: &str = "\
    e80000000001000600000000bc64000002000000340001801400018008000100c000020a08000200c63364051c000280\
    050001000600000006000200c73800000600030001bb0000340002801400018008000100c633640508000200c000020a\
    1c00028005000100060000000600020001bb000006000300c738000008000c0082d0f451080003000000000e08000700\
    00069776300004802c000180050001000300000005000200000000000500030000000000060004000a00000006000500\
    0a0000001c0018800800010000000000080002000000000008000300000000000800080000000000";

const UDP: &str = "\
    b80000000001000600000000c064000002000000340001801400018008000100c000020b08000200c63364351c000280\
    05000100110000000600020014e900000600030000350000340002801400018008000100c633643508000200c000020b\
    1c000280050001001100000006000200003500000600030014e9000008000c00330f9fe7080003000000000808000700\
    0000001e1c0018800800010000000000080002000000000008000300000000000800080000000000";

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(digit).collect()
}

/// Flows as `protocol source destination connections`, what is said, and the exit status.
fn shown(path: &Path) -> (Vec<String>, String, Option<i32>) {
    let outcome = on("show --format csv", &[path]);
    let text = outcome.text();
    let flows = text.lines().skip(1).map(|line| {
        let cells: Vec<&str> = line.split(',').collect();
        [1, 3, 6, 12].map(|cell| cells[cell]).join(" ")
    });
    (flows.collect(), outcome.stderr, outcome.code)
}

const FLOWS: [&str; 2] = [
    "tcp 192.0.2.10 198.51.100.5 1",
    "udp 192.0.2.11 198.51.100.53 1",
];

#[track_caller]
fn has_flows(path: &Path) {
    let (flows, stderr, code) = shown(path);
    assert_eq!(
        (flows, code),
        (FLOWS.map(str::to_owned).to_vec(), Some(0)),
        "{stderr}"
    );
}

fn recording(folder: &Folder, name: &str, datagrams: &[&str]) -> PathBuf {
    let datagrams: Vec<Vec<u8>> = datagrams.iter().map(|hex| bytes(hex)).collect();
    file(folder, name, pcap::write(&datagrams))
}

#[test]
fn requests_are_no_events() {
    let folder = Folder::new();
    let only = recording(&folder, "only", &[REQUEST]);
    let (flows, stderr, code) = shown(&only);
    assert_eq!((flows, code), (Vec::new(), Some(0)), "{stderr}");
    has_flows(&recording(&folder, "with", &[REQUEST, TCP, UDP]));
    // In one datagram with an event.
    let both = [bytes(REQUEST), bytes(TCP), bytes(UDP)].concat();
    has_flows(&file(&folder, "joined", pcap::write(&[both])));
    let replayed = Launch::new(["-r".as_ref(), only.as_os_str()]).run();
    assert_eq!(
        (replayed.text().as_str(), replayed.code),
        ("", Some(0)),
        "{replayed:?}"
    );
}

#[test]
fn copies_of_an_event_count_once() {
    let folder = Folder::new();
    has_flows(&recording(&folder, "twice", &[TCP, TCP, UDP, UDP]));
    has_flows(&recording(
        &folder,
        "in_turn",
        &[TCP, UDP, TCP, UDP, TCP, UDP],
    ));
}

#[test]
fn pcapng_is_read_as_pcap_is() {
    let folder = Folder::new();
    let plain = recording(&folder, "plain", &[TCP, UDP]);
    let ng = folder.join("ng");
    let [from, to] = [&plain, &ng].map(|path| path.to_str().expect("a name"));
    run("editcap", ["-F", "pcapng", from, to]);
    assert!(
        std::fs::read(&ng)
            .expect("a file")
            .starts_with(b"\x0a\x0d\x0d\x0a")
    );
    has_flows(&ng);
    let again = folder.join("again");
    run(
        "tshark",
        [
            "-F",
            "pcapng",
            "-r",
            from,
            "-w",
            again.to_str().expect("a name"),
        ],
    );
    has_flows(&again);
    // A snapshot length that cuts messages is told.
    run("editcap", ["-F", "pcapng", "-s", "96", from, to]);
    let (flows, stderr, code) = shown(&ng);
    assert_eq!((flows, code), (Vec::new(), Some(3)));
    assert!(stderr.contains("cut by the snapshot length"), "{stderr}");
    // Cut anywhere, nothing that is not in it is read, and it is said to be cut.
    let whole = std::fs::read(&again).expect("a file");
    for len in (whole.len() - 400..whole.len() - 4).step_by(37) {
        let (flows, stderr, code) = shown(&file(&folder, "cut", &whole[..len]));
        assert!(
            flows.iter().all(|flow| FLOWS.contains(&flow.as_str())),
            "{flows:?}"
        );
        assert!(
            code == Some(3) || code == Some(0) && flows.len() == 2,
            "{len}: {stderr}"
        );
    }
}

/// A recording of one link type.
fn with_link(link: u32, records: &[Vec<u8>]) -> Vec<u8> {
    let words = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 0x0004_0000, link];
    let mut bytes: Vec<u8> = words
        .iter()
        .flat_map(|word| u32::to_le_bytes(*word))
        .collect();
    for record in records {
        let len = u32::try_from(record.len()).expect("short");
        bytes.extend(
            [1, 0, len, len]
                .iter()
                .flat_map(|word| u32::to_le_bytes(*word)),
        );
        bytes.extend(record);
    }
    bytes
}

#[test]
fn cooked_headers_are_read() {
    let folder = Folder::new();
    // <https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL.html> and SLL2.
    let sll = |hex| {
        [
            &[0, 4, 3, 0x38, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12],
            &bytes(hex)[..],
        ]
        .concat()
    };
    let sll2 = |hex| {
        let header = [
            0, 12, 0, 0, 0, 0, 0, 7, 3, 0x38, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        [&header, &bytes(hex)[..]].concat()
    };
    has_flows(&file(&folder, "sll", with_link(113, &[sll(TCP), sll(UDP)])));
    has_flows(&file(
        &folder,
        "sll2",
        with_link(276, &[sll2(TCP), sll2(UDP)]),
    ));
    // Among packets of the network.
    let mut ethernet = sll(TCP);
    ethernet[2..4].copy_from_slice(&[0, 1]);
    has_flows(&file(
        &folder,
        "mixed",
        with_link(113, &[ethernet.clone(), sll(TCP), sll(UDP)]),
    ));
    for (name, bytes) in [
        ("packets", with_link(113, &[ethernet])),
        ("ethernet", with_link(1, &[vec![0; 60]])),
        ("raw", with_link(101, &[vec![0; 60]])),
    ] {
        let (flows, stderr, code) = shown(&file(&folder, name, bytes));
        assert_eq!((flows, code), (Vec::new(), Some(1)), "{stderr}");
        assert!(
            stderr.contains("packets of a network") && stderr.contains("nfdump"),
            "{stderr}"
        );
    }
}
