//! An office: fifty PCs with DHCP and IPv6 privacy addresses, servers, printers and cameras, people on the road by
//! WireGuard, a published web server and a mail server.

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
    lan0 192.168.10.1/24 2001:db8:10::1/64
    srv0 192.168.20.1/24 2001:db8:20::1/64
    iot0 192.168.30.1/24
    vpn0 10.8.0.1/24
    wan0 203.0.113.2/29 2001:db8:ffff::2/64
    0.0.0.0/0 via 203.0.113.1 wan0
    ::/0 via 2001:db8:ffff::1 wan0
";
const LAN6: &str = "2001:db8:10:0:";
const DNS: &str = "192.168.20.53";
const DIRECTORY: &str = "192.168.20.5";
const FILES: &str = "192.168.20.10";
const WEB: &str = "192.168.20.80";
const MAIL: &str = "192.168.20.25";
const MONITOR: &str = "192.168.20.30";
const BACKUP: &str = "192.168.20.40";
const PAYROLL: &str = "192.168.20.60";
const RECORDER: &str = "192.168.20.90";
const BROKER: &str = "192.168.20.91";
const WAN: &str = "203.0.113.2";
/// Where backups go, whom names are asked of, who gets the payroll at the end of the month.
const OFFSITE: &str = "198.51.100.220";
const UPSTREAM: [&str; 2] = ["198.51.100.53", "198.51.100.54"];
const BANK: &str = "198.51.100.231";
/// PCs of administrators, with fixed leases.
const ADMINS: [&str; 2] = ["192.168.10.5", "192.168.10.6"];
/// The one who is on the road.
const ADMIN_AWAY: &str = "10.8.0.5";

/// See above.
#[derive(Debug)]
pub struct Office {
    seed: u64,
    calendar: Calendar,
    dice: Dice,
    internet: Internet,
    pcs: Leases,
    travellers: Leases,
}

impl Office {
    /// The office of a seed.
    pub fn new(seed: u64, calendar: Calendar) -> Self {
        let mut dice = Dice(seed ^ 0x0ff1ce);
        let (pcs, churn) = (between(&mut dice, 35, 70), between(&mut dice, 5, 35));
        let pcs = Leases::new("192.168.10.", (20, 250), pcs, churn, &mut dice);
        let away = between(&mut dice, 6, 20);
        let travellers = Leases::new("10.8.0.", (10, 80), away, 10, &mut dice);
        Self {
            seed,
            calendar,
            internet: Internet::new(seed),
            dice,
            pcs,
            travellers,
        }
    }

