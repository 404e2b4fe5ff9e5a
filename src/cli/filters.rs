//! Filters as options.

use clap::Args;

use crate::model::record::Protocol;
use crate::model::selection::{Net, Not, Ports, Selection, SourcePorts};

/// Filters as options. Several values of one option are alternatives, different options all have to hold;
/// a value with `!`, `^` or `not:` before it excludes.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Filters")]
pub struct Filters {
    /// Only this protocol: tcp, udp, icmp, …; !tcp excludes
    ///
    /// A name or a number.
    ///
    /// In all filters, commas join alternatives (tcp,udp). ^NAME and not:NAME exclude just as !NAME does; use them
    /// where the shell gives ! a meaning of its own.
    #[arg(long, value_name = "PROTO", value_delimiter = ',')]
    pub proto: Vec<Not<Protocol>>,

    /// Only sources in this network; !NET excludes
    ///
    /// A network or an address.
    #[arg(long, value_name = "NET", value_delimiter = ',')]
    pub src: Vec<Not<Net>>,

    /// Only destinations in this network; !NET excludes
    ///
    /// A network or an address, before DNAT.
    #[arg(long, value_name = "NET", value_delimiter = ',')]
    pub dst: Vec<Not<Net>>,

    /// Only flows with this network or address on either side, before translation; !NET excludes
    #[arg(
        hide_short_help = true,
        long,
        value_name = "NET",
        value_delimiter = ','
    )]
    pub host: Vec<Not<Net>>,

    /// Only these source ports (53, 1024-65535); !PORTS excludes
    #[arg(
        hide_short_help = true,
        long,
        value_name = "PORTS",
        value_delimiter = ','
    )]
    pub sport: Vec<Not<Ports>>,

    /// Only these destination ports: 443, 8000-8999, https
    ///
    /// !PORTS excludes.
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    pub dport: Vec<Not<Ports>>,

    /// Only IPv4
    #[arg(hide_short_help = true, short = '4', long, conflicts_with = "ipv6")]
    pub ipv4: bool,

    /// Only IPv6
    #[arg(hide_short_help = true, short = '6', long)]
    pub ipv6: bool,

    /// Only flows that were answered
    #[arg(hide_short_help = true, long, conflicts_with = "unconfirmed")]
    pub confirmed: bool,

    /// Only flows that nobody answered
    #[arg(hide_short_help = true, long)]
    pub unconfirmed: bool,

    /// Only this conntrack zone; !N excludes
    #[arg(hide_short_help = true, long, value_name = "N", value_delimiter = ',')]
    pub zone: Vec<Not<u16>>,

    /// Whether to keep source ports from 1024 on, or collapse them into one
    #[arg(
        hide_short_help = true,
        long,
        value_enum,
        value_name = "HOW",
        default_value_t
    )]
    pub source_ports: SourcePorts,
}

impl Filters {
    /// What they select.
    pub fn selection(&self) -> Selection {
        let filters = self.clone();
        Selection {
            proto: filters.proto,
            src: filters.src,
            dst: filters.dst,
            host: filters.host,
            sport: filters.sport,
            dport: filters.dport,
            ipv4: filters.ipv4,
            ipv6: filters.ipv6,
            confirmed: filters.confirmed,
            unconfirmed: filters.unconfirmed,
            zone: filters.zone,
            source_ports: filters.source_ports,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::model::record::{Service, SourcePort};
    use crate::model::tuple::Tuple;

    #[derive(Parser)]
    struct Options {
        #[command(flatten)]
        filters: Filters,
    }

    fn parse(options: &str) -> Result<Selection, clap::Error> {
        Options::try_parse_from(std::iter::once("x").chain(options.split_whitespace()))
            .map(|options| options.filters.selection())
    }

    fn tuple(source: &str, source_port: SourcePort, destination: &str, service: Service) -> Tuple {
        Tuple {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol: match service {
                Service::Icmp(..) => Protocol::ICMP,
                _ => Protocol::TCP,
            },
            service,
            source_port,
            zone: 3,
        }
    }

    #[test]
    fn values_of_one_option_are_alternatives_and_options_all_have_to_hold() {
        let web = tuple(
            "10.0.0.1",
            SourcePort::Ephemeral,
            "192.0.2.1",
            Service::Port(443),
        );
        let ping = tuple(
            "10.9.0.1",
            SourcePort::None,
            "192.0.2.1",
            Service::Icmp(8, 0),
        );
        for (options, wants_web, wants_ping) in [
            ("", true, true),
            ("--proto tcp", true, false),
            ("--proto tcp,icmp", true, true),
            ("--proto !TCP", false, true),
            ("--src 10.0.0.0/16", true, false),
            ("--src 10.0.0.0/16 --src 10.9.0.1", true, true),
            ("--src 10.0.0.0/8 --src !10.9.0.0/16", true, false),
            ("--src 10.0.0.0/16 --dst 192.0.2.2", false, false),
            ("--dst !192.0.2.0/24", false, false),
            ("--dport 400-500", true, false),
            ("--dport https", true, false),
            ("--dport ^https", false, true),
            ("--dst not:192.0.2.1", false, false),
            ("--host 10.9.0.1", false, true),
            ("--host 192.0.2.0/24 --host ^10.0.0.0/16", false, true),
            ("--dport !443", false, true),
            ("--sport 2000", true, false),
            ("--sport 1-1023", false, false),
            ("-4", true, true),
            ("-6", false, false),
            ("--zone 3", true, true),
            ("--zone !3", false, false),
        ] {
            let selection = parse(options).unwrap();
            assert_eq!(selection.wants(&web), wants_web, "{options}");
            assert_eq!(selection.wants(&ping), wants_ping, "{options}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for options in [
            "--proto tpc",
            "--src 10.0.0.0/33",
            "--src host",
            "--dport 0x50",
            "--dport no-such-service",
            "--dport 20-10",
            "--dport 65536",
            "--zone 65536",
            "-4 -6",
            "--confirmed --unconfirmed",
        ] {
            assert!(parse(options).is_err(), "{options}");
        }
    }

    #[test]
    fn filters_describe_themselves_as_options() {
        let options =
            "--proto=tcp,^17 --src=!10.0.0.0/8 --host=10.1.2.3 --dport=http,8000-8999 --ipv4";
        let described = parse(options).unwrap().describe();
        assert_eq!(
            parse(&described.join(" ")).unwrap(),
            parse(options).unwrap()
        );
        assert_eq!(described[0], "--proto=tcp,!udp");
    }
}
