//! A branch of a college: students, staff, telephones, access points and laboratories in networks of their own, and
//! headquarters behind a tunnel.

use std::net::IpAddr;

use super::attempts::{Attempts, LATERAL, OUTWARD};
use super::calendar::Calendar;
use super::diary::{Diary, Flow};
use super::gateway::Gateway;
use super::internet::{Internet, between, chance, stranger};
use super::leases::{Leases, privacy};
use super::{Site, ip, nth};
use crate::world::Dice;

const GATEWAY: &str = "
    staff0 10.50.1.1/24 2001:db8:50:1::1/64
    stud0 10.50.16.1/20 2001:db8:50:16::1/64
    voip0 10.50.2.1/24
    lab0 10.50.3.1/24
    srv0 10.50.4.1/24
    ap0 10.50.5.1/24
    tun0 10.255.0.2/30
    wan0 203.0.113.10/29 2001:db8:fffe::2/64
    0.0.0.0/0 via 203.0.113.9 wan0
    ::/0 via 2001:db8:fffe::1 wan0
    10.0.0.0/16 via 10.255.0.1 tun0
";
const WAN: &str = "203.0.113.10";
const NAMES: &str = "10.50.4.53";
const RADIUS: &str = "10.50.4.18";
const EXCHANGE: &str = "10.50.4.60";
const PRINTERS: &str = "10.50.4.91";
const COURSES: &str = "10.50.4.80";
const CONTROLLER: &str = "10.50.4.70";
/// The federation that knows other colleges' people, and the provider of telephony.
const FEDERATION: [&str; 2] = ["198.51.100.18", "198.51.100.19"];
const TRUNK: &str = "198.51.100.61";
const UPSTREAM: [&str; 2] = ["198.51.100.53", "198.51.100.54"];
/// At headquarters: pages, files, a database, monitoring, the help desk, what controls laboratories.
const HQ_PAGES: &str = "10.0.5.10";
const HQ_FILES: &str = "10.0.5.20";
const HQ_DATA: &str = "10.0.5.30";
const HQ_MONITOR: &str = "10.0.9.9";
const HQ_DESK: [&str; 2] = ["10.0.9.4", "10.0.9.5"];
const HQ_CONTROL: &str = "10.0.7.7";

/// See above.
#[derive(Debug)]
pub struct Campus {
    seed: u64,
    calendar: Calendar,
    dice: Dice,
    internet: Internet,
    staff: Leases,
    students: Leases,
}

impl Campus {
    /// The campus of a seed.
    pub fn new(seed: u64, calendar: Calendar) -> Self {
        let mut dice = Dice(seed ^ 0xca3);
        let (number, churn) = (between(&mut dice, 15, 35), between(&mut dice, 5, 30));
        let staff = Leases::new("10.50.1.", (20, 250), number, churn, &mut dice);
        let number = between(&mut dice, 80, 200);
        // 10.50.16.0 to 10.50.31.255.
        let students = Leases::new("10.50.", (16 * 256 + 20, 32 * 256), number, 60, &mut dice);
        Self {
            seed,
            calendar,
            internet: Internet::new(seed),
            dice,
            staff,
            students,
        }
    }

    fn browse(&mut self, who: IpAddr, who6: IpAddr, many: u32, day: u32, diary: &mut Diary) {
        let dice = &mut self.dice;
        let wan = ip(WAN);
        for _ in 0..between(dice, many / 2, many) {
            let from = if chance(dice, 60) { who6 } else { who };
            let site = self.internet.site(dice, day, from.is_ipv4());
            diary.note(Flow::tcp("web", from, site, 443).hidden_behind(wan));
            if chance(dice, 45) {
                diary.note(Flow::udp("web", from, site, 443).hidden_behind(wan));
            }
            if chance(dice, 6) {
                diary.note(Flow::tcp("web", from, site, 80).hidden_behind(wan));
            }
        }
        if chance(dice, 30) {
            let cloud = self.internet.cloud(dice, 50, day, true);
            diary.note(Flow::tcp("chat", who, cloud, 5222).hidden_behind(wan));
        }
        if chance(dice, 20) {
            let cloud = self.internet.cloud(dice, 51, day, true);
            diary.note(Flow::udp("conferences", who, cloud, 3478).hidden_behind(wan));
        }
        diary.note(Flow::udp("names", who, ip(NAMES), 53).times(300));
    }

