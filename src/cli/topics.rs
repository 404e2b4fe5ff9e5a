//! The guides of docs/, as `conntracker help` shows them.

/// A guide.
#[derive(Debug)]
pub struct Topic {
    /// By which it is asked for.
    pub name: &'static str,
    /// Its text, in Markdown.
    pub text: &'static str,
}

/// Names of guides and their texts. Where a command has the name, the guide has another one.
macro_rules! topics {
    ($($name:literal $file:literal)*) => {
        &[$(Topic { name: $name, text: include_str!(concat!("../../docs/", $file)) }),*]
    };
}

/// All guides, in the order of their names.
pub const TOPICS: &[Topic] = topics! {
    "captures" "captures.md"
    "check-guide" "check.md"
    "classic" "classic.md"
    "doctor-guide" "doctor.md"
    "fleet" "fleet.md"
    "json" "json.md"
    "kernels" "kernels.md"
    "long-runs" "long-runs.md"
    "names" "names.md"
    "reliability" "reliability.md"
    "report-guide" "report.md"
    "rules-guide" "rules.md"
    "sources" "sources.md"
    "top-guide" "top.md"
    "trace-guide" "trace.md"
    "watch-guide" "watch.md"
};

/// The guide of this name, or of a document's name as other guides have it: `check.md`.
pub fn find(name: &str) -> Option<&'static Topic> {
    let name = name.to_lowercase();
    let document = name.strip_suffix(".md");
    let of = |name: &str| TOPICS.iter().find(|topic| topic.name == name);
    of(&name).or_else(|| {
        let document = document?;
        of(document).or_else(|| of(&format!("{document}-guide")))
    })
}

impl Topic {
    /// What it is about.
    pub fn title(&self) -> &'static str {
        let first = self.text.lines().next().unwrap_or_default();
        first.trim_start_matches("# ")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use clap::CommandFactory;

    use super::*;
    use crate::cli::options::Cli;

    #[test]
    fn every_document_is_a_topic() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        let names = fs::read_dir(docs).unwrap().filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".md").map(str::to_owned)
        });
        let commands = Cli::command();
        let commands: BTreeSet<&str> = commands
            .get_subcommands()
            .map(clap::Command::get_name)
            .collect();
        let expected: Vec<String> = { names.collect::<BTreeSet<_>>().into_iter() }
            .map(|name| match commands.contains(name.as_str()) {
                true => format!("{name}-guide"),
                false => name,
            })
            .collect();
        let listed: Vec<&str> = TOPICS.iter().map(|topic| topic.name).collect();
        assert_eq!(listed, expected);
        for topic in TOPICS {
            assert!(
                topic.text.starts_with("# ") && !topic.title().is_empty(),
                "{}",
                topic.name
            );
        }
    }

    #[test]
    fn guides_are_found_by_the_names_that_people_try() {
        let found = |name: &str| find(name).map(|topic| topic.name);
        for name in [
            "check-guide",
            "Check-Guide",
            "check-guide.md",
            "check.md",
            "CHECK.MD",
        ] {
            assert_eq!(found(name), Some("check-guide"), "{name}");
        }
        assert_eq!(found("Json.md"), Some("json"));
        for name in ["check", "jsn", ".md", ""] {
            assert_eq!(found(name), None, "{name}");
        }
    }
}
