//! Holds the layers: a folder imports what ARCHITECTURE.md and its own `mod.rs` say, nothing else and nothing above it,
//! and only the folder of the command line knows clap.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The folders that product code of a file imports from. Unit tests may look further up.
fn imports(path: &Path) -> BTreeSet<String> {
    if path.is_dir() {
        let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
        return entries.flat_map(|entry| imports(&entry.path())).collect();
    }
    let name = path.file_name().and_then(|name| name.to_str()).unwrap();
    if !name.ends_with(".rs") || name == "tests.rs" {
        return BTreeSet::new();
    }
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = code.lines().map(|line| line.split("//").next().unwrap());
    let paths = lines.flat_map(|line| {
        let clap = line.contains("clap::").then_some("clap");
        line.split("crate::")
            .skip(1)
            .chain(clap)
            .collect::<Vec<_>>()
    });
    paths
        .map(|path| path.split("::").next().unwrap().to_owned())
        .collect()
}

/// The folders below that a list names.
fn listed<'a>(list: &'a str, below: &[&'a str]) -> BTreeSet<String> {
    let words = list.split(|c: char| !c.is_ascii_lowercase());
    let words = words.filter(|word| below.contains(word));
    words.map(str::to_owned).collect()
}

#[test]
fn folders_import_what_the_picture_shows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let picture = map.split("## The folders").nth(1).unwrap();
    let rows: Vec<(&str, &str)> = picture
        .split("## ")
        .next()
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("    ")?.split_once("──►"))
        .map(|(folder, list)| (folder.trim(), list))
        .collect();
    let order: Vec<&str> = rows.iter().map(|(folder, _)| *folder).collect();
    let mut shown = BTreeMap::new();
    for (place, (folder, list)) in rows.iter().enumerate() {
        let below = &order[place + 1..];
        let drawn = listed(list, below);
        let found: BTreeSet<String> = imports(&root.join("src").join(folder))
            .into_iter()
            .filter(|found| found != folder && (*folder, found.as_str()) != ("cli", "clap"))
            .collect();
        assert_eq!(found, drawn, "{folder} imports, and ARCHITECTURE.md draws");
        let head = fs::read_to_string(root.join("src").join(folder).join("mod.rs")).unwrap();
        let may = head.split("//! May import:").nth(1).expect(folder);
        assert_eq!(
            listed(may.lines().next().unwrap(), below),
            drawn,
            "{folder}/mod.rs and ARCHITECTURE.md"
        );
        shown.insert(*folder, drawn);
    }
    let folders = fs::read_dir(root.join("src"))
        .unwrap()
        .map(|entry| entry.unwrap());
    for folder in folders.filter(|entry| entry.path().join("mod.rs").exists()) {
        let name = folder.file_name();
        assert!(shown.contains_key(name.to_str().unwrap()), "{name:?}");
    }
}
