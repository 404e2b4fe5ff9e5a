//! The bindings against the C compiler: every constant, and every layout that
//! crosses the border.

use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_int, c_longlong, c_uint};
use std::mem::{align_of, offset_of, size_of};

use netfilter_conntrack_sys as sys;
use vendor_tests as _;

unsafe extern "C" {
    fn probe_constant(name: *const c_char, value: *mut c_longlong) -> c_int;
    fn probe_layout(name: *const c_char, value: *mut c_longlong) -> c_int;
    fn probe_layouts() -> c_uint;
    fn probe_uapi(name: *const c_char, value: *mut c_longlong) -> c_int;
}

/// Name and value of every constant in the bindings, from build.rs.
const CONSTANTS: &[(&str, i64)] = include!(concat!(env!("OUT_DIR"), "/constants.rs"));

fn ask(
    probe: unsafe extern "C" fn(*const c_char, *mut c_longlong) -> c_int,
    name: &str,
) -> Option<i64> {
    let name = CString::new(name).unwrap();
    let mut value = 0;
    // SAFETY: a NUL-terminated name and a place for the value, both alive.
    (unsafe { probe(name.as_ptr(), &mut value) } == 1).then_some(value)
}

#[test]
fn constants_are_those_of_the_header() {
    assert!(
        CONSTANTS.len() > 150,
        "only {} constants bound",
        CONSTANTS.len()
    );
    for &(name, bound) in CONSTANTS {
        assert_eq!(ask(probe_constant, name), Some(bound), "{name}");
    }
}

/// What the program knows of the kernel, by hand or from libc.
#[test]
fn constants_of_the_program_are_those_of_the_kernels_headers() {
    let mut compared = 0;
    for &(name, value, bits) in conntracker::testing::UAPI {
        let Some(header) = ask(probe_uapi, name) else {
            assert_eq!(name, "CTA_TIMESTAMP_EVENT", "newer than the headers");
            continue;
        };
        // C has them as int, also those whose field in a message is smaller.
        let shift = i64::BITS - bits;
        let header = (header as u64) << shift >> shift;
        assert_eq!(header, value as u64, "{name}");
        compared += 1;
    }
    assert!(compared > 100, "only {compared} constants compared");
}

/// Of the header of the oldest release, so that users need no libclang.
const SHIPPED: &str = include_str!("../../sys/src/bindings.rs");
/// Of the header that is installed.
const GENERATED: &str = include_str!(concat!(env!("OUT_DIR"), "/bindings.rs"));

#[test]
fn the_shipped_bindings_fit_the_installed_header() {
    // What is defined, without how it is laid out: other releases of bindgen may write it differently.
    let items = |text: &str| -> BTreeMap<String, String> {
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        flat.split_inclusive([';', '{', '}'])
            .filter_map(|item| item.trim().strip_prefix("pub "))
            .map(|item| {
                let end = item.find([':', '=', '(', '{']).unwrap_or(item.len());
                (item[..end].trim().to_owned(), item.to_owned())
            })
            .collect()
    };
    let (shipped, generated) = (items(SHIPPED), items(GENERATED));
    assert!(shipped.len() > 150, "only {} items", shipped.len());
    // The end of an enumeration moves as later releases add to it.
    let value = |item: &str| {
        let number = item.trim_end_matches(';').rsplit(' ').next();
        number.and_then(|number| number.parse::<u32>().ok())
    };
    for (name, item) in shipped {
        let found = generated.get(&name);
        if name.ends_with("_MAX") {
            assert!(
                found.and_then(|found| value(found)) >= value(&item),
                "{name}: {found:?}"
            );
        } else {
            assert_eq!(found, Some(&item), "{name}");
        }
    }
}

#[test]
fn what_the_wrapper_relies_on_is_bound() {
    let bound: BTreeMap<_, _> = CONSTANTS.iter().copied().collect();
    for name in [
        "IPS_SEEN_REPLY",
        "IPS_ASSURED",
        "ATTR_ORIG_IPV4_SRC",
        "NFCT_T_NEW",
        "NFCT_Q_DUMP",
        "CONNTRACK",
    ] {
        assert!(bound.contains_key(name), "{name}");
    }
}

#[test]
fn layouts_are_those_of_the_header() {
    macro_rules! layouts {
        ($($c:literal = $rust:ty { $($field:ident),* };)*) => {
            vec![$(
                (concat!("size ", $c).to_string(), size_of::<$rust>()),
                (concat!("align ", $c).to_string(), align_of::<$rust>()),
                $((concat!("offset ", $c, ".", stringify!($field)).to_string(), offset_of!($rust, $field)),)*
            )*]
        };
    }
    let mut bound = layouts! {
        "struct nfct_filter_proto" = sys::nfct_filter_proto { proto, state };
        "struct nfct_filter_ipv4" = sys::nfct_filter_ipv4 { addr, mask };
        "struct nfct_filter_ipv6" = sys::nfct_filter_ipv6 { addr, mask };
        "struct nlmsghdr" = sys::nlmsghdr { nlmsg_len, nlmsg_type, nlmsg_flags, nlmsg_seq, nlmsg_pid };
        "enum nf_conntrack_attr" = sys::nf_conntrack_attr {};
        "enum nf_conntrack_msg_type" = sys::nf_conntrack_msg_type {};
        "enum nf_conntrack_query" = sys::nf_conntrack_query {};
        "enum nfct_filter_attr" = sys::nfct_filter_attr {};
        "enum nfct_filter_logic" = sys::nfct_filter_logic {};
    };
    // The message code counts with 4 bytes of struct nfgenmsg, aligned to 2.
    bound.push(("size struct nfgenmsg".into(), 4));
    bound.push(("align struct nfgenmsg".into(), 2));
    for (name, value) in &bound {
        assert_eq!(ask(probe_layout, name), Some(*value as i64), "{name}");
    }
    // SAFETY: no arguments.
    let probed = unsafe { probe_layouts() } as usize;
    assert_eq!(
        probed,
        bound.len(),
        "the probe knows a layout this test does not"
    );
}

#[test]
fn the_library_is_at_least_the_floor() {
    let version: Vec<u32> = sys::BUILT_AGAINST
        .split('.')
        .map(|part| part.parse().unwrap())
        .collect();
    assert!(version >= vec![1, 0, 7], "{}", sys::BUILT_AGAINST);
}
