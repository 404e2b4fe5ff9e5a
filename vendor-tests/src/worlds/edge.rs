//! The edge of an Internet provider: subscribers behind carrier-grade NAT who do whatever people do, customers with
//! addresses of their own, the provider's servers, and its operators.

use std::net::IpAddr;

use super::attempts::Attempts;
use super::calendar::Calendar;
use super::diary::{Diary, Flow};
use super::gateway::Gateway;
use super::internet::{Internet, between, chance, mixed, stranger};
use super::leases::Leases;
use super::{Site, ip, nth};
use crate::world::Dice;

const GATEWAY: &str = "
    sub0 100.64.0.1/16
    biz0 203.0.113.65/26
    srv0 192.0.2.1/24
    noc0 10.99.0.1/24
    wan0 198.51.100.2/30
    0.0.0.0/0 via 198.51.100.1 wan0
";
const RESOLVERS: [&str; 2] = ["192.0.2.53", "192.0.2.54"];
const MAIL: &str = "192.0.2.25";
const PORTAL: &str = "192.0.2.80";
const WAN: &str = "198.51.100.2";
const PEER: &str = "198.51.100.1";
const COLLECTOR: &str = "10.99.0.30";
const OPERATORS: [&str; 2] = ["10.99.0.10", "10.99.0.11"];
const CLEARING: &str = "198.51.100.231";

/// See above.
#[derive(Debug)]
pub struct Edge {
    seed: u64,
    calendar: Calendar,
    dice: Dice,
    internet: Internet,
    subscribers: Leases,
}

impl Edge {
    /// The edge of a seed.
    pub fn new(seed: u64, calendar: Calendar) -> Self {
        let mut dice = Dice(seed ^ 0xed9e);
        let (number, churn) = (between(&mut dice, 200, 400), between(&mut dice, 5, 40));
        let subscribers = Leases::new("100.64.", (256, 16_000), number, churn, &mut dice);
        Self {
            seed,
            calendar,
            internet: Internet::new(seed),
            dice,
            subscribers,
        }
    }

    fn subscriber(&mut self, number: u32, day: u32, diary: &mut Diary) {
        let dice = &mut self.dice;
        let who = self.subscribers.of(number);
        // Endpoint-independent: a subscriber keeps an address of the pool (RFC 6888, REQ-2).
        let pool = nth("203.0.113.", (mixed(&[u64::from(number)]) % 16) as u32);
        for resolver in RESOLVERS.map(ip) {
            diary.note(Flow::udp("names", who, resolver, 53).times(300));
        }
        for _ in 0..between(dice, 8, 30) {
            let site = self.internet.site(dice, day, true);
            diary.note(
                Flow::tcp("web", who, site, 443)
                    .times(4)
                    .hidden_behind(pool),
            );
            if chance(dice, 40) {
                diary.note(Flow::udp("web", who, site, 443).hidden_behind(pool));
            }
            if chance(dice, 10) {
                diary.note(Flow::tcp("web", who, site, 80).hidden_behind(pool));
            }
        }
        for (what, name, port, part) in [
            ("notifications", 40, 5228, 60),
            ("notifications", 41, 5223, 40),
            ("mailboxes", 42, 993, 30),
            ("submission", 43, 587, 15),
            ("VPN", 44, 1194, 6),
        ] {
            if chance(dice, part) {
                let cloud = self.internet.cloud(dice, name, day, true);
                let flow = if port == 1194 { Flow::udp } else { Flow::tcp };
                diary.note(flow(what, who, cloud, port).hidden_behind(pool));
            }
        }
        if chance(dice, 40) {
            diary.note(Flow::tcp("provider's mail", who, ip(MAIL), 993));
        }
        if chance(dice, 20) {
            diary.note(Flow::tcp("provider's mail", who, ip(MAIL), 587));
        }
        if chance(dice, 10) {
            diary.note(Flow::tcp("portal", who, ip(PORTAL), 443));
        }
        if chance(dice, 10) {
            let port = dice.pick(&[3074, 27015, 27016, 27017]);
            for _ in 0..3 {
                let host = stranger(dice, true);
                diary.note(Flow::udp("games", who, host, port).hidden_behind(pool));
            }
        }
        if chance(dice, 10) {
            let site = self.internet.site(dice, day, true);
            diary.note(Flow::ping("pings", who, site).hidden_behind(pool));
        }
    }

