//! Power cuts, without cutting any: the calls of a run are replayed on a model of a file system that forgets what was not
//! synchronised, and cut after each of them.
//!
//! The model keeps what POSIX promises and nothing more: a file's bytes are on the disk once fsync(2) of it has returned,
//! its name once fsync(2) of its folder has. What was not synchronised may be there, in part, or not at all, whatever
//! came before or after it.

use std::collections::{BTreeMap, BTreeSet};

/// What a file may hold after a cut; `None` is that there is no such file.
pub type Content = Option<Vec<u8>>;

/// A file, by its number in the model.
#[derive(Clone, Debug, Default)]
struct File {
    bytes: Vec<u8>,
    synced: Vec<u8>,
}

impl File {
    /// What may be left of it.
    fn remains(&self) -> Vec<Vec<u8>> {
        if self.bytes == self.synced {
            return vec![self.synced.clone()];
        }
        let part = |length: usize| self.bytes[..length].to_vec();
        let length = self.bytes.len();
        vec![
            self.synced.clone(),
            part(0),
            part(length / 2),
            part(length.saturating_sub(1)),
            part(length),
        ]
    }
}

/// A folder on a disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    files: Vec<File>,
    /// What each name refers to now.
    names: BTreeMap<String, usize>,
    /// What each name may refer to after a cut: what it did when the folder was synchronised last, and since.
    possible: BTreeMap<String, BTreeSet<Option<usize>>>,
    /// Open files: descriptor and file, of one process.
    open: BTreeMap<String, usize>,
}

impl Disk {
    /// One with these files, safely on it.
    pub fn new(files: &[(&str, &[u8])]) -> Self {
        let mut disk = Self::default();
        for (name, bytes) in files {
            let bytes = bytes.to_vec();
            disk.files.push(File {
                synced: bytes.clone(),
                bytes,
            });
            disk.names.insert((*name).to_owned(), disk.files.len() - 1);
        }
        disk.sync_folder();
        disk
    }

    /// What a name may hold if the power is cut now.
    pub fn after_a_cut(&self, name: &str) -> Vec<Content> {
        let Some(possible) = self.possible.get(name) else {
            return vec![None];
        };
        let contents = possible.iter().flat_map(|file| match file {
            None => vec![None],
            Some(file) => self.files[*file].remains().into_iter().map(Some).collect(),
        });
        contents.collect()
    }

    /// Has a call happen, as strace(1) writes it with `-y -xx`. Whether it was one that changes files in `folder`.
    pub fn happen(&mut self, call: &str, folder: &str) -> bool {
        let Some((name, rest)) = call.split_once('(') else {
            return false;
        };
        let Some((arguments, result)) = rest.rsplit_once(" = ") else {
            return false;
        };
        if result.starts_with('-') || result.starts_with('?') {
            return false;
        }
        let strings = strings(arguments);
        let descriptor = arguments
            .split(['<', ',', ')'])
            .next()
            .unwrap_or_default()
            .to_owned();
        let path = path(arguments);
        let here = path.as_deref() == Some(folder);
        match name {
            "openat" if here && strings.len() == 1 && arguments.contains("O_CREAT") => {
                let opened = result
                    .split('<')
                    .next()
                    .unwrap_or_default()
                    .trim()
                    .to_owned();
                let name = text(&strings[0]);
                let file = if let Some(&file) = self.names.get(&name) {
                    file
                } else {
                    self.files.push(File::default());
                    self.name(&name, Some(self.files.len() - 1));
                    self.files.len() - 1
                };
                self.open.insert(opened, file);
                true
            }
            "write" | "pwrite64" => {
                let (Some(&file), Ok(written)) =
                    (self.open.get(&descriptor), result.trim().parse::<usize>())
                else {
                    return false;
                };
                self.files[file].bytes.extend(&strings[0][..written]);
                true
            }
            "fsync" | "fdatasync" => {
                if here {
                    self.sync_folder();
                    return true;
                }
                let Some(&file) = self.open.get(&descriptor) else {
                    return false;
                };
                let file = &mut self.files[file];
                file.synced.clone_from(&file.bytes);
                true
            }
            "renameat" | "renameat2" if here && strings.len() == 2 => {
                let [from, to] = [text(&strings[0]), text(&strings[1])];
                let file = self.names.get(&from).copied();
                self.name(&from, None);
                self.name(&to, file);
                true
            }
            "linkat" if here && strings.len() == 2 => {
                let file = self.names.get(&text(&strings[0])).copied();
                self.name(&text(&strings[1]), file);
                true
            }
            "unlinkat" if here && strings.len() == 1 => {
                self.name(&text(&strings[0]), None);
                true
            }
            "close" => {
                self.open.remove(&descriptor);
                false
            }
            _ => false,
        }
    }

