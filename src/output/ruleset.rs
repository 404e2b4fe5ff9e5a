//! A list as the rules that `conntracker rules` writes for it when nothing else is asked for.

use std::io::{self, Write};

use crate::model::evidence;
use crate::model::listing::Listing;
use crate::model::record::Record;
use crate::model::services::Services;
use crate::model::units::counted;
use crate::rules::{Options, header, nft, plan};

/// Writes the rules, and returns what the administrator has to know of them.
///
/// Errors: those of `out`, and of `/etc/services`.
pub fn write(listing: &Listing, out: &mut impl Write) -> io::Result<Vec<String>> {
    let flows = listing.flows.iter();
    let mut records: Vec<Record> = flows.map(|flow| flow.record.clone()).collect();
    evidence::place_known(&mut records, &listing.captures);
    let options = Options {
        services: Services::load()?,
        ..Options::default()
    };
    let plan = plan(&listing.captures, &records, &options);
    if plan.rules.is_empty() {
        // Such rules would drop everything. Comments alone load as well, and change nothing.
        let none = format!(
            "no rules were written, which would drop everything: there is no flow to write one for, and {} \
             without an answer or otherwise left out. Capture for longer",
            counted(plan.missing().flows, "flow")
        );
        for capture in &plan.captures {
            writeln!(out, "# {}", header::capture(capture))?;
        }
        for line in header::warning(&none) {
            writeln!(out, "# {line}")?;
        }
        return Ok(vec![none]);
    }
    nft::write(&plan, nft::TABLE, out)?;
    let warnings = plan.warnings.iter();
    let mut remarks: Vec<String> = warnings
        .map(|warning| format!("warning: {warning}"))
        .collect();
    let missing = plan.missing().flows;
    if missing > 0 {
        remarks.push(format!(
            "{} left out: their list is at the end of the rules",
            counted(missing, "flow")
        ));
    }
    Ok(remarks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::listing::Flow;
    use crate::model::record::Identity;
    use crate::model::tuple::Tuple;

    fn flow(confirmed: bool) -> Flow {
        let tuple = Tuple::tcp("10.0.0.2", "10.2.0.2", 443);
        Flow::from(Record {
            connections: 1,
            ..Record::new(Identity::of(&tuple), confirmed)
        })
    }

    fn written(flows: &[Flow]) -> (String, Vec<String>) {
        let listing = Listing {
            flows: flows.to_vec(),
            ..Listing::default()
        };
        let mut out = Vec::new();
        let remarks = write(&listing, &mut out).unwrap();
        (String::from_utf8(out).unwrap(), remarks)
    }

    #[test]
    fn a_list_becomes_a_table() {
        let (text, remarks) = written(&[flow(true)]);
        assert!(text.contains("\ntable inet observed {\n"), "{text}");
        assert!(text.contains("tcp dport 443 accept"), "{text}");
        assert!(remarks[0].contains("--local"), "{remarks:?}");
    }

    #[test]
    fn a_list_of_nothing_drops_nothing() {
        for flows in [&[][..], &[flow(false)]] {
            let (text, remarks) = written(flows);
            assert!(text.lines().all(|line| line.starts_with('#')), "{text}");
            assert!(remarks[0].contains("no rules"), "{remarks:?}");
        }
    }
}
