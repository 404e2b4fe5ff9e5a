//! Writing of lists, in every format.

pub mod changes;
pub mod classic;
pub mod csv;
pub mod destination;
pub mod findings;
pub mod folder;
pub mod groups;
pub mod layout;
pub mod listing;
pub mod place;
pub mod ruleset;
pub mod sort;
pub mod table;
pub mod temporary;
