//! The tokens of a store: a file of their digests.
//!
//! Invariants
//! - a token is told once, when it is made; the file has the SHA-256 of it, which is enough because a token
//!   is 244 random bits
//! - digests are compared in a time that does not depend on them
//! - names are unique among the tokens of a store

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gstore_core::{Remedy, if_there, sha256_hex};
use gstore_store::{OpenError, Store};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::Scope;
use super::folder::{replace, with_lock};
use super::owner;

const FILE: &str = "tokens.json";
/// The version of its form.
const VERSION: u32 = 1;
/// What every token begins with, so that a scanner for secrets finds one that was lost.
const PREFIX: &str = "gst_";

/// What is known of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// The part of it that is no secret.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it allows.
    pub scope: Scope,
    /// When it was made, in milliseconds since 1970.
    pub created: u64,
    /// When it ends, in milliseconds since 1970; never without one.
    pub expires: Option<u64>,
    /// The datasets that it may see; all without a list.
    pub datasets: Option<BTreeSet<String>>,
}

impl TokenInfo {
    /// Whether its time is over.
    pub fn is_expired(&self) -> bool {
        self.expires.is_some_and(|end| end <= since_1970())
    }
}

#[derive(Serialize, Deserialize)]
struct TokenEntry {
    #[serde(flatten)]
    info: TokenInfo,
    /// SHA-256 of the token.
    sha256: String,
}

#[derive(Serialize, Deserialize)]
struct TokenFile {
    version: u32,
    tokens: Vec<TokenEntry>,
}

/// A token to be made.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Its name.
    pub name: String,
    /// What it allows.
    pub scope: Scope,
    /// How long it works; for ever without one.
    pub expires: Option<Duration>,
    /// The datasets that it may see; all without a list.
    pub datasets: Option<BTreeSet<String>>,
}

