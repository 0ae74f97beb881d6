//! A server that answers as the Hub does, on this machine.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest, Sha256};

/// The first commit.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[derive(Default)]
struct State {
    address: String,
    /// Of all revisions.
    commit: String,
    files: Vec<(String, String)>,
    /// The Hub's conversion of a dataset.
    tables: Option<Vec<(String, String)>>,
    /// How many files the first answer lists; none: all.
    listed: Option<usize>,
    damaged: HashMap<String, String>,
    faults: Faults,
    requests: Vec<String>,
}

/// What goes wrong from now on.
#[derive(Default, Clone, Copy)]
pub struct Faults {
    /// So many requests for files are answered with 503.
    pub busy: usize,
    /// So many files stop coming in the middle.
    pub cut: usize,
    /// Whole files come where a range was asked for.
    pub no_ranges: bool,
    /// Milliseconds before each answer.
    pub slow: u64,
}

/// Serves `org/tiny` as a model and as a dataset, and the listing of `org/gated`; `org/private` refuses, any
/// other repository is missing. Large files come from another host, as those of the Hub do.
pub struct Server {
    state: Arc<Mutex<State>>,
}

impl Server {
    pub fn start(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let commit = COMMIT.to_owned();
        let state = Arc::new(Mutex::new(State { address, commit, files, ..State::default() }));
        let served = Arc::clone(&state);
        // Ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&served);
                std::thread::spawn(move || answer(stream, &state));
            }
        });
        Self { state }
    }

    pub fn address(&self) -> String {
        format!("http://{}", self.state.lock().unwrap().address)
    }

    /// Request lines and headers so far, in one text each.
    pub fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }

    /// Sends another body for a file from now on.
    pub fn damage(&self, file: &str, body: &str) {
        self.state.lock().unwrap().damaged.insert(file.to_owned(), body.to_owned());
    }

    /// Serves these files of the dataset `org/tiny` on the branch of the Hub's own tables.
    pub fn convert(&self, files: &[(&str, &str)]) {
        let files = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        self.state.lock().unwrap().tables = Some(files);
    }

    /// Has another commit, of these files, from now on.
    pub fn move_on(&self, commit: &str, files: &[(&str, &str)]) {
        let files = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let mut state = self.state.lock().unwrap();
        (state.commit, state.files) = (commit.to_owned(), files);
    }

    /// Lists no more than so many files where all of them are not asked for page by page.
    pub fn list_only(&self, count: usize) {
        self.state.lock().unwrap().listed = Some(count);
    }

    pub fn fail(&self, faults: Faults) {
        self.state.lock().unwrap().faults = faults;
    }

    pub fn repair(&self) {
        let mut state = self.state.lock().unwrap();
        state.damaged.clear();
        state.faults = Faults::default();
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
    let slow = state.lock().unwrap().faults.slow;
    std::thread::sleep(Duration::from_millis(slow));
    let reply = {
        let mut state = state.lock().unwrap();
        state.requests.push(request.clone());
        reply(&mut state, &request)
    };
    let mut text =
        format!("HTTP/1.1 {}\r\nConnection: close\r\nContent-Length: {}\r\n", reply.status, reply.body.len());
    for (name, value) in &reply.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.push_str(&reply.body[..reply.sent]);
    let _ = reader.into_inner().write_all(text.as_bytes());
}

struct Reply {
    status: &'static str,
    headers: Vec<(&'static str, String)>,
    body: String,
    /// So much of it.
    sent: usize,
}

fn refuse(status: &'static str, message: &str) -> Reply {
    Reply { status, headers: vec![("X-Error-Message", message.to_owned())], body: String::new(), sent: 0 }
}

fn whole(body: String) -> Reply {
    Reply { status: "200 OK", headers: Vec::new(), sent: body.len(), body }
}

pub fn sha256(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".pt") || name.ends_with(".bin")
}

fn listing(state: &State) -> Reply {
    let entry = |(name, text): &(String, String)| {
        let (digest, size) = (sha256(text), text.len());
        let id = &digest[..40];
        let lfs = match is_large(name) {
            true => format!(", \"lfs\": {{\"sha256\": \"{digest}\", \"size\": {size}, \"pointerSize\": 1}}"),
            false => String::new(),
        };
        format!("{{\"rfilename\": \"{name}\", \"size\": {size}, \"blobId\": \"{id}\"{lfs}}}")
    };
    let shown = state.listed.unwrap_or(state.files.len());
    let files = state.files.iter().take(shown).map(entry).collect::<Vec<_>>().join(",");
    let commit = &state.commit;
    whole(format!("{{\"id\": \"org/tiny\", \"sha\": \"{commit}\", \"siblings\": [{files}]}}"))
}