    fn pc(&mut self, device: u32, day: u32, diary: &mut Diary) {
        let dice = &mut self.dice;
        let pc = self.pcs.of(device);
        let [dns, directory, files] = [DNS, DIRECTORY, FILES].map(ip);
        let [web, mail, wan] = [WEB, MAIL, WAN].map(ip);
        diary.note(Flow::udp("names", pc, dns, 53).times(between(dice, 200, 4000)));
        if chance(dice, 15) {
            diary.note(Flow::tcp("names", pc, dns, 53));
        }
        diary.note(Flow::udp("time", pc, dns, 123).from_port(123));
        diary.note(Flow::tcp("intranet", pc, web, 443).times(between(dice, 1, 60)));
        diary.note(Flow::tcp("mailboxes", pc, mail, 993).times(between(dice, 1, 30)));
        if chance(dice, 60) {
            diary.note(Flow::tcp("mail submission", pc, mail, 587));
        }
        diary.note(Flow::tcp("file server", pc, files, 445).times(3));
        diary.note(Flow::tcp("directory", pc, directory, 88));
        diary.note(Flow::tcp("directory", pc, directory, 389));
        diary.note(Flow::udp("directory", pc, directory, 389));
        if chance(dice, 30) {
            let printer = nth("192.168.30.", between(dice, 50, 54));
            diary.note(Flow::tcp("printing", pc, printer, 9100));
        }
        if chance(dice, 10) {
            let printer = nth("192.168.30.", between(dice, 50, 54));
            diary.note(Flow::tcp("printing", pc, printer, 631));
        }
        diary.note(Flow::udp("DHCP renewal", pc, ip("192.168.10.1"), 67).from_port(68));
        if chance(dice, 50) {
            diary.note(Flow::dhcp_question("DHCP, to all"));
            diary.note(Flow::dhcp_answer("DHCP, answers", ip("192.168.10.1"), pc));
        }
        let pc6 = privacy(LAN6, u64::from(device) ^ self.seed << 8, day);
        for _ in 0..between(dice, 60, 180) {
            let v4 = chance(dice, 65);
            let pc = if v4 { pc } else { pc6 };
            let site = self.internet.site(dice, day, v4);
            let https = Flow::tcp("web", pc, site, 443).times(between(dice, 1, 5));
            diary.note(https.hidden_behind(wan));
            if chance(dice, 30) {
                diary.note(Flow::udp("web", pc, site, 443).hidden_behind(wan));
            }
            if chance(dice, 6) {
                diary.note(Flow::tcp("web", pc, site, 80).hidden_behind(wan));
            }
        }
        // Conferences: any of four ports, on servers of one provider.
        for _ in 0..between(dice, 0, 3) {
            let server = self.internet.cloud(dice, 7, day, true);
            let port = between(dice, 3478, 3482) as u16;
            diary.note(Flow::udp("conferences", pc, server, port).hidden_behind(wan));
        }
        if chance(dice, 10) {
            let site = self.internet.site(dice, day, true);
            diary.note(Flow::ping("ping outside", pc, site).hidden_behind(wan));
        }
        if chance(dice, 8) {
            let vendor = stranger(dice, true);
            let port = dice.pick(&[8080, 8443]);
            diary.note(Flow::tcp("vendors", pc, vendor, port).hidden_behind(wan));
        }
        // What nobody would write a rule for: once, by one PC, to a port that nobody else uses.
        if chance(dice, 2) {
            let vendor = stranger(dice, true);
            let port = between(dice, 10_000, 20_000) as u16;
            diary.note(Flow::tcp("one-off", pc, vendor, port).hidden_behind(wan));
        }
    }

    fn servers(&mut self, day: u32, diary: &mut Diary) {
        let dice = &mut self.dice;
        let wan = ip(WAN);
        diary.hours = (0.0, 24.0);
        for upstream in UPSTREAM.map(ip) {
            let flow = Flow::udp("names upstream", ip(DNS), upstream, 53).times(20_000);
            diary.note(flow.hidden_behind(wan));
            diary.note(Flow::tcp("names upstream", ip(DNS), upstream, 53).hidden_behind(wan));
        }
        let all = [DNS, DIRECTORY, FILES, WEB, MAIL, MONITOR, BACKUP, PAYROLL].map(ip);
        for server in all {
            for _ in 0..between(dice, 1, 3) {
                let mirror = self.internet.cloud(dice, 21, day, true);
                diary.note(Flow::tcp("updates", server, mirror, 443).hidden_behind(wan));
                diary.note(Flow::tcp("updates", server, mirror, 80).hidden_behind(wan));
            }
        }
        for _ in 0..4 {
            let clock = self.internet.cloud(dice, 22, day, true);
            diary.note(Flow::udp("time upstream", ip(DNS), clock, 123).hidden_behind(wan));
        }
        for _ in 0..between(dice, 60, 120) {
            let other = self.internet.site(dice, day, true);
            diary.note(Flow::tcp("mail to others", ip(MAIL), other, 25).hidden_behind(wan));
        }
        let offsite = Flow::tcp("backup", ip(BACKUP), ip(OFFSITE), 22);
        diary.note(offsite.hidden_behind(wan));
        let monitor = ip(MONITOR);
        for host in 50..54 {
            let printer = nth("192.168.30.", host);
            diary.note(Flow::udp("monitoring", monitor, printer, 161));
            diary.note(Flow::ping("monitoring", monitor, printer));
        }
        diary.note(Flow::udp("monitoring", monitor, ip("192.168.20.1"), 161));
        diary.note(Flow::ping("monitoring", monitor, ip("192.168.20.1")));
        for host in 100..112 {
            diary.note(Flow::tcp(
                "cameras",
                ip(RECORDER),
                nth("192.168.30.", host),
                554,
            ));
            let camera = nth("192.168.30.", host);
            diary.note(Flow::udp("time of things", camera, ip(DNS), 123).from_port(123));
        }
        for host in 120..140 {
            let thing = nth("192.168.30.", host);
            diary.note(Flow::tcp("sensors", thing, ip(BROKER), 8883));
            diary.note(Flow::udp("names of things", thing, ip(DNS), 53));
            if host < 124 {
                let cloud = self.internet.cloud(dice, 31, day, true);
                diary.note(Flow::tcp("thermostats' cloud", thing, cloud, 8883).hidden_behind(wan));
            }
        }
        // The gateway's own.
        diary.note(Flow::udp(
            "gateway's names",
            ip("192.168.20.1"),
            ip(DNS),
            53,
        ));
        diary.note(Flow::udp(
            "gateway's log",
            ip("192.168.20.1"),
            ip(MONITOR),
            514,
        ));
        let clock = self.internet.cloud(dice, 22, day, true);
        diary.note(Flow::udp("gateway's time", wan, clock, 123).from_port(123));
        let mirror = self.internet.cloud(dice, 21, day, true);
        diary.note(Flow::tcp("gateway's updates", wan, mirror, 443));
        if self.calendar.is_last_of_month(day) {
            diary.note(Flow::tcp("month-end", ip(PAYROLL), ip(BANK), 2222).hidden_behind(wan));
            diary.note(Flow::tcp("month-end", ip(PAYROLL), ip(BANK), 8444).hidden_behind(wan));
            diary.note(Flow::tcp("month-end", ip("192.168.30.50"), ip(FILES), 445));
        }
    }

