use super::*;

fn flows(text: &str) -> Vec<String> {
    let read = Expectations::parse("fw.toml", text).expect("it means something");
    let show = |flow: &Expectation| {
        let Identity {
            source,
            destination,
            protocol,
            service,
            ..
        } = &flow.record.identity;
        let name = flow.name.as_deref().unwrap_or("-");
        let wanted = flow.wanted.name();
        format!(
            "{} {name} {source} {destination} {protocol} {service:?} {wanted}",
            flow.line
        )
    };
    read.flows.iter().map(show).collect()
}

#[test]
fn each_pair_of_ends_and_each_service_is_a_flow() {
    let text = r#"
local = "192.168.1.1/24"
[interfaces]
lan = ["192.168.0.0/16"]

[[flow]]
name = "web"
from = "192.168.1.0/24"
to = ["198.51.100.7", "2001:db8::/64"]
service = ["tcp/443", "icmp/echo-request"]
verdict = "accepted"

[[flow]]
from = "2001:db8::5"
to = "2001:db8:1::/64"
service = "gre"
verdict = "stopped"
"#;
    assert_eq!(
        flows(text),
        [
            "6 web 192.168.1.1 198.51.100.7 tcp Port(443) accepted",
            "6 web 192.168.1.1 198.51.100.7 icmp Icmp(8, 0) accepted",
            "6 web 192.168.1.254 198.51.100.7 tcp Port(443) accepted",
            "6 web 192.168.1.254 198.51.100.7 icmp Icmp(8, 0) accepted",
            "13 - 2001:db8::5 2001:db8:1::1 gre None stopped",
            "13 - 2001:db8::5 2001:db8:1:0:ffff:ffff:ffff:ffff gre None stopped",
        ]
    );
    let hints = Expectations::parse("fw.toml", text).unwrap().hints;
    assert_eq!(hints.local, ["192.168.1.1/24".parse::<IpNet>().unwrap()]);
    let lan = ("192.168.0.0/16".parse().unwrap(), "lan".to_owned());
    assert_eq!(hints.interfaces, [lan]);
}

#[test]
fn what_means_nothing_is_refused_with_its_line() {
    let flow = "[[flow]]\nfrom = \"10.0.0.1\"\nto = \"10.0.0.2\"\nservice = \"tcp/22\"\nverdict = \"dropped\"\n";
    assert_eq!(flows(flow).len(), 1);
    for (from, to, line, why) in [
        ("tcp/22", "tcp/x", 4, "no service"),
        ("tcp/22", "tcp", 4, "no service"),
        ("tcp/22", "icmp/none", 4, "no service"),
        ("tcp/22", "icmpv6/echo-request", 1, "one address family"),
        ("10.0.0.1", "10.0.0.1/33", 2, "no address"),
        ("10.0.0.2", "::1", 1, "one address family"),
        ("\"dropped\"", "\"denied\"", 5, "unknown variant"),
        ("verdict", "veredict", 5, "unknown field"),
        (flow, "local = \"10.0.0.1\"\n", 1, "no [[flow]]"),
        (
            "[[flow]]",
            "[interfaces]\n\"a b\" = \"10.0.0.0/8\"\n[[flow]]",
            2,
            "no name of a device",
        ),
        ("\"10.0.0.1\"", "1", 2, "write a text"),
        ("10.0.0.2", "0.0.0.0/0", 3, "too much of the world"),
        ("to = ", "to ", 3, "expected"),
    ] {
        let text = flow.replacen(from, to, 1);
        let (offset, said) = Expectations::parse("fw.toml", &text).unwrap_err();
        assert!(said.contains(why), "{text}: {said}");
        assert_eq!(line_of(&text, offset), line, "{text}: {said}");
    }
}

#[test]
fn a_network_is_tried_at_its_ends() {
    for (net, expected) in [
        ("10.0.0.0/8", vec!["10.0.0.1", "10.255.255.254"]),
        ("10.0.0.4/31", vec!["10.0.0.4", "10.0.0.5"]),
        ("10.0.0.4/30", vec!["10.0.0.5", "10.0.0.6"]),
        ("10.0.0.4/32", vec!["10.0.0.4"]),
        ("2001:db8::/127", vec!["2001:db8::", "2001:db8::1"]),
    ] {
        let found = ends(net).unwrap();
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{net}");
    }
}
