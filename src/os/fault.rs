//! Places at which a build for tests can be made to fail: `CONNTRACKER_FAULT=receive` has the thread that receives
//! panic. Nothing of it is in a release build.

/// Panics here if the environment names this place.
///
/// Panics: that is what it is for.
pub fn point(place: &str) {
    if cfg!(debug_assertions) && std::env::var_os("CONNTRACKER_FAULT").is_some_and(|it| it == place)
    {
        panic!("asked to fail at {place}");
    }
}
