//! A stage as a command line, checked by the parser of the command line.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, FromArgMatches};
use gstore_core::did_you_mean;

use super::file::KEYS;
use super::{OptionSetting, PipelineError, PipelineStage, Setting};
use crate::args::{Cli, ValueRole, in_place_of, role, with_expected_number, without_name};
use crate::config::flags;
use crate::options::check_options;
use crate::streams::is_standard_input;
use crate::wording::shell_word;

type Result<T> = std::result::Result<T, PipelineError>;

/// Commands that cannot be stages, and why.
const REFUSED: [(&str, &str); 3] = [
    ("run", "a pipeline is not a stage of another one"),
    ("serve", "a server does not end"),
    ("completions", "a script for a shell is not a result"),
];

/// Options that a stage does not take, and why.
const TAKEN: [(&str, &str); 4] = [
    ("config", "the options of a stage are set in its table"),
    ("dry_run", "a stage does its work; a dry run of the whole pipeline shows what it would take"),
    ("json", "a stage is always asked for JSON where its command can print it"),
    ("quiet", "what a stage says goes into its log"),
];

/// A checked command line.
#[derive(Debug, Clone)]
pub struct StageCall {
    /// The words of the command, such as `train` or `drop run`.
    pub words: Vec<String>,
    /// Options and switches, in the order of the file.
    pub options: Vec<String>,
    /// Values without an option.
    pub args: Vec<String>,
    /// Folder of the store and number of threads, where the stage has its own.
    pub common: Vec<String>,
    /// Values by the parser's name for their argument, defaults left out.
    values: BTreeMap<String, Vec<String>>,
    /// Switches that the command has.
    switches: Vec<String>,
}

impl StageCall {
    /// Checks a stage. `store` is the pipeline's.
    ///
    /// # Errors
    /// Commands and options that there are not, and what the parser refuses.
    pub fn new(root: &Command, stage: &PipelineStage, store: Option<&str>) -> Result<Self> {
        let says = &stage.says;
        let at = |message: String| PipelineError::new(says.line, format!("stage {}: {message}", stage.name));
        let words: Vec<String> = says.command.split_whitespace().map(str::to_owned).collect();
        if let Some((name, why)) = REFUSED.iter().find(|(name, _)| words.first().is_some_and(|w| w == name)) {
            return Err(at(format!("`{name}` cannot be a stage: {why}")));
        }
        let (command, known) = find(root, &words).map_err(at)?;
        let mut call = Self {
            words,
            options: Vec::new(),
            args: says.args.clone(),
            common: Vec::new(),
            values: BTreeMap::new(),
            switches: switches(&known),
        };
        if command.get_subcommands().next().is_some() {
            let names: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
            return Err(at(format!("`{}` needs one of {}", says.command, names.join(", "))));
        }
        let mut lines: Vec<(String, usize)> = Vec::new();
        for setting in &says.settings {
            let arg = option(command, &known, setting, &call.words)?;
            call.push(arg, setting)?;
            lines.push((arg.get_long().unwrap_or_default().to_owned(), setting.line));
        }
        if call.store().is_none()
            && let Some(store) = store
        {
            call.common.push(format!("--store={store}"));
        }
        if let Some(arg) = call.args.iter().find(|arg| is_standard_input(arg)) {
            return Err(at(format!("`{arg}`: a stage has no standard input")));
        }
        let (matches, cli) =
            parse_words(root, call.argv()).map_err(|error| refusal(&error, stage, &lines))?;
        // The store may be one that an earlier stage makes.
        check_options(&cli.command, |_| Ok(false)).map_err(|error| at(error.to_string()))?;
        call.values = values(&matches, &known, call.words.len());
        let is_read =
            |id: &str| matches!(role(&call.words, id), Some(ValueRole::Read | ValueRole::NamedRead));
        for (id, values) in call.values.iter().filter(|(id, _)| is_read(id)) {
            if let Some(value) = values.iter().find(|value| is_standard_input(without_name(value))) {
                return Err(at(format!("`{id}` is `{value}`: a stage has no standard input")));
            }
        }
        Ok(call)
    }

    /// The whole command line, the program's name first.
    pub fn argv(&self) -> Vec<OsString> {
        self.argv_with(&[])
    }

    /// The same with further options.
    pub fn argv_with(&self, more: &[String]) -> Vec<OsString> {
        let mut argv: Vec<OsString> = vec!["gstore".into()];
        argv.extend(
            [&self.words[..], &self.common, &self.options, more].concat().into_iter().map(OsString::from),
        );
        if !self.args.is_empty() {
            argv.push("--".into());
            argv.extend(self.args.iter().map(OsString::from));
        }
        argv
    }

