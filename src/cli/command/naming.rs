//! Names of hosts in lists of captures: asking for them, and choosing flows by them.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use clap::error::ErrorKind;

use super::Conflict;
use crate::cli::layout::{LayoutArgs, Resolve};
use crate::model::error::Error;
use crate::model::learnt::Learnt;
use crate::model::listing::{Flow, Listing};
use crate::model::names::{Names, Pattern, are_wanted};
use crate::model::selection::Not;
use crate::model::units::{agree, counted};
use crate::os::resolver;
use crate::ui::console::Console;

/// A list is not worth more waiting.
const PATIENCE: Duration = Duration::from_secs(15);

/// Filters by names.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Filters")]
pub struct ByName {
    /// Only sources with a name like this, from --names or --resolve dns: printer, *.example.com; !NAME excludes
    #[arg(
        hide_short_help = true,
        long,
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub src_name: Vec<Not<Pattern>>,

    /// Only destinations with a name like this, before DNAT; names that --learn-names has put into a capture count too
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

    /// What can't be: a filter of sources without any names. Those of destinations may be in the captures.
    pub fn conflict(&self, layout: &LayoutArgs) -> Option<Conflict> {
        (!self.src_name.is_empty() && !are_given(layout)).then(|| {
            let why = "--src-name needs to know names: add --names FILE or --resolve dns";
            (ErrorKind::MissingRequiredArgument, why.into())
        })
    }

    /// Refuses to filter by names where there are none.
    ///
    /// Errors: captures without names, and no other source of them.
    pub fn check(&self, layout: &LayoutArgs, listing: &Listing) -> Result<(), Error> {
        if self.dst_name.is_empty() || are_given(layout) || !listing.told.names.is_empty() {
            return Ok(());
        }
        Err(Error::arguments(
            "--dst-name needs to know names, and these captures have none: add --names FILE or --resolve dns, or capture \
             with --learn-names",
        ))
    }

    /// Takes out flows that are not wanted, and has the captures say so.
    pub fn filter(&self, names: &Names, listing: &mut Listing) {
        if self.is_empty() {
            return;
        }
        let wanted = |conditions: &[Not<Pattern>], address, learnt: &[Learnt]| {
            let own = names.of(address).into_iter();
            let all: Vec<&str> = own
                .chain(learnt.iter().map(|one| one.name.as_str()))
                .collect();
            are_wanted(conditions, &all)
        };
        let learnt = std::mem::take(&mut listing.told.names);
        let both = |flow: &Flow| {
            let identity = &flow.record.identity;
            let learnt = learnt.get(identity).map_or(&[][..], Vec::as_slice);
            wanted(&self.src_name, identity.source, &[])
                && wanted(&self.dst_name, identity.destination, learnt)
        };
        listing.flows.retain(both);
        listing.told.denied.retain(|denied| both(&denied.flow));
        listing.told.names = learnt;
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

/// Whether the options say where names are from.
fn are_given(layout: &LayoutArgs) -> bool {
    !layout.names.is_empty() || layout.resolve.contains(&Resolve::Dns)
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
            "warning: the resolver said nothing of {} within {} s: {} shown without {}",
            counted(answers.late as u64, "address"),
            PATIENCE.as_secs(),
            agree(answers.late as u64, "it is", "they are"),
            agree(answers.late as u64, "a name", "names")
        ));
    }
}
