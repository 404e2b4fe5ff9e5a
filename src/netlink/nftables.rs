//! Requests to nf_tables, which the kernel carries out together or not at all.
//!
//! Layouts: `include/uapi/linux/netfilter/nf_tables.h`; `nfnetlink_rcv_batch` of net/netfilter/nfnetlink.c.

use std::io;
use std::os::fd::AsFd;

use super::build::{Body, netfilter_message};
use super::request;
use super::uapi::{
    NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, NFNL_SUBSYS_NFTABLES, NFPROTO_INET, NFT_CMP_NEQ,
    NFT_CT_STATE, NFT_MSG_NEWCHAIN, NFT_REG_1, NFTA_DATA_VALUE, NLM_F_ACK, NLM_F_CREATE,
    NLM_F_REQUEST,
};

/// Messages that the kernel carries out as one transaction.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    requests: usize,
}

impl Batch {
    /// A transaction of what `write` asks for.
    pub fn new(write: impl FnOnce(&mut Self)) -> Self {
        let mut batch = Self::default();
        batch.begin();
        write(&mut batch);
        batch.end();
        batch
    }

    /// Has the kernel carry it out.
    ///
    /// Errors: the kernel's, which then has done nothing of it.
    pub fn transact(&self, socket: impl AsFd) -> io::Result<()> {
        request::transact(socket, &self.bytes, self.requests)
    }

    fn begin(&mut self) {
        let control = NFNL_SUBSYS_NFTABLES;
        self.message(NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, 0, control, |_| {});
    }

    fn end(&mut self) {
        let control = NFNL_SUBSYS_NFTABLES;
        self.message(NFNL_MSG_BATCH_END, NLM_F_REQUEST, 0, control, |_| {});
    }

    /// A request that is to be answered: the message's number in nf_tables, and its attributes.
    pub fn request(&mut self, kind: u16, flags: u16, write: impl FnOnce(&mut Body<'_>)) {
        self.requests += 1;
        let flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        self.message(
            NFNL_SUBSYS_NFTABLES << 8 | kind,
            flags,
            NFPROTO_INET,
            0,
            write,
        );
    }

    /// Has a chain made that the kernel calls at a hook (`NF_INET_PRE_ROUTING` and so on); lower priorities come first.
    pub fn base_chain(&mut self, table: &str, chain: &str, hook: u32, priority: i32) {
        self.request(NFT_MSG_NEWCHAIN, NLM_F_CREATE, |body| {
            body.text(1, table);
            body.text(3, chain);
            body.nest(4, |body| {
                body.word_be(1, hook);
                body.attribute(2, &priority.to_be_bytes());
            });
            body.text(7, "filter");
        });
    }

    fn message(
        &mut self,
        kind: u16,
        flags: u16,
        family: u8,
        resource: u16,
        write: impl FnOnce(&mut Body<'_>),
    ) {
        netfilter_message(&mut self.bytes, kind, flags, family, resource, write);
    }
}

/// An expression of a rule, with its attributes.
pub fn expression(body: &mut Body<'_>, name: &str, write: impl FnOnce(&mut Body<'_>)) {
    body.nest(1, |body| {
        body.text(1, name);
        body.nest(2, write);
    });
}

/// `NF_CT_STATE_BIT(IP_CT_NEW)` of `nf_conntrack_common.h`, compared in host order.
const CT_STATE_NEW: u32 = 8;

/// The expressions of `ct state new`, by way of the first register: whatever follows is for packets that begin a connection.
pub fn ct_state_new(body: &mut Body<'_>) {
    expression(body, "ct", |body| {
        body.word_be(1, NFT_REG_1);
        body.word_be(2, NFT_CT_STATE);
    });
    expression(body, "bitwise", |body| {
        body.word_be(1, NFT_REG_1);
        body.word_be(2, NFT_REG_1);
        body.word_be(3, size_of::<u32>() as u32);
        body.nest(4, |body| body.attribute(1, &CT_STATE_NEW.to_ne_bytes()));
        body.nest(5, |body| body.attribute(1, &0_u32.to_ne_bytes()));
    });
    compare(body, NFT_REG_1, NFT_CMP_NEQ, &0_u32.to_ne_bytes());
}

/// Breaks off unless the value of a register compares so with another one.
pub fn compare(body: &mut Body<'_>, register: u32, operation: u32, value: &[u8]) {
    expression(body, "cmp", |body| {
        body.word_be(1, register);
        body.word_be(2, operation);
        body.nest(3, |body| body.attribute(NFTA_DATA_VALUE, value));
    });
}
