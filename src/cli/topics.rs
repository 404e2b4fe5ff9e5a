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

/// The guide of this name.
pub fn find(name: &str) -> Option<&'static Topic> {
    TOPICS.iter().find(|topic| topic.name == name)
}

impl Topic {
    /// What it is about.
    pub fn title(&self) -> &'static str {
        let first = self.text.lines().next().unwrap_or_default();
        first.trim_start_matches("# ")
    }
}

/// A text without what only a program for Markdown needs: pictures, targets of links, marks of headings and of code.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut is_code = false;
    for line in text.lines() {
        if line.starts_with("```") {
            is_code = !is_code;
            continue;
        }
        if is_code {
            if !line.is_empty() {
                out += "    ";
            }
            out += line;
        } else if line.starts_with("![") {
            continue;
        } else if let Some(heading) = line.strip_prefix('#') {
            out += &heading.trim_start_matches('#').trim_start().to_uppercase();
        } else {
            out += &without_links(line).replace("**", "");
        }
        out.push('\n');
    }
    out
}

fn without_links(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("](") {
        let (Some(open), Some((_, behind))) = (before.rfind('['), after.split_once(')')) else {
            break;
        };
        out += &before[..open];
        out += &before[open + 1..];
        rest = behind;
    }
    out + rest
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
    fn a_guide_is_readable_as_it_is() {
        let text = "# A title\n\n![picture](x.png)\nSee [names](names.md#a) and [top](top.md), **always**.\n\n```console\n$ ls [a](b)\n\n```\n";
        assert_eq!(
            plain(text),
            "A TITLE\n\nSee names and top, always.\n\n    $ ls [a](b)\n\n"
        );
        assert_eq!(without_links("a](b [c"), "a](b [c");
    }
}
