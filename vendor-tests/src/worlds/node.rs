//! A node of a Kubernetes-like cluster: pods that come and go with their addresses, services that are translated to
//! them, other nodes behind a tunnel.

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
    eth0 192.0.2.11/24
    cni0 10.244.1.1/24
    flannel.1 10.244.1.0/32
    0.0.0.0/0 via 192.0.2.1 eth0
    10.244.2.0/24 via 10.244.2.0 flannel.1
    10.244.3.0/24 via 10.244.3.0 flannel.1
";
const NODE: &str = "192.0.2.11";
const BRIDGE: &str = "10.244.1.1";
const MASTER: &str = "192.0.2.10";
const OTHERS: [&str; 2] = ["192.0.2.12", "192.0.2.13"];
const CLUSTER_NAMES: &str = "10.96.0.10";
const CLUSTER_API: &str = "10.96.0.1";
const SERVICE_BACKEND: &str = "10.96.7.7";
const SERVICE_DATABASE: &str = "10.96.8.8";
const REGISTRY: &str = "198.51.100.200";
const ADMIN: &str = "192.0.2.200";
const UPSTREAM: &str = "192.0.2.53";

/// See above.
#[derive(Debug)]
pub struct Node {
    seed: u64,
    calendar: Calendar,
    dice: Dice,
    internet: Internet,
    /// Web, backend, database and names in this order; the last ones do other work.
    pods: Leases,
    /// Pods of the other nodes.
    remote: Leases,
}

/// Which of the pods do what.
const WEB: std::ops::Range<u32> = 0..8;
const BACKEND: std::ops::Range<u32> = 8..16;
const DATABASE: u32 = 16;
const NAMES: u32 = 17;
const WORKERS: std::ops::Range<u32> = 18..28;

impl Node {
    /// The node of a seed.
    pub fn new(seed: u64, calendar: Calendar) -> Self {
        let mut dice = Dice(seed ^ 0x0d0);
        let churn = between(&mut dice, 20, 60);
        let pods = Leases::new("10.244.1.", (2, 250), 28, churn, &mut dice);
        let remote = between(&mut dice, 12, 30);
        let remote = Leases::new("10.244.2.", (2, 250), remote, churn, &mut dice);
        Self {
            seed,
            calendar,
            internet: Internet::new(seed),
            dice,
            pods,
            remote,
        }
    }

    fn some(&mut self, which: std::ops::Range<u32>) -> IpAddr {
        self.pods
            .of(between(&mut self.dice, which.start, which.end))
    }

    fn pods(&mut self, day: u32, diary: &mut Diary) {
        let node = ip(NODE);
        for pod in self.pods.all() {
            let names = self.pods.of(NAMES);
            let query = Flow::udp("cluster names", pod, ip(CLUSTER_NAMES), 53);
            diary.note(query.to(names, 53).times(900));
            diary.note(Flow::tcp("probes", ip(BRIDGE), pod, 8080));
        }
        for which in WEB {
            let (pod, backend) = (self.pods.of(which), self.some(BACKEND));
            let flow = Flow::tcp("backend service", pod, ip(SERVICE_BACKEND), 80);
            diary.note(flow.to(backend, 8081).times(300));
        }
        for which in BACKEND {
            let pod = self.pods.of(which);
            let flow = Flow::tcp("database service", pod, ip(SERVICE_DATABASE), 5432);
            diary.note(flow.to(self.pods.of(DATABASE), 5432).times(30));
            for _ in 0..between(&mut self.dice, 5, 15) {
                let site = self.internet.site(&mut self.dice, day, true);
                let flow = Flow::tcp("pods to the world", pod, site, 443);
                diary.note(flow.hidden_behind(node));
            }
        }
        for which in WORKERS {
            let pod = self.pods.of(which);
            let flow = Flow::tcp("cluster interface", pod, ip(CLUSTER_API), 443);
            diary.note(flow.to(ip(MASTER), 6443).hidden_behind(node));
            for _ in 0..between(&mut self.dice, 10, 30) {
                let site = self.internet.site(&mut self.dice, day, true);
                let flow = Flow::tcp("pods to the world", pod, site, 443);
                diary.note(flow.hidden_behind(node));
            }
        }
        for pod in self.remote.all() {
            let query = Flow::udp("names for other nodes", pod, self.pods.of(NAMES), 53);
            diary.note(query.times(500));
            if chance(&mut self.dice, 70) {
                let backend = self.some(BACKEND);
                diary.note(Flow::tcp("backend for other nodes", pod, backend, 8081));
            }
            if chance(&mut self.dice, 30) {
                let metrics = self.some(0..28);
                diary.note(Flow::tcp("metrics for other nodes", pod, metrics, 9090));
            }
            if chance(&mut self.dice, 40) {
                let web = self.some(WEB);
                diary.note(Flow::tcp("caches of other nodes", web, pod, 11211));
            }
        }
    }

