//! The same entries as XML: `conntrack -o xml`, `conntrackd -i -x`, and ulogd2's plugin XML
//! (`__snprintf_conntrack_xml`, libnetfilter_conntrack 1.0.9, `src/conntrack/snprintf_xml.c`).
//!
//! Types of ICMP are not told in it. Elements that are not known are passed over, since releases add some; whatever stands
//! elsewhere than it should refuses the entry.

use std::net::IpAddr;

use crate::model::record::{Identity, Protocol, Record, Service, SourcePort};
use crate::model::tuple::{Reply, Tuple};

/// Longer than any entry.
const FLOW_MAX: usize = 1 << 16;

/// What a line comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum Xml {
    /// A part of the document in which no flow ends.
    Part,
    /// Flows that end in this line.
    Flows(Vec<Record>),
}

/// The document that is being read.
#[derive(Debug, Default)]
pub struct Document {
    /// Whether it has begun and not ended.
    is_open: bool,
    /// Whether one was met at all.
    has_begun: bool,
    /// Whether one of several lacks its end or its beginning.
    lacks_some: bool,
    /// Whether a comment goes on.
    in_comment: bool,
    /// An entry that goes on in the next line.
    begun: String,
}

impl Document {
    /// Reads a line; `None` if it is no part of such a document.
    ///
    /// Errors: what is wrong with it.
    pub fn read(&mut self, line: &str) -> Option<Result<Xml, String>> {
        let trimmed = line.trim();
        if self.in_comment || trimmed.starts_with("<!--") {
            self.in_comment = !trimmed.contains("-->");
            return Some(Err("this is commented out".into()));
        }
        let begins = ["<?xml", "<conntrack>", "</conntrack>", "<flow>", "<flow "];
        if self.begun.is_empty() && !begins.iter().any(|begin| trimmed.starts_with(begin)) {
            return None;
        }
        Some(self.part(trimmed))
    }

    /// Whether it was cut: it has begun, and its end is missing.
    pub fn is_cut(&self) -> bool {
        self.is_open || self.lacks_some || !self.begun.is_empty()
    }

    /// Whether it has begun, so that no entry in it says that there was none.
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    fn part(&mut self, text: &str) -> Result<Xml, String> {
        self.begun.push_str(text);
        if self.begun.len() > FLOW_MAX.max(text.len()) {
            self.begun.clear();
            return Err("an entry of XML that is too long".into());
        }
        let text = std::mem::take(&mut self.begun);
        let mut rest = text.as_str();
        let mut flows = Vec::new();
        loop {
            rest = rest.trim_start();
            if rest.starts_with("<flow>") || rest.starts_with("<flow ") {
                let Some((entry, behind)) = rest.split_once("</flow>") else {
                    self.begun = rest.to_owned();
                    break;
                };
                flows.push(flow(entry)?);
                rest = behind;
            } else if let Some((tag, behind)) =
                rest.strip_prefix('<').and_then(|rest| rest.split_once('>'))
            {
                match tag {
                    "conntrack" => {
                        self.lacks_some |= self.is_open;
                        (self.is_open, self.has_begun) = (true, true);
                    }
                    "/conntrack" => {
                        self.lacks_some |= !self.is_open;
                        self.is_open = false;
                    }
                    tag if tag.starts_with("?xml") => self.lacks_some |= self.is_open,
                    tag => return Err(format!("<{}> is not expected there", shown(tag))),
                }
                rest = behind;
            } else if let Some(behind) = without_cause(rest) {
                rest = behind;
            } else if rest.is_empty() {
                break;
            } else {
                return Err(format!("{:?} is not expected there", shown(rest)));
            }
        }
        Ok(if flows.is_empty() {
            Xml::Part
        } else {
            Xml::Flows(flows)
        })
    }
}

