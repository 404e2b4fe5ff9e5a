//! A home: a few PCs and phones whose addresses change, guests who come once, things that talk to clouds, a storage
//! box, and an address that the provider changes.

use std::net::IpAddr;

use super::attempts::{Attempts, LATERAL, OUTWARD};
use super::calendar::Calendar;
use super::diary::{Diary, Flow};
use super::gateway::Gateway;
use super::internet::{Internet, between, chance, mixed, stranger};
use super::leases::{Leases, privacy};
use super::{Site, ip, nth};
use crate::world::Dice;

const LAN: &str = "192.168.178.1";
const GUESTS: &str = "192.168.179.1";
const THINGS: &str = "192.168.180.1";
const LAN6: &str = "2001:db8:100:1:";
const RESOLVERS: [&str; 2] = ["198.51.100.53", "198.51.100.54"];
const TELEPHONY: &str = "198.51.100.60";
const STORAGE: &str = "192.168.178.20";
const TELEVISION: &str = "192.168.180.20";
const PRINTER: &str = "192.168.180.21";

/// See above.
#[derive(Debug)]
pub struct Home {
    seed: u64,
    calendar: Calendar,
    dice: Dice,
    internet: Internet,
    devices: Leases,
    guests: Leases,
}

impl Home {
    /// The home of a seed.
    pub fn new(seed: u64, calendar: Calendar) -> Self {
        let mut dice = Dice(seed ^ 0x40e);
        let (devices, churn) = (between(&mut dice, 5, 14), between(&mut dice, 5, 35));
        let devices = Leases::new("192.168.178.", (30, 200), devices, churn, &mut dice);
        let guests = between(&mut dice, 2, 5);
        let guests = Leases::new("192.168.179.", (30, 200), guests, 70, &mut dice);
        Self {
            seed,
            calendar,
            internet: Internet::new(seed),
            dice,
            devices,
            guests,
        }
    }

    /// The address of the day: the provider gives another one every few days.
    fn wan(&self, day: u32) -> IpAddr {
        let number = mixed(&[self.seed, u64::from(day / 3)]) % 200 + 20;
        nth("203.0.113.", number as u32)
    }

    fn browse(&mut self, day: u32, device: IpAddr, device6: Option<IpAddr>, diary: &mut Diary) {
        let wan = self.wan(day);
        let dice = &mut self.dice;
        for _ in 0..between(dice, 40, 120) {
            let source = device6.filter(|_| chance(dice, 50)).unwrap_or(device);
            let site = self.internet.site(dice, day, source.is_ipv4());
            diary.note(Flow::tcp("web", source, site, 443).hidden_behind(wan));
            if chance(dice, 40) {
                diary.note(Flow::udp("web", source, site, 443).hidden_behind(wan));
            }
            if chance(dice, 5) {
                diary.note(Flow::tcp("web", source, site, 80).hidden_behind(wan));
            }
        }
        if chance(dice, 60) {
            let port = dice.pick(&[5223, 5228]);
            let cloud = self.internet.cloud(dice, 40 + u64::from(port), day, true);
            diary.note(Flow::tcp("notifications", device, cloud, port).hidden_behind(wan));
        }
        if chance(dice, 15) {
            let site = self.internet.site(dice, day, true);
            diary.note(Flow::ping("ping outside", device, site).hidden_behind(wan));
        }
    }

