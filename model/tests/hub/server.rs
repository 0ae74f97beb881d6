//! A server that answers as the Hub does, on this machine.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

/// The only commit there is.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[derive(Default)]
struct State {
    files: Vec<(String, String)>,
    damaged: HashMap<String, String>,
    requests: Vec<String>,
}

/// Serves `org/tiny`; `org/gated` and `org/private` refuse, any other repository is missing.
pub struct Server {
    address: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub fn start(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let state = Arc::new(Mutex::new(State { files, ..State::default() }));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let served = Arc::clone(&state);
        // Ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&served);
                std::thread::spawn(move || answer(stream, &state));
            }
        });
        Self { address, state }
    }

    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// Request lines and headers so far, in one text each.
    pub fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }

    /// Sends another body for a file from now on.
    pub fn damage(&self, file: &str, body: &str) {
        self.state.lock().unwrap().damaged.insert(file.to_owned(), body.to_owned());
    }

    pub fn repair(&self) {
        self.state.lock().unwrap().damaged.clear();
    }
}

fn answer(stream: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    loop {
        let before = request.len();
        if reader.read_line(&mut request).unwrap_or(0) == 0 || request[before..].trim().is_empty() {
            break;
        }
    }
    let mut words = request.split_whitespace();
    let (method, target) =
        (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let reply = {
        let mut state = state.lock().unwrap();
        state.requests.push(request);
        reply(&state, target.split('?').next().unwrap_or_default())
    };
    let mut text =
        format!("HTTP/1.1 {}\r\nConnection: close\r\nContent-Length: {}\r\n", reply.status, reply.body.len());
    for (name, value) in &reply.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    if method != "HEAD" {
        text.push_str(&reply.body);
    }
    let _ = reader.into_inner().write_all(text.as_bytes());
}

struct Reply {
    status: &'static str,
    headers: Vec<(&'static str, String)>,
    body: String,
}

fn refuse(status: &'static str, message: &str) -> Reply {
    Reply { status, headers: vec![("X-Error-Message", message.to_owned())], body: String::new() }
}

fn json(body: String) -> Reply {
    Reply { status: "200 OK", headers: vec![("Content-Type", "application/json".to_owned())], body }
}

fn reply(state: &State, path: &str) -> Reply {
    if path.contains("/gated/") {
        return refuse("403 Forbidden", "Access to this model is restricted");
    }
    if path.contains("/private/") {
        return refuse("401 Unauthorized", "Invalid credentials");
    }
    if let Some(revision) = path.strip_prefix("/api/models/org/tiny/revision/") {
        return match revision {
            "main" | "v1" => json(format!("{{\"id\": \"org/tiny\", \"sha\": \"{COMMIT}\"}}")),
            _ => refuse("404 Not Found", "Invalid rev id"),
        };
    }
    if path == format!("/api/models/org/tiny/tree/{COMMIT}") {
        let entry = |(name, text): &(String, String)| {
            format!("{{\"type\": \"file\", \"oid\": \"0\", \"size\": {}, \"path\": \"{name}\"}}", text.len())
        };
        return json(format!("[{}]", state.files.iter().map(entry).collect::<Vec<_>>().join(",")));
    }
    let name = path.strip_prefix(&format!("/org/tiny/resolve/{COMMIT}/")).unwrap_or_default();
    let Some((_, text)) = state.files.iter().find(|(file, _)| file == name) else {
        return refuse("404 Not Found", "Repository not found");
    };
    let digest: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    let body = state.damaged.get(name).unwrap_or(text).clone();
    let headers = vec![("ETag", format!("\"{digest}\"")), ("X-Repo-Commit", COMMIT.to_owned())];
    Reply { status: "200 OK", headers, body }
}
