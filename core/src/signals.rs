//! Signals that a program was started to ignore.

/// Does what sets the handlers of SIGINT, SIGTERM and SIGHUP. Those of them that were ignored before are
/// ignored after it too: `nohup` ignores SIGHUP, and a script SIGINT in what it starts in the background.
pub fn keep_ignored_signals<T>(set_handlers: impl FnOnce() -> T) -> T {
    #[cfg(unix)]
    let ignored = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP].map(|signal| (signal, is_ignored(signal)));
    let done = set_handlers();
    #[cfg(unix)]
    for (signal, _) in ignored.into_iter().filter(|(_, is_ignored)| *is_ignored) {
        // SAFETY: a signal that is ignored runs no code of this process, and its memory is not touched.
        unsafe {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
    done
}

#[cfg(unix)]
fn is_ignored(signal: libc::c_int) -> bool {
    // SAFETY: zeros are a `sigaction`: numbers, an empty set and no function. Without a new action the call
    // only writes the present one to `now`, which outlives it.
    let now = unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        (libc::sigaction(signal, std::ptr::null(), &raw mut now) == 0).then_some(now)
    };
    now.is_some_and(|now| now.sa_sigaction == libc::SIG_IGN)
}