/// What follows `[USERSPACE] portid=3575900275 progname=conntrack`, which conntrack writes behind events that a program
/// brought about; the name is there as long as the program is.
fn without_cause(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("[USERSPACE] portid=")?;
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let Some(named) = rest.trim_start().strip_prefix("progname=") else {
        return Some(rest);
    };
    // No name of a file ends a line or begins an element.
    Some(named.trim_start_matches(|c: char| !matches!(c, '\n' | '<')))
}

fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

/// What one `<meta>` element says: a direction of the connection, or what is common to both.
#[derive(Default)]
struct Written {
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    protocol: Option<Protocol>,
    source_port: Option<u16>,
    destination_port: Option<u16>,
    packets: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Meta {
    Outside,
    Original,
    Reply,
    Independent,
}

/// Reads what stands before `</flow>`.
fn flow(entry: &str) -> Result<Record, String> {
    let (tag, mut rest) = entry.split_once('>').ok_or("an element has no end")?;
    if tag.contains('\'') {
        return Err(format!("<{}> is not as conntrack writes it", shown(tag)));
    }
    let event = attribute(tag, "type");
    if !matches!(event, None | Some("new" | "update" | "destroy")) {
        return Err("an event that is not known".into());
    }
    let (mut original, mut reply) = (Written::default(), Written::default());
    let (mut unreplied, mut assured, mut state, mut zone) = (false, false, None, 0);
    let mut meta = Meta::Outside;
    let mut open: Vec<&str> = Vec::new();
    while let Some((text, behind)) = rest.split_once('<') {
        let (tag, behind) = behind.split_once('>').ok_or("an element has no end")?;
        rest = behind;
        // As conntrack writes them: no comments, double quotes, small letters.
        let own = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let name = tag.trim_start_matches('/').split([' ', '/']).next();
        if tag.contains('\'') || !name.is_some_and(|name| !name.is_empty() && name.chars().all(own))
        {
            return Err(format!("<{}> is not as conntrack writes it", shown(tag)));
        }
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name) {
                return Err(format!("</{}> is not expected there", shown(name)));
            }
            let tuple = match meta {
                Meta::Original => Some(&mut original),
                Meta::Reply => Some(&mut reply),
                Meta::Outside | Meta::Independent => None,
            };
            match (name, tuple) {
                ("meta", _) => meta = Meta::Outside,
                ("src", Some(tuple)) => set(&mut tuple.source, name, text)?,
                ("dst", Some(tuple)) => set(&mut tuple.destination, name, text)?,
                ("sport", Some(tuple)) => set(&mut tuple.source_port, name, text)?,
                ("dport", Some(tuple)) => set(&mut tuple.destination_port, name, text)?,
                ("packets", Some(tuple)) => set(&mut tuple.packets, name, text)?,
                // That of the reply is not the one that the flow's packets come in by.
                ("zone", _) if meta != Meta::Reply => zone = number(name, text)?,
                ("state", _) if meta == Meta::Independent => state = Some(text.trim()),
                _ => {}
            }
            continue;
        }
        let name = tag.split([' ', '/']).next().unwrap_or_default();
        if tag.ends_with('/') {
            match name {
                "unreplied" if meta == Meta::Independent => unreplied = true,
                "assured" if meta == Meta::Independent => assured = true,
                _ => {}
            }
            continue;
        }
        match (name, meta) {
            ("meta", Meta::Outside) => {
                meta = match attribute(tag, "direction") {
                    Some("original") if original.source.is_none() => Meta::Original,
                    Some("reply") if reply.source.is_none() => Meta::Reply,
                    Some("independent") => Meta::Independent,
                    _ => return Err("a direction that is not known".into()),
                };
            }
            ("meta", _) => return Err("<meta> is not expected there".into()),
            ("unreplied", Meta::Independent) => unreplied = true,
            ("assured", Meta::Independent) => assured = true,
            ("layer4", Meta::Original) => set_protocol(&mut original, tag)?,
            ("layer4", Meta::Reply) => set_protocol(&mut reply, tag)?,
            _ => {}
        }
        open.push(name);
    }
    if !open.is_empty() || !rest.trim().is_empty() {
        return Err("an element has no end".into());
    }
    let answered = !unreplied
        && reply.packets != Some(0)
        && !matches!(state, Some("SYN_SENT" | "REQUEST"))
        && (event != Some("new") || assured || reply.packets > Some(0));
    Ok(Record {
        connections: u64::from(matches!(event, None | Some("new"))),
        ..Record::new(identity(&original, &reply, zone)?, answered)
    })
}