    fn things(&mut self, day: u32, diary: &mut Diary) {
        let (wan, own) = (self.wan(day), ip(THINGS));
        let dice = &mut self.dice;
        for host in 20..30 {
            let thing = nth("192.168.180.", host);
            diary.note(Flow::udp("names", thing, own, 53).times(50));
            diary.note(Flow::udp("time of things", thing, own, 123).from_port(123));
            let maker = u64::from(host % 3);
            for _ in 0..2 {
                let cloud = self.internet.cloud(dice, 60 + maker, day, true);
                diary.note(Flow::tcp("clouds of things", thing, cloud, 443).hidden_behind(wan));
            }
            if host >= 24 {
                let cloud = self.internet.cloud(dice, 70 + maker, day, true);
                diary.note(Flow::tcp("clouds of things", thing, cloud, 8883).hidden_behind(wan));
            }
        }
        let (all, mdns) = (ip("224.0.0.251"), "mDNS");
        diary.note(Flow::udp(mdns, ip(TELEVISION), all, 5353).unanswered());
        diary.note(Flow::udp(mdns, ip(PRINTER), all, 5353).unanswered());
        for gateway in [ip(LAN), ip(THINGS)] {
            diary.note(Flow::udp(mdns, gateway, all, 5353).unanswered());
        }
        let phone = Flow::udp("telephony", nth("192.168.180.", 29), ip(TELEPHONY), 5060);
        diary.note(phone.hidden_behind(wan));
    }

    fn gateway_itself(&mut self, day: u32, diary: &mut Diary) {
        let wan = self.wan(day);
        let dice = &mut self.dice;
        for resolver in RESOLVERS.map(ip) {
            diary.note(Flow::udp("gateway's names", wan, resolver, 53).times(5000));
            diary.note(Flow::tcp("gateway's names", wan, resolver, 53));
        }
        for _ in 0..2 {
            let clock = self.internet.cloud(dice, 22, day, true);
            diary.note(Flow::udp("gateway's time", wan, clock, 123).from_port(123));
        }
        if chance(dice, 40) {
            let mirror = self.internet.cloud(dice, 21, day, true);
            diary.note(Flow::tcp("gateway's updates", wan, mirror, 443));
        }
        for _ in 0..between(dice, 1, 5) {
            let phone = self.internet.visitor(dice, true);
            diary.note(Flow::udp("WireGuard", phone, wan, 51820));
        }
        for _ in 0..between(dice, 4, 10) {
            let friend = self.internet.visitor(dice, true);
            diary.note(Flow::tcp("published storage", friend, wan, 8443).to(ip(STORAGE), 443));
        }
        for _ in 0..150 {
            let port = dice.pick(&[22, 23, 80, 445, 3389, 5900, 7547, 8080]);
            diary.note(Flow::tcp("scan", stranger(dice, true), wan, port).unanswered());
        }
        if self.calendar.is_last_of_month(day) {
            let tax = Flow::tcp("month-end", ip(STORAGE), ip("198.51.100.90"), 8081);
            diary.note(tax.hidden_behind(wan));
        }
    }
}

impl Site for Home {
    fn gateway(&self, day: u32) -> Gateway {
        Gateway::parse(&format!(
            "lan0 {LAN}/24 2001:db8:100:1::1/64
             guest0 {GUESTS}/24
             iot0 {THINGS}/24
             wan0 {}/24 2001:db8:ffff::2/64
             0.0.0.0/0 via 203.0.113.1 wan0
             ::/0 via 2001:db8:ffff::1 wan0",
            self.wan(day)
        ))
    }

