//! Origins of options that do not stand on the command line, config file and environment, for messages.

use std::sync::OnceLock;

static GIVEN: OnceLock<Vec<ConfiguredOption>> = OnceLock::new();

/// An option that the config file or the environment gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredOption {
    /// Its flag without hyphens before it.
    pub long: String,
    /// Its values, as the command takes them.
    pub values: Vec<String>,
    /// Whether they are paths.
    pub is_path: bool,
    /// As it is written there: `store = "s"`.
    pub written: String,
    /// Where: a file, or the environment.
    pub place: String,
}

impl ConfiguredOption {
    /// A path that a variable of the environment gives.
    pub fn of_environment(long: &str, variable: &str, value: &str) -> Self {
        Self {
            long: long.to_owned(),
            values: vec![value.to_owned()],
            is_path: true,
            written: format!("{variable}={value}"),
            place: "the environment".to_owned(),
        }
    }

    /// Where it stands, as a line below a message.
    fn line(&self) -> String {
        format!("\n  {} has {}", self.place, self.written)
    }

    /// Whether a message is about it: it has the flag, a value that is a path, or another value in quotes.
    fn is_in(&self, text: &str) -> bool {
        let quoted = |value: &str| {
            ['"', '\'', '`'].iter().any(|quote| text.contains(&format!("{quote}{value}{quote}")))
        };
        has_word(text, &format!("--{}", self.long))
            || self.values.iter().any(|value| match self.is_path {
                true => has_path(text, value),
                false => !value.is_empty() && quoted(value),
            })
    }
}

/// Remembers them for [`note_origins`] and [`is_configured`], once in a process.
pub fn remember(given: Vec<ConfiguredOption>) {
    // A process has one command line.
    let _ = GIVEN.set(given);
}

/// Whether the config file or the environment gives an option, and not the command line.
pub fn is_configured(long: &str) -> bool {
    GIVEN.get().is_some_and(|given| given.iter().any(|option| option.long == long))
}

/// A message, and where the options stand that it is about.
pub fn note_origins(text: String) -> String {
    match GIVEN.get() {
        Some(given) => with_origins(text, given),
        None => text,
    }
}

fn with_origins(text: String, given: &[ConfiguredOption]) -> String {
    // What is proposed is not what is wrong.
    let wrong = text.split("did you mean").next().unwrap_or_default();
    let about: Vec<&ConfiguredOption> = given.iter().filter(|option| option.is_in(wrong)).collect();
    about.iter().fold(text, |text, option| text + &option.line())
}

/// An error of the command line in which options are called as they stand where they are given, if it is
/// about any of them. A tip keeps the flag to write, and says where the option is given already.
pub fn reword(error: &str, given: &[ConfiguredOption]) -> Option<String> {
    let (wrong, proposed) = error.split_at(error.find("\n  tip: ").unwrap_or(error.len()));
    let (tip, usage) = proposed.split_at(proposed.find("\n\n").unwrap_or(proposed.len()));
    let mut text = wrong.to_owned();
    for option in given {
        let flag = format!("'--{}", option.long);
        let Some(at) = text.find(&flag) else { continue };
        let (before, found) = text.split_at(at);
        let behind = found.get(flag.len()..).unwrap_or_default();
        let Some((rest, after)) = behind.split_once('\'') else { continue };
        if rest.is_empty() || rest.starts_with([' ', '=', '[']) {
            text = format!("{before}`{}` in {}{after}", option.written, option.place);
        }
    }
    let flags = tip.replace('_', "-");
    let is_proposed = |option: &&ConfiguredOption| flags.contains(&format!("'--{}'", option.long));
    let places: String = given.iter().filter(is_proposed).map(ConfiguredOption::line).collect();
    let text = text + tip + &places + usage;
    (text != error).then_some(text)
}

/// Whether a text has a word, and not only as a part of another.
fn has_word(text: &str, word: &str) -> bool {
    words(text, word).next().is_some()
}

/// Whether a text has a path. One that is a single name may be that of a dataset or a table: it counts where
/// the text begins with it, behind `at`, and with more of a path behind it.
fn has_path(text: &str, path: &str) -> bool {
    let is_name = !path.contains(['/', '.']);
    words(text, path).any(|(before, after)| {
        !is_name || before.is_empty() || before.ends_with(" at ") || after.starts_with('/')
    })
}

/// What stands before and behind a word or a path, wherever it is not only a part of another.
fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let of_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    let around = text.match_indices(word).filter(|_| !word.is_empty());
    let around = around.filter_map(move |(at, _)| Some((text.get(..at)?, text.get(at + word.len()..)?)));
    around.filter(move |(before, after)| {
        !before.chars().next_back().is_some_and(|c| of_word(c) || c == '/')
            && !after.chars().next().is_some_and(of_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given() -> [ConfiguredOption; 3] {
        let in_file = |long: &str, value: &str, is_path| ConfiguredOption {
            long: long.to_owned(),
            values: vec![value.to_owned()],
            is_path,
            written: format!("{long} = \"{value}\""),
            place: "/c/gstore.toml".to_owned(),
        };
        [in_file("target", "p", false), in_file("top", "many", false), in_file("model", "/c/m", true)]
    }

    #[test]
    fn what_stands_elsewhere_is_named_where_it_stands() {
        let store = [ConfiguredOption::of_environment("store", "GSTORE_STORE", "/x")];
        assert_eq!(
            with_origins("there is no store at /x".into(), &store),
            "there is no store at /x\n  the environment has GSTORE_STORE=/x"
        );
        let store = [ConfiguredOption::of_environment("store", "GSTORE_STORE", "s")];
        for (said, is_about) in [
            ("there is no store at s", true),
            ("s is not a store", true),
            ("s/MANIFEST is damaged", true),
            ("Kronfluence's files have scores of one filter", false),
            ("there is no dataset \"x\"; available: s, t", false),
        ] {
            assert_eq!(with_origins(said.into(), &store).contains("GSTORE_STORE"), is_about, "{said}");
        }
        for (said, adds) in [
            ("there is no dataset \"p\"; did you mean `many`?", "\n  /c/gstore.toml has target = \"p\""),
            ("--top counts rows", "\n  /c/gstore.toml has top = \"many\""),
            ("/c/m/config.json is empty", "\n  /c/gstore.toml has model = \"/c/m\""),
            ("--top-p of p in /c/mm, as many say", ""),
        ] {
            assert_eq!(with_origins(said.into(), &given()), format!("{said}{adds}"));
        }
        for (said, says) in [
            (
                "error: invalid value 'many' for '--top <N|P%>': a number",
                Some("error: invalid value 'many' for `top = \"many\"` in /c/gstore.toml: a number"),
            ),
            ("error: unexpected argument '--tops' found", None),
            (
                "error: unexpected argument '--tpo' found\n\n  tip: a similar argument exists: '--top'\n\nUsage: gstore",
                Some(
                    "error: unexpected argument '--tpo' found\n\n  tip: a similar argument exists: '--top'\n  \
                     /c/gstore.toml has top = \"many\"\n\nUsage: gstore",
                ),
            ),
        ] {
            assert_eq!(reword(said, &given()).as_deref(), says);
        }
    }
}