    fn telephones(&mut self, diary: &mut Diary) {
        let dice = &mut self.dice;
        let (exchange, wan) = (ip(EXCHANGE), ip(WAN));
        for host in 20..50 {
            let telephone = nth("10.50.2.", host);
            diary.note(Flow::udp("telephony", telephone, exchange, 5060).times(400));
            diary.note(Flow::udp("names", telephone, ip(NAMES), 53));
            // Each call has a port of its own.
            for _ in 0..between(dice, 0, 3) {
                let port = between(dice, 5000, 10_000) as u16 * 2;
                diary.note(Flow::udp("calls", telephone, exchange, port));
            }
        }
        diary.note(Flow::udp("telephony outside", exchange, ip(TRUNK), 5060).hidden_behind(wan));
        for _ in 0..between(dice, 5, 15) {
            let port = between(dice, 5000, 10_000) as u16 * 2;
            let media = nth("198.51.100.", between(dice, 64, 72));
            diary.note(Flow::udp("calls outside", exchange, media, port).hidden_behind(wan));
        }
    }

    fn headquarters(&mut self, day: u32, diary: &mut Diary) {
        let dice = &mut self.dice;
        let monitor = ip(HQ_MONITOR);
        let servers = [NAMES, RADIUS, EXCHANGE, PRINTERS, COURSES, CONTROLLER].map(ip);
        let points = (10..22).map(|host| nth("10.50.5.", host));
        for watched in points.clone().chain(servers) {
            diary.note(Flow::udp("monitoring", monitor, watched, 161));
            diary.note(Flow::ping("monitoring", monitor, watched));
        }
        diary.note(Flow::udp("monitoring", monitor, ip("10.255.0.2"), 161));
        for point in points {
            diary.note(Flow::udp("access points", point, ip(CONTROLLER), 5246));
            diary.note(Flow::udp("access points", point, ip(CONTROLLER), 5247));
            diary.note(Flow::udp("who may log in", point, ip(RADIUS), 1812));
            diary.note(Flow::udp("who may log in", point, ip(RADIUS), 1813));
        }
        for proxy in FEDERATION.map(ip) {
            let flow = Flow::udp("federation", ip(RADIUS), proxy, 1812);
            diary.note(flow.hidden_behind(ip(WAN)));
            let flow = Flow::udp("federation", proxy, ip(WAN), 1812);
            diary.note(flow.to(ip(RADIUS), 1812));
        }
        for host in 30..38 {
            diary.note(Flow::tcp(
                "laboratories",
                ip(HQ_CONTROL),
                nth("10.50.3.", host),
                502,
            ));
            let results = Flow::tcp("laboratories", nth("10.50.3.", host), ip(HQ_PAGES), 443);
            diary.note(results);
        }
        for desk in HQ_DESK.map(ip) {
            for server in servers {
                if chance(dice, 40) {
                    diary.note(Flow::tcp("help desk", desk, server, 22));
                }
            }
            diary.note(Flow::tcp("help desk", desk, ip("10.255.0.2"), 22));
        }
        for upstream in UPSTREAM.map(ip) {
            let flow = Flow::udp("names upstream", ip(NAMES), upstream, 53);
            diary.note(flow.hidden_behind(ip(WAN)));
        }
        for server in servers {
            let mirror = self.internet.cloud(dice, 21, day, true);
            diary.note(Flow::tcp("updates", server, mirror, 443).hidden_behind(ip(WAN)));
        }
        for _ in 0..between(dice, 300, 700) {
            let visitor = self.internet.visitor(dice, true);
            diary.note(Flow::tcp("published courses", visitor, ip(WAN), 443).to(ip(COURSES), 443));
        }
        for _ in 0..250 {
            let port = dice.pick(&[22, 23, 445, 3389, 5060, 8080]);
            diary.note(Flow::tcp("scan", stranger(dice, true), ip(WAN), port).unanswered());
        }
        diary.note(Flow::udp("gateway's names", ip("10.50.4.1"), ip(NAMES), 53));
        if self.calendar.is_last_of_month(day) {
            diary.note(Flow::tcp("month-end", ip(PRINTERS), ip(HQ_DATA), 1434));
        }
    }
}

impl Site for Campus {
    fn gateway(&self, _: u32) -> Gateway {
        Gateway::parse(GATEWAY)
    }

