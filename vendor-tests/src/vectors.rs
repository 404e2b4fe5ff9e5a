//! The golden vectors.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::capture::Launch;

/// One line of MANIFEST.tsv.
#[derive(Clone, Debug)]
pub struct Vector {
    /// Its name.
    pub name: String,
    /// Whether it holds damaged or irrelevant messages, which no kernel sends.
    pub damaged: bool,
    /// Whether the exit status is to be 0.
    pub succeeds: bool,
    /// Whether something in it can't be read, so that its list may lack flows. What is merely of no interest, such as
    /// messages of another kind, is none of that.
    pub incomplete: bool,
    /// Whether standard error has to hold a warning.
    pub warns: bool,
    folder: PathBuf,
}

/// Vectors of damage that are whole all the same: what is to be skipped in them is readable, and no event of a flow.
const WHOLE: [&str; 9] = [
    "real_destroy",
    "rob_subsystem",
    "rob_msg_type",
    "rob_control",
    "rob_family",
    "rob_unused_bytes",
    "pcap_big_endian",
    "pcap_nano",
    "pcap_nano_big_endian",
];

impl Vector {
    /// The exit status of reading it.
    pub const fn code(&self) -> i32 {
        match (self.succeeds, self.incomplete) {
            (false, _) => 1,
            (true, true) => 3,
            (true, false) => 0,
        }
    }

    /// The capture.
    pub fn pcap(&self) -> PathBuf {
        self.folder.join(format!("{}.pcap", self.name))
    }

    /// What is to be printed.
    ///
    /// Panics: if it can't be read.
    pub fn expected(&self) -> Vec<u8> {
        let path = self.folder.join(format!("{}.expected", self.name));
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

/// The vectors that are there. Says aloud which one is not: the largest is kept beside the checkout
/// only.
///
/// Panics: if the manifest can't be read, or another vector is missing.
pub fn all() -> Vec<Vector> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let manifest = own.join("MANIFEST.tsv");
    let manifest = std::fs::read_to_string(&manifest)
        .unwrap_or_else(|error| panic!("{}: {error}", manifest.display()));
    let mut vectors = Vec::new();
    for line in manifest.lines().skip(1) {
        let fields: Vec<&str> = line.split('\t').collect();
        let name = fields[0];
        let Some(folder) = [&own, &beside]
            .into_iter()
            .find(|folder| folder.join(format!("{name}.pcap")).exists())
        else {
            assert_eq!(name, "large", "vector {name} is missing");
            crate::skipped!("large.pcap not beside the checkout");
            continue;
        };
        vectors.push(Vector {
            name: name.to_owned(),
            damaged: fields[1] == "robust",
            succeeds: fields[5] == "0",
            incomplete: (fields[1] == "robust" && !WHOLE.contains(&name)) || name == "quirk_tail",
            warns: fields[6] == "yes",
            folder: folder.clone(),
        });
    }
    assert!(vectors.len() > 90, "only {} vectors", vectors.len());
    vectors
}

/// A vector whose list is longer than what a pipe or a small file system can hold.
///
/// Panics: if it is not there.
pub fn long() -> Vector {
    all()
        .into_iter()
        .find(|vector| vector.name == "index_width")
        .expect("it is there")
}

/// The program that lists it to there.
///
/// Panics: as [`long`].
pub fn replay_long(output: impl AsRef<OsStr>) -> Launch {
    let pcap = long().pcap();
    Launch::new([
        "-r".as_ref(),
        pcap.as_os_str(),
        "-o".as_ref(),
        output.as_ref(),
    ])
}
