//! Compiles the BPF programs (feature `ebpf`) with clang: those of the `kernel` source, and the one that counts what is dropped.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

const FOLDER: &str = "src/bpf";
const PROGRAMS: [&str; 3] = ["dedup", "records", "drops"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={FOLDER}");
    println!("cargo::rerun-if-env-changed=CLANG");
    if env::var_os("CARGO_FEATURE_EBPF").is_none() {
        return;
    }
    for program in PROGRAMS {
        compile(program);
    }
}

fn compile(program: &str) {
    let folder = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let out = folder.join(format!("{program}.bpf.o"));
    let endian = match env::var("CARGO_CFG_TARGET_ENDIAN").as_deref() {
        Ok("big") => "bpfeb",
        _ => "bpfel",
    };
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".into());
    let result = Command::new(&clang)
        // -g: the maps are declared as BTF types.
        .args(["-O2", "-g", "-Wall", "-Werror", "-target", endian])
        // v2 has no 32-bit registers. Where there are some, clang spills one now by four bytes and now by eight
        // into one slot of the stack, which Linux 5.10 to 6.1 refuse without CAP_PERFMON.
        .arg("-mcpu=v2")
        // For the same reason no two things share a slot.
        .args(["-mllvm", "-no-stack-coloring"])
        .args(["-mllvm", "-no-stack-slot-sharing"])
        .args(asm_headers().map(|folder| format!("-I{}", folder.display())))
        .arg("-c")
        .arg(format!("{FOLDER}/{program}.bpf.c"))
        .arg("-o")
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

/// Where <asm/types.h> is. Debian keeps it with the architecture, which the BPF target is none of. Which one is no
/// matter to what the program takes of it; that of the machine that builds is there also where another one's
/// program is built.
fn asm_headers() -> Option<PathBuf> {
    let include = Path::new("/usr/include");
    let has_it = |folder: &Path| folder.join("asm/types.h").exists();
    if has_it(include) {
        return None;
    }
    let folders = fs::read_dir(include).ok()?;
    let folders = folders.filter_map(|entry| Some(entry.ok()?.path()));
    folders.filter(|folder| has_it(folder)).min()
}
