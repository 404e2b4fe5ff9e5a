use super::*;
use crate::netlink::uapi::{
    NFTA_CT_KEY, NFTA_DYNSET_EXPR, NFTA_EXPR_DATA, NFTA_EXPR_NAME, NFTA_FLOWTABLE_FLAGS,
    NFTA_FLOWTABLE_NAME, NFTA_FLOWTABLE_TABLE, NFTA_MATCH_NAME, NFTA_NAT_TYPE, NFTA_OBJ_NAME,
    NFTA_OBJ_TABLE, NFTA_OBJ_TYPE, NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS, NFTA_RULE_TABLE,
    NFTA_TARGET_INFO,
};

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = (4 + value.len() as u16).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn rule(expressions: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let list: Vec<u8> = expressions
        .iter()
        .flat_map(|(name, data)| {
            let name = attribute(NFTA_EXPR_NAME, format!("{name}\0").as_bytes());
            attribute(1, &[name, attribute(NFTA_EXPR_DATA, data)].concat())
        })
        .collect();
    [
        attribute(NFTA_RULE_TABLE, b"filter\0"),
        attribute(NFTA_RULE_CHAIN, b"forward\0"),
        attribute(NFTA_RULE_EXPRESSIONS, &list),
    ]
    .concat()
}

fn described(family: u8, expressions: &[(&str, Vec<u8>)]) -> Option<String> {
    need(family, &rule(expressions)).map(|need| need.to_string())
}

#[test]
fn rules_are_named_as_nft_writes_them() {
    let state = attribute(NFTA_CT_KEY, &0_u32.to_be_bytes());
    let both = [("meta", vec![]), ("ct", state)];
    assert_eq!(
        described(1, &both).as_deref(),
        Some("table inet filter, chain forward: ct state")
    );
    let snat = attribute(NFTA_NAT_TYPE, &0_u32.to_be_bytes());
    assert_eq!(
        described(2, &[("nat", snat)]).as_deref(),
        Some("table ip filter, chain forward: snat")
    );
    assert_eq!(described(1, &[("meta", vec![]), ("cmp", vec![])]), None);
    assert_eq!(described(1, &[("notrack", vec![])]), None);
    let exempt = |expressions: &[(&str, Vec<u8>)]| exempt(1, &rule(expressions));
    assert_eq!(
        exempt(&[("meta", vec![]), ("notrack", vec![])]).as_deref(),
        Some("table inet filter, chain forward: notrack")
    );
    assert_eq!(exempt(&[("meta", vec![])]), None);
}

#[test]
fn a_rule_of_one_family_tracks_that_one() {
    let need = |family| need(family, &rule(&[("masq", vec![])])).unwrap();
    assert_eq!((need(1).ipv4, need(1).ipv6), (true, true));
    assert_eq!((need(2).ipv4, need(2).ipv6), (true, false));
    assert_eq!((need(10).ipv4, need(10).ipv6), (false, true));
}

#[test]
fn rules_of_iptables_nft_are_known() {
    let of = |name: &str| attribute(NFTA_MATCH_NAME, format!("{name}\0").as_bytes());
    let target = |flags: u16| {
        let info = attribute(NFTA_TARGET_INFO, &flags.to_ne_bytes());
        [of("CT"), info].concat()
    };
    let told = |expression, data| described(2, &[(expression, data)]);
    assert!(
        told("match", of("conntrack"))
            .unwrap()
            .ends_with(": -m conntrack")
    );
    assert!(told("target", target(0)).unwrap().ends_with(": -j CT"));
    assert_eq!(told("target", target(1)), None);
    assert_eq!(told("match", of("comment")), None);
}

#[test]
fn objects_and_elements_of_sets_count_too() {
    let object_of = |kind: u32| {
        let bytes = [
            attribute(NFTA_OBJ_TABLE, b"filter\0"),
            attribute(NFTA_OBJ_NAME, b"slow\0"),
            attribute(NFTA_OBJ_TYPE, &kind.to_be_bytes()),
        ];
        object(2, &bytes.concat()).map(|need| need.to_string())
    };
    assert_eq!(
        object_of(7).as_deref(),
        Some("table ip filter: ct timeout slow")
    );
    assert_eq!(object_of(1), None);
    let of = |name: &[u8]| {
        let inner = attribute(NFTA_EXPR_NAME, name);
        described(1, &[("dynset", attribute(NFTA_DYNSET_EXPR, &inner))])
    };
    assert!(of(b"connlimit\0").unwrap().ends_with(": ct count"));
    assert_eq!(of(b"counter\0"), None);
    assert_eq!(of(b"dynset\0"), None);
}

#[test]
fn flowtables_are_read() {
    let bytes = [
        attribute(NFTA_FLOWTABLE_TABLE, b"filter\0"),
        attribute(NFTA_FLOWTABLE_NAME, b"fast\0"),
        attribute(NFTA_FLOWTABLE_FLAGS, &1_u32.to_be_bytes()),
    ];
    let expected = Flowtable {
        place: "table inet filter, flowtable fast".into(),
        hardware: true,
    };
    assert_eq!(flowtable(1, &bytes.concat()), Some(expected));
    assert_eq!(flowtable(1, &[]), None);
}
