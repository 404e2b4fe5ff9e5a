//! A clinic: thin clients whose users all work on two terminal servers, machines that send pictures to an archive, a
//! laboratory behind a tunnel, doctors at home, and a proxy as the only way to the Internet.

use std::net::IpAddr;

use super::attempts::{Attempts, LATERAL, OUTWARD};
use super::calendar::Calendar;
use super::diary::{Diary, Flow};
use super::gateway::Gateway;
use super::internet::{Internet, between, chance, stranger};
use super::leases::Leases;
use super::{Site, ip, nth};
use crate::world::Dice;

const GATEWAY: &str = "
    lan0 10.20.1.1/24
    srv0 10.20.2.1/24
    med0 10.20.3.1/24
    wg0 10.20.8.1/24
    wan0 203.0.113.10/29
    0.0.0.0/0 via 203.0.113.9 wan0
    10.77.0.0/24 via 10.20.8.250 wg0
";
const OWN: [&str; 4] = ["10.20.1.1", "10.20.2.1", "10.20.3.1", "10.20.8.1"];
const WAN: &str = "203.0.113.10";
const TERMINALS: [&str; 2] = ["10.20.2.21", "10.20.2.22"];
const NAMES: &str = "10.20.2.53";
const ARCHIVE: &str = "10.20.2.30";
const RECORDS: &str = "10.20.2.31";
const PROXY: &str = "10.20.2.80";
const MAIL: &str = "10.20.2.25";
const LABORATORY: [&str; 2] = ["10.77.0.11", "10.77.0.12"];
const ADMIN: &str = "10.20.1.10";
const UPSTREAM: &str = "198.51.100.53";

/// See above.
#[derive(Debug)]
pub struct Clinic {
    seed: u64,
    calendar: Calendar,
    dice: Dice,
    internet: Internet,
    clients: Leases,
    doctors: Leases,
    machines: u32,
    printers: u32,
}

impl Clinic {
    /// The clinic of a seed.
    pub fn new(seed: u64, calendar: Calendar) -> Self {
        let mut dice = Dice(seed ^ 0xc11c);
        let number = between(&mut dice, 25, 60);
        let churn = between(&mut dice, 5, 25);
        let clients = Leases::new("10.20.1.", (100, 250), number, churn, &mut dice);
        let number = between(&mut dice, 6, 14);
        let doctors = Leases::new("10.20.8.", (10, 120), number, 60, &mut dice);
        Self {
            seed,
            calendar,
            internet: Internet::new(seed),
            clients,
            doctors,
            machines: between(&mut dice, 6, 14),
            printers: between(&mut dice, 3, 8),
            dice,
        }
    }

    fn machines(&self) -> Vec<IpAddr> {
        (0..self.machines)
            .map(|one| nth("10.20.3.", 20 + one))
            .collect()
    }

    fn printers(&self) -> Vec<IpAddr> {
        (0..self.printers)
            .map(|one| nth("10.20.1.", 20 + one))
            .collect()
    }

    fn people(&mut self, day: u32, diary: &mut Diary) {
        let open = !self.calendar.is_weekend(day);
        let own = ip(OWN[0]);
        for client in self.clients.all() {
            if !chance(&mut self.dice, if open { 85 } else { 20 }) {
                continue;
            }
            let dice = &mut self.dice;
            let terminal = ip(dice.pick(&TERMINALS));
            diary.note(Flow::tcp("terminals", client, terminal, 3389));
            diary.note(Flow::udp("names", client, ip(NAMES), 53).times(60));
            diary.note(Flow::udp("DHCP renewal", client, own, 67).from_port(68));
            diary.note(Flow::dhcp_answer("DHCP, answers", own, client));
            if chance(dice, 30) {
                diary.note(Flow::tcp("pictures on the web", client, ip(ARCHIVE), 8443));
            }
            if chance(dice, 60) {
                diary.note(Flow::tcp("proxy", client, ip(PROXY), 3128).times(90));
            }
        }
        for doctor in self.doctors.all() {
            if chance(&mut self.dice, if open { 40 } else { 30 }) {
                let terminal = ip(self.dice.pick(&TERMINALS));
                diary.note(Flow::tcp("terminals from home", doctor, terminal, 3389));
                diary.note(Flow::udp("names from home", doctor, ip(NAMES), 53));
                let outside = stranger(&mut self.dice, true);
                diary.note(Flow::udp("tunnel", outside, ip(WAN), 51820));
            }
        }
        if chance(&mut self.dice, 70) {
            let what = "administration";
            diary.note(Flow::tcp(what, ip(ADMIN), ip(OWN[0]), 22));
            let to = [TERMINALS[0], ARCHIVE, RECORDS, PROXY, MAIL][day as usize % 5];
            diary.note(Flow::tcp(what, ip(ADMIN), ip(to), 22));
        }
    }

