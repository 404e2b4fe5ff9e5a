//! A data centre's firewall: load balancers with public addresses, application servers that come and go, databases,
//! and a network for administration.

use std::net::IpAddr;

use super::attempts::{Attempts, OUTWARD};
use super::calendar::Calendar;
use super::diary::{Diary, Flow};
use super::gateway::Gateway;
use super::internet::{Internet, between, chance, stranger};
use super::leases::Leases;
use super::{Site, ip, nth};
use crate::world::Dice;

const GATEWAY: &str = "
    fe0 192.0.2.1/26
    app0 10.20.0.1/24
    db0 10.30.0.1/24
    mgmt0 10.40.0.1/24
    wan0 203.0.113.2/30
    0.0.0.0/0 via 203.0.113.1 wan0
";
const BALANCERS: [&str; 2] = ["192.0.2.10", "192.0.2.11"];
const PRIMARY: &str = "10.30.0.10";
const REPLICA: &str = "10.30.0.11";
const CACHE: &str = "10.30.0.20";
const ARCHIVE: &str = "10.30.0.50";
const BASTION: &str = "10.40.0.10";
const METRICS: &str = "10.40.0.20";
const LOGS: &str = "10.40.0.30";
const PROXY: &str = "10.40.0.40";
const NAMES: &str = "10.40.0.53";
/// The application servers' address towards the Internet.
const NAT: &str = "203.0.113.2";
/// Where administrators sit.
const OFFICE: &str = "198.51.100.40";
const PAYMENT: [&str; 2] = ["198.51.100.70", "198.51.100.71"];
const BANK: &str = "198.51.100.231";
const UPSTREAM: [&str; 2] = ["198.51.100.53", "198.51.100.54"];

/// See above.
#[derive(Debug)]
pub struct Datacentre {
    seed: u64,
    calendar: Calendar,
    dice: Dice,
    internet: Internet,
    applications: Leases,
}

impl Datacentre {
    /// The data centre of a seed.
    pub fn new(seed: u64, calendar: Calendar) -> Self {
        let mut dice = Dice(seed ^ 0xda7a);
        let (number, churn) = (between(&mut dice, 20, 36), between(&mut dice, 10, 50));
        let applications = Leases::new("10.20.0.", (10, 240), number, churn, &mut dice);
        Self {
            seed,
            calendar,
            internet: Internet::new(seed),
            dice,
            applications,
        }
    }

    fn hosts(&self) -> Vec<IpAddr> {
        let mut hosts = self.applications.all();
        hosts.extend(BALANCERS.map(ip));
        hosts.extend([PRIMARY, REPLICA, CACHE, ARCHIVE].map(ip));
        hosts
    }

    fn public(&mut self, diary: &mut Diary) {
        let dice = &mut self.dice;
        for _ in 0..between(dice, 2500, 4000) {
            let visitor = self.internet.visitor(dice, true);
            let balancer = ip(dice.pick(&BALANCERS));
            diary.note(Flow::tcp("visitors", visitor, balancer, 443).times(3));
            if chance(dice, 20) {
                diary.note(Flow::tcp("visitors", visitor, balancer, 80));
            }
            if chance(dice, 30) {
                diary.note(Flow::udp("visitors", visitor, balancer, 443));
            }
            if chance(dice, 2) {
                diary.note(Flow::ping("visitors' pings", visitor, balancer));
            }
        }
        // Nothing has kept strangers from the bastion so far, and it answers.
        for _ in 0..between(dice, 5, 15) {
            let knock = Flow::tcp("scan", stranger(dice, true), ip(NAT), 2222);
            diary.note(knock.to(ip(BASTION), 22));
        }
        for _ in 0..400 {
            let target = ip(dice.pick(&[BALANCERS[0], BALANCERS[1], NAT]));
            let port = dice.pick(&[22, 23, 445, 3389, 6379, 8080, 9100]);
            diary.note(Flow::tcp("scan", stranger(dice, true), target, port).unanswered());
        }
    }

