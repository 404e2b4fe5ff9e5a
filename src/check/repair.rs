//! What a ruleset names and this machine does not have, and what decides nothing about first packets: flowtables, which take
//! established connections past the rules, and helpers that the kernel lacks. They are left out. Users and groups of a
//! name that is not known here become ones that nobody has: which user sends a packet is in doubt anyway.

/// A user and a group that nobody has.
const NOBODY: &str = "65533";

/// A ruleset without what its program complains of.
#[derive(Debug, PartialEq, Eq)]
pub struct Repaired {
    /// The text, with as many lines.
    pub text: String,
    /// What was left out.
    pub left_out: Vec<String>,
}

/// Repairs a text for nft(8), which has complained of `name`, by line and columns:
///
/// ```text
/// fw.nft:5:12-13: Error: Could not process rule: No such file or directory
/// ```
pub fn nft(text: &str, name: &str, said: &str) -> Option<Repaired> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut left_out = Vec::new();
    for complaint in said
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    {
        let Some((place, what)) = complaint.split_once(": Error: ") else {
            continue;
        };
        let Some((number, from, to)) = place_of(place) else {
            continue;
        };
        let Some(line) = lines.get(number) else {
            continue;
        };
        let Some(span) = line.get(from..to) else {
            continue;
        };
        let span = span.to_owned();
        let begin = line.trim_start();
        let lacks = ["No such file or directory", "Operation not supported"];
        if what.starts_with("User does not exist") || what.starts_with("Group does not exist") {
            lines[number].replace_range(from..to, NOBODY);
            left_out.push(format!("the name {span}"));
        } else if !lacks.iter().any(|lack| what.ends_with(lack)) {
            continue;
        } else if begin.starts_with("flowtable") || begin.starts_with("ct helper") {
            let kind = if begin.starts_with("flowtable") {
                "flowtable"
            } else {
                "helper"
            };
            blank_block(&mut lines, number);
            left_out.push(format!("the {kind} {span}"));
        } else if span.starts_with("flow ") {
            lines[number].replace_range(from..to, "");
        } else if let Some(before) = line
            .get(..from)
            .and_then(|text| text.trim_end().strip_suffix("ct helper set"))
        {
            let before = before.len();
            lines[number].replace_range(before..to, "");
        }
    }
    done(text, &lines, left_out)
}

/// Repairs a text for iptables-restore(8), which tells the number of the line at its end.
pub fn iptables(text: &str, said: &str) -> Option<Repaired> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut left_out = Vec::new();
    for number in said.split("line").skip(1).filter_map(|rest| {
        let rest = rest.trim_start_matches([':', ' ']);
        rest.split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse::<usize>()
            .ok()
    }) {
        let Some(line) = number.checked_sub(1).and_then(|at| lines.get_mut(at)) else {
            continue;
        };
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let after = |option: &str| {
            let at = words.iter().position(|word| word == option)?;
            words.get(at + 1).cloned()
        };
        if let (Some("CT"), Some(helper)) = (after("-j").as_deref(), after("--helper")) {
            if let Some(chain) = after("-A") {
                *line = format!("-A {chain}");
                left_out.push(format!("the helper {helper}"));
            }
        }
        for option in ["--uid-owner", "--gid-owner"] {
            if let Some(user) = after(option).filter(|user| said.contains(&format!("\"{user}\""))) {
                *line = line.replace(&format!("{option} {user}"), &format!("{option} {NOBODY}"));
                left_out.push(format!("the name {user}"));
            }
        }
    }
    done(text, &lines, left_out)
}

fn done(before: &str, lines: &[String], left_out: Vec<String>) -> Option<Repaired> {
    let mut text = lines.join("\n");
    text.push('\n');
    let same = text.trim_end() == before.replace("\r\n", "\n").trim_end();
    (!same).then_some(Repaired { text, left_out })
}

/// Line, first column and end of a place, counted from 0.
fn place_of(place: &str) -> Option<(usize, usize, usize)> {
    let (line, columns) = place.split_once(':')?;
    let (from, to) = columns.split_once('-')?;
    let number = |text: &str| text.parse::<usize>().ok();
    Some((
        number(line)?.checked_sub(1)?,
        number(from)?.checked_sub(1)?,
        number(to)?,
    ))
}

/// Takes out a block from its line to the brace that ends it.
fn blank_block(lines: &mut [String], first: usize) {
    let mut depth = 0_usize;
    for line in lines.iter_mut().skip(first) {
        let mut end = None;
        for (at, c) in line.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        end = Some(at + 1);
                        break;
                    }
                }
                _ => {}
            }
        }
        match end {
            Some(end) => {
                line.replace_range(..end, "");
                return;
            }
            None => line.clear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_decides_nothing_is_left_out_where_it_lacks() {
        let text = "table inet t {\n flowtable ft {\n  devices = { eth0 }\n }\n ct helper foo { type \"foo\" protocol tcp; }\n\
                    chain c {\n  ct state established flow add @ft accept\n  tcp dport 21 ct helper set \"foo\"\n  meta skuid \"me\" accept\n }\n}\n";
        let lack = "Error: Could not process rule: No such file or directory";
        let said = format!(
            "fw:2:12-13: {lack}\nfw:5:12-14: {lack}\nfw:7:24-35: {lack}\nfw:8:30-34: {lack}\nfw:9:14-17: Error: User does not exist\n"
        );
        let repaired = nft(text, "fw", &said).unwrap();
        assert_eq!(
            repaired.text,
            "table inet t {\n\n\n\n\nchain c {\n  ct state established  accept\n  tcp dport 21 \n  meta skuid 65533 accept\n }\n}\n"
        );
        assert_eq!(
            repaired.left_out,
            ["the flowtable ft", "the helper foo", "the name \"me\""]
        );
        assert_eq!(nft(text, "fw", "fw:6:1-2: Error: syntax error\n"), None);
    }

    #[test]
    fn rules_of_iptables_are_repaired_by_their_line() {
        let text = "*raw\n-A PREROUTING -p tcp --dport 21 -j CT --helper foo\nCOMMIT\n*filter\n-A OUTPUT -m owner --uid-owner me -j ACCEPT\nCOMMIT\n";
        let helper = iptables(
            text,
            "line 2: RULE_APPEND failed (No such file or directory): rule in chain PREROUTING",
        )
        .unwrap();
        assert!(
            helper.text.starts_with("*raw\n-A PREROUTING\nCOMMIT\n"),
            "{}",
            helper.text
        );
        assert_eq!(helper.left_out, ["the helper foo"]);
        let said =
            "owner: Bad value for \"--uid-owner\" option: \"me\"\nError occurred at line: 5\n";
        let user = iptables(text, said).unwrap();
        assert!(user.text.contains("--uid-owner 65533 -j"), "{}", user.text);
        assert_eq!(
            iptables(text, "line 2: something else: line 6"),
            helper_without_change(text)
        );
    }

    fn helper_without_change(text: &str) -> Option<Repaired> {
        // A rule of a helper is taken out whatever is wrong with it: nothing else of it decides anything.
        iptables(text, "line 2")
    }
}
