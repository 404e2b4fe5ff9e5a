//! The user namespace of this process (user_namespaces(7)), whose capabilities hold for what belongs to it alone.

use std::fs;

/// Whether it is the initial one, so that capabilities are those of the machine. Without procfs it is taken for that.
pub fn is_initial() -> bool {
    maps_all(&fs::read_to_string("/proc/self/uid_map").unwrap_or_default())
}

/// Whether all numbers are mapped to themselves. No file: a kernel without user namespaces.
fn maps_all(uid_map: &str) -> bool {
    let fields: Vec<&str> = uid_map.split_whitespace().collect();
    fields.is_empty() || fields == ["0", "0", "4294967295"]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_initial_one_maps_all_numbers_to_themselves() {
        assert!(maps_all("         0          0 4294967295\n"));
        assert!(!maps_all("         0       1000          1\n"));
        assert!(maps_all(""));
    }
}