    fn public(&mut self, diary: &mut Diary) {
        let dice = &mut self.dice;
        let (wan, web, mail) = (ip(WAN), ip(WEB), ip(MAIL));
        diary.hours = (0.0, 24.0);
        for _ in 0..between(dice, 900, 1500) {
            let visitor = self.internet.visitor(dice, true);
            diary.note(Flow::tcp("published web", visitor, wan, 443).to(web, 443));
            if chance(dice, 15) {
                diary.note(Flow::tcp("published web", visitor, wan, 80).to(web, 80));
            }
        }
        for _ in 0..between(dice, 80, 160) {
            let other = self.internet.site(dice, 0, true);
            diary.note(Flow::tcp("mail from others", other, wan, 25).to(mail, 25));
        }
        for _ in 0..between(dice, 15, 30) {
            let phone = self.internet.visitor(dice, true);
            diary.note(Flow::tcp("mailboxes from outside", phone, wan, 993).to(mail, 993));
            diary.note(Flow::tcp("submission from outside", phone, wan, 587).to(mail, 587));
        }
        for _ in 0..between(dice, 8, 16) {
            diary.note(Flow::udp(
                "WireGuard",
                self.internet.visitor(dice, true),
                wan,
                51820,
            ));
        }
        for _ in 0..250 {
            let port = dice.pick(&[22, 23, 445, 3389, 5900, 8080, 1433]);
            diary.note(Flow::tcp("scan", stranger(dice, true), wan, port).unanswered());
        }
    }

    fn away(&mut self, diary: &mut Diary) {
        let dice = &mut self.dice;
        for traveller in self.travellers.all() {
            if chance(dice, 40) {
                continue;
            }
            diary.note(Flow::udp("road: names", traveller, ip(DNS), 53));
            diary.note(Flow::tcp("road: intranet", traveller, ip(WEB), 443));
            diary.note(Flow::tcp("road: mail", traveller, ip(MAIL), 993));
            if chance(dice, 60) {
                diary.note(Flow::tcp("road: files", traveller, ip(FILES), 445));
            }
        }
        for (admin, part) in [(ADMINS[0], 90), (ADMINS[1], 70), (ADMIN_AWAY, 50)] {
            if !chance(dice, part) {
                continue;
            }
            for server in [DNS, FILES, WEB, MAIL, MONITOR, BACKUP] {
                if chance(dice, 60) {
                    diary.note(Flow::tcp("administration", ip(admin), ip(server), 22));
                }
            }
            diary.note(Flow::tcp("administration", ip(admin), ip(DIRECTORY), 3389));
            let own = if admin == ADMIN_AWAY {
                "10.8.0.1"
            } else {
                "192.168.10.1"
            };
            diary.note(Flow::tcp("administration", ip(admin), ip(own), 22));
        }
    }
}

