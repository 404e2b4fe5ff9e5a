//! Compiles the C side of the tests: a probe that knows every bound constant as
//! the C compiler sees it, and a driver that calls back into Rust.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

/// Constants of the kernel that the headers of Debian 12, of Linux 6.1, do not have yet.
const NEWER: [&str; 1] = ["CTA_TIMESTAMP_EVENT"];

fn main() {
    println!("cargo::rerun-if-changed=c");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let bindings = env::var("DEP_NETFILTER_CONNTRACK_BINDINGS")
        .expect("the -sys crate says where its bindings are");
    println!("cargo::rerun-if-changed={bindings}");
    let bindings = fs::read_to_string(bindings).expect("the bindings are there");
    fs::write(out.join("bindings.rs"), &bindings).unwrap();

    // Taken from the bindings themselves, so that none can be forgotten.
    let (mut for_c, mut for_rust) = (String::new(), String::from("&[\n"));
    for line in bindings.lines() {
        let Some(name) = line
            .trim_start()
            .strip_prefix("pub const ")
            .and_then(|rest| rest.split(':').next())
        else {
            continue;
        };
        writeln!(for_c, "X({name})").unwrap();
        writeln!(for_rust, "    (\"{name}\", sys::{name} as i64),").unwrap();
    }
    for_rust.push(']');
    fs::write(out.join("constants.inc"), for_c).unwrap();
    fs::write(out.join("constants.rs"), for_rust).unwrap();

    // Those of the program itself, by the same way.
    let uapi = "../src/netlink/uapi.rs";
    println!("cargo::rerun-if-changed={uapi}");
    let uapi = fs::read_to_string(uapi).expect("the program's constants are there");
    let mut for_c = String::new();
    for line in uapi.lines().filter(|line| line.ends_with(';')) {
        let name = line.trim_start().split(':').next().unwrap_or_default();
        let is_constant = name.starts_with(|first: char| first.is_ascii_uppercase());
        if is_constant && !NEWER.contains(&name) {
            writeln!(for_c, "X({name})").unwrap();
        }
    }
    fs::write(out.join("uapi.inc"), for_c).unwrap();

    let library = pkg_config::Config::new()
        .cargo_metadata(false)
        .probe("libnetfilter_conntrack")
        .unwrap();
    cc::Build::new()
        .files(["c/probe.c", "c/uapi.c", "c/driver.c"])
        .include(&out)
        .includes(library.include_paths)
        .warnings(true)
        .compile("vendor_tests_c");
}
