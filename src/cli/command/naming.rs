//! Names of hosts in lists of captures: asking for them, and choosing flows by them.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use clap::error::ErrorKind;

use super::Conflict;
use crate::cli::layout::{LayoutArgs, Resolve};
use crate::model::listing::{Flow, Listing};
use crate::model::names::{Names, Pattern};
use crate::model::selection::{Not, passes};
use crate::model::units::show_count;
use crate::os::resolver;
use crate::ui::console::Console;

/// A list is not worth more waiting.
const PATIENCE: Duration = Duration::from_secs(15);

/// Filters by names.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Filters")]
pub struct ByName {
    /// Only sources with a name like this, by --names or --resolve dns: printer, *.example.com; !NAME excludes
    #[arg(
        hide_short_help = true,
        long,
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub src_name: Vec<Not<Pattern>>,

    /// The same for destinations, as they are before DNAT
    #[arg(
        hide_short_help = true,
        long,
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub dst_name: Vec<Not<Pattern>>,
}

impl ByName {
    /// Whether nothing is filtered.
    pub fn is_empty(&self) -> bool {
        self.src_name.is_empty() && self.dst_name.is_empty()
    }

    /// What can't be: a filter without any source of names.
    pub fn conflict(&self, layout: &LayoutArgs) -> Option<Conflict> {
        let named = !layout.names.is_empty() || layout.resolve.contains(&Resolve::Dns);
        (!self.is_empty() && !named).then(|| {
            let why =
                "--src-name and --dst-name need to know names: add --names FILE or --resolve dns";
            (ErrorKind::MissingRequiredArgument, why.into())
        })
    }

    /// Takes out flows that are not wanted, and has the captures say so.
    pub fn filter(&self, names: &Names, listing: &mut Listing) {
        if self.is_empty() {
            return;
        }
        let wanted = |conditions: &[Not<Pattern>], address| {
            let name = names.of(address).unwrap_or_default();
            passes(conditions, |pattern| pattern.fits(name))
        };
        let both = |flow: &Flow| {
            let identity = &flow.record.identity;
            wanted(&self.src_name, identity.source) && wanted(&self.dst_name, identity.destination)
        };
        listing.flows.retain(both);
        listing.told.denied.retain(|denied| both(&denied.flow));
        for (option, conditions) in [
            ("--src-name", &self.src_name),
            ("--dst-name", &self.dst_name),
        ] {
            let conditions: Vec<String> = conditions.iter().map(ToString::to_string).collect();
            if conditions.is_empty() {
                continue;
            }
            let filter = format!("{option}={}", conditions.join(","));
            for capture in &mut listing.captures {
                capture.filters.push(filter.clone());
            }
        }
    }
}

/// Adds the names that the resolver knows of the addresses of a list, if that is wanted. What a file says goes first.
pub fn ask(layout: &LayoutArgs, names: &mut Names, listing: &Listing, console: &Console) {
    if !layout.resolve.contains(&Resolve::Dns) {
        return;
    }
    let identities = listing.flows.iter().map(|flow| &flow.record.identity);
    let addresses: BTreeSet<_> = identities
        .flat_map(|identity| [identity.source, identity.destination])
        .filter(|address| {
            !names.has(*address) && !address.is_multicast() && !address.is_unspecified()
        })
        .collect();
    let answers = resolver::names(addresses.into_iter().collect(), PATIENCE);
    for (address, name) in answers.names {
        names.add(address, name);
    }
    if answers.late > 0 {
        console.note(&format!(
            "warning: the resolver said nothing of {} addresses within {} s: they are shown without names",
            show_count(answers.late as u64),
            PATIENCE.as_secs()
        ));
    }
}