impl Site for Office {
    fn gateway(&self, _: u32) -> Gateway {
        Gateway::parse(GATEWAY)
    }

    fn live(&mut self, day: u32, diary: &mut Diary) {
        self.pcs.renew(&mut self.dice);
        self.travellers.renew(&mut self.dice);
        diary.hours = (7.5, 18.5);
        let there = if self.calendar.is_weekend(day) { 5 } else { 90 };
        for device in 0..self.pcs.devices() {
            if chance(&mut self.dice, there) {
                self.pc(device, day, diary);
            }
        }
        self.away(diary);
        self.servers(day, diary);
        self.public(diary);
    }

    fn attacks(&mut self, day: u32) -> Vec<Flow> {
        let mut attempts = Attempts::new(self.seed ^ u64::from(day) << 32);
        let pcs = self.pcs.all();
        let things: Vec<IpAddr> = (100..140).map(|host| nth("192.168.30.", host)).collect();
        let servers = [DNS, DIRECTORY, FILES, WEB, MAIL, MONITOR, BACKUP, PAYROLL].map(ip);
        let own = ["192.168.10.1", "192.168.20.1", "192.168.30.1", WAN].map(ip);
        let wan = [ip(WAN)];
        attempts.tcp("PC to PC", &pcs, &pcs, &LATERAL);
        attempts.tcp(
            "PC to server, administration",
            &pcs,
            &servers,
            &[22, 3389, 5985, 3306, 5432],
        );
        attempts.tcp("PC to camera", &pcs, &things, &[22, 23, 80, 554]);
        attempts.tcp("thing to PC", &things, &pcs, &[22, 80, 443, 445]);
        attempts.tcp(
            "thing to server",
            &things,
            &servers,
            &[22, 80, 443, 445, 3389],
        );
        attempts.tcp("thing to gateway", &things, &own, &[22, 80, 443, 53]);
        attempts.to_outside("thing out", &things, &[25, 23, 80, 443, 6667]);
        attempts.tcp("PC to gateway", &pcs, &own, &[22, 80, 443, 8080]);
        attempts.to_outside("PC out", &pcs, &OUTWARD);
        attempts.to_outside("server out", &[ip(FILES), ip(DIRECTORY)], &OUTWARD);
        let roads = self.travellers.all();
        attempts.tcp("road to PC", &roads, &pcs, &LATERAL);
        attempts.tcp(
            "road to server, administration",
            &roads,
            &servers,
            &[22, 3389, 5985],
        );
        attempts.from_outside(
            "outside to gateway",
            &wan,
            &[22, 23, 53, 80, 445, 3389, 8080],
        );
        attempts.from_outside(
            "outside to backend, directly",
            &[ip(WEB), ip(MAIL)],
            &[443, 80, 25, 993],
        );
        attempts.from_outside("outside to server", &servers, &[22, 445, 3389, 53, 389]);
        attempts.from_outside("outside to PC", &pcs, &LATERAL);
        let pcs6: Vec<IpAddr> = (0..20).map(|device| privacy(LAN6, device, day)).collect();
        attempts.from_outside("outside to PC by IPv6", &pcs6, &[22, 80, 443, 445, 3389]);
        let idle: Vec<IpAddr> = (251..255).map(|host| nth("192.168.10.", host)).collect();
        attempts.forged("wan0", &idle, &servers, &[443, 993, 445, 53]);
        attempts.flows()
    }

    fn ideal(&self) -> String {
        include_str!("ideal/office.nft").to_owned()
    }
}
