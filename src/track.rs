//! `--track`: connection tracking for as long as the program runs.
use crate::error::Error;
/// Guard.
#[derive(Debug)]
pub struct Track;
impl Track {
    /// Starts.
    ///
    /// # Errors
    ///
    /// TODO
    pub fn start() -> Result<Self, Error> { Err(Error::new("not yet")) }
}
