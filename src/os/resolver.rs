//! The system's resolver, asked for the names of addresses (getnameinfo(3)): /etc/hosts, DNS, and whatever nsswitch.conf(5)
//! says.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Questions on their way at once.
const THREADS: usize = 16;

/// What came of a round of questions.
#[derive(Debug, Default)]
pub struct Answers {
    /// Names by address.
    pub names: HashMap<IpAddr, String>,
    /// How many addresses nothing was said of in time.
    pub late: usize,
}

/// Asks for the names of these addresses, each once, and waits no longer than `patience` in all. Names that no host can have
/// (RFC 1123, 2.1; and `_`, which services have) are none: whoever runs a name server chooses what it says.
pub fn names(addresses: Vec<IpAddr>, patience: Duration) -> Answers {
    let asked = addresses.len();
    let addresses = Arc::new(addresses);
    let next = Arc::new(AtomicUsize::new(0));
    let (sender, receiver) = mpsc::channel();
    for _ in 0..THREADS.min(asked) {
        let (addresses, next, sender) = (Arc::clone(&addresses), Arc::clone(&next), sender.clone());
        // Not waited for: the resolver may take minutes, and its answer is not needed then.
        thread::spawn(move || {
            while let Some(address) = addresses.get(next.fetch_add(1, Ordering::Relaxed)) {
                let name = dns_lookup::lookup_addr(address).ok();
                if sender.send((*address, name)).is_err() {
                    return;
                }
            }
        });
    }
    drop(sender);
    let until = Instant::now() + patience;
    let mut answers = Answers::default();
    let mut answered = 0;
    while answered < asked {
        let left = until.saturating_duration_since(Instant::now());
        let Ok((address, name)) = receiver.recv_timeout(left) else {
            break;
        };
        answered += 1;
        if let Some(name) = name.filter(|name| is_host_name(name)) {
            answers.names.insert(address, name);
        }
    }
    // Those that are under way end with their question.
    next.store(asked, Ordering::Relaxed);
    answers.late = asked - answered;
    answers
}

fn is_host_name(name: &str) -> bool {
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    // RFC 1035, 2.3.4.
    !name.is_empty() && name.len() <= 255 && name.bytes().all(usual)
}