fn set_protocol(tuple: &mut Written, tag: &str) -> Result<(), String> {
    let number = attribute(tag, "protonum").ok_or("protonum is missing")?;
    let protocol = Protocol(self::number("protonum", number)?);
    let name = attribute(tag, "protoname");
    if let (Some(known), Some(name)) = (protocol.name(), name) {
        let named = Protocol::parse(name);
        if name != "unknown" && named != Some(protocol) {
            return Err(format!("{} is not protocol {known}", shown(name)));
        }
    }
    tuple.protocol = Some(protocol);
    Ok(())
}

fn identity(original: &Written, reply: &Written, zone: u16) -> Result<Identity, String> {
    let ends = |tuple: &Written| tuple.source.zip(tuple.destination);
    let ((source, destination), (reply_source, reply_destination)) = ends(original)
        .zip(ends(reply))
        .ok_or("an address is missing")?;
    let protocol = original.protocol.ok_or("the protocol is missing")?;
    if reply.protocol != Some(protocol) {
        return Err("the directions are not of one protocol".into());
    }
    let all = [destination, reply_source, reply_destination];
    if all
        .iter()
        .any(|address| address.is_ipv4() != source.is_ipv4())
    {
        return Err("the addresses are not of one address family".into());
    }
    let ports = |tuple: &Written| match (
        protocol.has_ports(),
        tuple.source_port.zip(tuple.destination_port),
    ) {
        (false, _) => Ok(None),
        (true, None) => Err("a port is missing".to_owned()),
        (true, ports) => Ok(ports),
    };
    let (ports, reply_ports) = (ports(original)?, ports(reply)?);
    let tuple = Tuple {
        source,
        destination,
        protocol,
        service: ports.map_or(Service::None, |(_, port)| Service::Port(port)),
        source_port: ports.map_or(SourcePort::None, |(port, _)| SourcePort::Exact(port)),
        zone,
    };
    let translation = tuple.translation(&Reply {
        source: reply_source,
        source_port: reply_ports.map(|(port, _)| port),
        destination: reply_destination,
        destination_port: reply_ports.map(|(_, port)| port),
    });
    Ok(Identity {
        translation: translation.map(Box::new),
        ..Identity::of(&tuple)
    })
}

/// The value of an attribute of a tag.
fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    tag.split_ascii_whitespace().find_map(|word| {
        let (key, value) = word.split_once('=')?;
        let value = value.strip_prefix('"')?.strip_suffix('"')?;
        (key == name).then_some(value)
    })
}

fn set<T: std::str::FromStr>(slot: &mut Option<T>, name: &str, text: &str) -> Result<(), String> {
    if slot.is_some() {
        return Err(format!("<{name}> comes twice"));
    }
    *slot = Some(number(name, text)?);
    Ok(())
}

fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("{name} {:?} can't be right", shown(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    // conntrack 1.4.7's own.
    const FLOW: &str = r#"<flow type="update"><meta direction="original"><layer3 protonum="2" protoname="ipv4"><src>10.99.0.1</src><dst>10.99.0.2</dst></layer3><layer4 protonum="6" protoname="tcp"><sport>40001</sport><dport>443</dport></layer4><counters><packets>6</packets><bytes>321</bytes></counters></meta><meta direction="reply"><layer3 protonum="2" protoname="ipv4"><src>10.99.0.2</src><dst>10.99.0.1</dst></layer3><layer4 protonum="6" protoname="tcp"><sport>8443</sport><dport>40001</dport></layer4><counters><packets>4</packets><bytes>217</bytes></counters></meta><meta direction="independent"><state>ESTABLISHED</state><timeout>60</timeout><zone>5</zone><id>3521590551</id></meta></flow>"#;

    fn read(lines: &str) -> Result<Vec<Record>, String> {
        let mut document = Document::default();
        let mut flows = Vec::new();
        for line in lines.lines() {
            if let Xml::Flows(more) = document.read(line).ok_or("no XML")?? {
                flows.extend(more);
            }
        }
        if document.is_cut() {
            return Err("cut".into());
        }
        Ok(flows)
    }

    #[test]
    fn an_entry_says_what_its_line_says() {
        let line = "[UPDATE] tcp 6 60 ESTABLISHED src=10.99.0.1 dst=10.99.0.2 sport=40001 dport=443 packets=6 bytes=321 src=10.99.0.2 dst=10.99.0.1 sport=8443 dport=40001 packets=4 bytes=217 zone=5";
        let expected = crate::formats::conntrack::parse(line, true)
            .unwrap()
            .unwrap();
        assert_eq!(read(FLOW).as_ref(), Ok(&expected));
        let document = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<conntrack>\n{FLOW}\n</conntrack>"
        );
        assert_eq!(read(&document).as_ref(), Ok(&expected));
        // As xmllint --format and others lay it out.
        let laid_out = document.replace("><", ">\n  <");
        assert_eq!(read(&laid_out).as_ref(), Ok(&expected));
        assert_eq!(read(&format!("{FLOW}{FLOW}")).unwrap().len(), 2);
        let caused = format!("{FLOW} [USERSPACE] portid=3575900275\n{FLOW}");
        assert_eq!(read(&caused).unwrap().len(), 2);
        let named = caused.replace("275", "275 progname=conntrack");
        assert_eq!(read(&named).unwrap().len(), 2);
    }

    #[test]
    fn what_was_not_answered_is_not_confirmed() {
        let confirmed = |text: &str| read(text).unwrap()[0].confirmed;
        assert!(confirmed(FLOW));
        assert!(!confirmed(&FLOW.replace("<zone>", "<unreplied/><zone>")));
        assert!(!confirmed(&FLOW.replace("ESTABLISHED", "SYN_SENT")));
        assert!(!confirmed(&FLOW.replace("<packets>4", "<packets>0")));
        let new = FLOW.replace("update", "new");
        assert!(!confirmed(&new.replace(
            "<counters><packets>4</packets><bytes>217</bytes></counters>",
            ""
        )));
        assert_eq!(read(&new).unwrap()[0].connections, 1);
    }

    #[test]
    fn whatever_is_cut_or_taken_out_is_no_other_flow() {
        let whole = read(FLOW).unwrap();
        for len in 0..FLOW.len() {
            assert!(read(&FLOW[..len]).is_err() || len == 0, "{len}");
        }
        let elements: Vec<&str> = FLOW.split_inclusive('>').collect();
        for without in 1..elements.len() {
            let text: String = { elements.iter().enumerate() }
                .filter(|(at, _)| *at != without)
                .map(|(_, element)| *element)
                .collect();
            for flow in read(&text).unwrap_or_default() {
                assert_eq!(flow.identity.source, whole[0].identity.source, "{text}");
                assert_eq!(flow.identity.service, whole[0].identity.service, "{text}");
            }
        }
        for (from, to) in [
            ("protonum=\"6\"", "protonum=\"17\""),
            ("10.99.0.1", "x"),
            ("update", "other"),
        ] {
            assert!(read(&FLOW.replace(from, to)).is_err(), "{to}");
        }
        assert!(read(&format!("<conntrack>\n{FLOW}")).is_err());
    }
}