    /// What it does, without where the store is and how many threads there are. Options are in the order of
    /// their names; of one that comes several times the order is kept.
    pub fn arguments(&self) -> Vec<String> {
        let mut options = self.options.clone();
        options.sort_by(|a, b| a.split('=').next().cmp(&b.split('=').next()));
        [&self.words[..], &options, &self.args].concat()
    }

    /// The tables of the store that its statements, those of its file's text, and subqueries of its conditions
    /// name.
    pub fn tables(&self, file: Option<&str>) -> BTreeSet<String> {
        let texts = self.values("sql").iter().map(String::as_str).chain(file);
        let statements = texts.flat_map(gstore_sql::statements);
        let conditions = ["where", "filter"].into_iter().flat_map(|id| self.values(id));
        let conditions =
            conditions.map(|condition| format!("SELECT 1 {}", gstore_sql::where_clause(condition)));
        let mut names: BTreeSet<String> =
            statements.chain(conditions).flat_map(|sql| gstore_sql::named_tables(&sql)).collect();
        for (own, _) in self.values("with").iter().filter_map(|table| table.split_once('=')) {
            names.remove(own);
        }
        names
    }

    /// The command line for people.
    pub fn line(&self) -> String {
        let words = self.argv().into_iter().map(|word| shell_word(&word));
        words.collect::<Vec<_>>().join(" ")
    }

    /// Values of an argument, by the parser's name for it.
    pub fn values(&self, id: &str) -> &[String] {
        self.values.get(id).map_or(&[], Vec::as_slice)
    }

    /// The only value of an argument.
    pub fn value(&self, id: &str) -> Option<&str> {
        self.values(id).first().map(String::as_str)
    }

    /// Names of the arguments that are given, with their values.
    pub fn given(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.values.iter().map(|(id, values)| (id.as_str(), values.as_slice()))
    }

    /// Whether an argument or a switch is given.
    pub fn has(&self, id: &str) -> bool {
        self.values.contains_key(id)
    }

    /// Whether the command has a switch of this name.
    pub fn knows(&self, switch: &str) -> bool {
        self.switches.iter().any(|known| known == switch)
    }

    /// Whether the command takes further options next to its own.
    pub fn takes(&self, more: &[String]) -> bool {
        parse_words(&crate::args::command(), self.argv_with(more)).is_ok()
    }

    /// Whether it adds to the artifact of its name, where there is one, and replaces nothing.
    pub fn extends_own(&self) -> bool {
        self.words == ["factors", "gram"] && self.has("extend")
    }

    /// Folder of the store.
    pub fn store(&self) -> Option<&str> {
        self.common.iter().find_map(|option| option.strip_prefix("--store="))
    }

    fn push(&mut self, arg: &Arg, setting: &Setting) -> Result<()> {
        let Setting { key, line, given } = setting;
        let wrong = |says: &str| Err(PipelineError::new(*line, format!("`{key}` {says}")));
        let long = arg.get_long().unwrap_or_default();
        let takes_values = arg.get_action().takes_values();
        let common = matches!(arg.get_id().as_str(), "store" | "threads");
        let options = if common { &mut self.common } else { &mut self.options };
        match given {
            OptionSetting::Flag(_) if takes_values => return wrong("takes a value"),
            OptionSetting::Values(_) if !takes_values => return wrong("is a switch: true or false"),
            OptionSetting::Flag(false) => {}
            OptionSetting::Flag(true) => options.push(format!("--{long}")),
            OptionSetting::Values(values) if arg.get_value_delimiter() == Some(',') => {
                options.push(format!("--{long}={}", values.join(",")));
            }
            OptionSetting::Values(values) => {
                options.extend(values.iter().map(|value| format!("--{long}={value}")))
            }
        }
        Ok(())
    }
}

/// What the parser of the command line makes of words.
fn parse_words(root: &Command, argv: Vec<OsString>) -> std::result::Result<(ArgMatches, Cli), clap::Error> {
    let matches = root.clone().try_get_matches_from(argv)?;
    let cli = Cli::from_arg_matches(&matches)?;
    Ok((matches, cli))
}

/// The command of some words, with its arguments and those that it takes from the commands above.
fn find<'a>(root: &'a Command, words: &[String]) -> std::result::Result<(&'a Command, Vec<&'a Arg>), String> {
    let (mut command, mut above) = (root, Vec::new());
    for word in words {
        above.extend(command.get_arguments().filter(|arg| arg.is_global_set()));
        let Some(found) = command.find_subcommand(word) else {
            let known = command.get_subcommands().map(Command::get_name);
            return Err(format!("there is no command `{word}`{}", did_you_mean(word, known)));
        };
        command = found;
    }
    above.extend(command.get_arguments());
    Ok((command, above))
}