    fn inside(&mut self, day: u32, diary: &mut Diary) {
        let dice = &mut self.dice;
        let nat = ip(NAT);
        for application in self.applications.all() {
            for balancer in BALANCERS.map(ip) {
                diary.note(Flow::tcp(
                    "balancer to application",
                    balancer,
                    application,
                    8080,
                ));
                diary.note(Flow::ping("balancer to application", balancer, application));
            }
            diary.note(Flow::tcp("database", application, ip(PRIMARY), 5432).times(40));
            if chance(dice, 80) {
                diary.note(Flow::tcp("database", application, ip(REPLICA), 5432).times(40));
            }
            diary.note(Flow::tcp("cache", application, ip(CACHE), 6379).times(100));
            for payment in PAYMENT.map(ip) {
                if chance(dice, 60) {
                    let flow = Flow::tcp("payment", application, payment, 8443);
                    diary.note(flow.hidden_behind(nat));
                }
            }
            for _ in 0..between(dice, 3, 9) {
                let service = self.internet.site(dice, day, true);
                let flow = Flow::tcp("others' services", application, service, 443);
                diary.note(flow.hidden_behind(nat));
            }
        }
    }

    fn administration(&mut self, day: u32, diary: &mut Diary) {
        for host in self.hosts() {
            let dice = &mut self.dice;
            diary.note(Flow::tcp("metrics", ip(METRICS), host, 9100).times(1440));
            diary.note(Flow::ping("metrics", ip(METRICS), host).times(1440));
            diary.note(Flow::tcp("logs", host, ip(LOGS), 6514).times(10));
            diary.note(Flow::udp("names", host, ip(NAMES), 53).times(4000));
            diary.note(Flow::udp("time", host, ip(NAMES), 123).from_port(123));
            if chance(dice, 60) {
                diary.note(Flow::tcp("updates by proxy", host, ip(PROXY), 3128));
            }
            if chance(dice, 40) {
                diary.note(Flow::tcp("administration", ip(BASTION), host, 22));
            }
        }
        let dice = &mut self.dice;
        let nat = ip(NAT);
        diary.note(Flow::tcp(
            "metrics of databases",
            ip(METRICS),
            ip(PRIMARY),
            9187,
        ));
        diary.note(Flow::tcp(
            "metrics of databases",
            ip(METRICS),
            ip(REPLICA),
            9187,
        ));
        for upstream in UPSTREAM.map(ip) {
            diary.note(Flow::udp("names upstream", ip(NAMES), upstream, 53).hidden_behind(nat));
            diary.note(Flow::tcp("names upstream", ip(NAMES), upstream, 53).hidden_behind(nat));
        }
        for _ in 0..4 {
            let clock = self.internet.cloud(dice, 22, day, true);
            diary.note(Flow::udp("time upstream", ip(NAMES), clock, 123).hidden_behind(nat));
        }
        for _ in 0..between(dice, 8, 20) {
            let mirror = self.internet.cloud(dice, 21, day, true);
            diary.note(Flow::tcp("mirrors", ip(PROXY), mirror, 443).hidden_behind(nat));
            diary.note(Flow::tcp("mirrors", ip(PROXY), mirror, 80).hidden_behind(nat));
        }
        let bastion = Flow::tcp("bastion from the office", ip(OFFICE), nat, 2222);
        if !self.calendar.is_weekend(day) || chance(dice, 30) {
            diary.note(bastion.to(ip(BASTION), 22).times(12));
            diary.note(Flow::tcp(
                "gateway's administration",
                ip(BASTION),
                ip("10.40.0.1"),
                22,
            ));
        }
        diary.note(Flow::tcp(
            "gateway's metrics",
            ip(METRICS),
            ip("10.40.0.1"),
            9100,
        ));
        diary.note(Flow::udp("gateway's names", ip("10.40.0.1"), ip(NAMES), 53));
        diary.note(Flow::udp("gateway's time", ip("10.40.0.1"), ip(NAMES), 123).from_port(123));
        diary.note(Flow::tcp("gateway's log", ip("10.40.0.1"), ip(LOGS), 6514));
        if self.calendar.is_last_of_month(day) {
            let bill = Flow::tcp("month-end", ip(ARCHIVE), ip(BANK), 2222);
            diary.note(bill.hidden_behind(nat));
            for application in self.applications.all() {
                diary.note(Flow::tcp("month-end", application, ip(ARCHIVE), 5433));
            }
        }
    }
}

