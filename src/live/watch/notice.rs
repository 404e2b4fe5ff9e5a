//! What is told: a flow that is new, one that is overdue, and what the watch itself can't see. In a line for people, as a
//! JSON object, and as fields of the journal.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::objection::Objection;
use crate::formats::json;
use crate::model::printable::printable;
use crate::model::record::{Record, SourcePort};
use crate::model::timestamp::Timestamp;
use crate::output::table;

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A flow that the baseline does not have, and what its ruleset has against it.
    New(Box<Record>, Option<Objection>),
    /// A flow of the baseline that has not come for long.
    Overdue {
        /// The flow as the baseline has it.
        record: Box<Record>,
        /// The time between two connections of it.
        usual: Duration,
        /// When it was last seen.
        last_seen: Option<Timestamp>,
    },
    /// What the watch may have missed.
    Missed(String),
}

/// The JSON objects, but for that of a new flow, which is a line of a capture.
#[derive(Serialize)]
struct Object<'a, F> {
    r#type: &'static str,
    time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    usual_gap_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flow: Option<F>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// A new flow that a ruleset does not accept.
#[derive(Serialize)]
struct Objected<'a, F> {
    #[serde(flatten)]
    flow: F,
    ruleset_verdict: &'a str,
    ruleset_reason: &'a str,
}

impl Notice {
    /// What kind it is, in a word.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::New(..) => "new",
            Self::Overdue { .. } => "overdue",
            Self::Missed(_) => "missed",
        }
    }

    /// A line for people, without a time.
    pub fn text(&self) -> String {
        match self {
            Self::New(record, None) => format!("new      {}", flow(record)),
            Self::New(record, Some(Objection { verdict, reason })) => {
                let reason = printable(reason);
                format!("new      {}, {verdict}: {reason}", flow(record))
            }
            Self::Overdue {
                record,
                usual,
                last_seen,
            } => format!(
                "overdue  {}, last seen {}, usually every {}",
                flow(record),
                last_seen.map_or_else(|| "before".to_owned(), to_the_second),
                humantime::format_duration(Duration::from_secs(usual.as_secs().max(1)))
            ),
            Self::Missed(why) => format!("missed   {}", printable(why)),
        }
    }

    /// The line for people, with the time at which it is told.
    pub fn line(&self, now: Timestamp) -> String {
        format!("{} {}", to_the_second(now), self.text())
    }

    /// The JSON object, in one line without its end.
    pub fn json(&self, now: Timestamp) -> String {
        let mut line = Vec::with_capacity(512);
        // Writing to memory does not fail.
        let _ = match self {
            Self::New(record, None) => {
                json::to_writer(&mut line, &json::as_flow(record, Some("new")))
            }
            Self::New(record, Some(objection)) => {
                let object = Objected {
                    flow: json::as_flow(record, Some("new")),
                    ruleset_verdict: objection.verdict,
                    ruleset_reason: &objection.reason,
                };
                json::to_writer(&mut line, &object)
            }
            Self::Overdue {
                record,
                usual,
                last_seen,
            } => {
                let object = Object {
                    r#type: self.kind(),
                    time: now,
                    usual_gap_s: Some(usual.as_secs()),
                    last_seen: *last_seen,
                    flow: Some(json::as_flow(record, None)),
                    reason: None,
                };
                json::to_writer(&mut line, &object)
            }
            Self::Missed(why) => {
                let object = Object::<()> {
                    r#type: self.kind(),
                    time: now,
                    usual_gap_s: None,
                    last_seen: None,
                    flow: None,
                    reason: Some(why),
                };
                json::to_writer(&mut line, &object)
            }
        };
        String::from_utf8_lossy(&line).into_owned()
    }

    /// The fields of a journal entry: those of the JSON object under `CONNTRACKER_`, and the kind.
    pub fn fields(&self, now: Timestamp) -> Vec<(String, String)> {
        let mut fields = vec![("CONNTRACKER_NOTICE".to_owned(), self.kind().to_owned())];
        if let Ok(object) = serde_json::from_str(&self.json(now)) {
            flatten("CONNTRACKER", &object, &mut fields);
        }
        fields
    }
}

