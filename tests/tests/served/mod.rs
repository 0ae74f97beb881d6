//! A store with scores, and the real binary serving it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use gstore_ingest::pipeline::Kind;
use gstore_store::Store;
use gstore_tests::binary::Finished;
use gstore_tests::place::Place;
use gstore_tests::world;

/// A server in a separate process.
pub struct Served {
    child: Option<Child>,
    /// As the server prints it.
    pub address: String,
}

impl Served {
    /// Starts `gstore serve` on a free port; comes back when it takes connections.
    pub fn start(place: &Place, args: &[&str]) -> Self {
        let mut all = vec!["serve", "--listen", "127.0.0.1:0", "--drain", "2s"];
        all.extend(args);
        let mut child = place
            .gstore(&all)
            .stdout(Stdio::piped())
            .stderr(Stdio::from(fs_err::File::create(place.path("serve.log")).expect("a log").into_parts().0))
            .spawn()
            .expect("gstore runs");
        let mut address = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut address).expect("an address");
        let log = fs_err::read_to_string(place.path("serve.log")).unwrap_or_default();
        assert!(!address.is_empty(), "no server: {log}");
        Self { child: Some(child), address: address.trim().to_owned() }
    }

    /// Sends SIGTERM and waits for the end.
    pub fn stop(mut self) -> Finished {
        let child = self.child.take().expect("once");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("told");
        child.wait_with_output().expect("ends").into()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A place with a pool of 120 rows, a target of 6, and their features at two checkpoints.
pub fn place() -> Place {
    let place = Place::new();
    let store = Store::create(place.path("store")).expect("created");
    for (dataset, rows, kinds) in [
        ("pool", 120, &[Kind::GradAdam, Kind::EmbedMean, Kind::Loss][..]),
        ("target", 6, &[Kind::GradSgd][..]),
    ] {
        let data = place.path("data.jsonl");
        world::write_samples(&data, rows);
        world::register(&store, dataset, &data).expect("registered");
        world::run(&store, world::request(dataset, kinds)).expect("ingested");
    }
    place
}

/// A token of the store.
pub fn token(place: &Place, name: &str) -> String {
    place.ok(&["token", "create", name, "--scope", "read"]).trim().to_owned()
}
