//! The sockets of a live capture: opened, set up, and read in the way that was asked for or that works.

use std::io;

use netfilter_conntrack::Handle;

use crate::live::options::Reception;
use crate::model::error::Error;
use crate::model::units::{counted, show_bytes};
use crate::os::prefilter::Share;
use crate::os::sysctl::sysctl;
#[cfg(feature = "ebpf")]
use crate::sources::kernel::program::Program;
use crate::sources::method::{Method, Source};
use crate::sources::tuning::{self, Buffer, Settings};
use crate::ui::console::Console;

/// Refuses to start where no event would ever come.
///
/// Errors: events are switched off; the message says how to switch them on.
pub fn refuse_if_events_are_off() -> Result<(), Error> {
    match sysctl("nf_conntrack_events") {
        Some(0) => Err(Error::new(
            "conntrack events are switched off: switch them on with \
             sysctl -w net.netfilter.nf_conntrack_events=1",
        )),
        _ => Ok(()),
    }
}

/// An open socket and how it is read.
#[derive(Debug)]
pub struct Socket {
    /// The C library's handle.
    pub handle: Handle,
    /// Its receive buffer.
    pub buffer: Buffer,
    /// The way it is read.
    pub method: Method,
}

/// Opens and subscribes as many sockets as are asked for, and says what came of it.
///
/// Errors: no privilege, no events in this kernel, or a source that was asked for by name and can't be had.
pub fn open(options: &Reception, console: &Console) -> Result<Vec<Socket>, Error> {
    let unfit = options.unfit_for_kernel;
    let in_kernel =
        options.source == Source::Kernel || (options.source == Source::Auto && unfit.is_none());
    let settings = Settings {
        buffer_bytes: options.buffer,
        buffer_max_bytes: options.buffer_max,
        prefilter: options.prefilter,
        all_namespaces: options.all_netns,
        reliable: options.reliable,
    };
    let mut sockets = Vec::new();
    for index in 0..options.workers {
        let share = Share {
            index,
            of: options.workers,
        };
        let (handle, buffer) =
            tuning::open(&settings, share).map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied if options.all_netns => Error::new(
                    "--all-netns needs CAP_NET_BROADCAST beside CAP_NET_ADMIN: run with sudo",
                ),
                _ => Error::listen(error),
            })?;
        describe(&buffer, options, console);
        let method = match options.source {
            Source::Callback => Method::Callback,
            _ if !in_kernel => {
                let reason = unfit.filter(|_| options.source == Source::Auto);
                let reason =
                    reason.map_or(String::new(), |reason| format!(", because of {reason}"));
                console.detail(&format!("source batch{reason}"));
                Method::Batch
            }
            _ => match load(options, &handle, console) {
                Ok(method) => method,
                Err(reason) if options.source == Source::Kernel => {
                    return Err(Error::new(format!(
                        "--source kernel: {reason}; without --source, batch is used"
                    )));
                }
                Err(reason) => {
                    let text = format!("source batch, since kernel can't be used: {reason}");
                    // It costs more of the processor than is known from elsewhere: no secret. Where the program was
                    // built without, that is how it was wanted.
                    if cfg!(feature = "ebpf") {
                        console.note(&text);
                    } else {
                        console.detail(&text);
                    }
                    Method::Batch
                }
            },
        };
        sockets.push(Socket {
            handle,
            buffer,
            method,
        });
    }
    Ok(sockets)
}

#[cfg(feature = "ebpf")]
fn load(options: &Reception, handle: &Handle, console: &Console) -> Result<Method, String> {
    use crate::sources::kernel::{Kernel, Sizes, records};

    if options.more_than_flows {
        let sizes = records::Sizes::new(options.max_flows);
        let wants = records::Wants {
            exact_ports: options.exact_ports,
            all_protocols: options.all_protocols,
        };
        let kernel = records::Records::attach(handle, sizes, wants)?;
        console.detail(&format!(
            "source kernel: records are kept there, in {} of its memory now, {} at the most",
            show_bytes(taken(kernel.program(), sizes.start_bytes())),
            show_bytes(sizes.max_bytes()),
        ));
        return Ok(Method::Records(Box::new(kernel)));
    }
    let sizes = Sizes::new(options.max_flows, options.buffer);
    let kernel = Kernel::attach(handle, sizes)?;
    console.detail(&format!(
        "source kernel: a ring of {}; {} of kernel memory now, {} at the most",
        show_bytes(sizes.ring_bytes.into()),
        show_bytes(taken(kernel.program(), sizes.start_bytes())),
        show_bytes(sizes.max_bytes()),
    ));
    Ok(Method::Kernel(Box::new(kernel)))
}

/// What a program takes of the kernel's memory: as the kernel tells, or else as it was worked out.
#[cfg(feature = "ebpf")]
fn taken(program: &Program, start_bytes: u64) -> u64 {
    let told = program.memory().ok().and_then(|memory| memory.bytes());
    told.unwrap_or(start_bytes)
}

#[cfg(not(feature = "ebpf"))]
fn load(_: &Reception, _: &Handle, _: &Console) -> Result<Method, String> {
    Err("this program was built without it (cargo feature ebpf)".into())
}

/// Says what receive buffer there is.
fn describe(buffer: &Buffer, options: &Reception, console: &Console) {
    let granted = format!(
        "receive buffer of {} ({})",
        show_bytes(buffer.granted_bytes().into()),
        counted(buffer.granted_events().into(), "event"),
    );
    if buffer.granted_bytes() >= options.buffer {
        console.detail(&granted);
    } else {
        console.note(&format!(
            "{granted} only: a larger one needs CAP_NET_ADMIN in the initial user namespace, or \
             sysctl -w net.core.rmem_max={}",
            // The kernel grants double of what it limits.
            options.buffer.div_ceil(2)
        ));
    }
}
