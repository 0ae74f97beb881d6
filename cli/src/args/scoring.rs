//! Scoring flags: options of the table that SQL and JSON have as well.

use clap::error::Error;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use gstore_query::influence::{COVARIANCE_OPTIONS, Function, OptionInfo, Options, PAIR_OPTIONS, Takes};
use serde_json::Value;

use crate::wording::in_flags;

/// How the similarities become scores, and how rankings are found.
pub(super) const TERMS: &[&str] =
    &["within", "across", "fold", "by", "mode", "miss", "tolerance", "certified"];

/// What scores: products of vectors, or covariances of losses.
pub(super) const METHOD: &[&str] = &["method"];

/// Options of vectors that covariances of losses have too.
const SHARED: &[&str] = &["missing", "within", "across", "by", "exclude_target"];

/// How to take covariances of losses.
#[derive(Debug, Clone)]
pub struct CovarianceArgs(pub Options);

/// How to score.
#[derive(Debug, Clone)]
pub struct ScoringArgs(pub Options);

/// Which vectors are compared, and how.
#[derive(Debug, Clone)]
pub struct PairArgs(pub Options);

/// The options with these names, in the order of the table.
fn options_named(names: &[&[&str]]) -> impl Iterator<Item = &'static OptionInfo> {
    Function::Influence.options().filter(|option| names.iter().any(|names| names.contains(&option.name)))
}

/// The help of an option, where these are the flags of its command: one without the others takes no method.
fn help(option: &OptionInfo, names: &[&[&str]]) -> String {
    let about = in_flags(option.about);
    let alone = about.strip_prefix("With --method daunce: ").filter(|_| !names.contains(&METHOD));
    let about = match alone.and_then(|about| about.split_at_checked(1)) {
        Some((first, rest)) => first.to_uppercase() + rest,
        None => about,
    };
    match option.default {
        "" => about,
        default => format!("{about} [default: {}]", in_flags(default)),
    }
}

fn flag(option: &'static OptionInfo, names: &[&[&str]]) -> Arg {
    let arg = Arg::new(option.name).long(option.name.replace('_', "-")).help(help(option, names));
    let arg = match option.name {
        "pool_kind" => arg.conflicts_with("kind"),
        _ => arg,
    };
    match option.takes {
        Takes::Flag => arg.action(ArgAction::SetTrue),
        Takes::Word(_) => arg.value_name("HOW"),
        Takes::Text if option.name == "filter" => arg.value_name("HOW"),
        Takes::Text => arg.value_name("NAME"),
        Takes::Number | Takes::Count => arg.value_name("N"),
        Takes::Texts => arg.value_name("NAME").value_delimiter(',').num_args(1..),
        Takes::Numbers => arg.value_name("N").value_delimiter(',').num_args(1..),
    }
}

/// The options that stand on the command line or in the config file.
fn read(matches: &ArgMatches, names: &[&[&str]]) -> Result<Options, Error> {
    let mut options = Options::new(Function::Influence);
    for option in
        options_named(names).filter(|o| matches.value_source(o.name) == Some(ValueSource::CommandLine))
    {
        let words = || matches.get_many::<String>(option.name).into_iter().flatten();
        let value = match option.takes {
            Takes::Flag => Value::Bool(true),
            Takes::Texts | Takes::Numbers => words().map(|word| Value::from(word.as_str())).collect(),
            Takes::Count => match words().next() {
                // What is no number is refused with the name of the option.
                Some(word) => word.parse::<u64>().map_or_else(|_| Value::from(word.as_str()), Value::from),
                None => Value::Null,
            },
            _ => words().next().map(|word| Value::from(word.as_str())).unwrap_or_default(),
        };
        let set = options.set(option.name, value);
        set.map_err(|error| Error::raw(clap::error::ErrorKind::InvalidValue, error))?;
    }
    Ok(options)
}

macro_rules! flags {
    ($args:ident, $names:expr) => {
        impl Args for $args {
            fn augment_args(command: Command) -> Command {
                command.args(options_named($names).map(|option| flag(option, $names)))
            }

            fn augment_args_for_update(command: Command) -> Command {
                Self::augment_args(command)
            }
        }

        impl FromArgMatches for $args {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
                read(matches, $names).map(Self)
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }
    };
}

flags!(ScoringArgs, &[PAIR_OPTIONS, TERMS, METHOD, COVARIANCE_OPTIONS]);
flags!(CovarianceArgs, &[COVARIANCE_OPTIONS, SHARED]);
flags!(PairArgs, &[PAIR_OPTIONS]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_calls_options_by_their_flags() {
        let all: &[&[&str]] = &[PAIR_OPTIONS, TERMS, METHOD, COVARIANCE_OPTIONS];
        let said =
            |name: &str, names: &[&[&str]]| help(options_named(&[&[name]]).next().expect("an option"), names);
        for (name, begins) in [
            ("pool_kind", "The same as --kind KIND"),
            ("damping", "With --precondition NAME: what"),
            ("tolerance", "With --mode sketch: accept"),
            ("ensemble", "With --method daunce: the ensemble whose"),
        ] {
            let text = said(name, all);
            assert!(text.starts_with(begins), "{text}");
        }
        assert!(said("missing", all).ends_with("[default: error; with --partial: exclude]"));
        assert!(said("certified", all).contains("not with --miss X"));
        assert!(said("ensemble", &[COVARIANCE_OPTIONS]).starts_with("The ensemble whose"));
    }
}
