//! Compiles the C side of the tests: a probe that knows every bound constant as
//! the C compiler sees it, and a driver that calls back into Rust.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

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

    let library = pkg_config::Config::new()
        .cargo_metadata(false)
        .probe("libnetfilter_conntrack")
        .unwrap();
    cc::Build::new()
        .files(["c/probe.c", "c/driver.c"])
        .include(&out)
        .includes(library.include_paths)
        .warnings(true)
        .compile("vendor_tests_c");
}