/// Files from a place on, and the address of what follows them.
fn page(state: &State, path: &str, from: usize) -> Reply {
    const FILES: usize = 400;
    let entry = |(name, text): &(String, String)| {
        let (digest, size) = (sha256(text), text.len());
        let id = &digest[..40];
        let lfs = match is_large(name) {
            true => format!(", \"lfs\": {{\"oid\": \"{digest}\", \"size\": {size}, \"pointerSize\": 1}}"),
            false => String::new(),
        };
        format!("{{\"type\": \"file\", \"path\": \"{name}\", \"size\": {size}, \"oid\": \"{id}\"{lfs}}}")
    };
    let folder = format!(
        "{{\"type\": \"directory\", \"path\": \"config.json.d\", \"size\": 0, \"oid\": \"{COMMIT}\"}}"
    );
    let files = state.files.iter().skip(from).take(FILES).map(entry);
    let mut reply =
        whole(format!("[{}]", std::iter::once(folder).chain(files).collect::<Vec<_>>().join(",")));
    if from + FILES < state.files.len() {
        let next = format!("http://{}{path}?recursive=true&cursor={}", state.address, from + FILES);
        reply.headers.push(("Link", format!("<{next}>; rel=\"next\"")));
    }
    reply
}

fn reply(state: &mut State, request: &str) -> Reply {
    let target = request.split_whitespace().nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if path.starts_with("/org/gated/") {
        return refuse("403 Forbidden", "Access to this model is restricted");
    }
    if path.contains("/private/") {
        return refuse("401 Unauthorized", "Invalid credentials");
    }
    if path == "/api/models/org/gated/revision/main" {
        return listing(state);
    }
    if let Some(revision) = path.strip_prefix("/api/models/org/tiny/revision/") {
        return match revision {
            "main" | "v1" | "refs%2Fpr%2F1" if query == "blobs=true" => listing(state),
            _ => refuse("404 Not Found", "Invalid rev id"),
        };
    }
    if path == format!("/api/models/org/tiny/tree/{}", state.commit) {
        return match query.strip_prefix("recursive=true") {
            Some(rest) => {
                page(state, path, rest.strip_prefix("&cursor=").map_or(0, |at| at.parse().unwrap()))
            }
            None => refuse("400 Bad Request", "not of all folders"),
        };
    }
    if let Some(revision) = path.strip_prefix("/api/datasets/org/tiny/revision/") {
        return match (revision, state.tables.clone()) {
            ("main" | COMMIT, _) => listing(state),
            ("refs%2Fconvert%2Fparquet", Some(tables)) => {
                state.files = tables;
                listing(state)
            }
            _ => refuse("404 Not Found", "Invalid rev id"),
        };
    }
    let path = path.strip_prefix("/datasets").unwrap_or(path);
    let resolved = path.strip_prefix(&format!("/org/tiny/resolve/{}/", state.commit));
    if let Some(name) = resolved.filter(|name| is_large(name)) {
        let port = state.address.rsplit(':').next().unwrap_or_default();
        let headers = vec![("Location", format!("http://localhost:{port}/cdn/{name}"))];
        return Reply { headers, ..refuse("302 Found", "") };
    }
    let name = resolved.or_else(|| path.strip_prefix("/cdn/")).unwrap_or_default();
    let Some((_, text)) = state.files.iter().find(|(file, _)| file == name) else {
        return refuse("404 Not Found", "Repository not found");
    };
    let body = state.damaged.get(name).unwrap_or(text).clone();
    if state.faults.busy > 0 {
        state.faults.busy -= 1;
        return refuse("503 Service Unavailable", "later");
    }
    let from = request.split("range: bytes=").nth(1).and_then(|range| range.split('-').next()?.parse().ok());
    let mut reply = match from.filter(|_| !state.faults.no_ranges) {
        Some(from) if from >= body.len() => refuse("416 Range Not Satisfiable", ""),
        Some(from) => {
            let range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
            let whole = whole(body[from..].to_owned());
            Reply { status: "206 Partial Content", headers: vec![("Content-Range", range)], ..whole }
        }
        None => whole(body),
    };
    if state.faults.cut > 0 {
        state.faults.cut -= 1;
        reply.sent /= 2;
    }
    reply
}