fn switches(known: &[&Arg]) -> Vec<String> {
    let switches = known.iter().filter(|arg| !arg.get_action().takes_values());
    switches.map(|arg| arg.get_id().as_str().to_owned()).collect()
}

/// The argument that a key names: by its flag, with `-` or `_`, or an alias of it.
fn option<'a>(command: &Command, known: &[&'a Arg], setting: &Setting, words: &[String]) -> Result<&'a Arg> {
    let plain = |name: &str| name.replace('-', "_");
    let key = plain(&setting.key);
    let is = |arg: &&&Arg| flags(arg).any(|flag| plain(flag) == key);
    let error = |message: String| Err(PipelineError::new(setting.line, message));
    let Some(arg) = known.iter().find(is).copied() else {
        let names = known.iter().filter_map(|arg| arg.get_long()).chain(KEYS);
        let meant = in_place_of(command, &setting.key).map(|meant| format!("; {meant}"));
        let hint = meant.unwrap_or_else(|| did_you_mean(&setting.key, names));
        return error(format!("`gstore {}` has no option `{}`{hint}", words.join(" "), setting.key));
    };
    match TAKEN.iter().find(|(id, _)| arg.get_id() == *id) {
        Some((_, why)) => error(format!("`{}` cannot be set in a stage: {why}", setting.key)),
        None => Ok(arg),
    }
}

/// What the parser refuses, with the line of the option that it is about.
fn refusal(error: &clap::Error, stage: &PipelineStage, lines: &[(String, usize)]) -> PipelineError {
    let about = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(arg)) => arg.clone(),
        Some(ContextValue::Strings(args)) => args.first().cloned().unwrap_or_default(),
        _ => String::new(),
    };
    let long = about.trim_start_matches("--").split([' ', '=', '[', '<']).next().unwrap_or_default();
    let line = lines.iter().find(|(name, _)| !long.is_empty() && name == long).map(|(_, line)| *line);
    let text = with_expected_number(error);
    let text = text.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default().trim();
    PipelineError::new(line.unwrap_or(stage.says.line), format!("stage {}: {text}", stage.name))
}

