//! What a ruleset of nft(8) includes, where nft has the user's own rights over files.
//!
//! As root it runs as a user who owns no files. In a user namespace there is none to become, and nft could read whatever
//! the user can: its complaint about a private file would show the file's lines to whoever reads the report.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// How deep files may include each other (`MAX_INCLUDE_DEPTH` of nftables 1.0.6, include/parser.h).
const DEPTH_MAX: usize = 16;
/// Where names without a slash at their beginning are sought besides the current folder (nft(8), `--includepath`).
const FOLDER: &str = "/etc";
/// A ruleset that is longer is not looked through: it is refused.
const LENGTH_MAX: u64 = 64 << 20;

/// Whether everything that a ruleset includes may be read by everyone.
///
/// Errors: why not, with the file's name.
pub fn refuse_private(text: &str) -> Result<(), String> {
    refuse(text, 0)
}

fn refuse(text: &str, depth: usize) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err("files include each other without end".to_owned());
    }
    for name in names(text) {
        let name = Path::new(name);
        for path in [name.to_owned(), Path::new(FOLDER).join(name)] {
            for path in files(&path)? {
                let Ok(found) = fs::metadata(&path) else {
                    continue;
                };
                if !found.is_file() || found.permissions().mode() & 0o004 == 0 {
                    return Err(format!(
                        "it includes {:?}, which not everyone may read, and without root that is not kept from \
                         being shown: put the rules into one file, or make it readable (chmod o+r)",
                        path.display().to_string()
                    ));
                }
                if found.len() > LENGTH_MAX {
                    return Err(format!("{:?} is too long", path.display().to_string()));
                }
                if let Ok(bytes) = fs::read(&path) {
                    refuse(&String::from_utf8_lossy(&bytes), depth + 1)?;
                }
            }
        }
    }
    Ok(())
}

/// What stands in quotes behind the word, wherever that is: what is only a comment is looked at too, since taking
/// something for a comment that nft does not would be worse.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("include").filter_map(|(at, word)| {
        let rest = &text[at + word.len()..];
        let rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '\\');
        let quoted = rest.strip_prefix('"')?;
        quoted.split('"').next()
    })
}

/// The files that a name stands for, which may have wildcards at its end.
fn files(path: &Path) -> Result<Vec<PathBuf>, String> {
    let wild = |name: &OsStr| name.as_encoded_bytes().iter().any(|c| b"*?[".contains(c));
    let Some(folder) = path.parent().filter(|_| wild(path.as_os_str())) else {
        return Ok(vec![path.to_owned()]);
    };
    if wild(folder.as_os_str()) {
        return Err(format!(
            "it includes {:?}, and without root wildcards may only stand in the last part: name the folders",
            path.display().to_string()
        ));
    }
    // All that could be meant. Names that begin with a dot are not (glob(7)).
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let pattern = path.file_name().unwrap_or_default();
    let begin = pattern.as_encoded_bytes();
    let begin = begin.split(|c| b"*?[\\".contains(c)).next();
    let end = pattern.as_encoded_bytes().rsplit(|c| b"*?]\\".contains(c));
    let end = end.clone().next();
    let meant = |name: &OsStr| {
        let name = name.as_encoded_bytes();
        name.starts_with(begin.unwrap_or_default()) && name.ends_with(end.unwrap_or_default())
    };
    let paths = entries.filter(|entry| meant(&entry.file_name()));
    Ok(paths
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_files_are_refused_however_they_are_included() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path();
        let write = |name: &str, text: &str, mode| {
            let path = folder.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path.display().to_string()
        };
        let private = write("private.conf", "secret", 0o600);
        let open = write("open.nft", "table ip x { }", 0o644);
        let leading = write("leading.nft", &format!("include \"{private}\""), 0o644);
        let place = folder.display();
        for included in [
            format!("include \"{private}\""),
            format!("table ip x {{ include\t\\\n \"{private}\" }}"),
            format!("# include \"{private}\""),
            format!("include \"{leading}\""),
            format!("include \"{place}/*.conf\""),
            format!("include \"{place}/p?ivate.[c]onf\""),
            format!("include \"{place}\""),
            "include \"/*/shadow\"".to_owned(),
        ] {
            assert!(refuse_private(&included).is_err(), "{included}");
        }
        for included in [
            format!("include \"{open}\""),
            format!("include \"{place}/o*.nft\""),
            format!("include \"{place}/none\""),
            "tcp dport 22 accept comment \"include this\"".to_owned(),
        ] {
            assert_eq!(refuse_private(&included), Ok(()), "{included}");
        }
        let circle = write(
            "circle.nft",
            &format!("include \"{place}/circle.nft\""),
            0o644,
        );
        assert!(refuse_private(&format!("include \"{circle}\"")).is_err());
    }
}
