//! Socket filters that drop in the kernel what cannot change the list, and that share the flows out
//! between several sockets.
//!
//! A netlink multicast runs a socket's filter before it charges its buffer (`do_one_broadcast`,
//! net/netlink/af_netlink.c, Linux 6.18), so a dropped event costs neither buffer nor a wake-up. The
//! programs are classic BPF and find attributes with the kernel's own `SKF_AD_NLATTR` helpers
//! (net/core/filter.c), so they don't depend on the order of attributes. Whatever they don't
//! recognise is let through: the decoder decides. The exception is a message whose attributes are
//! shorter than they must be, which no kernel sends: a load beyond its end drops it.
//!
//! A TCP connection's later updates are not dropped here. They repeat what its first reply has said
//! already, but only if that reply was heard: the update of a connection older than the capture may be
//! what confirms a flow that it shares with newer ones. To know that takes the memory that the `kernel`
//! source has.

use super::classic_bpf::Step::{self, At, Do, If};
use super::classic_bpf::{
    ADD, Instruction, JEQ, LD_BYTE, LD_BYTE_X, LD_IMM, LD_WORD, LD_WORD_X, LDX_IMM, LDX_MEM, MOD,
    MUL, NLATTR, NLATTR_NEST, RET, RSH, ST, TAX, TXA, XOR_X, assemble,
};
use crate::netlink::uapi::{IPCTNL_MSG_CT_DELETE, NFNL_SUBSYS_CTNETLINK, message_type};

/// Which share of the flows a socket takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// This socket's number, from 0.
    pub index: u32,
    /// Number of sockets.
    pub of: u32,
}

impl Share {
    /// The one socket there is.
    pub const ALL: Self = Self { index: 0, of: 1 };
}

/// The end of an entry.
const CT_DELETE: u16 = message_type(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE);

const ACCEPT: u32 = u32::MAX;
const DROP: u32 = 0;

/// A filter that drops everything. Attached when the capture ends: what is queued then can be read to
/// its end, however fast events still come.
pub fn nothing() -> Vec<Instruction> {
    assemble(&[Do(RET, DROP)])
}

/// A filter that lets pass the ends of entries alone (`IPCTNL_MSG_CT_DELETE`).
pub fn only_ends() -> Vec<Instruction> {
    // `nlmsg_type` is in host order, and a filter loads bytes in network order.
    let [upper, lower] = CT_DELETE.to_ne_bytes().map(u32::from);
    assemble(&[
        Do(LD_BYTE, 4),
        If(JEQ, upper, "", "drop"),
        Do(LD_BYTE, 5),
        If(JEQ, lower, "end", "drop"),
        At("end"),
        Do(RET, ACCEPT),
        At("drop"),
        Do(RET, DROP),
    ])
}

/// The filter for one socket: its share of the flows and, if `drops_updates`, without the events that cannot
/// change the list. `None` if every event is wanted.
pub fn filter(drops_updates: bool, share: Share) -> Option<Vec<Instruction>> {
    if !drops_updates && share.of <= 1 {
        return None;
    }
    let mut steps = Vec::new();
    // Byte 5 is the upper byte of nlmsg_type on little-endian hosts: the netfilter subsystem. On others
    // nothing matches, and all goes to the first socket.
    steps.extend([Do(LD_BYTE, 5), If(JEQ, 1, "", "odd"), Do(LD_BYTE, 16)]);
    steps.extend(if drops_updates {
        [If(JEQ, 2, "tuple", ""), If(JEQ, 10, "tuple", "drop")]
    } else {
        [If(JEQ, 2, "tuple", ""), If(JEQ, 10, "tuple", "odd")]
    });
    // CTA_TUPLE_ORIG, kept in M[0].
    steps.extend([
        At("tuple"),
        Do(LD_IMM, 20),
        Do(LDX_IMM, 1),
        Do(LD_WORD, NLATTR),
        If(JEQ, 0, "odd", ""),
        Do(ST, 0),
    ]);
    if drops_updates {
        update_steps(&mut steps);
    }
    if share.of > 1 {
        share_steps(&mut steps, share);
    } else {
        steps.push(Do(RET, ACCEPT));
    }
    steps.extend([At("drop"), Do(RET, DROP)]);
    // What has an unexpected shape is one socket's to read, never nobody's.
    let odd = if share.index == 0 { ACCEPT } else { DROP };
    steps.extend([At("odd"), Do(RET, odd)]);
    Some(assemble(&steps))
}

/// Falls through for what can change the list; jumps to "drop" for what can't.
fn update_steps(steps: &mut Vec<Step>) {
    // CTA_TUPLE_PROTO and in it CTA_PROTO_NUM.
    steps.extend([
        Do(LDX_IMM, 2),
        Do(LD_WORD, NLATTR_NEST),
        If(JEQ, 0, "odd", ""),
        Do(LDX_IMM, 1),
        Do(LD_WORD, NLATTR_NEST),
        If(JEQ, 0, "odd", ""),
        Do(TAX, 0),
        Do(LD_BYTE_X, 4),
        If(JEQ, 6, "wanted", ""),
        If(JEQ, 17, "wanted", ""),
        If(JEQ, 1, "icmp", ""),
        If(JEQ, 58, "icmpv6", "drop"),
        At("icmp"),
        Do(LD_BYTE, 16),
        If(JEQ, 2, "wanted", "drop"),
        At("icmpv6"),
        Do(LD_BYTE, 16),
        If(JEQ, 10, "wanted", "drop"),
        At("wanted"),
    ]);
}

/// Accepts the flows whose addresses hash to this share. Only addresses are hashed: the connections
/// that the list folds into one flow, and both directions of their events, go to one socket, in order.
fn share_steps(steps: &mut Vec<Step>, share: Share) {
    steps.extend([
        Do(LDX_MEM, 0),
        Do(TXA, 0),
        Do(LDX_IMM, 1),
        Do(LD_WORD, NLATTR_NEST),
        If(JEQ, 0, "odd", ""),
        Do(ADD, 4),
        Do(ST, 1),
        Do(LD_BYTE, 16),
        If(JEQ, 2, "v4", "v6"),
    ]);
    // The address nest as the kernel writes it: source, destination, each behind 4 bytes of header.
    let mix = |words: &[u32]| {
        let mut mixed = vec![Do(LD_IMM, 0), Do(ST, 2)];
        for &word in words {
            mixed.extend([
                Do(LDX_MEM, 1),
                Do(LD_WORD_X, word),
                Do(LDX_MEM, 2),
                Do(XOR_X, 0),
                Do(MUL, 0x9e37_79b1),
                Do(ST, 2),
            ]);
        }
        mixed
    };
    steps.push(At("v4"));
    steps.extend(mix(&[4, 12]));
    steps.extend([
        Do(RSH, 16),
        Do(MOD, share.of),
        If(JEQ, share.index, "mine", "drop"),
    ]);
    steps.push(At("v6"));
    steps.extend(mix(&[4, 8, 12, 16, 24, 28, 32, 36]));
    steps.extend([
        Do(RSH, 16),
        Do(MOD, share.of),
        If(JEQ, share.index, "mine", "drop"),
    ]);
    steps.extend([At("mine"), Do(RET, ACCEPT)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_assembles() {
        for drops_updates in [false, true] {
            for of in 1..=8 {
                for index in 0..of {
                    let wanted = drops_updates || of > 1;
                    assert_eq!(filter(drops_updates, Share { index, of }).is_some(), wanted);
                }
            }
        }
    }
}