    fn live(&mut self, day: u32, diary: &mut Diary) {
        self.staff.renew(&mut self.dice);
        self.students.renew(&mut self.dice);
        diary.hours = (7.5, 21.0);
        let weekend = self.calendar.is_weekend(day);
        for device in 0..self.staff.devices() {
            if !chance(&mut self.dice, if weekend { 4 } else { 85 }) {
                continue;
            }
            let who = self.staff.of(device);
            let name = u64::from(device) ^ self.seed << 8;
            self.browse(who, privacy("2001:db8:50:1:", name, day), 60, day, diary);
            diary.note(Flow::tcp("headquarters", who, ip(HQ_PAGES), 443));
            diary.note(Flow::tcp("headquarters", who, ip(HQ_FILES), 445));
            diary.note(Flow::tcp("printing", who, ip(PRINTERS), 9100));
            diary.note(Flow::tcp("courses", who, ip(COURSES), 443));
            // Accountants, with fixed leases.
            if device < 4 {
                diary.note(Flow::tcp(
                    "database",
                    nth("10.50.1.", 10 + device),
                    ip(HQ_DATA),
                    1433,
                ));
            }
        }
        for device in 0..self.students.devices() {
            if !chance(&mut self.dice, if weekend { 15 } else { 70 }) {
                continue;
            }
            let who = self.students.of(device);
            let name = u64::from(device) ^ self.seed << 9 | 1 << 40;
            self.browse(who, privacy("2001:db8:50:16:", name, day), 40, day, diary);
            if chance(&mut self.dice, 60) {
                diary.note(Flow::tcp("courses", who, ip(COURSES), 443));
            }
        }
        diary.hours = (0.0, 24.0);
        self.telephones(diary);
        self.headquarters(day, diary);
    }

    fn attacks(&mut self, day: u32) -> Vec<Flow> {
        let mut attempts = Attempts::new(self.seed ^ u64::from(day) << 32);
        let (staff, students) = (self.staff.all(), self.students.all());
        let telephones: Vec<IpAddr> = (20..50).map(|host| nth("10.50.2.", host)).collect();
        let laboratory: Vec<IpAddr> = (30..38).map(|host| nth("10.50.3.", host)).collect();
        let points: Vec<IpAddr> = (10..22).map(|host| nth("10.50.5.", host)).collect();
        let servers = [NAMES, RADIUS, EXCHANGE, PRINTERS, COURSES, CONTROLLER].map(ip);
        let headquarters = [HQ_PAGES, HQ_FILES, HQ_DATA, HQ_MONITOR].map(ip);
        let own = ["10.50.1.1", "10.50.16.1", "10.50.4.1", "10.255.0.2", WAN].map(ip);
        attempts.tcp("student to student", &students, &students, &LATERAL);
        attempts.tcp("student to staff", &students, &staff, &LATERAL);
        attempts.tcp(
            "student to headquarters",
            &students,
            &headquarters,
            &[22, 80, 443, 445, 1433],
        );
        attempts.tcp(
            "student to server",
            &students,
            &servers[..4],
            &[22, 80, 445, 3389, 9100],
        );
        attempts.tcp("student to gateway", &students, &own, &[22, 80, 443, 161]);
        attempts.tcp(
            "student to laboratory",
            &students,
            &laboratory,
            &[80, 443, 502],
        );
        attempts.udp(
            "student to telephony",
            &students,
            &[ip(EXCHANGE)],
            &[5060, 161],
        );
        attempts.udp("student to login", &students, &[ip(RADIUS)], &[1812, 1813]);
        attempts.to_outside("student out", &students, &OUTWARD);
        attempts.tcp(
            "staff to database",
            &staff,
            &[ip(HQ_DATA)],
            &[1433, 22, 3389],
        );
        attempts.tcp("staff to laboratory", &staff, &laboratory, &[80, 443, 502]);
        attempts.tcp("telephone to staff", &telephones, &staff, &LATERAL);
        attempts.to_outside("telephone out", &telephones, &[22, 80, 443, 6667]);
        attempts.to_outside("laboratory out", &laboratory, &[22, 80, 443, 6667]);
        attempts.tcp(
            "access point to server",
            &points,
            &servers,
            &[22, 80, 443, 445],
        );
        attempts.tcp("server to staff", &servers, &staff, &LATERAL);
        attempts.from_outside(
            "outside to gateway",
            &[ip(WAN)],
            &[22, 23, 80, 445, 5060, 8080],
        );
        attempts.from_outside(
            "outside to server, directly",
            &servers,
            &[443, 22, 5060, 445],
        );
        attempts.from_outside("outside to student", &students, &LATERAL);
        let idle: Vec<IpAddr> = (251..255).map(|host| nth("10.50.1.", host)).collect();
        attempts.forged("wan0", &idle, &headquarters, &[443, 445]);
        attempts.forged("stud0", &idle, &headquarters, &[443, 445]);
        attempts.flows()
    }

    fn ideal(&self) -> String {
        include_str!("ideal/campus.nft").to_owned()
    }
}
