use super::*;

#[test]
fn arrays_of_flows_can_be_turned_in_place() {
    assert_eq!(size_of::<Flow>(), 112);
    assert_eq!(size_of::<listing::Flow>(), 112);
}
