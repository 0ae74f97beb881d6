//! Remedies of errors as values: a library names one, the front end of the program words it.
//!
//! A message contains its remedies where its sentences need them: where a command, a function or an option is
//! named. Until the front end has said how it words them ([`Remedy::word_with`]), they are plain nouns. A
//! program that does more with them than print them asks the error ([`Remedy::named_in`]).

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::rc::Rc;
use std::sync::OnceLock;

use crate::causes::causes;

/// A way out of an error. Front ends match it in full, so that a new one is worded everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy<'a> {
    /// Give an option of the job at hand: its name in the job's table, and its value (empty: any).
    Option(&'a str, &'a str),
    /// Register samples.
    Add,
    /// Compute what features lack.
    Ingest,
    /// Compute a feature of this kind.
    IngestKind {
        /// The kind.
        kind: &'a str,
        /// For each token.
        per_token: bool,
        /// The dataset; empty: that of the message.
        dataset: &'a str,
        /// The run whose checkpoints are meant; empty: not known.
        run: &'a str,
    },
    /// Compute what features of a dataset lack as this command computed the rest of them; empty: that of the
    /// message.
    IngestLike {
        /// The dataset.
        dataset: &'a str,
        /// The command.
        command: &'a str,
    },
    /// Compute features of a dataset that is stored, its samples as text by these options.
    IngestAs {
        /// The dataset.
        dataset: &'a str,
        /// The kind.
        kind: &'a str,
        /// For each token.
        per_token: bool,
        /// The run whose checkpoints are meant; empty: that of the message.
        run: &'a str,
        /// How samples become tokens: options as a message has them, the template first.
        options: &'a [String],
        /// The command that computed them as other text; empty: unknown.
        command: &'a str,
    },
    /// List what is damaged, and what is affected. Of all snapshots: what meets damage does not know whether
    /// the current one has it.
    Verify,
    /// Save what is sound, and take out what is damaged.
    Repair,
    /// Build an index of a feature.
    Index {
        /// `sketch`, `hnsw`, or empty: that of the message.
        kind: &'a str,
        /// The feature as its user names it; empty: that of the message.
        feature: &'a str,
        /// Also where there is one.
        rebuild: bool,
    },
    /// Copy the store.
    Backup,
    /// Make a store of a copy.
    Restore,
    /// Delete samples of this dataset by their ids.
    Delete(&'a str),
    /// Finish a purge of this dataset.
    Purge(&'a str),
    /// Remove a feature, by its number or label.
    DropFeature(&'a str),
    /// Remove an ensemble, with its losses.
    DropEnsemble(&'a str),
    /// Remove what failed commands left behind, and no snapshot.
    RemoveLeftovers,
    /// Give up unfinished jobs.
    DropJobs,
    /// Ask where models are available.
    AskWithModels,
    /// Solve for queries with the curvature itself, and score a pool with the solutions.
    Solve,
    /// Write a result to a file.
    WriteResult,
    /// Make a file of one's own a table.
    OwnTable,
    /// List the texts that several samples of this dataset have.
    RepeatedTexts(&'a str),
    /// End the token of this name.
    RevokeToken(&'a str),
    /// Do what a statement would that begins with these words of SQL.
    InsteadOf(&'a str),
}

/// How a front end words a remedy.
type Wording = fn(&Remedy<'_>) -> String;

static WORDING: OnceLock<Wording> = OnceLock::new();

/// Is told of each remedy of a message that is written.
type Listener = Box<dyn FnMut(&Remedy<'_>)>;

thread_local! {
    /// That of the question that this thread asks; see [`Remedy::named_in`].
    static LISTENER: RefCell<Option<Listener>> = const { RefCell::new(None) };
    /// How this thread words remedies where it writes for others than users of the front end.
    static OWN_WORDING: Cell<Option<Wording>> = const { Cell::new(None) };
}

impl Remedy<'_> {
    /// Build the index that the message speaks of.
    pub const INDEX: Remedy<'static> = Remedy::Index { kind: "", feature: "", rebuild: false };

    /// Words remedies like this from now on; a program does it once, before anything can fail. Later calls
    /// change nothing.
    pub fn word_with(wording: Wording) {
        // A program has one front end.
        let _ = WORDING.set(wording);
    }

    /// Does work whose messages go to others than users of the front end, as clients of a server: until it
    /// ends, this thread words remedies like this.
    pub fn worded<T>(wording: Wording, work: impl FnOnce() -> T) -> T {
        struct Before(Option<Wording>);
        impl Drop for Before {
            fn drop(&mut self) {
                OWN_WORDING.set(self.0);
            }
        }
        let _before = Before(OWN_WORDING.replace(Some(wording)));
        work()
    }

    /// The remedies that the message of an error and those of its sources name, as `read` takes them, in the
    /// order of the message and each once.
    ///
    /// The messages themselves are read, so every error has an answer and none has a second list of its
    /// remedies. A remedy within a text that was composed before the error (of a refused statement, of a
    /// damage's consequences) is words alone and is not found.
    pub fn named_in<T: PartialEq + 'static>(
        error: &(dyn Error + 'static),
        read: fn(&Remedy<'_>) -> T,
    ) -> Vec<T> {
        let found = Rc::new(RefCell::new(Vec::new()));
        let into = Rc::clone(&found);
        let listener: Listener = Box::new(move |remedy| {
            let value = read(remedy);
            let mut found = into.borrow_mut();
            if !found.contains(&value) {
                found.push(value);
            }
        });
        let before = LISTENER.replace(Some(listener));
        for error in causes(error) {
            // Its words are not of interest, only what they name.
            drop(error.to_string());
        }
        LISTENER.set(before);
        found.take()
    }

    /// The words of the front end, whoever this thread writes for; nouns without one.
    pub fn of_front_end(&self) -> String {
        WORDING.get().map_or_else(|| self.plain(), |wording| wording(self))
    }

    /// Nouns, for programs without commands.
    pub fn plain(&self) -> String {
        match *self {
            Self::Option(name, "") => name.into(),
            Self::Option(name, value) => format!("{name}={value}"),
            Self::Add => "an append".into(),
            Self::Ingest => "an ingest".into(),
            Self::IngestKind { kind, per_token: false, .. } => format!("an ingest of {kind}"),
            Self::IngestKind { kind, per_token: true, .. } => format!("an ingest of {kind} per token"),
            Self::IngestLike { .. } => "an ingest with the options of the others".into(),
            Self::IngestAs { dataset, kind, per_token, options, .. } => {
                let tokens = if per_token { " per token" } else { "" };
                let with = if options.is_empty() { "" } else { " with " };
                format!("an ingest of {kind}{tokens} for {dataset}{with}{}", options.join(", "))
            }
            Self::Verify => "a verification of all snapshots".into(),
            Self::Repair => "a repair".into(),
            Self::Index { kind: "", .. } => "a build of the index".into(),
            Self::Index { kind, feature, .. } => format!("a build of the {kind} index of {feature}"),
            Self::Backup => "a backup".into(),
            Self::Restore => "a restore".into(),
            Self::Delete(dataset) => format!("a delete from dataset {dataset}"),
            Self::Purge(dataset) => format!("a purge of dataset {dataset}"),
            Self::DropFeature(name) => format!("a drop of feature {name}"),
            Self::DropEnsemble(name) => format!("a drop of ensemble {name}"),
            Self::RemoveLeftovers => "a collection that keeps all snapshots".into(),
            Self::DropJobs => "a collection of unfinished jobs".into(),
            Self::AskWithModels => "a session that has models".into(),
            Self::Solve => "a pass over the pool with the solver cg".into(),
            Self::WriteResult => "the program that asked".into(),
            Self::OwnTable => "the program that asks".into(),
            Self::RepeatedTexts(dataset) => format!("a query of {dataset} that groups its samples by text"),
            Self::RevokeToken(name) => format!("a revocation of token {name}"),
            Self::InsteadOf(_) => "a job of the store".into(),
        }
    }
}

impl fmt::Display for Remedy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        LISTENER.with(|listener| {
            // Busy where the listener writes a remedy itself.
            if let Ok(mut listener) = listener.try_borrow_mut()
                && let Some(tell) = listener.as_mut()
            {
                tell(self);
            }
        });
        f.write_str(&OWN_WORDING.get().map_or_else(|| self.of_front_end(), |wording| wording(self)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_front_end_they_are_nouns() {
        let index = Remedy::Index { kind: "sketch", feature: "pool/grad-sgd", rebuild: false };
        assert_eq!(index.to_string(), "a build of the sketch index of pool/grad-sgd");
        assert_eq!(Remedy::Option("max_length", "32").to_string(), "max_length=32");
        assert_eq!(Remedy::worded(|_| "own".to_owned(), || Remedy::Verify.to_string()), "own");
        assert_eq!(Remedy::Verify.to_string(), "a verification of all snapshots");
        assert_eq!(Remedy::Option("checkpoints", "").to_string(), "checkpoints");
        assert_eq!(
            Remedy::IngestKind { kind: "loss", per_token: true, dataset: "pool", run: "" }.to_string(),
            "an ingest of loss per token"
        );
    }
    #[derive(Debug)]
    struct Outer(Inner);

    #[derive(Debug)]
    struct Inner;

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{}; {} and {} help", self.0, Remedy::Option("max_length", "32"), Remedy::Verify)
        }
    }

    impl fmt::Display for Inner {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "run {} or {}", Remedy::Ingest, Remedy::Verify)
        }
    }

    impl Error for Inner {}

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn an_error_is_asked_for_the_remedies_of_its_message_each_once() {
        let names = Remedy::named_in(&Outer(Inner), |remedy| match *remedy {
            Remedy::Option(name, value) => format!("{name} {value}"),
            Remedy::Ingest => "ingest".to_owned(),
            // A listener may write remedies.
            ref other => other.to_string(),
        });
        assert_eq!(names, ["ingest", "a verification of all snapshots", "max_length 32"]);
        assert!(Remedy::named_in(&fmt::Error, |remedy| remedy.to_string()).is_empty());
        // Messages stay what they are.
        assert_eq!(Outer(Inner).to_string().matches("a verification").count(), 2);
        assert_eq!(Remedy::named_in(&Inner, |remedy| remedy.to_string()).len(), 2);
    }
}
