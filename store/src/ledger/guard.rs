//! Panics of redb become errors, without a word on the terminal.
//!
//! With verified pages redb meets only what it wrote itself, so none is expected; after a crash it reads pages that nobody
//! vouches for.

use super::Unusable;
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

/// An index that can be rebuilt must not take the process down.
pub(super) fn guarded<T>(f: impl FnOnce() -> Result<T, Unusable>) -> Result<T, Unusable> {
    let _guard = Guard::new();
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_| Err(Unusable::Panicked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_silence_ends_with_it() {
        assert!(matches!(guarded::<()>(|| panic!("not to be seen")), Err(Unusable::Panicked)));
        assert_eq!(GUARDED.with(Cell::get), 0);
        let nested = guarded(|| guarded::<u8>(|| panic!("nor this")).or(Ok(3)));
        assert_eq!(nested.ok(), Some(3));
        assert_eq!(GUARDED.with(Cell::get), 0);
        let panicked = std::thread::spawn(|| guarded::<()>(|| panic!("nor that")).is_err()).join();
        assert!(panicked.unwrap());
    }
}
