//! Objects of JSON that are not of our own form: on one line each, in an array, or over several lines.

use serde_json::{Map, Value};

/// An object of JSON, by the names of its fields.
pub type Json = Map<String, Value>;

/// Longer than any object that tells of a flow.
const OBJECT_MAX: usize = 1 << 16;

/// Why an object is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// It is of a kind that is read, and something is wrong with it.
    Malformed(String),
    /// It is of another kind, which is named.
    Unknown(String),
}

/// What a line of JSON comes to.
#[derive(Debug)]
pub enum Gathered {
    /// A part of something that goes on.
    Part,
    /// An object is complete.
    Object(Json),
    /// It is no JSON.
    Bad(String),
}

/// Gathers the lines of objects.
#[derive(Debug, Default)]
pub struct Gathering {
    text: String,
    /// Whether an array has begun and not ended.
    in_array: bool,
    /// Whether an array ended that had not begun.
    lacks_begin: bool,
}

impl Gathering {
    /// Whether an object has begun, so that whatever comes belongs to it.
    pub fn is_open(&self) -> bool {
        !self.text.is_empty()
    }

    /// Whether an array lacks its end or its beginning, and with it perhaps some of its objects.
    pub fn is_cut(&self) -> bool {
        self.is_open() || self.in_array || self.lacks_begin
    }

    /// Whether a line that is none of an object belongs to the array that has begun.
    pub fn goes_on(&self, line: &str) -> bool {
        self.in_array && line.trim() == ","
    }

    /// Takes a line.
    pub fn line(&mut self, line: &str) -> Gathered {
        let trimmed = line.trim().trim_start_matches(['[', ',']).trim_start();
        let trimmed = trimmed.trim_end_matches([',', ']']).trim_end();
        self.count_brackets(line, trimmed);
        if self.text.is_empty() && trimmed.is_empty() {
            return Gathered::Part;
        }
        if self.text.is_empty() {
            if let Ok(object) = serde_json::from_str(trimmed) {
                return Gathered::Object(object);
            }
            // An object over several lines begins with its bracket alone, as nfdump, jq and others write it.
            if trimmed != "{" {
                return Gathered::Bad(match serde_json::from_str::<Json>(trimmed) {
                    Err(error) => cause(&error),
                    Ok(_) => unreachable!("it was none"),
                });
            }
        }
        if self.text.len() + line.len() > OBJECT_MAX {
            self.text.clear();
            return Gathered::Bad("an object that is too long for a flow".into());
        }
        let is_last = trimmed.starts_with('}');
        // Commas and brackets behind the last line belong to the array.
        self.text.push_str(if is_last { trimmed } else { line });
        self.text.push('\n');
        if !is_last {
            return Gathered::Part;
        }
        match serde_json::from_str(&self.text) {
            Ok(object) => {
                self.text.clear();
                Gathered::Object(object)
            }
            // An object in it ends here.
            Err(error) if error.is_eof() => {
                if trimmed != line.trim() {
                    self.text.truncate(self.text.len() - trimmed.len() - 1);
                    self.text.push_str(line);
                    self.text.push('\n');
                }
                Gathered::Part
            }
            Err(error) => {
                self.text.clear();
                Gathered::Bad(cause(&error))
            }
        }
    }
}

impl Gathering {
    /// Takes down the brackets of an array around what is left of a line without them.
    fn count_brackets(&mut self, line: &str, trimmed: &str) {
        let line = line.trim();
        let at = line.find(trimmed).unwrap_or_default();
        let (before, behind) = (&line[..at], &line[at + trimmed.len()..]);
        // An array within an object that goes on is a part of that.
        if self.is_open() && !trimmed.starts_with('}') {
            return;
        }
        let begins = !self.is_open() && (before.contains('[') || line.starts_with('['));
        let ends = behind.contains(']') || (trimmed.is_empty() && line.contains(']'));
        self.in_array |= begins;
        if ends {
            self.lacks_begin |= !self.in_array;
            self.in_array = false;
        }
    }
}

fn cause(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let cause = text.rsplit_once(" at line ").map(|(cause, _)| cause);
    cause.unwrap_or(&text).to_owned()
}

/// What an object is that is not read, and what to do about it.
pub(super) fn name(object: &Json) -> String {
    let has = |key: &str| object.contains_key(key);
    if has("__REALTIME_TIMESTAMP") || has("_BOOT_ID") {
        "this looks like journald's output: use journalctl -o short-iso or -o cat instead of -o json"
    } else if has("log") && has("stream") {
        "this looks like a log file of Docker: use docker logs CONTAINER"
    } else if has("nftables") {
        "this looks like a ruleset of nft -j, and not like flows"
    } else if has("_source") {
        "this looks like packets of tshark -T json or documents of Elasticsearch, and not like flows"
    } else if has("logEvents") || has("logGroup") || has("ingestionTime") {
        "this looks like logs of CloudWatch: give conntracker the messages in them, one a line"
    } else if has("jsonPayload") || has("insertId") {
        "this looks like a log of Google Cloud, whose flows are not read"
    } else if has("records") || has("flowRecords") {
        "this looks like a flow log of Azure, which is not read"
    } else if has("layers") || has("index") {
        "this looks like packets of tshark -T ek, and not like flows"
    } else if has("flow_type") || (has("src_addr") && has("dst_addr")) || has("ip_src") {
        "this looks like flows of a program that is not known: nfdump -o csv, conn.log of Zeek and eve.json of Suricata are \
         read"
    } else {
        "this is JSON, and no flow of conntracker or of a program that is known"
    }
    .to_owned()
}

/// The text of a field, or the digits of a number.
pub(super) fn text<'a>(object: &'a Json, key: &str) -> Option<std::borrow::Cow<'a, str>> {
    match object.get(key)? {
        Value::String(text) => Some(text.as_str().into()),
        Value::Number(number) => Some(number.to_string().into()),
        _ => None,
    }
}

/// A field that has to be there, read.
pub(super) fn needed<T: std::str::FromStr>(object: &Json, key: &str) -> Result<T, String> {
    let text = text(object, key).ok_or_else(|| format!("{key} is missing"))?;
    super::flow::parsed(key, &text)
}

/// A field that may be missing, read.
pub(super) fn optional<T: std::str::FromStr>(
    object: &Json,
    key: &str,
) -> Result<Option<T>, String> {
    text(object, key)
        .map(|text| super::flow::parsed(key, &text))
        .transpose()
}