/// What goes wrong with tokens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of an error says what its fields are")]
pub enum TokenError {
    /// The file cannot be written.
    #[error("the tokens of the store cannot be kept: {0}")]
    Io(#[from] std::io::Error),
    /// The file cannot be read; whose it is, where that is why.
    #[error("the tokens of the store cannot be read: {error}{whose}")]
    Unreadable { error: std::io::Error, whose: String },
    #[error("the tokens of the store cannot be read: {0}")]
    Store(#[from] OpenError),
    #[error("{file} is not a file of tokens of this version: {why}; if it is removed, there are no tokens")]
    Damaged { file: String, why: String },
    #[error("there is a token `{0}` already; {end} ends it", end = Remedy::RevokeToken(.0))]
    Exists(String),
    #[error("there is no token `{name}`; {}", known_ids(.known))]
    Unknown { name: String, known: Vec<String> },
    /// A name that would be hard to write.
    #[error("the name of a token is 1 to 64 letters, digits, `.`, `_` and `-`; `{0}` is not")]
    Name(String),
}

fn known_ids(names: &[String]) -> String {
    match names {
        [] => "there are none".to_owned(),
        [one] => format!("there is only `{one}`"),
        names => format!("there are {}", names.join(", ")),
    }
}

/// The tokens of a store.
#[derive(Debug, Clone)]
pub struct Tokens {
    store: Store,
    folder: PathBuf,
}

impl Tokens {
    /// Those of a store. Reads nothing yet.
    pub fn of(store: &Store) -> Self {
        Self { store: store.clone(), folder: store.server_folder() }
    }

    /// The tokens, by the time of their making.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn list(&self) -> Result<Vec<TokenInfo>, TokenError> {
        Ok(self.read()?.into_iter().map(|entry| entry.info).collect())
    }

    /// Makes a token, and tells it: it cannot be told later.
    ///
    /// # Errors
    /// A name that exists, and a store that cannot be written to.
    pub fn create(&self, new: NewToken) -> Result<String, TokenError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if new.name.is_empty() || new.name.len() > 64 || !new.name.chars().all(plain) {
            return Err(TokenError::Name(new.name));
        }
        let id: String = Uuid::new_v4().simple().to_string().chars().take(12).collect();
        let token = format!("{PREFIX}{id}_{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let created = since_1970();
        let expires = new
            .expires
            .map(|time| created.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)));
        let NewToken { name, scope, datasets, .. } = new;
        let sha256 = sha256_hex(token.as_bytes());
        let entry = TokenEntry { info: TokenInfo { id, name, scope, created, expires, datasets }, sha256 };
        self.change(|tokens| {
            if tokens.iter().any(|other| other.info.name == entry.info.name) {
                return Err(TokenError::Exists(entry.info.name));
            }
            tokens.push(entry);
            Ok(())
        })?;
        Ok(token)
    }

    /// Ends a token.
    ///
    /// # Errors
    /// A name that does not exist, and a store that cannot be written to.
    pub fn revoke(&self, name: &str) -> Result<(), TokenError> {
        self.change(|tokens| {
            let before = tokens.len();
            let known = tokens.iter().map(|entry| entry.info.name.clone()).collect();
            tokens.retain(|entry| entry.info.name != name);
            match tokens.len() < before {
                true => Ok(()),
                false => Err(TokenError::Unknown { name: name.to_owned(), known }),
            }
        })
    }

    /// The token that somebody shows, if it is one and its time is not over.
    pub(crate) fn find(&self, shown: &str) -> Result<Option<TokenInfo>, TokenError> {
        let digest = sha256_hex(shown.as_bytes());
        let mut found = None;
        // All are compared, so that the time does not tell which one was near.
        for entry in self.read()? {
            if bool::from(entry.sha256.as_bytes().ct_eq(digest.as_bytes())) {
                found = Some(entry.info);
            }
        }
        Ok(found.filter(|token| !token.is_expired()))
    }

    fn read(&self) -> Result<Vec<TokenEntry>, TokenError> {
        let path = self.folder.join(FILE);
        let unreadable = |error: std::io::Error| {
            let whose = owner::hint(&error, &path);
            TokenError::Unreadable { error, whose }
        };
        let Some(bytes) = if_there(fs_err::read(&path)).map_err(unreadable)? else {
            // A store whose disk is away has tokens all the same, and it may have come back since.
            self.store.snapshot()?;
            return if path.exists() { self.read() } else { Ok(Vec::new()) };
        };
        let damaged = |why: String| TokenError::Damaged { file: path.display().to_string(), why };
        let form: TokenFile = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        match form.version {
            VERSION => Ok(form.tokens),
            other => Err(damaged(format!("it has version {other}"))),
        }
    }

    fn change(
        &self,
        change: impl FnOnce(&mut Vec<TokenEntry>) -> Result<(), TokenError>,
    ) -> Result<(), TokenError> {
        owner::check(&self.folder)?;
        with_lock(&self.folder, || {
            let mut tokens = self.read()?;
            change(&mut tokens)?;
            let form = TokenFile { version: VERSION, tokens };
            let bytes = serde_json::to_vec_pretty(&form).map_err(std::io::Error::other)?;
            Ok(replace(&self.folder, FILE, &bytes)?)
        })
    }
}

