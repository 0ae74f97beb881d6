//! A terminal that runs a program, for tests of what people see.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A pseudo-terminal and what runs in it.
pub struct Terminal {
    master: std::fs::File,
    child: Child,
    shown: Arc<Mutex<Vec<u8>>>,
    /// Characters of what was shown that have been looked at.
    seen: usize,
}

impl Terminal {
    /// Runs a command in a terminal of this size; none where the machine has no `setsid`, which makes the
    /// terminal that of the command.
    pub fn run(command: &Command, columns: u16, rows: u16) -> Option<Self> {
        if !["/usr/bin/setsid", "/bin/setsid"].iter().any(|path| std::path::Path::new(path).exists()) {
            eprintln!("skipped: there is no setsid");
            return None;
        }
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("a pseudo-terminal");
        grantpt(&master).expect("granted");
        unlockpt(&master).expect("unlocked");
        let name = ptsname(&master, Vec::new()).expect("a name").into_string().expect("a path");
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).expect("a size");
        let end = || {
            let file = fs_err::OpenOptions::new().read(true).write(true).open(&name).expect("the other end");
            Stdio::from(file.into_file())
        };
        let mut inner = Command::new("setsid");
        // A shell gives these signals to what it starts in a terminal, also where the tests ignore them.
        inner.args(["--ctty", "--wait", "env", "--default-signal=HUP,INT"]);
        inner.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inner.env(name, value),
                None => inner.env_remove(name),
            };
        }
        inner.current_dir(command.get_current_dir().expect("a folder"));
        inner.env("TERM", "xterm").env("NO_COLOR", "1").env_remove("COLUMNS").env_remove("LINES");
        let child = inner.stdin(end()).stdout(end()).stderr(end()).spawn().expect("it runs");
        let master = std::fs::File::from(master);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, kept) = (master.try_clone().expect("another end"), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The end of the last process in the terminal is an error here.
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                kept.lock().expect("no panic").extend_from_slice(&bytes[..count]);
            }
        });
        Some(Self { master, child, shown, seen: 0 })
    }

    /// Changes the size.
    pub fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.master, size).expect("a size");
    }

    /// Types keys.
    pub fn keys(&mut self, keys: impl AsRef<[u8]>) {
        self.master.write_all(keys.as_ref()).expect("typed");
    }

    /// Waits until a text is shown; returns what was shown since the last one, up to its end.
    pub fn until(&mut self, text: &str) -> String {
        let begun = Instant::now();
        loop {
            let shown = self.text();
            if let Some(at) = shown[self.seen..].find(text) {
                let end = self.seen + at + text.len();
                let new = shown[self.seen..end].to_owned();
                self.seen = end;
                return new;
            }
            assert!(begun.elapsed() < PATIENCE, "no {text:?} in {:?}", &shown[self.seen..]);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the program asks for the next line.
    pub fn ready(&mut self, prompt: &str) {
        let (begun, mut before) = (Instant::now(), String::new());
        loop {
            let shown = self.text();
            if shown.ends_with(prompt) && shown == before {
                self.seen = shown.len();
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "no {prompt:?} at the end of {:?}", &shown[self.seen..]);
            before = shown;
            std::thread::sleep(Duration::from_millis(150));
        }
    }

    /// Types a line; returns what is shown up to the next prompt.
    pub fn answer(&mut self, line: &str, prompt: &str) -> String {
        self.ready(prompt);
        let from = self.seen;
        self.keys(line);
        self.keys("\r");
        // The line is taken once its end is echoed.
        self.until("\n");
        self.ready(prompt);
        self.text()[from..].to_owned()
    }

    /// Waits for the end of the program; returns its exit code.
    pub fn end(mut self) -> i32 {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code().unwrap_or(-1);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        panic!("it did not end: {:?}", self.text());
    }

    /// Sends a signal to the program and waits for its end; returns its exit code, and whether the terminal
    /// then has lines and Ctrl-C again.
    pub fn end_by(self, signal: Signal) -> (i32, bool) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
        let master = self.master.try_clone().expect("another end");
        let code = self.end();
        let modes = tcgetattr(&master).expect("a terminal").local_modes;
        (code, modes.contains(LocalModes::ICANON | LocalModes::ISIG | LocalModes::ECHO))
    }

    /// All that was shown, without what moves the cursor.
    fn text(&self) -> String {
        let bytes = self.shown.lock().expect("no panic").clone();
        let all = String::from_utf8_lossy(&bytes).into_owned();
        let mut plain = String::with_capacity(all.len());
        let mut chars = all.chars();
        while let Some(c) = chars.next() {
            match c {
                '\u{1b}' if chars.clone().next() == Some('[') => {
                    let _ = chars.by_ref().skip(1).find(|c| c.is_ascii_alphabetic());
                }
                '\u{1b}' | '\r' | '\u{7}' => {}
                c => plain.push(c),
            }
        }
        plain
    }
}
