//! A server in a child process, on a disk that may fail, and its handle in the parent.

use crate::Failure;
use crate::process::{Fault, faulty};
use gstore_core::Cancel;
use gstore_server::{RequestLimits, ServeOptions, serve};
use gstore_sql::SqlOptions;
use gstore_store::Store;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

/// Bytes kept of a server's output.
const SAID: u64 = 64 << 10;

/// A running server.
#[derive(Debug)]
pub(super) struct Server {
    process: Child,
    said: Option<JoinHandle<String>>,
    /// Host and port.
    pub(super) address: String,
}

impl Server {
    /// Starts a server; returns when it accepts connections.
    pub(super) fn start(program: &Path, store: &Path, fault: Option<Fault>) -> Result<Server, Failure> {
        let mut command = Command::new(program);
        command.arg("server").arg("--dir").arg(store);
        match fault {
            None => {}
            Some(Fault::Die { at, after }) => {
                command.args(["--die-at", &at.to_string()]);
                if after {
                    command.arg("--after");
                }
            }
            Some(Fault::Fail { at, changes, full }) => {
                command.args(["--fail-at", &at.to_string(), "--changes", &changes.to_string()]);
                if full {
                    command.arg("--no-space");
                }
            }
        }
        let mut process =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut errors = process.stderr.take().ok_or("no error output of the server")?;
        let said = std::thread::spawn(move || {
            let mut said = Vec::new();
            let _ = errors.by_ref().take(SAID).read_to_end(&mut said);
            // A full pipe would block the server.
            let _ = std::io::copy(&mut errors, &mut std::io::sink());
            String::from_utf8_lossy(&said).into_owned()
        });
        let out = process.stdout.take().ok_or("no output of the server")?;
        let mut server = Server { process, said: Some(said), address: String::new() };
        BufReader::new(out).read_line(&mut server.address)?;
        server.address = server.address.trim().to_owned();
        match server.address.is_empty() {
            true => Err(format!("the server did not start: {}", server.kill()?).into()),
            false => Ok(server),
        }
    }

    /// Whether it ended by itself.
    pub(super) fn has_ended(&mut self) -> Result<bool, Failure> {
        Ok(self.process.try_wait()?.is_some())
    }

    /// Kills it, if it is still alive. Returns its error output.
    pub(super) fn kill(&mut self) -> Result<String, Failure> {
        let _ = self.process.kill();
        self.process.wait()?;
        let said = self.said.take().and_then(|said| said.join().ok());
        Ok(said.unwrap_or_default().trim().to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The child: serves a store until it is killed.
pub fn server_main(store: &Path, fault: Option<Fault>) -> Result<(), Failure> {
    let store = Store::open_on(faulty(fault), store)?;
    let options = ServeOptions {
        listen: "127.0.0.1:0".parse()?,
        http: None,
        tls: None,
        plain_text: false,
        without_tokens: false,
        limits: RequestLimits::default(),
        sql: SqlOptions { threads: 2, memory_limit: 256 << 20, ..SqlOptions::default() },
        drain: Duration::from_secs(1),
        audit: None,
    };
    serve(store, options, &Cancel::new(), |addresses| println!("{}", addresses.flight))?;
    Ok(())
}