/// What stands on the command line, lists cut at their commas.
fn values(matches: &ArgMatches, known: &[&Arg], depth: usize) -> BTreeMap<String, Vec<String>> {
    let mut inner = matches;
    for _ in 0..depth {
        match inner.subcommand() {
            Some((_, found)) => inner = found,
            None => break,
        }
    }
    let mut values = BTreeMap::new();
    for id in known.iter().map(|arg| arg.get_id().as_str()) {
        let given = inner.try_contains_id(id).unwrap_or(false)
            && inner.value_source(id) == Some(ValueSource::CommandLine);
        if given && let Ok(Some(raw)) = inner.try_get_raw(id) {
            values.insert(id.to_owned(), raw.map(|value| value.to_string_lossy().into_owned()).collect());
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;
    use crate::pipeline::{PipelineFile, Variables, expand};

    fn call(stage: &str) -> Result<StageCall> {
        let file = PipelineFile::parse(&format!("[[stage]]\nname = 's'\n{stage}")).expect("TOML");
        let stages = expand(&file, &Variables::new()).expect("stages");
        StageCall::new(&args::command(), &stages[0], Some("st"))
    }

    #[test]
    fn options_become_a_command_line() {
        let select = call(
            "command = 'select'\npool = ['a', 'b']\ntarget = 'x,y:z'\ntop = '5%'\noutput = 'o.jsonl'\npool_kind = 'grad-sgd'\nworst = true\nforce = false\n",
        )
        .expect("fits");
        assert_eq!(
            select.line(),
            "gstore select --store=st --pool=a,b --target=x,y:z --top=5% --output=o.jsonl --pool-kind=grad-sgd --worst"
        );
        assert_eq!(select.values("target"), ["x", "y:z"]);
        assert_eq!(select.values("pool"), ["a", "b"]);
        assert!(select.has("worst") && !select.has("force") && select.knows("force"));

        let turned = "command = 'add'\ndataset = 'd'\ndata = ['b', 'a']\nfield = 'text=x'\n";
        let straight = "command = 'add'\ndata = ['b', 'a']\nfield = 'text=x'\ndataset = 'd'\n";
        let arguments = |stage: &str| call(stage).expect("fits").arguments();
        assert_eq!(arguments(turned), arguments(straight));
        assert_ne!(arguments(turned), arguments(&turned.replace("'b', 'a'", "'a', 'b'")));

        let query = call("command = 'query'\nargs = [\"SELECT 'a b'\"]\nstore = 'other'\n").expect("fits");
        assert_eq!(query.line(), r"gstore query --store=other -- 'SELECT '\''a b'\'''");
        assert_eq!(query.value("sql"), Some("SELECT 'a b'"));
        let drop = call("command = 'drop run'\nargs = 'warm'\n").expect("fits");
        assert_eq!((drop.value("name"), drop.knows("json")), (Some("warm"), true));

        let gram = call("command = 'factors gram'\nargs = 'second'\nextend = true\n").expect("fits");
        let fit = "command = 'factors fit'\nargs = 'f'\ndataset = 'd'\nmodel = 'm'\nextend = 'e'\n";
        assert!(gram.extends_own() && !call(fit).expect("fits").extends_own());
    }

    #[test]
    fn what_the_command_line_refuses_has_a_line() {
        for (stage, line, says) in [
            ("command = 'trian'\n", 1, "did you mean `train`"),
            ("command = 'run'\n", 1, "cannot be a stage"),
            ("command = 'drop'\n", 1, "feature, dataset, artifact, run"),
            ("command = 'train'\nmodel = 'm'\nepohcs = 2\n", 5, "no option `epohcs`"),
            ("command = 'train'\nmodel = 'm'\ndata = 'd'\noutput = 'o'\nepochs = 'two'\n", 7, "two"),
            ("command = 'train'\nmodel = 'm'\noutput = 'o'\n", 1, "--data"),
            ("command = 'train'\nmodel = 'm'\ndata = 'd'\noutput = 'o'\nfull = 'yes'\n", 7, "is a switch"),
            ("command = 'train'\nmodel = true\n", 4, "takes a value"),
            ("command = 'train'\nlr = 0.1\n", 4, "no option `lr`; --learning-rate X does its job"),
            ("command = 'ingest'\ndry-run = true\n", 4, "dry run"),
            // What the parser takes and the command does not.
            (
                "command = 'train'\nmodel = 'm'\ndata = 'd'\noutput = 'o'\nmomentum = 0.9\n",
                1,
                "--momentum requires --optim sgd",
            ),
            (
                "command = 'generate'\nmodel = 'm'\ndata = 'd'\noutput = 'o'\ntemperature = 0\ntop-p = 0.5\n",
                1,
                "top",
            ),
            (
                "command = 'train'\nmodel = 'm'\ndata = 'd'\noutput = 'o'\nrun = 'bad/x'\n",
                1,
                "cannot name a run",
            ),
            (
                "command = 'ingest'\nmodel = 'm'\ndataset = 'd'\nfeatures = 'loss'\nrun = 'a/b'\n",
                1,
                "cannot name a run",
            ),
            (
                "command = 'ingest'\nmodel = 'm'\ndataset = 'd'\nfeatures = ['loss', 'embed-mean']\ndim = 64\n",
                1,
                "--dim has no effect: no kind in --features is a gradient",
            ),
            ("command = 'add'\ndataset = 'd'\ndata = '-'\n", 1, "standard input"),
            ("command = 'add'\ndataset = 'd'\ndata = '/dev/stdin'\n", 1, "standard input"),
            ("command = 'query'\nfile = '-'\n", 1, "standard input"),
        ] {
            let error = call(stage).expect_err(stage);
            assert!(error.line == line && error.message.contains(says), "{stage}{error}");
        }
        // The rows of an evaluation are a result.
        call("command = 'evaluate text'\ndata = 'd'\noutput = 'o.json'\nrows = '-'\n").expect("fits");
    }

    #[test]
    fn further_options_are_those_that_the_command_takes() {
        let agreement = "command = 'daunce agreement'\npool = 'p'\ntarget = 't'\n";
        let select = "command = 'select'\npool = 'p'\ntarget = 't'\ntop = 3\noutput = 'o.jsonl'\n";
        let matrix = "command = 'matrix'\npool = 'p'\ntarget = 't'\noutput = 'o'\n";
        for (stage, option, is_taken) in [
            (agreement.to_owned(), "--json", true),
            (format!("{agreement}output = 'a.svg'\n"), "--json", false),
            (format!("{agreement}output = 'a.svg'\n"), "--force", true),
            (select.to_owned(), "--json", true),
            ("command = 'plot train'\nargs = 'o'\n".to_owned(), "--json", false),
            (matrix.to_owned(), "--json", true),
        ] {
            let call = call(&stage).expect(&stage);
            assert_eq!(call.takes(&[option.to_owned()]), is_taken, "{stage}{option}");
        }
    }

    #[test]
    fn no_option_is_called_like_a_key_of_stages() {
        for command in args::command().get_subcommands() {
            let options = command.get_arguments().filter_map(Arg::get_long);
            let clash: Vec<&str> = options.filter(|long| KEYS.contains(long)).collect();
            // Of several targets a pipeline makes a stage each.
            let known: &[&str] = if command.get_name() == "select" { &["each"] } else { &[] };
            assert_eq!(clash, known, "{}", command.get_name());
        }
    }
}