    /// Peers of file sharing have whatever port they like, and every day other ones: about half a per cent of the flows.
    fn sharing(&mut self, diary: &mut Diary) {
        let dice = &mut self.dice;
        for _ in 0..4 {
            let number = dice.below(self.subscribers.devices());
            let who = self.subscribers.of(number);
            let pool = nth("203.0.113.", (mixed(&[u64::from(number)]) % 16) as u32);
            for _ in 0..10 {
                let port = between(dice, 6881, 65_000) as u16;
                let peer = stranger(dice, true);
                diary.note(Flow::udp("file sharing", who, peer, port).hidden_behind(pool));
            }
        }
    }

    fn customers(&mut self, day: u32, diary: &mut Diary) {
        let dice = &mut self.dice;
        for host in 70..80 {
            let customer = nth("203.0.113.", host);
            for _ in 0..between(dice, 20, 60) {
                let visitor = self.internet.visitor(dice, true);
                diary.note(Flow::tcp("customers' web", visitor, customer, 443));
                if chance(dice, 20) {
                    diary.note(Flow::tcp("customers' web", visitor, customer, 80));
                }
            }
            for _ in 0..between(dice, 20, 60) {
                let site = self.internet.site(dice, day, true);
                diary.note(Flow::tcp("customers out", customer, site, 443));
            }
            diary.note(Flow::udp("names", customer, ip(RESOLVERS[0]), 53));
        }
    }

    fn provider(&mut self, day: u32, diary: &mut Diary) {
        let dice = &mut self.dice;
        for resolver in RESOLVERS.map(ip) {
            for _ in 0..between(dice, 100, 200) {
                let server = self.internet.site(dice, day, true);
                diary.note(Flow::udp("resolving", resolver, server, 53).times(30));
                if chance(dice, 10) {
                    diary.note(Flow::tcp("resolving", resolver, server, 53));
                }
            }
        }
        for _ in 0..between(dice, 60, 120) {
            let other = self.internet.site(dice, 0, true);
            diary.note(Flow::tcp("mail from others", other, ip(MAIL), 25));
            let other = self.internet.site(dice, 0, true);
            diary.note(Flow::tcp("mail to others", ip(MAIL), other, 25));
        }
        for _ in 0..between(dice, 20, 50) {
            let away = self.internet.visitor(dice, true);
            diary.note(Flow::tcp("mail from outside", away, ip(MAIL), 993));
            diary.note(Flow::tcp("portal from outside", away, ip(PORTAL), 443));
        }
        diary.note(Flow::tcp("routing", ip(WAN), ip(PEER), 179));
        diary.note(Flow::udp(
            "gateway's log",
            ip("10.99.0.1"),
            ip(COLLECTOR),
            514,
        ));
        diary.note(Flow::udp(
            "gateway's flows",
            ip("10.99.0.1"),
            ip(COLLECTOR),
            2055,
        ));
        diary.note(Flow::udp(
            "gateway's names",
            ip("192.0.2.1"),
            ip(RESOLVERS[0]),
            53,
        ));
        diary.note(Flow::udp("monitoring", ip(COLLECTOR), ip("10.99.0.1"), 161));
        for server in [RESOLVERS[0], RESOLVERS[1], MAIL, PORTAL].map(ip) {
            diary.note(Flow::udp("monitoring", ip(COLLECTOR), server, 161));
            diary.note(Flow::ping("monitoring", ip(COLLECTOR), server));
            for operator in OPERATORS.map(ip) {
                if chance(dice, 50) {
                    diary.note(Flow::tcp("administration", operator, server, 22));
                }
            }
        }
        for operator in OPERATORS.map(ip) {
            diary.note(Flow::tcp("administration", operator, ip("10.99.0.1"), 22));
        }
        for _ in 0..300 {
            let target = ip(dice.pick(&[WAN, MAIL, PORTAL, RESOLVERS[0], "203.0.113.70"]));
            let port = dice.pick(&[22, 23, 53, 161, 445, 3389, 8080]);
            diary.note(Flow::tcp("scan", stranger(dice, true), target, port).unanswered());
        }
        if self.calendar.is_last_of_month(day) {
            diary.note(Flow::tcp("month-end", ip(PORTAL), ip(CLEARING), 2222));
        }
    }
}

