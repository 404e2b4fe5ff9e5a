//! Classic BPF: the programs of socket filters and of seccomp(2), put together.

/// One classic BPF instruction, as `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// The operation (`BPF_LD | BPF_W | BPF_ABS` and the like).
    pub code: u16,
    /// Instructions to skip if the comparison holds.
    pub jump_true: u8,
    /// Instructions to skip if it does not.
    pub jump_false: u8,
    /// The constant that the operation works with.
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

/// An operation, of its parts in include/uapi/linux/bpf_common.h and filter.h.
const fn operation(parts: &[u32]) -> u16 {
    let (mut code, mut next) = (0, 0);
    while next < parts.len() {
        code |= parts[next] as u16;
        next += 1;
    }
    code
}

/// A becomes the byte at a place.
pub const LD_BYTE: u16 = operation(&[libc::BPF_LD, libc::BPF_B, libc::BPF_ABS]);
/// A becomes the word at a place.
pub const LD_WORD: u16 = operation(&[libc::BPF_LD, libc::BPF_W, libc::BPF_ABS]);
/// A becomes the two bytes at a place.
pub const LD_HALF: u16 = operation(&[libc::BPF_LD, libc::BPF_H, libc::BPF_ABS]);
/// A becomes the two bytes at a place behind X.
pub const LD_HALF_X: u16 = operation(&[libc::BPF_LD, libc::BPF_H, libc::BPF_IND]);
/// X becomes the length of the IPv4 header at a place.
pub const LDX_HEADER: u16 = operation(&[libc::BPF_LDX, libc::BPF_B, libc::BPF_MSH]);
/// A becomes the word at a place behind X.
pub const LD_WORD_X: u16 = operation(&[libc::BPF_LD, libc::BPF_W, libc::BPF_IND]);
/// A becomes the byte at a place behind X.
pub const LD_BYTE_X: u16 = operation(&[libc::BPF_LD, libc::BPF_B, libc::BPF_IND]);
/// A becomes the operand.
pub const LD_IMM: u16 = operation(&[libc::BPF_LD, libc::BPF_IMM]);
/// X becomes the operand.
pub const LDX_IMM: u16 = operation(&[libc::BPF_LDX, libc::BPF_IMM]);
/// X becomes a word of the scratch memory.
pub const LDX_MEM: u16 = operation(&[libc::BPF_LDX, libc::BPF_MEM]);
/// A word of the scratch memory becomes A.
pub const ST: u16 = operation(&[libc::BPF_ST]);
/// Whether A is the operand.
pub const JEQ: u16 = operation(&[libc::BPF_JMP, libc::BPF_JEQ]);
/// Whether A is at least the operand.
pub const JGE: u16 = operation(&[libc::BPF_JMP, libc::BPF_JGE]);
/// Whether A has a bit of the operand.
pub const JSET: u16 = operation(&[libc::BPF_JMP, libc::BPF_JSET]);
/// X becomes A.
pub const TAX: u16 = operation(&[libc::BPF_MISC, libc::BPF_TAX]);
/// A becomes X.
pub const TXA: u16 = operation(&[libc::BPF_MISC, libc::BPF_TXA]);
/// A &= operand.
pub const AND: u16 = operation(&[libc::BPF_ALU, libc::BPF_AND]);
/// A ^= X.
pub const XOR_X: u16 = operation(&[libc::BPF_ALU, libc::BPF_XOR, libc::BPF_X]);
/// A *= operand.
pub const MUL: u16 = operation(&[libc::BPF_ALU, libc::BPF_MUL]);
/// A >>= operand.
pub const RSH: u16 = operation(&[libc::BPF_ALU, libc::BPF_RSH]);
/// A %= operand.
pub const MOD: u16 = operation(&[libc::BPF_ALU, libc::BPF_MOD]);
/// A += operand.
pub const ADD: u16 = operation(&[libc::BPF_ALU, libc::BPF_ADD]);
/// Ends with the operand as the verdict.
pub const RET: u16 = operation(&[libc::BPF_RET]);
/// Operand of [`LD_WORD`]: A becomes the offset of the netlink attribute of type X, searched from A on, or 0.
pub const NLATTR: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_NLATTR) as u32;
/// The same within the nest at A.
pub const NLATTR_NEST: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_NLATTR_NEST) as u32;

/// Operand of [`LD_BYTE`]: A becomes the kind of packet, such as [`PACKET_OTHERHOST`].
pub const PACKET_KIND: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE) as u32;
/// A frame that goes to another host, and was seen since it came by (include/uapi/linux/if_packet.h).
pub const PACKET_OTHERHOST: u32 = 3;

/// Where a jump leads, by name until [`assemble`] counts instructions.
pub type Label = &'static str;

/// A step of a program.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Operation and operand.
    Do(u16, u32),
    /// Comparison, constant, target if it holds, target if not; an empty label falls through.
    If(u16, u32, Label, Label),
    /// The place that a label names.
    At(Label),
}
/// Turns labels into distances.
///
/// Panics: on a label that stands nowhere or too far away: programs are constant but for their
/// operands, so a test sees it.
pub fn assemble(steps: &[Step]) -> Vec<Instruction> {
    let mut labels = Vec::new();
    let mut at = 0_usize;
    for step in steps {
        match step {
            Step::At(label) => labels.push((*label, at)),
            Step::Do(..) | Step::If(..) => at += 1,
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
            Step::At(_) => continue,
            Step::Do(code, operand) => Instruction::plain(code, operand),
            Step::If(code, operand, yes, no) => {
                Instruction::jump(code, operand, distance(yes, from), distance(no, from))
            }
        });
    }
    program
}