/// Milliseconds since 1970.
pub(crate) fn since_1970() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> (tempfile::TempDir, Tokens) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(folder.path().join("s")).unwrap();
        (folder, Tokens::of(&store))
    }

    fn new(name: &str) -> NewToken {
        NewToken { name: name.to_owned(), scope: Scope::Read, expires: None, datasets: None }
    }

    #[test]
    fn a_token_works_until_it_is_revoked_or_its_time_is_over() {
        let (_folder, tokens) = tokens();
        assert_eq!(tokens.list().unwrap(), []);
        assert_eq!(tokens.find("gst_x").unwrap(), None);
        let secret = tokens.create(new("laptop")).unwrap();
        let short = tokens.create(NewToken { expires: Some(Duration::ZERO), ..new("short") }).unwrap();
        assert_eq!(tokens.find(&secret).unwrap().unwrap().name, "laptop");
        assert_eq!(tokens.find(&short).unwrap(), None);
        for other in ["", "gst_", &secret[..secret.len() - 1], &format!("{secret} ")] {
            assert_eq!(tokens.find(other).unwrap(), None, "{other}");
        }
        assert!(matches!(tokens.create(new("laptop")), Err(TokenError::Exists(_))));
        assert!(matches!(tokens.create(new("a b")), Err(TokenError::Name(_))));
        tokens.revoke("laptop").unwrap();
        assert_eq!(tokens.find(&secret).unwrap(), None);
        assert!(matches!(tokens.revoke("laptop"), Err(TokenError::Unknown { .. })));
    }

    #[test]
    fn the_file_has_no_token_and_only_its_owner_reads_it() {
        let (_folder, tokens) = tokens();
        let secret = tokens.create(new("laptop")).unwrap();
        let path = tokens.folder.join(FILE);
        let text = fs_err::read_to_string(&path).unwrap();
        assert!(!text.contains(secret.rsplit('_').next().unwrap()), "{text}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs_err::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        fs_err::write(&path, "{").unwrap();
        assert!(matches!(tokens.find(&secret), Err(TokenError::Damaged { .. })));
        fs_err::remove_file(&path).unwrap();
        fs_err::create_dir(&path).unwrap();
        assert!(matches!(tokens.find(&secret), Err(TokenError::Unreadable { .. })));
    }

    /// Needs the right to give files away; without it there is nothing to test.
    #[test]
    fn what_root_makes_belongs_to_the_owner_of_the_store() {
        use fs_err::os::unix::fs::chown;
        use std::os::unix::fs::MetadataExt;
        const OWNER: u32 = 65_534;
        let (folder, tokens) = tokens();
        let store = folder.path().join("s");
        if chown(&store, Some(OWNER), Some(OWNER)).is_err() {
            return;
        }
        let owners = || {
            let paths = ["", super::super::folder::KEY, "lock", FILE].map(|name| tokens.folder.join(name));
            paths.map(|path| fs_err::metadata(path).unwrap().uid())
        };
        tokens.create(new("laptop")).unwrap();
        super::super::signing_key(&tokens.folder);
        assert_eq!(owners(), [OWNER; 4]);
        tokens.revoke("laptop").unwrap();
        assert_eq!(owners(), [OWNER; 4]);
        // The user of the server may be another one than the owner of the store.
        chown(&tokens.folder, Some(1), Some(1)).unwrap();
        tokens.create(new("laptop")).unwrap();
        assert_eq!(owners(), [1, OWNER, OWNER, 1]);
    }

    #[test]
    fn a_store_that_is_away_has_its_tokens_all_the_same() {
        let (folder, tokens) = tokens();
        let secret = tokens.create(new("laptop")).unwrap();
        let (here, away) = (folder.path().join("s"), folder.path().join("away"));
        fs_err::rename(&here, &away).unwrap();
        assert!(matches!(tokens.find(&secret), Err(TokenError::Store(_))));
        // As a disk leaves its place behind.
        fs_err::create_dir(&here).unwrap();
        assert!(matches!(tokens.find(&secret), Err(TokenError::Store(_))));
        fs_err::remove_dir(&here).unwrap();
        fs_err::rename(&away, &here).unwrap();
        assert_eq!(tokens.find(&secret).unwrap().unwrap().name, "laptop");
    }

    #[test]
    fn a_key_stays_the_same() {
        let (_folder, tokens) = tokens();
        let key = super::super::signing_key(&tokens.folder);
        assert_eq!((key.len(), super::super::signing_key(&tokens.folder)), (64, key));
    }
}