/// The members of an object by the names that lead to them.
fn flatten(name: &str, value: &Value, fields: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                // Of a flow within another object as of one that stands for itself.
                let name = match member.as_str() {
                    "flow" => name.to_owned(),
                    member => format!("{name}_{}", member.to_ascii_uppercase()),
                };
                flatten(&name, value, fields);
            }
        }
        Value::String(text) => fields.push((name.to_owned(), text.clone())),
        Value::Null => {}
        other => fields.push((name.to_owned(), other.to_string())),
    }
}

/// A flow in a few words.
fn flow(record: &Record) -> String {
    let identity = &record.identity;
    let port = match identity.source_port {
        SourcePort::Exact(port) => format!(" port {port}"),
        SourcePort::None | SourcePort::Ephemeral => String::new(),
    };
    let service = table::service(identity, None);
    let more = table::translation(record);
    let space = match more.chars().next() {
        None => "",
        Some('(') => " ",
        Some(_) => ", ",
    };
    format!(
        "{:<6} {}{port} > {} {service}{space}{more}",
        identity.protocol.to_string(),
        identity.source,
        identity.destination,
    )
}

/// A time as RFC 3339 has it, without fractions.
fn to_the_second(time: Timestamp) -> String {
    let text = time.to_string();
    format!("{}Z", &text[.."2000-01-01T00:00:00".len()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::origin::Begun;
    use crate::model::record::Identity;
    use crate::model::tuple::Tuple;

    fn overdue() -> Notice {
        let tuple = Tuple::tcp("10.0.0.1", "10.0.0.2", 443);
        let mut identity = Identity::of(&tuple);
        identity.netns = Some("a\nb".into());
        Notice::Overdue {
            record: Box::new(Record::new(identity, true)),
            usual: Duration::from_secs(90),
            last_seen: Timestamp::from_us(1_000_000),
        }
    }

    #[test]
    fn what_stands_in_brackets_has_no_comma_before_it() {
        let tuple = Tuple::tcp("10.0.0.1", "10.0.0.2", 443);
        let mut record = Record::new(Identity::of(&tuple), true);
        let told = |record: &Record| Notice::New(record.clone().into(), None).text();
        assert_eq!(told(&record), "new      tcp    10.0.0.1 > 10.0.0.2 443");
        record.origin.begun = Begun::PickedUp;
        assert_eq!(
            told(&record),
            "new      tcp    10.0.0.1 > 10.0.0.2 443 (open before)"
        );
        record.identity.zone = 3;
        assert_eq!(
            told(&record),
            "new      tcp    10.0.0.1 > 10.0.0.2 443, zone 3 (open before)"
        );
    }

    #[test]
    fn a_notice_says_the_same_in_every_form() {
        let now = Timestamp::from_us(1_700_000_000_000_000).unwrap();
        let line = "2023-11-14T22:13:20Z overdue  tcp    10.0.0.1 > 10.0.0.2 443, netns a\\nb, \
                    last seen 1970-01-01T00:00:01Z, usually every 1m 30s";
        assert_eq!(overdue().line(now), line);
        let object: Value = serde_json::from_str(&overdue().json(now)).unwrap();
        assert_eq!(object["type"], "overdue");
        assert_eq!(object["usual_gap_s"], 90);
        assert_eq!(object["flow"]["dst_port"], 443);
        let fields = overdue().fields(now);
        let field = |name: &str| {
            let found = fields.iter().find(|(field, _)| field == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(field("CONNTRACKER_NOTICE"), Some("overdue"));
        assert_eq!(field("CONNTRACKER_DST_PORT"), Some("443"));
        assert_eq!(field("CONNTRACKER_NETNS"), Some("a\nb"));
        assert_eq!(field("CONNTRACKER_USUAL_GAP_S"), Some("90"));
    }
}
