//! A shop behind a router: a till or two, an office PC, cameras, customers' phones for an hour, little traffic. The
//! provider gives another address every day by PPP, and another IPv6 prefix every three days.

use std::net::IpAddr;

use super::attempts::{Attempts, LATERAL, OUTWARD};
use super::calendar::Calendar;
use super::diary::{Diary, Flow};
use super::gateway::Gateway;
use super::internet::{Internet, between, chance, mixed, stranger};
use super::leases::{Leases, privacy};
use super::{Site, ip, nth};
use crate::world::Dice;

const LAN: &str = "192.168.1.1";
const GUESTS: &str = "192.168.9.1";
const TILLS: [&str; 2] = ["192.168.1.11", "192.168.1.12"];
const PRINTER: &str = "192.168.1.30";
const RECORDER: &str = "192.168.1.40";
const RESOLVERS: [&str; 2] = ["198.51.100.53", "198.51.100.54"];
const TAX: &str = "198.51.100.90";

/// See above.
#[derive(Debug)]
pub struct Shop {
    seed: u64,
    calendar: Calendar,
    dice: Dice,
    internet: Internet,
    office: Leases,
    customers: Leases,
}

impl Shop {
    /// The shop of a seed.
    pub fn new(seed: u64, calendar: Calendar) -> Self {
        let mut dice = Dice(seed ^ 0x5409);
        let churn = between(&mut dice, 5, 40);
        let office = Leases::new("192.168.1.", (100, 200), 3, churn, &mut dice);
        let number = between(&mut dice, 6, 14);
        let customers = Leases::new("192.168.9.", (20, 250), number, 95, &mut dice);
        Self {
            seed,
            calendar,
            internet: Internet::new(seed),
            dice,
            office,
            customers,
        }
    }

    fn wan(&self, day: u32) -> IpAddr {
        let number = mixed(&[self.seed, u64::from(day), 9]) % 200 + 20;
        nth("203.0.113.", number as u32)
    }

    fn prefix(&self, day: u32) -> String {
        let number = mixed(&[self.seed, u64::from(day / 3), 8]) % 0xe000 + 0x1000;
        format!("2001:db8:{number:x}:1:")
    }

    fn browse(&mut self, who: IpAddr, who6: Option<IpAddr>, day: u32, diary: &mut Diary) {
        let wan = self.wan(day);
        let dice = &mut self.dice;
        for _ in 0..between(dice, 6, 20) {
            let from = who6.filter(|_| chance(dice, 50)).unwrap_or(who);
            let site = self.internet.site(dice, day, from.is_ipv4());
            diary.note(Flow::tcp("web", from, site, 443).hidden_behind(wan));
            if chance(dice, 40) {
                diary.note(Flow::udp("web", from, site, 443).hidden_behind(wan));
            }
            if chance(dice, 5) {
                diary.note(Flow::tcp("web", from, site, 80).hidden_behind(wan));
            }
        }
    }
}

impl Site for Shop {
    fn gateway(&self, day: u32) -> Gateway {
        Gateway::parse(&format!(
            "br-lan {LAN}/24 {prefix}:1/64
             br-guest {GUESTS}/24
             pppoe-wan {wan}/32 2001:db8:ffff::2/64
             0.0.0.0/0 dev pppoe-wan
             ::/0 dev pppoe-wan",
            prefix = self.prefix(day),
            wan = self.wan(day)
        ))
    }

