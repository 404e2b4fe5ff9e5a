//! net.netfilter.nf_conntrack_events: whether the kernel makes events at all.

use super::finding::Finding;

const NAME: &str = "events";

/// Judges the setting; `None` is one that is not there, `conntrack` whether the others are, if that can be seen.
pub fn judge(setting: Option<u64>, conntrack: Option<bool>) -> Finding {
    let sysctl = "net.netfilter.nf_conntrack_events";
    let finding = match setting {
        Some(0) => Finding::obstacle(NAME, format!("{sysctl} is 0: the kernel makes no events"))
            .next(format!("switch them on: sysctl -w {sysctl}=1")),
        Some(1) => Finding::ok(
            NAME,
            format!("{sysctl} is 1: every connection makes events"),
        ),
        // `nf_ct_ecache_ext_add`, net/netfilter/nf_conntrack_ecache.c, Linux 5.19.
        Some(2) => Finding::ok(
            NAME,
            format!(
                "{sysctl} is 2: connections that are opened while somebody listens make events, older \
                 ones don't; to list those too: conntracker --existing"
            ),
        ),
        Some(other) => Finding::note(
            NAME,
            format!("{sysctl} is {other}, which is not known here"),
        ),
        None if conntrack.is_none() => Finding::note(
            NAME,
            format!("not known whether events are switched on: {sysctl} can't be read, since /proc/sys can't be seen here"),
        )
        .next("look where /proc is mounted as a whole, without subset=pid"),
        None if conntrack == Some(true) => Finding::obstacle(
            NAME,
            format!("{sysctl} is not there: this kernel makes no events"),
        )
        .next("use a kernel with CONFIG_NF_CONNTRACK_EVENTS"),
        None => Finding::note(
            NAME,
            format!("{sysctl} is not there before nf_conntrack is"),
        )
        .next("nothing: its default is to make events"),
    };
    finding.value("nf_conntrack_events", setting)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::State;

    #[test]
    fn no_events_prevent_a_capture() {
        for (setting, conntrack, state, prevents) in [
            (Some(0), Some(true), State::Problem, true),
            (Some(1), Some(true), State::Ok, false),
            (Some(2), Some(true), State::Ok, false),
            (None, Some(true), State::Problem, true),
            (None, Some(false), State::Note, false),
            (None, None, State::Note, false),
        ] {
            let finding = judge(setting, conntrack);
            assert_eq!(
                (finding.state, finding.prevents_capture),
                (state, prevents),
                "{finding:?}"
            );
        }
        let next = judge(Some(0), Some(true)).next.unwrap();
        assert!(next.contains("sysctl -w net.netfilter.nf_conntrack_events=1"));
    }
}
