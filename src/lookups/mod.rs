//! Names that clients asked a name server for, learnt from questions and answers of DNS that pass this host.
//!
//! ```text
//!  listener  an AF_PACKET socket whose filter lets UDP of port 53 pass
//!  packet    the IP and UDP headers around a message
//!  dns       the message: what was asked, and the addresses that the answer gives
//!  book      which name led which client to which address, and when
//! ```
//!
//! A name counts for the client that asked for it and for no other, and an answer counts if its question was seen before.
//!
//! May import: `model`, `os`.

pub mod book;
pub mod dns;
pub mod listener;
pub mod packet;