    fn live(&mut self, day: u32, diary: &mut Diary) {
        self.office.renew(&mut self.dice);
        self.customers.renew(&mut self.dice);
        diary.hours = (8.0, 19.0);
        let (wan, own) = (self.wan(day), ip(LAN));
        let open = !self.calendar.is_weekend(day);
        for device in 0..self.office.devices() {
            if !open && chance(&mut self.dice, 80) {
                continue;
            }
            let who = self.office.of(device);
            let name = u64::from(device) ^ self.seed << 8;
            let who6 = privacy(&self.prefix(day), name, day);
            self.browse(who, Some(who6), day, diary);
            diary.note(Flow::udp("names", who, own, 53).times(80));
            diary.note(Flow::udp("DHCP renewal", who, own, 67).from_port(68));
            diary.note(Flow::dhcp_question("DHCP, to all"));
            diary.note(Flow::dhcp_answer("DHCP, answers", own, who));
            if chance(&mut self.dice, 40) {
                diary.note(Flow::tcp("router's pages", who, own, 443));
            }
        }
        if open {
            for customer in self.customers.all() {
                if chance(&mut self.dice, 60) {
                    self.browse(customer, None, day, diary);
                    diary.note(Flow::udp("names", customer, ip(GUESTS), 53).times(20));
                    diary.note(Flow::dhcp_answer("DHCP, answers", ip(GUESTS), customer));
                }
            }
        }
        let dice = &mut self.dice;
        for till in TILLS.map(ip) {
            diary.note(Flow::udp("names", till, own, 53).times(40));
            for _ in 0..2 {
                let terminal = self.internet.cloud(dice, 90, day, true);
                diary.note(Flow::tcp("card payments", till, terminal, 4433).hidden_behind(wan));
            }
            let stock = self.internet.cloud(dice, 91, day, true);
            diary.note(Flow::tcp("stock", till, stock, 443).hidden_behind(wan));
        }
        let ink = self.internet.cloud(dice, 92, day, true);
        diary.note(Flow::tcp("printer's cloud", ip(PRINTER), ink, 443).hidden_behind(wan));
        diary.hours = (0.0, 24.0);
        let relay = self.internet.cloud(dice, 93, day, true);
        diary.note(Flow::udp("recorder's relay", ip(RECORDER), relay, 32100).hidden_behind(wan));
        for _ in 0..between(dice, 1, 4) {
            let owner = self.internet.visitor(dice, true);
            let flow = Flow::tcp("recorder from outside", owner, wan, 34567);
            diary.note(flow.to(ip(RECORDER), 34567));
        }
        for resolver in RESOLVERS.map(ip) {
            diary.note(Flow::udp("router's names", wan, resolver, 53).times(900));
        }
        let clock = self.internet.cloud(dice, 22, day, true);
        diary.note(Flow::udp("router's time", wan, clock, 123).from_port(123));
        for _ in 0..60 {
            let port = dice.pick(&[22, 23, 80, 443, 7547, 8080]);
            diary.note(Flow::tcp("scan", stranger(dice, true), wan, port).unanswered());
        }
        if self.calendar.is_last_of_month(day) {
            let report = Flow::tcp("month-end", ip(TILLS[0]), ip(TAX), 8081);
            diary.note(report.hidden_behind(wan));
        }
    }

    fn attacks(&mut self, day: u32) -> Vec<Flow> {
        let mut attempts = Attempts::new(self.seed ^ u64::from(day) << 32);
        let (office, customers) = (self.office.all(), self.customers.all());
        let tills = TILLS.map(ip);
        let fixed = [tills[0], tills[1], ip(PRINTER), ip(RECORDER)];
        let (wan, own) = ([self.wan(day)], [ip(LAN), ip(GUESTS)]);
        attempts.tcp(
            "customer to shop",
            &customers,
            &fixed,
            &[22, 80, 443, 445, 9100, 34567],
        );
        attempts.tcp("customer to office", &customers, &office, &LATERAL);
        attempts.tcp("customer to customer", &customers, &customers, &LATERAL);
        attempts.tcp("customer to router", &customers, &own, &[22, 23, 80, 443]);
        attempts.to_outside("customer out", &customers, &OUTWARD);
        attempts.tcp("office to till", &office, &tills, &LATERAL);
        attempts.tcp(
            "recorder to router",
            &[ip(RECORDER), ip(PRINTER)],
            &own,
            &[22, 23, 80, 443],
        );
        attempts.to_outside("till out", &tills, &OUTWARD);
        attempts.to_outside("recorder out", &[ip(RECORDER)], &[22, 23, 25, 80, 6667]);
        attempts.from_outside(
            "outside to router",
            &wan,
            &[22, 23, 53, 80, 443, 7547, 8080],
        );
        attempts.from_outside("outside to till", &tills, &[22, 80, 443, 445, 3389]);
        attempts.from_outside(
            "outside to recorder, directly",
            &[ip(RECORDER)],
            &[22, 80, 34567],
        );
        let prefix = self.prefix(day);
        let office6: Vec<IpAddr> = (0..3)
            .map(|device| privacy(&prefix, device ^ self.seed << 8, day))
            .collect();
        attempts.from_outside(
            "outside to office by IPv6",
            &office6,
            &[22, 80, 443, 445, 3389],
        );
        let idle: Vec<IpAddr> = (240..250).map(|host| nth("192.168.1.", host)).collect();
        attempts.forged(
            "pppoe-wan",
            &idle,
            &[own[0], own[1], fixed[2]],
            &[443, 53, 9100],
        );
        attempts.flows()
    }

    fn ideal(&self) -> String {
        include_str!("ideal/shop.nft").to_owned()
    }
}
