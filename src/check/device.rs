//! Names of devices, which captures of strangers may have made up.

use crate::model::capture::Capture;
use crate::model::error::Error;

/// Whether a device can have this name. Less than the kernel takes (`dev_valid_name` of net/core/dev.c, Linux 6.18):
/// only what ip(8) takes for one word, and no `%`, which would have the kernel count (`__dev_alloc_name`).
pub fn is_device_name(name: &str) -> bool {
    // IFNAMSIZ of include/uapi/linux/if.h, with the 0 at its end.
    (1..16).contains(&name.len())
        && ![".", ".."].contains(&name)
        && !name.starts_with('-')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"/:%\\\"'#*?;$`&|<>(){}[]!".contains(&byte))
}

/// Refuses captures that name devices which there can't be.
///
/// Errors: the name.
pub fn refuse_odd_names(captures: &[Capture]) -> Result<(), Error> {
    let interfaces = captures.iter().flat_map(|capture| &capture.interfaces);
    let routes = captures.iter().flat_map(|capture| &capture.routes);
    let names = interfaces.map(|interface| &interface.name);
    let mut names = names.chain(routes.map(|route| &route.interface));
    match names.find(|name| !is_device_name(name)) {
        None => Ok(()),
        Some(name) => Err(Error::new(format!(
            "a capture names the interface {name:?}, which can't be the name of a device: take it out of the \
             capture's first line"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::capture::Route;

    #[test]
    fn names_that_would_be_more_than_a_name_are_refused() {
        for name in [
            "eth0",
            "br-lan",
            "wlan0.100",
            "veth_a@b",
            "tun0",
            "dev",
            "ppp+1",
        ] {
            assert!(is_device_name(name), "{name}");
        }
        for name in [
            "",
            "..",
            "a b",
            "a\nlink del eth0",
            "eth%d",
            "a/b",
            "-6",
            "a#b",
            "\"a",
            "a\\",
            "a\u{1b}[2J",
            "sixteen-letters-",
            "\u{e9}th0",
        ] {
            assert!(!is_device_name(name), "{name:?}");
            let route = Route {
                destination: "0.0.0.0/0".parse().unwrap(),
                gateway: None,
                interface: name.to_owned(),
            };
            let capture = Capture {
                routes: vec![route],
                ..Capture::default()
            };
            let said = refuse_odd_names(&[capture]).unwrap_err().to_string();
            assert!(!said.contains('\u{1b}') && !said.contains('\n'), "{said}");
        }
    }
}
