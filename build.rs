//! Compiles the BPF program of the `kernel` source (feature `ebpf`) with clang.

use std::env;
use std::path::PathBuf;
use std::process::{Command, exit};

const SOURCE: &str = "src/bpf/dedup.bpf.c";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-env-changed=CLANG");
    if env::var_os("CARGO_FEATURE_EBPF").is_none() {
        return;
    }
    let out =
        PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("dedup.bpf.o");
    let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets CARGO_CFG_TARGET_ARCH");
    let endian = match env::var("CARGO_CFG_TARGET_ENDIAN").as_deref() {
        Ok("big") => "bpfeb",
        _ => "bpfel",
    };
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".into());
    let result = Command::new(&clang)
        // -g: the maps are declared as BTF types. v3 has 32-bit jumps and is known from Linux 5.1 on.
        .args([
            "-O2", "-g", "-Wall", "-Werror", "-mcpu=v3", "-target", endian,
        ])
        // Debian keeps <asm/types.h> with the architecture, which the BPF target is none of.
        .arg(format!("-I/usr/include/{arch}-linux-gnu"))
        .args(["-c", SOURCE, "-o"])
        .arg(&out)
        .output();
    let reason = match result {
        Ok(output) if output.status.success() => return,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => format!("{clang}: {error}"),
    };
    for line in reason.lines() {
        println!("cargo::warning={line}");
    }
    println!(
        "cargo::error=the BPF program can't be compiled. Install clang and libbpf's headers (Debian, \
         Ubuntu: apt install clang libbpf-dev; Fedora: dnf install clang libbpf-devel), or build without \
         the kernel source: cargo build --release --no-default-features"
    );
    exit(1);
}