    fn node(&mut self, day: u32, diary: &mut Diary) {
        let node = ip(NODE);
        for visitor in 0..between(&mut self.dice, 600, 1000) {
            let web = self.some(WEB);
            let from = self.internet.visitor(&mut self.dice, true);
            let port = if visitor % 5 == 0 { 30080 } else { 30443 };
            diary.note(Flow::tcp("node port", from, node, port).to(web, 8080));
        }
        let dice = &mut self.dice;
        for other in OTHERS.map(ip) {
            diary.note(Flow::udp("tunnel", node, other, 8472));
            diary.note(Flow::udp("tunnel", other, node, 8472));
        }
        diary.note(Flow::tcp("kubelet", ip(MASTER), node, 10250).times(100));
        diary.note(Flow::tcp("node to the interface", node, ip(MASTER), 6443));
        let itself = Flow::tcp("node to the interface", node, ip(CLUSTER_API), 443);
        diary.note(itself.to(ip(MASTER), 6443));
        diary.note(Flow::udp("node's names", node, ip(UPSTREAM), 53));
        let upstream = Flow::udp("names upstream", self.pods.of(NAMES), ip(UPSTREAM), 53);
        diary.note(upstream.hidden_behind(node));
        diary.note(Flow::udp("node's time", node, ip(UPSTREAM), 123).from_port(123));
        diary.note(Flow::tcp("images", node, ip(REGISTRY), 443));
        for _ in 0..between(dice, 1, 4) {
            let layer = self.internet.cloud(dice, 23, day, true);
            diary.note(Flow::tcp("images", node, layer, 443));
        }
        if chance(dice, 60) {
            diary.note(Flow::tcp("administration", ip(ADMIN), node, 22));
        }
        diary.note(Flow::tcp("node's metrics", ip(MASTER), node, 9100).times(1440));
        for _ in 0..150 {
            let port = dice.pick(&[22, 23, 2379, 6443, 10250, 10255]);
            diary.note(Flow::tcp("scan", stranger(dice, true), node, port).unanswered());
        }
        if self.calendar.is_last_of_month(day) {
            let report = Flow::tcp("month-end", self.pods.of(20), ip("198.51.100.231"), 2222);
            diary.note(report.hidden_behind(node));
        }
    }
}

impl Site for Node {
    fn gateway(&self, _: u32) -> Gateway {
        Gateway::parse(GATEWAY)
    }

    fn live(&mut self, day: u32, diary: &mut Diary) {
        self.pods.renew(&mut self.dice);
        self.remote.renew(&mut self.dice);
        diary.hours = (0.0, 24.0);
        self.pods(day, diary);
        self.node(day, diary);
    }

    fn attacks(&mut self, day: u32) -> Vec<Flow> {
        let mut attempts = Attempts::new(self.seed ^ u64::from(day) << 32);
        let pods = self.pods.all();
        let remote = self.remote.all();
        let node = [ip(NODE), ip(BRIDGE)];
        let nodes = [MASTER, OTHERS[0], OTHERS[1]].map(ip);
        let neighbours: Vec<IpAddr> = (60..90).map(|host| nth("192.0.2.", host)).collect();
        attempts.tcp("pod to node", &pods, &node, &[22, 2379, 9100, 10250, 10255]);
        attempts.tcp("pod to other node", &pods, &nodes, &[22, 2379, 10250]);
        attempts.tcp(
            "pod to database pod",
            &self.pods.all()[..8],
            &[self.pods.of(DATABASE)],
            &[22, 3306, 6379],
        );
        attempts.tcp(
            "pod to pod, administration",
            &pods,
            &pods,
            &[22, 23, 445, 3389],
        );
        attempts.tcp(
            "pod to metadata",
            &pods,
            &[ip("169.254.169.254")],
            &[80, 8080],
        );
        attempts.tcp(
            "pod to neighbour",
            &pods,
            &neighbours,
            &[22, 80, 445, 3306, 5432],
        );
        attempts.to_outside("pod out", &pods, &OUTWARD);
        attempts.tcp(
            "neighbour to pod, directly",
            &neighbours,
            &pods,
            &[22, 8080, 8081, 5432],
        );
        attempts.tcp(
            "neighbour to node",
            &neighbours,
            &node[..1],
            &[22, 2379, 9100, 10250, 10255],
        );
        attempts.udp(
            "neighbour into the tunnel",
            &neighbours,
            &node[..1],
            &[8472],
        );
        attempts.tcp(
            "other node's pod to node",
            &remote,
            &node,
            &[22, 9100, 10250],
        );
        attempts.tcp(
            "other node's pod to pod",
            &remote,
            &pods,
            &[22, 445, 5432, 6379],
        );
        attempts.from_outside(
            "outside to node",
            &node[..1],
            &[22, 2379, 6443, 9100, 10250],
        );
        attempts.from_outside("outside to pod, directly", &pods, &[22, 8080, 8081, 5432]);
        let idle: Vec<IpAddr> = (251..255).map(|host| nth("10.244.1.", host)).collect();
        attempts.forged("eth0", &idle, &pods, &[53, 8080, 8081, 5432]);
        attempts.flows()
    }

    fn ideal(&self) -> String {
        include_str!("ideal/node.nft").to_owned()
    }
}
