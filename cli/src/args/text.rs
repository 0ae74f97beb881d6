//! Text flags of `gstore ingest`, `gstore train` and `gstore generate`: how records become tokens.

use std::path::Path;

use clap::error::Error;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use gstore_data::{TemplateKind, TextOptions};

use super::at_least;

/// How records become tokens.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Text and tokens")]
pub struct TextArgs {
    /// How a conversation becomes text: tulu (LESS, open-instruct), chat (the tokenizer's own template),
    /// plain (no markup), a model family's format by its name in LMFlow, or a file in Jinja
    #[arg(long, alias = "conversation-template", value_name = "NAME|FILE.jinja", default_value = TemplateKind::default().name(),
        value_parser = template,
        help = format!("How a conversation becomes text, by a name or a file in Jinja (.jinja). Names: {}", TemplateKind::names().join(", ")))]
    pub template: TemplateKind,
    /// System message of conversations that have none
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Tokenizer in place of the model's own: a folder, or org/name or org/name@revision on the Hugging Face
    /// Hub
    #[arg(long, alias = "tokenizer-name", value_name = "DIR|REPO")]
    pub tokenizer: Option<String>,
    /// Samples are cut off after this many tokens; a prompt that leaves none of its completion has no score
    #[arg(long, alias = "max-seq-length", value_name = "N", value_parser = at_least::<u32>(1),
        help = format!("Samples are cut off after this many tokens; a prompt that leaves none of its completion has no score [default: {}]", TextOptions::MAX_LENGTH))]
    pub max_length: Option<u32>,
    /// Cut each long `text` into samples of N tokens in place of cutting it off
    #[arg(long, alias = "block-size", value_name = "N", value_parser = at_least::<u32>(1))]
    pub block: Option<u32>,
}

/// How records become tokens, and which of it was asked for.
#[derive(Debug, Clone)]
pub struct GivenTextArgs {
    /// The flags.
    pub text: TextArgs,
    /// Ids of those that stand on the command line or in the config file, with their defaults or not.
    given: Vec<String>,
}

impl GivenTextArgs {
    /// Whether one of the flags is given.
    pub fn is_given(&self) -> bool {
        !self.given.is_empty()
    }

    /// Whether the flag of this id is given.
    pub fn has(&self, id: &str) -> bool {
        self.given.iter().any(|given| given == id)
    }
}

impl Args for GivenTextArgs {
    fn augment_args(command: Command) -> Command {
        TextArgs::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        TextArgs::augment_args_for_update(command)
    }
}

impl FromArgMatches for GivenTextArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let flags = TextArgs::augment_args(Command::new(""));
        let ids = flags.get_arguments().map(|arg| arg.get_id().as_str());
        let given = ids.filter(|id| matches.value_source(id) == Some(ValueSource::CommandLine));
        Ok(Self { text: TextArgs::from_arg_matches(matches)?, given: given.map(str::to_owned).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn template(text: &str) -> Result<TemplateKind, String> {
    if !is_template_file(text) {
        return text.parse().map_err(|error: gstore_data::EncodeError| error.to_string());
    }
    fs_err::read_to_string(text).map(TemplateKind::Jinja).map_err(|error| error.to_string())
}

/// Whether a template is a file, and not the name of one.
pub fn is_template_file(text: &str) -> bool {
    let ending = Path::new(text).extension();
    ending.is_some_and(|ending| ["jinja", "jinja2", "j2"].iter().any(|e| ending == *e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_with_its_default_is_given() {
        let parsed = |words: &[&str]| {
            let matches = GivenTextArgs::augment_args(Command::new("t")).get_matches_from(words);
            GivenTextArgs::from_arg_matches(&matches).unwrap()
        };
        assert!(!parsed(&["t"]).is_given());
        let template = parsed(&["t", "--template", TemplateKind::default().name()]);
        assert!(template.is_given() && template.has("template") && !template.has("max_length"));
        assert!(parsed(&["t", "--max-length", &TextOptions::MAX_LENGTH.to_string()]).has("max_length"));
    }

    #[test]
    fn a_template_is_a_name_or_a_file() {
        assert_eq!(template("tulu"), Ok(TemplateKind::Tulu));
        assert_eq!(template("llama3"), Ok(TemplateKind::Named("llama3")));
        assert!(template("lama3").unwrap_err().contains("llama3"));
        assert!(template("missing.jinja").unwrap_err().contains("missing.jinja"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.jinja");
        fs_err::write(&path, "{{ messages }}").unwrap();
        let read = template(&path.display().to_string());
        assert_eq!(read, Ok(TemplateKind::Jinja("{{ messages }}".to_owned())));
    }
}
