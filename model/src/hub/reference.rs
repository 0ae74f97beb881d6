//! Names of repositories of the Hub.

use std::fmt;

/// A repository of the Hub, at a revision.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HubRef {
    org: String,
    name: String,
    revision: Option<String>,
}

impl HubRef {
    /// Reads `org/name` or `org/name@revision`; `None` if the text cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        let (repo, revision) = match text.split_once('@') {
            Some((repo, revision)) => (repo, Some(revision)),
            None => (text, None),
        };
        let (org, name) = repo.split_once('/')?;
        let sound = is_part(org) && is_part(name) && revision.is_none_or(is_revision);
        let revision = revision.map(str::to_owned);
        sound.then(|| Self { org: org.to_owned(), name: name.to_owned(), revision })
    }

    /// Who owns it.
    pub fn org(&self) -> &str {
        &self.org
    }

    /// Its name, without the owner.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `org/name`.
    pub(super) fn repo(&self) -> String {
        format!("{}/{}", self.org, self.name)
    }

    /// The branch, tag or commit: `main` unless one was given.
    pub(super) fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }

    /// A short name for a checkpoint: that of the repository, with the revision if one was given.
    pub fn short_name(&self) -> String {
        match &self.revision {
            Some(revision) => format!("{}-{}", self.name, revision.replace('/', "-")),
            None => self.name.clone(),
        }
    }
}

impl fmt::Display for HubRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.org, self.name)?;
        self.revision.as_ref().map_or(Ok(()), |revision| write!(f, "@{revision}"))
    }
}

/// The Hub's rule for owners and names: letters, digits, `-`, `_`, `.`; neither first nor last is `-` or `.`.
fn is_part(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let edge = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= 96
        && text.chars().all(inner)
        && text.starts_with(edge)
        && text.ends_with(edge)
        && !text.contains("..")
        && !text.contains("--")
}

fn is_revision(text: &str) -> bool {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '+');
    !text.is_empty()
        && text.chars().all(sound)
        && !text.contains("..")
        && !text.starts_with(['/', '.'])
        && !text.ends_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_repositories() {
        let parsed = HubRef::parse("org/some.model-7B@refs/pr/1").unwrap();
        assert_eq!((parsed.repo().as_str(), parsed.revision()), ("org/some.model-7B", "refs/pr/1"));
        assert_eq!(
            (parsed.to_string(), parsed.short_name()),
            ("org/some.model-7B@refs/pr/1".into(), "some.model-7B-refs-pr-1".into())
        );
        let plain = HubRef::parse("org/name").unwrap();
        assert_eq!((plain.revision(), plain.short_name()), ("main", "name".to_owned()));
        for bad in [
            "", "name", "a/b/c", "./a", "../a", "~/a", "/a", "a/", "a/b@", "a/b@../c", "a/b c", "a/b@x y",
            "a/*", "-a/b", "a/b.",
        ] {
            assert_eq!(HubRef::parse(bad), None, "{bad}");
        }
    }
}
