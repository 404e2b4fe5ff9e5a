//! Whether the lists of a file are whole, by the lines that end them.

use crate::formats::json::{End, Seal};
use crate::model::capture::Completeness;

/// What a list that promised an end and has none is called.
pub const CUT: &str = "the list is cut: the line that ends it is missing";

/// The list that is being read. One without a first line, or of a version that wrote no last line, promises none.
#[derive(Debug, Default)]
pub struct Wholeness {
    promised: bool,
    told: bool,
    seal: Seal,
    any: bool,
}

impl Wholeness {
    /// Begins a list of that verdict; why the one before is not whole, if it is not.
    pub fn begin(&mut self, promised: bool, verdict: Option<Completeness>) -> Option<String> {
        let cut = self.stop();
        self.promised = promised;
        self.told = verdict == Some(Completeness::Incomplete);
        self.any = true;
        cut
    }

    /// Takes the line of a flow.
    pub fn flow(&mut self, line: &[u8]) {
        self.seal.add(line);
        self.any = true;
    }

    /// Takes the line of a flow that did not get through.
    pub fn denied(&mut self, line: &[u8]) {
        self.seal.add_denied(line);
        self.any = true;
    }

    /// Ends the list; why it is not whole, if it is not.
    pub fn end(&mut self, end: &End) -> Option<String> {
        self.promised = false;
        self.any = true;
        let seal = std::mem::take(&mut self.seal);
        let says_so = || {
            (end.verdict == Some(Completeness::Incomplete) && !self.told)
                .then(|| "its last line says that the capture is incomplete".to_owned())
        };
        seal.differs_from(end).or_else(says_so)
    }

    /// Ends the file, or the list without a last line.
    pub fn stop(&mut self) -> Option<String> {
        self.seal = Seal::default();
        std::mem::take(&mut self.promised).then(|| CUT.to_owned())
    }

    /// Whether there was any line of a list.
    pub const fn any(&self) -> bool {
        self.any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_one_after_the_other() {
        let mut sealed = Seal::default();
        sealed.add(b"{}");
        let end = sealed.end(None);
        let mut whole = Wholeness::default();
        assert_eq!(whole.begin(true, None), None);
        whole.flow(b"{}");
        assert_eq!(whole.end(&end), None);
        // Cut at the end of a line, and another list behind it.
        assert_eq!(whole.begin(true, None), None);
        whole.flow(b"{}");
        assert_eq!(whole.begin(true, None).as_deref(), Some(CUT));
        assert!(whole.end(&end).is_some());
        // Of a version that has no last line, and without a first one.
        assert_eq!(whole.begin(false, None), None);
        assert_eq!(whole.begin(false, None), None);
        assert_eq!(whole.stop(), None);
        whole.flow(b"{}");
        assert_eq!(whole.end(&end), None);
    }
}
