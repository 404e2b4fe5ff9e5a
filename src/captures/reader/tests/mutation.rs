//! Real lines of conntrack and the kernel, and what happens to lines on their way into a file: words get lost or come
//! twice, colours are put around them, lines are cut and joined, and something is put before them.

/// Lines of conntrack 1.4.7 and Linux 6.18. Each says in two ways whether it was answered, since one may get lost, and none
/// ends in a number that is translated.
pub const LINES: [&str; 9] = [
    "tcp      6 431999 ESTABLISHED src=192.0.2.10 dst=198.51.100.5 sport=40001 dport=443 src=198.51.100.5 dst=192.0.2.10 sport=443 dport=40001 [ASSURED] mark=0 use=1",
    "udp      17 29 src=192.0.2.11 dst=198.51.100.53 sport=40002 dport=53 packets=1 bytes=60 [UNREPLIED] src=198.51.100.53 dst=192.0.2.11 sport=53 dport=40002 packets=0 bytes=0 mark=0 use=1",
    "    [NEW] tcp      6 120 SYN_SENT src=192.0.2.12 dst=198.51.100.5 sport=40003 dport=22 [UNREPLIED] src=198.51.100.5 dst=192.0.2.12 sport=22 dport=40003",
    " [UPDATE] tcp      6 60 SYN_RECV src=192.0.2.13 dst=198.51.100.5 sport=40004 dport=25 src=198.51.100.5 dst=192.0.2.13 sport=25 dport=40004",
    "[1795692140.768158]\t[DESTROY] udp      17 src=192.0.2.14 dst=198.51.100.5 sport=40005 dport=123 packets=1 bytes=76 src=198.51.100.5 dst=192.0.2.14 sport=123 dport=40005 packets=1 bytes=76 [ASSURED]",
    "ipv6     10 tcp      6 431999 ESTABLISHED src=2001:0db8:0000:0000:0000:0000:0000:0001 dst=2001:0db8:0000:0000:0000:0000:0000:0002 sport=40006 dport=443 packets=10 bytes=1000 src=2001:0db8:0000:0000:0000:0000:0000:0002 dst=2001:0db8:0000:0000:0000:0000:0000:0001 sport=443 dport=40006 packets=9 bytes=900 [ASSURED] mark=0 zone=0 use=2",
    "icmp     1 28 src=192.0.2.15 dst=198.51.100.6 type=8 code=0 id=18661 packets=1 bytes=84 src=198.51.100.6 dst=192.0.2.15 type=0 code=0 id=18661 packets=1 bytes=84 mark=0 use=1",
    "ipv4     2 tcp      6 118 TIME_WAIT src=192.0.2.16 dst=198.51.100.7 sport=40007 dport=8080 src=10.0.0.7 dst=203.0.113.1 sport=80 dport=40007 [ASSURED] mark=0 zone=0 use=2",
    "Nov 26 10:00:01 gw1 conntrack[812]:     [NEW] udp      17 30 src=192.0.2.17 dst=198.51.100.53 sport=40008 dport=53 [UNREPLIED] src=198.51.100.53 dst=192.0.2.17 sport=53 dport=40008",
];

const PREFIXES: [&str; 8] = [
    "12:",
    "list.txt:",
    "Nov 26 10:00:01 gw1 conntrack[812]: ",
    "2026-11-26T11:22:20.123456+00:00 gw1 ct: ",
    "> ",
    "17:14:21 ",
    "gw-1  | ",
    "\"",
];
const BETWEEN: [&str; 4] = [" ", "", "\r", "\t"];
const KINDS: u8 = 8;

/// A text that some mutations make of some lines, and the numbers of those. Each mutation takes three bytes.
pub fn mutated(program: &[u8]) -> (String, Vec<usize>) {
    let (chosen, mutations) = program.split_at(program.len().min(3));
    let numbers: Vec<usize> = chosen
        .iter()
        .map(|byte| usize::from(*byte) % LINES.len())
        .collect();
    let mut lines: Vec<String> = numbers
        .iter()
        .map(|number| LINES[*number].to_owned())
        .collect();
    for mutation in mutations.chunks_exact(3).take(2) {
        if let [kind, at, which] = *mutation {
            mutate(
                &mut lines,
                kind % KINDS,
                usize::from(at),
                usize::from(which),
            );
        }
    }
    let mut text = lines.join("\n");
    text.push('\n');
    (text, numbers)
}

fn mutate(lines: &mut Vec<String>, kind: u8, at: usize, which: usize) {
    if lines.is_empty() {
        return;
    }
    let number = at % lines.len();
    let count = lines.len();
    let line = &mut lines[number];
    let words: Vec<(usize, usize)> = words(line);
    let Some(&(from, to)) = words.get(which % words.len().max(1)) else {
        return;
    };
    match kind {
        0 => line.replace_range(from..to, ""),
        1 => {
            let word = format!("{} ", &line[from..to]);
            line.insert_str(from, &word);
        }
        2 => {
            line.insert_str(to, "\x1b[m\x1b[K");
            line.insert_str(from, "\x1b[01;31m\x1b[K");
        }
        3 => line.truncate(which % (line.len() + 1)),
        4 if number + 1 < count => {
            let next = lines.remove(number + 1);
            let joined = BETWEEN[which % BETWEEN.len()].to_owned() + &next;
            lines[number].push_str(&joined);
        }
        5 => line.insert_str(0, PREFIXES[which % PREFIXES.len()]),
        6 => {
            let bare = line[from..to].trim_matches(['[', ']']).to_owned();
            line.replace_range(from..to, &bare);
        }
        7 => {
            if let Some(&(next_from, next_to)) = words.get(which % words.len() + 1) {
                let swapped = format!("{} {}", &line[next_from..next_to], &line[from..to]);
                line.replace_range(from..next_to, &swapped);
            }
        }
        _ => {}
    }
}

/// Where the words of a line are.
fn words(line: &str) -> Vec<(usize, usize)> {
    let start = line.as_ptr() as usize;
    line.split_ascii_whitespace()
        .map(|word| {
            (
                word.as_ptr() as usize - start,
                word.as_ptr() as usize - start + word.len(),
            )
        })
        .collect()
}
