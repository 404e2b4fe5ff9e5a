//! Files that are named for more than one purpose.

use std::path::{Path, PathBuf};

use super::options::Cli;
use crate::cli::command::Command;
use crate::files::destination::is_stdout;
use crate::files::place::{Identity, Place};

impl Cli {
    /// Why the files that are named can't all be what they are named for, if two of them are one.
    pub(super) fn shared_file(&self) -> Option<String> {
        let output = Some(&self.output);
        let pid_file = self.daemon.then_some(&self.pid_file);
        match &self.command {
            None => shared(&[
                ("--watch", self.watch.first()),
                ("-o", output),
                ("-w", self.write.as_ref()),
                ("--state", self.state.as_ref()),
                ("--metrics-file", self.metrics_file.as_ref()),
                ("--pid-file", pid_file),
                ("--config", self.config.as_ref()),
                ("-r", self.read.as_ref()),
            ]),
            Some(Command::Rules(rules)) => shared(&[
                ("-o", Some(&rules.output)),
                ("--report", rules.report.as_ref()),
            ]),
            Some(_) => None,
        }
    }
}

/// Compares where the paths lead. What can't be followed is left to whoever opens it.
fn shared(files: &[(&str, Option<&PathBuf>)]) -> Option<String> {
    let mut known: Vec<(&str, &Path, Vec<Identity>)> = Vec::new();
    for &(option, path) in files {
        let Some(path) = path.filter(|path| !is_stdout(path)) else {
            continue;
        };
        let Ok(identities) = Place::of(path).and_then(|place| place.identities()) else {
            continue;
        };
        let same = |others: &[Identity]| others.iter().any(|other| identities.contains(other));
        if let Some((other, named, _)) = known.iter().find(|(.., others)| same(others)) {
            return Some(format!(
                "{other} {} and {option} {} are the same file: name another one for one of them",
                named.display(),
                path.display()
            ));
        }
        known.push((option, path, identities));
    }
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn one_file_has_one_purpose_whatever_it_is_called() {
        let folder = tempfile::tempdir().unwrap();
        symlink(folder.path().join("list"), folder.path().join("link")).unwrap();
        let [list, link, other] = ["list", "link", "other"].map(|name| folder.path().join(name));
        let of = |one: &PathBuf, two: &PathBuf| shared(&[("-o", Some(one)), ("-w", Some(two))]);
        assert!(of(&list, &list).is_some());
        assert!(of(&list, &link).is_some_and(|why| why.contains("-w")));
        assert!(of(&list, &other).is_none());
        let (null, dash) = (PathBuf::from("/dev/null"), PathBuf::from("-"));
        assert!(of(&null, &null).is_none());
        assert!(of(&dash, &dash).is_none(), "said elsewhere");
    }
}
