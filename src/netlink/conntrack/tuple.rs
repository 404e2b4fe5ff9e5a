//! Tuples of connections in what is asked of ctnetlink.

use std::net::{IpAddr, SocketAddr};

use crate::model::record::Protocol;
use crate::netlink::build::Body;
use crate::netlink::uapi::{
    CTA_IP_V4_DST, CTA_IP_V4_SRC, CTA_IP_V6_DST, CTA_IP_V6_SRC, CTA_PROTO_DST_PORT, CTA_PROTO_NUM,
    CTA_PROTO_SRC_PORT, CTA_TUPLE_IP, CTA_TUPLE_PROTO,
};

/// Appends the tuple of a connection with ports as an attribute of this kind.
pub fn append_tuple(
    body: &mut Body<'_>,
    kind: u16,
    protocol: Protocol,
    [source, destination]: [SocketAddr; 2],
) {
    body.nest(kind, |body| {
        body.nest(CTA_TUPLE_IP, |body| {
            append_address(body, source.ip(), [CTA_IP_V4_SRC, CTA_IP_V6_SRC]);
            append_address(body, destination.ip(), [CTA_IP_V4_DST, CTA_IP_V6_DST]);
        });
        body.nest(CTA_TUPLE_PROTO, |body| {
            body.attribute(CTA_PROTO_NUM, &[protocol.0]);
            body.attribute(CTA_PROTO_SRC_PORT, &source.port().to_be_bytes());
            body.attribute(CTA_PROTO_DST_PORT, &destination.port().to_be_bytes());
        });
    });
}

fn append_address(body: &mut Body<'_>, address: IpAddr, [v4, v6]: [u16; 2]) {
    match address {
        IpAddr::V4(address) => body.attribute(v4, &address.octets()),
        IpAddr::V6(address) => body.attribute(v6, &address.octets()),
    }
}
