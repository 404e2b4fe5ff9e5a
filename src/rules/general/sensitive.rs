//! Services that open a host to whoever reaches them: remote shells and desktops, file shares, databases, management.
//! Few clients of such a service are named one by one, however often new ones come.

use std::collections::BTreeMap;

use crate::model::record::{Protocol, Service};

/// The table unless the user has one of his own. One line each: ports, joined by commas, and what they are; `data` before
/// that for what many machines may use at once.
const TABLE: &str = "\
22,2222/tcp           SSH
23,992/tcp            Telnet
135/tcp               Windows RPC
139,445/tcp      data file shares
137-138/udp           NetBIOS
512-514/tcp           rlogin, rsh
623/udp               IPMI
873/tcp          data rsync
111/tcp          data portmapper
111/udp          data portmapper
2049/tcp         data NFS
2049/udp         data NFS
161/udp               SNMP
389,636/tcp      data LDAP
3268-3269/tcp    data LDAP of a global catalogue
548/tcp          data Apple file shares
830/tcp               NETCONF
1433-1434/tcp    data Microsoft SQL Server
1521/tcp         data Oracle
2181/tcp         data ZooKeeper
2375-2376/tcp         Docker
2379-2380/tcp         etcd
3306,33060/tcp   data MySQL
3389/tcp              Remote Desktop
3389/udp              Remote Desktop
4444/tcp              a shell that somebody left behind
5555/tcp              the Android debug bridge
5432/tcp         data PostgreSQL
5900-5910/tcp         VNC
5984/tcp         data CouchDB
5985-5986/tcp         Windows Remote Management
6000-6063/tcp         X11
6379,26379/tcp   data Redis
6443/tcp              Kubernetes
8006/tcp              Proxmox
8200,8500/tcp         Vault, Consul
8291,8728-8729/tcp    RouterOS
9042/tcp         data Cassandra
9200,9300/tcp    data Elasticsearch
10000/tcp             Webmin
10250/tcp             kubelet
11211/tcp        data memcached
11211/udp        data memcached
16992-16995/tcp       Intel AMT
27017-27019/tcp  data MongoDB
";

/// What a sensitive service gives to whoever reaches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Gives {
    /// The machine: a shell, a desktop, its management. Administrators use it.
    Access,
    /// Data. Many machines may use it.
    Data,
}

/// The services that count as sensitive.
#[derive(Clone, Debug)]
pub struct Sensitive(BTreeMap<(Protocol, u16), Gives>);

impl Default for Sensitive {
    fn default() -> Self {
        Self::parse(TABLE).expect("our own table can be read")
    }
}

impl Sensitive {
    /// Reads lines of `PORTS/PROTOCOL [data] words`, in which PORTS are numbers and ranges joined by commas:
    /// `5900-5910,22/tcp`. What comes after `#` is a comment.
    ///
    /// Errors: which line is wrong, and how.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut services = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(word) = words.next() else {
                continue;
            };
            let gives = match words.next() {
                Some("data") => Gives::Data,
                _ => Gives::Access,
            };
            let wrong = || {
                format!(
                    "line {}: {word:?} is no list of ports: write for example 22/tcp or 5900-5910,3389/tcp",
                    index + 1
                )
            };
            let (ports, protocol) = word.split_once('/').ok_or_else(wrong)?;
            let protocol = Protocol::parse(protocol).filter(|one| one.has_ports());
            let protocol = protocol.ok_or_else(wrong)?;
            for range in ports.split(',') {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let first: u16 = first.parse().map_err(|_| wrong())?;
                let last: u16 = last.parse().map_err(|_| wrong())?;
                if last < first {
                    return Err(wrong());
                }
                services.extend((first..=last).map(|port| ((protocol, port), gives)));
            }
        }
        Ok(Self(services))
    }

    /// Those of a protocol, from one port to another.
    pub fn within(&self, protocol: Protocol, (first, last): (u16, u16)) -> Vec<Service> {
        let within = self.0.range((protocol, first)..=(protocol, last));
        within.map(|((_, port), _)| Service::Port(*port)).collect()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a service gives, if it is one of them.
    pub fn gives(&self, protocol: Protocol, service: Service) -> Option<Gives> {
        match service {
            Service::Port(port) => self.0.get(&(protocol, port)).copied(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_ones_own_is_read_line_by_line() {
        let own =
            Sensitive::parse("# mine\n8443,9000-9001/tcp  consoles\n9200/tcp data\n\n").unwrap();
        let of = |table: &Sensitive, port| table.gives(Protocol::TCP, Service::Port(port));
        assert_eq!(of(&own, 9001), Some(Gives::Access));
        assert_eq!(of(&own, 9200), Some(Gives::Data));
        assert_eq!(of(&own, 22), None);
        assert_eq!(own.gives(Protocol::UDP, Service::Port(9001)), None);
        assert_eq!(of(&Sensitive::default(), 22), Some(Gives::Access));
        for wrong in ["22", "22/icmp", "x/tcp", "9-8/tcp", "70000/tcp"] {
            let error = Sensitive::parse(wrong).unwrap_err();
            assert!(error.starts_with("line 1: "), "{wrong}: {error}");
        }
    }
}