impl Site for Datacentre {
    fn gateway(&self, _: u32) -> Gateway {
        Gateway::parse(GATEWAY)
    }

    fn live(&mut self, day: u32, diary: &mut Diary) {
        self.applications.renew(&mut self.dice);
        diary.hours = (0.0, 24.0);
        self.public(diary);
        self.inside(day, diary);
        self.administration(day, diary);
    }

    fn attacks(&mut self, day: u32) -> Vec<Flow> {
        let mut attempts = Attempts::new(self.seed ^ u64::from(day) << 32);
        let (balancers, applications) = (BALANCERS.map(ip), self.applications.all());
        let databases = [PRIMARY, REPLICA, CACHE, ARCHIVE].map(ip);
        let managers = [BASTION, METRICS, LOGS, PROXY, NAMES].map(ip);
        let own = ["192.0.2.1", "10.20.0.1", "10.30.0.1", "10.40.0.1"].map(ip);
        let inner: Vec<IpAddr> = [&applications[..], &databases, &managers].concat();
        attempts.tcp(
            "balancer to database",
            &balancers,
            &databases,
            &[22, 5432, 6379],
        );
        attempts.tcp(
            "balancer to application, administration",
            &balancers,
            &applications,
            &[22, 9100],
        );
        attempts.tcp(
            "application to application",
            &applications,
            &applications,
            &[22, 445, 8080],
        );
        attempts.tcp(
            "application to database, administration",
            &applications,
            &databases,
            &[22, 9100, 9187],
        );
        attempts.tcp(
            "application to management",
            &applications,
            &managers,
            &[22, 443, 9090],
        );
        attempts.tcp(
            "application to balancer",
            &applications,
            &balancers,
            &[22, 9100],
        );
        attempts.to_outside("application out", &applications, &OUTWARD);
        attempts.to_outside("database out", &databases, &[22, 25, 80, 443, 4444]);
        attempts.to_outside("balancer out", &balancers, &[22, 25, 80, 443, 4444]);
        attempts.tcp(
            "database to application",
            &databases,
            &applications,
            &[22, 8080, 5432],
        );
        attempts.tcp(
            "database to management",
            &databases,
            &managers,
            &[22, 443, 9090],
        );
        attempts.tcp(
            "inside to gateway",
            &inner[..20],
            &own,
            &[22, 80, 443, 179, 9100],
        );
        attempts.from_outside(
            "outside to balancer",
            &balancers,
            &[22, 23, 5432, 6379, 8080, 9100],
        );
        attempts.from_outside("outside to gateway", &[ip(NAT)], &[22, 23, 80, 443, 9100]);
        attempts.from_outside("outside to bastion, directly", &[ip(BASTION)], &[22, 2222]);
        attempts.translated("outside to bastion", (ip(NAT), 2222), (ip(BASTION), 22));
        attempts.from_outside("outside to inside", &inner, &[22, 443, 5432, 6379, 8080]);
        let idle: Vec<IpAddr> = (245..255).map(|host| nth("10.20.0.", host)).collect();
        attempts.forged("wan0", &idle, &databases, &[5432, 6379]);
        attempts.flows()
    }

    fn ideal(&self) -> String {
        include_str!("ideal/datacentre.nft").to_owned()
    }
}
