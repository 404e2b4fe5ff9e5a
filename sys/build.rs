//! Finds the installed libnetfilter_conntrack, and, with the feature `bindgen`, binds the part of its header that the
//! safe wrapper needs. Without it, `src/bindings.rs` is used as it is shipped: the same items, from the header of the
//! oldest release that is accepted.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

/// Oldest release accepted. Every function bound here is older; 1.0.7 (2018) is
/// what Debian 10 ships, and nothing older has been looked at.
const OLDEST_LIBRARY: &str = "1.0.7";

/// Where the library and its header are, as pkg-config tells.
type Library = pkg_config::Library;

/// Every function the wrapper calls, by its full name: a prefix would let the
/// next release of the library widen this crate's interface unseen.
#[cfg(feature = "bindgen")]
const FUNCTIONS: &[&str] = &[
    "nfct_open",
    "nfct_close",
    "nfct_fd",
    "nfct_new",
    "nfct_clone",
    "nfct_destroy",
    "nfct_get_attr",
    "nfct_attr_is_set",
    "nfct_set_attr",
    "nfct_attr_unset",
    "nfct_callback_register",
    "nfct_callback_unregister",
    "nfct_catch",
    "nfct_query",
    "nfct_nlmsg_build",
    "nfct_nlmsg_parse",
    "nfct_filter_create",
    "nfct_filter_destroy",
    "nfct_filter_add_attr",
    "nfct_filter_add_attr_u32",
    "nfct_filter_set_logic",
    "nfct_filter_attach",
    "nfct_filter_detach",
];

/// Types and enums. The `IPS_*` constants are enumerators, so they come with
/// `ip_conntrack_status`; an allowlist of variables would find none of them.
#[cfg(feature = "bindgen")]
const TYPES: &[&str] = &[
    "nf_conntrack_attr",
    "nf_conntrack_msg_type",
    "nf_conntrack_query",
    "ip_conntrack_status",
    "cntl_msg_types",
    "tcp_state",
    "nfct_filter_attr",
    "nfct_filter_logic",
    "nfct_filter_proto",
    "nfct_filter_ipv4",
    "nfct_filter_ipv6",
];

/// Enumerators of the header's anonymous enums, and its macros.
#[cfg(feature = "bindgen")]
const VALUES: &[&str] = &[
    "CONNTRACK",
    "NFCT_CB_FAILURE",
    "NFCT_CB_STOP",
    "NFCT_CB_CONTINUE",
    "NFCT_CB_STOLEN",
    "NFCT_ALL_CT_GROUPS",
    "NF_NETLINK_CONNTRACK_NEW",
    "NF_NETLINK_CONNTRACK_UPDATE",
    "NF_NETLINK_CONNTRACK_DESTROY",
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            // Printed, not panicked: cargo shows a failed build script's
            // standard error, and a backtrace in it helps nobody.
            eprintln!("netfilter-conntrack-sys: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=wrapper.h");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo did not set OUT_DIR")?);

    let library = pkg_config::Config::new()
        .atleast_version(OLDEST_LIBRARY)
        .probe("libnetfilter_conntrack")
        .map_err(|error| {
            format!(
                "libnetfilter_conntrack {OLDEST_LIBRARY} or newer was not found.\n\
                 Debian, Ubuntu: apt-get install libnetfilter-conntrack-dev pkg-config\n\
                 Fedora:         dnf install libnetfilter_conntrack-devel pkgconf\n\
                 \n{error}"
            )
        })?;

    let version = format!(
        "/// Version pkg-config gave for the library at build time.\npub const BUILT_AGAINST: &str = {:?};\n",
        library.version
    );
    fs::write(out.join("version.rs"), version)
        .map_err(|e| format!("cannot write version.rs: {e}"))?;

    let path = bindings(&library, &out)?;
    println!("cargo::rustc-env=CONNTRACK_BINDINGS={}", path.display());
    // Lets the build script of a dependent compare what was generated with the
    // C header (DEP_NETFILTER_CONNTRACK_BINDINGS).
    println!("cargo::metadata=bindings={}", path.display());
    Ok(())
}

/// The bindings that are shipped.
#[cfg(not(feature = "bindgen"))]
fn bindings(_: &Library, _: &Path) -> Result<PathBuf, String> {
    println!("cargo::rerun-if-changed=src/bindings.rs");
    let root = env::var_os("CARGO_MANIFEST_DIR").ok_or("cargo did not set CARGO_MANIFEST_DIR")?;
    Ok(Path::new(&root).join("src/bindings.rs"))
}

/// Bindings of the installed header.
#[cfg(feature = "bindgen")]
fn bindings(library: &Library, out: &Path) -> Result<PathBuf, String> {
    let mut builder = bindgen::Builder::default()
        .header("wrapper.h")
        .clang_args(
            library
                .include_paths
                .iter()
                .map(|dir| format!("-I{}", dir.display())),
        )
        // The functions take pointers to these without looking inside.
        .opaque_type("nf_conntrack")
        .blocklist_type("nlmsghdr")
        .raw_line("pub use libc::nlmsghdr;")
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .generate_comments(false)
        .layout_tests(false)
        .merge_extern_blocks(true)
        .use_core()
        .rust_target(bindgen::RustTarget::stable(85, 0).map_err(|e| e.to_string())?)
        .rust_edition(bindgen::RustEdition::Edition2024);
    for name in FUNCTIONS {
        builder = builder.allowlist_function(name);
    }
    for name in TYPES {
        builder = builder.allowlist_type(name);
    }
    for name in VALUES {
        builder = builder.allowlist_var(name);
    }
    // A missing libclang makes bindgen's loader panic with its own message; the
    // hook turns that into the two lines an administrator can act on.
    std::panic::set_hook(Box::new(|_| {}));
    let generated =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || builder.generate()));
    drop(std::panic::take_hook());
    let bindings = match generated {
        Ok(Ok(bindings)) => bindings,
        Ok(Err(error)) => return Err(format!("bindgen could not read the C header: {error}")),
        Err(panic) => {
            let reason = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("bindgen panicked");
            return Err(format!(
                "bindgen could not start; it needs libclang.\n\
                 Debian, Ubuntu: apt-get install libclang-dev\n\
                 Fedora:         dnf install clang-devel\n\
                 \n{reason}"
            ));
        }
    };
    let path = out.join("bindings.rs");
    bindings
        .write_to_file(&path)
        .map_err(|e| format!("cannot write bindings.rs: {e}"))?;
    Ok(path)
}
