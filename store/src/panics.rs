//! Panics of a library that reads bytes from outside, kept from ending the process and off the terminal.
//!
//! The first use puts a panic hook in front of the process's own, for good; it is silent only on a thread
//! that is inside [`caught`], and hands every other panic on.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static GUARDED: Cell<u32> = const { Cell::new(0) };
}

static HOOK: Once = Once::new();

struct Guard;

impl Guard {
    fn new() -> Guard {
        // While a panic is under way the hook cannot be changed; that panic was reported already.
        if !std::thread::panicking() {
            HOOK.call_once(|| {
                let other = take_hook();
                set_hook(Box::new(move |info| {
                    if GUARDED.try_with(Cell::get).unwrap_or(0) == 0 {
                        other(info);
                    }
                }));
            });
        }
        GUARDED.with(|n| n.set(n.get() + 1));
        Guard
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        GUARDED.with(|n| n.set(n.get().saturating_sub(1)));
    }
}

/// The result of `f`; `None` where it panicked. Nothing is printed, and no backtrace is taken.
///
/// For calls into a library that takes bytes from outside on trust, where the caller has its own message. `f`
/// must leave nothing half-changed that is used afterwards.
pub fn caught<T>(f: impl FnOnce() -> T) -> Option<T> {
    let _guard = Guard::new();
    catch_unwind(AssertUnwindSafe(f)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_none_and_silence_ends_with_it() {
        assert_eq!(caught::<()>(|| panic!("not to be seen")), None);
        assert_eq!(GUARDED.with(Cell::get), 0);
        assert_eq!(caught(|| caught::<u8>(|| panic!("nor this")).unwrap_or(3)), Some(3));
        assert_eq!(GUARDED.with(Cell::get), 0);
        let panicked = std::thread::spawn(|| caught::<()>(|| panic!("nor that")).is_none()).join();
        assert!(panicked.unwrap());
    }
}