    fn servers(&mut self, day: u32, diary: &mut Diary) {
        let wan = ip(WAN);
        for terminal in TERMINALS.map(ip) {
            for printer in self.printers() {
                if chance(&mut self.dice, 80) {
                    diary.note(Flow::tcp("printing", terminal, printer, 9100).times(20));
                }
            }
        }
        for machine in self.machines() {
            if chance(&mut self.dice, 75) {
                diary.note(Flow::tcp("pictures", machine, ip(ARCHIVE), 104).times(12));
                diary.note(Flow::tcp("work lists", machine, ip(RECORDS), 2575));
            }
            diary.note(Flow::udp("machines' clocks", machine, ip(OWN[2]), 123).from_port(123));
        }
        for laboratory in LABORATORY.map(ip) {
            diary.note(Flow::tcp("results", laboratory, ip(RECORDS), 2576));
            diary.note(Flow::tcp("orders", ip(RECORDS), laboratory, 2577));
        }
        let dice = &mut self.dice;
        for _ in 0..between(dice, 150, 350) {
            let site = self.internet.site(dice, day, true);
            let port = if chance(dice, 8) { 80 } else { 443 };
            diary.note(Flow::tcp("web", ip(PROXY), site, port).hidden_behind(wan));
        }
        for _ in 0..between(dice, 15, 40) {
            let other = self.internet.site(dice, day, true);
            diary.note(Flow::tcp("mail out", ip(MAIL), other, 25).hidden_behind(wan));
            let other = self.internet.visitor(dice, true);
            diary.note(Flow::tcp("mail in", other, wan, 25).to(ip(MAIL), 25));
        }
        diary.note(Flow::udp("names upstream", ip(NAMES), ip(UPSTREAM), 53).hidden_behind(wan));
        diary.note(Flow::udp("gateway's names", ip(OWN[1]), ip(NAMES), 53));
        let clock = self.internet.cloud(dice, 22, day, true);
        diary.note(Flow::udp("gateway's clock", wan, clock, 123).from_port(123));
        for _ in 0..80 {
            let port = dice.pick(&[22, 23, 80, 443, 445, 3389]);
            diary.note(Flow::tcp("scan", stranger(dice, true), wan, port).unanswered());
        }
        if self.calendar.is_last_of_month(day) {
            let bill = Flow::tcp("month-end", ip(RECORDS), ip("198.51.100.99"), 8443);
            diary.note(bill.hidden_behind(wan));
        }
    }
}

impl Site for Clinic {
    fn gateway(&self, _: u32) -> Gateway {
        Gateway::parse(GATEWAY)
    }

    fn live(&mut self, day: u32, diary: &mut Diary) {
        self.clients.renew(&mut self.dice);
        self.doctors.renew(&mut self.dice);
        diary.hours = (6.0, 22.0);
        self.people(day, diary);
        diary.hours = (0.0, 24.0);
        self.servers(day, diary);
    }

    fn attacks(&mut self, day: u32) -> Vec<Flow> {
        let mut attempts = Attempts::new(self.seed ^ u64::from(day) << 32);
        let (clients, doctors) = (self.clients.all(), self.doctors.all());
        let (machines, printers) = (self.machines(), self.printers());
        let own = OWN.map(ip);
        let laboratory = LABORATORY.map(ip);
        let servers = [ARCHIVE, RECORDS, PROXY, MAIL].map(ip);
        attempts.tcp("client to server", &clients, &servers, &LATERAL);
        attempts.tcp(
            "client to machine",
            &clients,
            &machines,
            &[22, 80, 104, 445, 3389],
        );
        attempts.tcp("client to router", &clients, &own, &[22, 23, 80, 443]);
        attempts.tcp("machine to server", &machines, &servers, &LATERAL);
        attempts.tcp("machine to client", &machines, &clients, &LATERAL);
        attempts.tcp("doctor to server", &doctors, &servers, &LATERAL);
        attempts.tcp(
            "doctor to machine",
            &doctors,
            &machines,
            &[22, 80, 104, 445],
        );
        attempts.tcp("laboratory to server", &laboratory, &servers, &LATERAL);
        attempts.tcp("laboratory to client", &laboratory, &clients, &LATERAL);
        attempts.tcp("printer to server", &printers, &servers, &LATERAL);
        attempts.tcp(
            "terminal to machine",
            &TERMINALS.map(ip),
            &machines,
            &LATERAL,
        );
        attempts.to_outside("client out", &clients, &OUTWARD);
        attempts.to_outside("client out, past the proxy", &clients, &[80, 443, 8080]);
        attempts.to_outside("machine out", &machines, &[22, 25, 80, 443]);
        attempts.to_outside("records out", &[ip(RECORDS)], &[22, 25, 80, 443]);
        attempts.from_outside("outside to router", &[ip(WAN)], &[22, 23, 80, 443, 3389]);
        attempts.from_outside(
            "outside to server, directly",
            &servers,
            &[22, 25, 443, 3389],
        );
        let idle: Vec<IpAddr> = (251..254).map(|host| nth("10.20.1.", host)).collect();
        attempts.forged("wan0", &idle, &servers, &[3128, 8443, 53]);
        attempts.flows()
    }

    fn ideal(&self) -> String {
        include_str!("ideal/clinic.nft").to_owned()
    }
}
