//! What conntrack(8) says beside the entries.

/// What conntrack says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remark {
    /// Nothing that an entry is missing for.
    Harmless,
    /// An entry or event could not be shown.
    Trouble,
}

/// How many entries or events conntrack says to have shown, in the line that it closes with:
/// `conntrack v1.4.7 (conntrack-tools): 19 flow entries have been shown.`
pub(super) fn count(line: &str) -> Option<u64> {
    let (_, rest) = line.rsplit_once("): ")?;
    let mut words = rest.split(' ');
    let count = words.next()?.parse().ok()?;
    (words.next() == Some("flow")).then_some(count)
}

/// The remark that a line is, if it is one (conntrack-tools 1.4.7, `src/conntrack.c`), also where syslog or a container's
/// log put something before it. Anything else than the counts that conntrack closes with tells of an entry or event that
/// it could not show.
pub(super) fn of(line: &str) -> Option<Remark> {
    const ADVICE: [&str; 2] = [
        "This message means that the current netlink socket buffer size is too small.",
        "Please, check --buffer-size in conntrack(8) manpage.",
    ];
    let lost = ["ENOBUFS", "losing events", "Operation failed:"];
    // Each of them has a letter that entries seldom have: one look instead of three searches.
    let is_lost = memchr::memchr3(b'F', b'g', b'O', line.as_bytes()).is_some()
        && lost.iter().any(|lost| line.contains(lost));
    // Entries have an address, and remarks have none. Where both are on a line, ends of lines were lost.
    if line.contains("src=") {
        return is_lost.then_some(Remark::Trouble);
    }
    if line.starts_with("conntrack v") || line.contains(" (conntrack-tools): ") {
        // "conntrack v1.4.7 (conntrack-tools): 19 flow entries have been shown."
        let line = line.trim_end_matches('.');
        let closing = line.ends_with(" shown") || line.ends_with(" deleted");
        return Some(if closing {
            Remark::Harmless
        } else {
            Remark::Trouble
        });
    }
    if line.starts_with("WARNING: ") || is_lost {
        return Some(Remark::Trouble);
    }
    let advice = ADVICE.iter().any(|advice| line.ends_with(advice));
    advice.then_some(Remark::Harmless)
}