impl Site for Edge {
    fn gateway(&self, _: u32) -> Gateway {
        Gateway::parse(GATEWAY)
    }

    fn live(&mut self, day: u32, diary: &mut Diary) {
        self.subscribers.renew(&mut self.dice);
        diary.hours = (0.0, 24.0);
        for number in 0..self.subscribers.devices() {
            if chance(&mut self.dice, 80) {
                self.subscriber(number, day, diary);
            }
        }
        self.sharing(diary);
        self.customers(day, diary);
        self.provider(day, diary);
    }

    fn attacks(&mut self, day: u32) -> Vec<Flow> {
        let mut attempts = Attempts::new(self.seed ^ u64::from(day) << 32);
        let subscribers = self.subscribers.all();
        let customers: Vec<IpAddr> = (70..80).map(|host| nth("203.0.113.", host)).collect();
        let servers = [RESOLVERS[0], RESOLVERS[1], MAIL, PORTAL].map(ip);
        let noc: Vec<IpAddr> = [COLLECTOR, OPERATORS[0], OPERATORS[1]].map(ip).to_vec();
        let own = ["100.64.0.1", "192.0.2.1", "10.99.0.1", WAN].map(ip);
        attempts.tcp(
            "subscriber to subscriber",
            &subscribers,
            &subscribers,
            &[22, 23, 445, 7547],
        );
        attempts.tcp(
            "subscriber to operators",
            &subscribers,
            &noc,
            &[22, 80, 443, 161],
        );
        attempts.tcp(
            "subscriber to gateway",
            &subscribers,
            &own,
            &[22, 23, 80, 179, 443],
        );
        attempts.udp(
            "subscriber to gateway",
            &subscribers,
            &own,
            &[161, 514, 2055],
        );
        attempts.tcp(
            "subscriber to server, administration",
            &subscribers,
            &servers,
            &[22, 3306, 5432, 8080],
        );
        attempts.to_outside(
            "subscriber's bots out",
            &subscribers,
            &[23, 25, 135, 139, 445, 7547],
        );
        attempts.to_outside("server out", &servers, &[22, 23, 445, 4444, 6667]);
        attempts.from_outside(
            "outside to subscriber",
            &subscribers,
            &[22, 23, 80, 445, 7547],
        );
        attempts.from_outside("outside to server", &servers, &[22, 23, 445, 3306, 8080]);
        attempts.from_outside("outside to resolver", &servers[..2], &[53, 853, 22]);
        attempts.from_outside("outside to gateway", &[ip(WAN)], &[22, 23, 80, 179, 443]);
        attempts.from_outside("outside to operators", &noc, &[22, 443, 3389]);
        attempts.from_outside("outside to customer", &customers, &[22, 445, 3306, 3389]);
        attempts.tcp("server to operators", &servers, &noc, &[22, 80, 443]);
        let idle: Vec<IpAddr> = (200..250).map(|host| nth("100.64.250.", host)).collect();
        attempts.forged("wan0", &idle, &servers[..3], &[53, 587, 993]);
        attempts.flows()
    }

    fn ideal(&self) -> String {
        include_str!("ideal/edge.nft").to_owned()
    }
}
