//! Ignores tests whose reference results are missing.

fn main() {
    gstore_reference::set_condition();
}
