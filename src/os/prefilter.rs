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

/// One classic BPF instruction, as `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip if the comparison holds.
    pub jump_true: u8,
    /// Instructions to skip if it does not.
    pub jump_false: u8,
    /// Constant operand.
    pub operand: u32,
}

impl Instruction {
    /// An instruction without a jump.
    pub const fn plain(code: u16, operand: u32) -> Self {
        Self::jump(code, operand, 0, 0)
    }

    /// A comparison, with the instructions to skip if it holds and if it does not.
    pub const fn jump(code: u16, operand: u32, jump_true: u8, jump_false: u8) -> Self {
        Self {
            code,
            jump_true,
            jump_false,
            operand,
        }
    }
}

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

// Opcodes of include/uapi/linux/bpf_common.h and filter.h.
const LD_BYTE: u16 = 0x30;
const LD_WORD: u16 = 0x20;
const LD_WORD_X: u16 = 0x40;
const LD_BYTE_X: u16 = 0x50;
const LD_IMM: u16 = 0x00;
const LDX_IMM: u16 = 0x01;
const LDX_MEM: u16 = 0x61;
const ST: u16 = 0x02;
const JEQ: u16 = 0x15;
const TAX: u16 = 0x07;
const TXA: u16 = 0x87;
const XOR_X: u16 = 0xac;
const MUL: u16 = 0x24;
const RSH: u16 = 0x74;
const MOD: u16 = 0x94;
const ADD: u16 = 0x04;
const RET: u16 = 0x06;
/// `SKF_AD_OFF + SKF_AD_NLATTR`: A becomes the offset of the attribute of type X, searched from A on.
const NLATTR: u32 = (-0x1000_i32 + 12) as u32;
/// The same within the nest at A.
const NLATTR_NEST: u32 = (-0x1000_i32 + 16) as u32;

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE`.
const CT_DELETE: u16 = 0x0102;

const ACCEPT: u32 = u32::MAX;
const DROP: u32 = 0;

/// Where a jump leads, by name until [`assemble`] counts instructions.
type Label = &'static str;

enum Step {
    Do(u16, u32),
    /// Comparison, constant, target if it holds, target if not; an empty label falls through.
    If(u16, u32, Label, Label),
    At(Label),
}
use Step::{At, Do, If};

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

/// Turns labels into distances.
///
/// Panics: on a label that stands nowhere or too far away: the programs above are constant but for their
/// operands, so a test sees it.
fn assemble(steps: &[Step]) -> Vec<Instruction> {
    let mut labels = Vec::new();
    let mut at = 0_usize;
    for step in steps {
        match step {
            At(label) => labels.push((*label, at)),
            Do(..) | If(..) => at += 1,
        }
    }
    let distance = |label: &str, from: usize| -> u8 {
        if label.is_empty() {
            return 0;
        }
        labels
            .iter()
            .find(|(name, _)| *name == label)
            .and_then(|(_, to)| to.checked_sub(from + 1))
            .and_then(|distance| u8::try_from(distance).ok())
            .unwrap_or_else(|| panic!("label {label} is not within reach"))
    };
    let mut program = Vec::new();
    for step in steps {
        let from = program.len();
        program.push(match *step {
            At(_) => continue,
            Do(code, operand) => Instruction::plain(code, operand),
            If(code, operand, yes, no) => {
                Instruction::jump(code, operand, distance(yes, from), distance(no, from))
            }
        });
    }
    program
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