    fn live(&mut self, day: u32, diary: &mut Diary) {
        self.devices.renew(&mut self.dice);
        self.guests.renew(&mut self.dice);
        diary.hours = (6.5, 23.5);
        for device in 0..self.devices.devices() {
            if !chance(&mut self.dice, 90) {
                continue;
            }
            let address = self.devices.of(device);
            let name = u64::from(device) ^ self.seed << 8;
            self.browse(day, address, Some(privacy(LAN6, name, day)), diary);
            let own = ip(LAN);
            diary.note(Flow::udp("names", address, own, 53).times(500));
            diary.note(Flow::udp(
                "names",
                privacy(LAN6, name, day),
                ip("2001:db8:100:1::1"),
                53,
            ));
            diary.note(Flow::udp("DHCP renewal", address, own, 67).from_port(68));
            if chance(&mut self.dice, 60) {
                diary.note(Flow::dhcp_question("DHCP, to all"));
                diary.note(Flow::dhcp_answer("DHCP, answers", own, address));
            }
            let (all, mdns) = (ip("224.0.0.251"), "mDNS");
            diary.note(Flow::udp(mdns, address, all, 5353).unanswered());
            if chance(&mut self.dice, 50) {
                diary.note(Flow::tcp("casting", address, ip(TELEVISION), 8009));
            }
            if chance(&mut self.dice, 20) {
                diary.note(Flow::tcp("printing", address, ip(PRINTER), 631));
            }
            if chance(&mut self.dice, 30) {
                diary.note(Flow::tcp("gateway's pages", address, own, 443));
            }
        }
        let present = if self.calendar.is_weekend(day) {
            90
        } else {
            40
        };
        for guest in self.guests.all() {
            if chance(&mut self.dice, present) {
                self.browse(day, guest, None, diary);
                diary.note(Flow::udp("names", guest, ip(GUESTS), 53).times(100));
                diary.note(Flow::udp("DHCP renewal", guest, ip(GUESTS), 67).from_port(68));
                diary.note(Flow::dhcp_answer("DHCP, answers", ip(GUESTS), guest));
            }
        }
        diary.hours = (0.0, 24.0);
        self.things(day, diary);
        self.gateway_itself(day, diary);
    }

    fn attacks(&mut self, day: u32) -> Vec<Flow> {
        let mut attempts = Attempts::new(self.seed ^ u64::from(day) << 32);
        let (devices, guests) = (self.devices.all(), self.guests.all());
        let things: Vec<IpAddr> = (20..30).map(|host| nth("192.168.180.", host)).collect();
        let home: Vec<IpAddr> = devices.iter().copied().chain([ip(STORAGE)]).collect();
        let wan = [self.wan(day)];
        attempts.tcp("device to device", &devices, &devices, &LATERAL);
        attempts.tcp("thing to home", &things, &home, &[22, 80, 443, 445, 5000]);
        attempts.tcp(
            "thing to gateway",
            &things,
            &[ip(THINGS), ip(LAN)],
            &[22, 80, 443],
        );
        attempts.to_outside("thing out", &things, &[22, 23, 25, 6667]);
        attempts.tcp("guest to home", &guests, &home, &[22, 80, 443, 445, 5000]);
        attempts.tcp("guest to thing", &guests, &things, &[80, 443, 631, 8009]);
        attempts.tcp(
            "guest to gateway",
            &guests,
            &[ip(GUESTS), ip(LAN)],
            &[22, 80, 443],
        );
        attempts.tcp(
            "device to thing",
            &devices,
            &things[2..],
            &[22, 23, 80, 554],
        );
        attempts.to_outside("device out", &devices, &OUTWARD);
        attempts.to_outside("guest out", &guests, &OUTWARD);
        attempts.from_outside(
            "outside to gateway",
            &wan,
            &[22, 23, 53, 80, 443, 445, 7547],
        );
        attempts.from_outside(
            "outside to backend, directly",
            &[ip(STORAGE)],
            &[443, 22, 445],
        );
        attempts.from_outside("outside to home", &devices, &LATERAL);
        attempts.from_outside("outside to thing", &things, &[23, 80, 443, 554, 8009]);
        let name = self.seed << 8;
        let home6: Vec<IpAddr> = (0..9)
            .map(|device| privacy(LAN6, device ^ name, day))
            .collect();
        attempts.from_outside("outside to home by IPv6", &home6, &[22, 80, 443, 445, 3389]);
        let idle: Vec<IpAddr> = (251..255).map(|host| nth("192.168.178.", host)).collect();
        attempts.forged("wan0", &idle, &[ip(LAN), ip(TELEVISION)], &[443, 8009, 631]);
        attempts.flows()
    }

    fn ideal(&self) -> String {
        include_str!("ideal/home.nft").to_owned()
    }
}