    fn name(&mut self, name: &str, file: Option<usize>) {
        match file {
            Some(file) => self.names.insert(name.to_owned(), file),
            None => self.names.remove(name),
        };
        let possible = self.possible.entry(name.to_owned());
        possible
            .or_insert_with(|| BTreeSet::from([None]))
            .insert(file);
    }

    fn sync_folder(&mut self) {
        self.possible.clear();
        for (name, file) in &self.names {
            self.possible
                .insert(name.clone(), BTreeSet::from([Some(*file)]));
        }
    }
}

/// Whole calls of a trace of several threads, in the order in which they ended.
pub fn whole_calls(trace: &str) -> Vec<String> {
    let mut begun: BTreeMap<&str, &str> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let rest = rest.trim_start();
        if let Some(beginning) = rest.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, beginning);
        } else if rest.starts_with("<... ") {
            let end = rest.split_once(" resumed>").map(|(_, end)| end);
            if let (Some(beginning), Some(end)) = (begun.remove(thread), end) {
                calls.push(format!("{beginning}{end}"));
            }
        } else {
            calls.push(rest.to_owned());
        }
    }
    calls
}

/// What stands in quotes in the arguments, each byte as `\x..`.
fn strings(arguments: &str) -> Vec<Vec<u8>> {
    // Paths of descriptors stand in angle brackets, and are no arguments.
    let quoted = arguments.split('"').skip(1).step_by(2);
    quoted
        .map(|text| {
            let bytes = text.split("\\x").skip(1);
            bytes
                .filter_map(|hex| u8::from_str_radix(hex.get(..2)?, 16).ok())
                .collect()
        })
        .collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The path of the first descriptor: `3<\x2f...>`.
fn path(arguments: &str) -> Option<String> {
    let (_, rest) = arguments.split_once('<')?;
    let (path, _) = rest.split_once('>')?;
    let bytes: Vec<u8> = path
        .split("\\x")
        .skip(1)
        .filter_map(|hex| u8::from_str_radix(hex.get(..2)?, 16).ok())
        .collect();
    Some(if bytes.is_empty() {
        path.to_owned()
    } else {
        text(&bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &[u8] = b"old";

    /// What may be there after a cut at any time while these calls are made.
    fn states(calls: &[&str]) -> BTreeSet<Content> {
        let mut disk = Disk::new(&[("l", OLD)]);
        let mut states = BTreeSet::from_iter(disk.after_a_cut("l"));
        for call in calls {
            assert!(disk.happen(call, "/d"), "{call}");
            states.extend(disk.after_a_cut("l"));
        }
        states
    }

    const CREATE: &str =
        r#"openat(3<\x2f\x64>, "\x74", O_RDWR|O_CREAT|O_EXCL, 0640) = 4<\x2f\x64\x2f\x74>"#;
    const WRITE: &str = r#"write(4<\x2f\x64\x2f\x74>, "\x6e\x65\x77", 3) = 3"#;
    const SYNC: &str = r"fsync(4<\x2f\x64\x2f\x74>) = 0";
    const RENAME: &str = r#"renameat(3<\x2f\x64>, "\x74", 3<\x2f\x64>, "\x6c") = 0"#;
    const SYNC_FOLDER: &str = r"fsync(5<\x2f\x64>) = 0";

    #[test]
    fn a_file_that_was_synchronised_first_is_old_or_new() {
        let states = states(&[CREATE, WRITE, SYNC, RENAME, SYNC_FOLDER]);
        assert_eq!(
            states,
            BTreeSet::from([Some(OLD.to_vec()), Some(b"new".to_vec())])
        );
    }

    #[test]
    fn what_was_not_synchronised_may_be_torn() {
        for calls in [
            &[CREATE, WRITE, RENAME, SYNC][..],
            &[CREATE, SYNC, RENAME, WRITE],
        ] {
            assert!(states(calls).contains(&Some(b"".to_vec())), "{calls:?}");
        }
        let mut disk = Disk::new(&[("l", OLD)]);
        for call in [CREATE, WRITE, SYNC, RENAME] {
            disk.happen(call, "/d");
        }
        assert!(
            disk.after_a_cut("l").contains(&Some(OLD.to_vec())),
            "the name is not safe yet"
        );
        disk.happen(SYNC_FOLDER, "/d");
        assert_eq!(disk.after_a_cut("l"), [Some(b"new".to_vec())]);
    }

    #[test]
    fn calls_of_several_threads_are_put_together() {
        let trace = "1 write(4, \"\\x61\" <unfinished ...>\n2 fsync(5) = 0\n1 <... write resumed>, 1) = 1\n";
        assert_eq!(
            whole_calls(trace),
            ["fsync(5) = 0", "write(4, \"\\x61\", 1) = 1"]
        );
    }
}
