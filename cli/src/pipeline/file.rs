//! A pipeline file as it was written: options, variables and tables of stages, with their lines.

use std::num::NonZeroUsize;
use std::ops::Range;

use gstore_core::did_you_mean;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::args::threads;

type Result<T> = std::result::Result<T, PipelineError>;

/// Why a pipeline file cannot be run as it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct PipelineError {
    /// Line of the file, from 1.
    pub line: usize,
    /// What is wrong there.
    pub message: String,
}

impl PipelineError {
    pub fn new(line: usize, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }
}

/// What a file says.
#[derive(Debug, Default)]
pub struct PipelineFile {
    /// Folder of the store of all stages.
    pub store: Option<String>,
    /// Threads of each stage.
    pub threads: Option<NonZeroUsize>,
    /// Names and values, in the order of the file.
    pub variables: Vec<Variable>,
    /// The stages, in the order of the file.
    pub stages: Vec<StageTable>,
}

/// A name with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    pub name: String,
    /// Its value, in which earlier variables may stand; of a list the values with commas between them.
    pub value: String,
    pub line: usize,
}

/// A table `[[stage]]`.
#[derive(Debug, Clone, Default)]
pub struct StageTable {
    pub line: usize,
    pub name: String,
    pub command: String,
    /// Variables whose values the stage is repeated for; a comma in one begins the next.
    pub each: Vec<(String, Vec<String>)>,
    /// Stages that come before it.
    pub after: Vec<String>,
    /// What it reads besides what its options name.
    pub reads: Vec<String>,
    /// What it writes besides.
    pub writes: Vec<String>,
    /// Values without an option, as they stand behind the command.
    pub args: Vec<String>,
    pub settings: Vec<Setting>,
}

/// An option of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    pub key: String,
    pub line: usize,
    /// What it is set to.
    pub given: OptionSetting,
}

/// What an option is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OptionSetting {
    /// A switch.
    Flag(bool),
    /// One value or a list.
    Values(Vec<String>),
}

/// Keys of a stage that are no options of its command.
pub(super) const KEYS: [&str; 7] = ["name", "command", "each", "after", "reads", "writes", "args"];

impl PipelineFile {
    /// Reads a file's text.
    ///
    /// # Errors
    /// No TOML, keys that mean nothing, values of another type, stages without a name or a command.
    pub fn parse(text: &str) -> Result<Self> {
        let document = DeTable::parse(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(text, &span));
            PipelineError::new(line, error.message().trim())
        })?;
        let mut file = Self::default();
        for (key, line, value) in entries(text, document.get_ref()) {
            match key.as_str() {
                "store" => file.store = Some(single_value(value, line)?),
                "threads" => {
                    let wrong = |why: String| PipelineError::new(line, format!("threads: {why}"));
                    file.threads = Some(threads(&single_value(value, line)?).map_err(wrong)?);
                }
                "variables" => {
                    for (name, line, value) in entries(text, table(value, line)?) {
                        let value = values_of(value, line)?.join(",");
                        file.variables.push(Variable { name, value, line });
                    }
                }
                "stage" => {
                    let DeValue::Array(stages) = value else {
                        return Err(PipelineError::new(
                            line,
                            "a stage begins with [[stage]], in two brackets",
                        ));
                    };
                    for stage in stages.iter() {
                        let line = line_of(text, &stage.span());
                        file.stages.push(StageTable::read(text, table(stage.get_ref(), line)?, line)?);
                    }
                }
                key => {
                    let hint = did_you_mean(key, ["store", "threads", "variables", "stage"]);
                    return Err(PipelineError::new(line, format!("there is no `{key}` in a pipeline{hint}")));
                }
            }
        }
        if file.stages.is_empty() {
            return Err(PipelineError::new(1, "there is no [[stage]]"));
        }
        Ok(file)
    }
}

impl StageTable {
    fn read(text: &str, table_of: &DeTable<'_>, line: usize) -> Result<Self> {
        let mut stage = Self { line, ..Self::default() };
        for (key, line, value) in entries(text, table_of) {
            match key.as_str() {
                "name" => stage.name = single_value(value, line)?,
                "command" => stage.command = single_value(value, line)?,
                "after" => stage.after = values_of(value, line)?,
                "reads" => stage.reads = values_of(value, line)?,
                "writes" => stage.writes = values_of(value, line)?,
                "args" => stage.args = values_of(value, line)?,
                "each" => {
                    for (name, line, value) in entries(text, table(value, line)?) {
                        let values = values_of(value, line)?;
                        if values.is_empty() {
                            return Err(PipelineError::new(line, format!("each: `{name}` has no values")));
                        }
                        stage.each.push((name, values));
                    }
                }
                _ => {
                    let given = match value {
                        DeValue::Boolean(on) => OptionSetting::Flag(*on),
                        value => OptionSetting::Values(values_of(value, line)?),
                    };
                    stage.settings.push(Setting { key, line, given });
                }
            }
        }
        for (key, value) in [("name", &stage.name), ("command", &stage.command)] {
            if value.trim().is_empty() {
                return Err(PipelineError::new(line, format!("this stage has no `{key}`")));
            }
        }
        Ok(stage)
    }
}

/// Keys, lines and values of a table, in the order of the file.
fn entries<'t, 'i>(text: &str, table: &'t DeTable<'i>) -> Vec<(String, usize, &'t DeValue<'i>)> {
    let mut found: Vec<(&Spanned<_>, &Spanned<DeValue<'i>>)> = table.iter().collect();
    found.sort_by_key(|(key, _)| key.span().start);
    let entry = |(key, value): (&Spanned<toml::de::DeString<'i>>, &'t Spanned<DeValue<'i>>)| {
        (key.get_ref().to_string(), line_of(text, &key.span()), value.get_ref())
    };
    found.into_iter().map(entry).collect()
}

fn line_of(text: &str, span: &Range<usize>) -> usize {
    1 + text.bytes().take(span.start).filter(|byte| *byte == b'\n').count()
}

fn table<'t, 'i>(value: &'t DeValue<'i>, line: usize) -> Result<&'t DeTable<'i>> {
    match value {
        DeValue::Table(table) => Ok(table),
        _ => Err(PipelineError::new(line, "expected a table here")),
    }
}

/// A text or a number, as it stands in the file; of integers of any base the decimal digits.
fn single_value(value: &DeValue<'_>, line: usize) -> Result<String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => Ok(i128::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| number.to_string(), |whole| whole.to_string())),
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            Err(PipelineError::new(line, "expected a text or a number here"))
        }
    }
}

/// The same, or a list of them.
fn values_of(value: &DeValue<'_>, line: usize) -> Result<Vec<String>> {
    match value {
        DeValue::Array(items) => items.iter().map(|item| single_value(item.get_ref(), line)).collect(),
        value => Ok(vec![single_value(value, line)?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_with_its_lines() {
        let file = PipelineFile::parse(
            "store = 's'\nthreads = 2\n[variables]\nrate = 2e-5\n\n[[stage]]\nname = 'warm'\ncommand = 'train'\n\
             each = {seed = [1, 2]}\nlearning-rate = '${rate}'\nfull = true\ndata = ['a', 'b']\n",
        )
        .expect("a pipeline");
        assert_eq!((file.store.as_deref(), file.threads.map(NonZeroUsize::get)), (Some("s"), Some(2)));
        assert_eq!(file.variables[0].value, "2e-5");
        let stage = &file.stages[0];
        assert_eq!((stage.line, stage.name.as_str(), stage.command.as_str()), (6, "warm", "train"));
        assert_eq!(stage.each, [("seed".to_owned(), vec!["1".to_owned(), "2".to_owned()])]);
        let keys: Vec<(&str, usize)> = stage.settings.iter().map(|s| (s.key.as_str(), s.line)).collect();
        assert_eq!(keys, [("learning-rate", 10), ("full", 11), ("data", 12)]);
        assert_eq!(stage.settings[1].given, OptionSetting::Flag(true));
    }

    #[test]
    fn integers_of_any_base_are_decimal() {
        let file = PipelineFile::parse(
            "threads = 0x10\n[variables]\nl = [1_0, 0x1F, 0o17, 0b1_1, -5, 18446744073709551615]\n\
             [[stage]]\nname = 'a'\ncommand = 'ls'\ntop = 0xff\n",
        )
        .expect("a pipeline");
        assert_eq!(file.threads.map(NonZeroUsize::get), Some(16));
        assert_eq!(file.variables[0].value, "10,31,15,3,-5,18446744073709551615");
        assert_eq!(file.stages[0].settings[0].given, OptionSetting::Values(vec!["255".into()]));
    }

    #[test]
    fn mistakes_have_lines() {
        for (text, line, says) in [
            ("", 1, "no [[stage]]"),
            ("threads = 5000\n[[stage]]\nname = 'a'\ncommand = 'ls'\n", 1, "from 1 to 1024"),
            ("stor = 's'\n[[stage]]\nname = 'a'\ncommand = 'ls'\n", 1, "did you mean `store`"),
            ("[[stage]]\nname = 'a'\n\n[[stage]]\ncommand = 'ls'\n", 1, "no `command`"),
            ("[[stage]]\nname = 'a'\ncommand = 'ls'\nformat = 1979-05-27\n", 4, "text or a number"),
            ("[[stage]]\nname = 'a'\ncommand = = 'ls'\n", 3, ""),
            ("[stage]\nname = 'a'\n", 1, "[[stage]]"),
            ("[[stage]]\nname = 'a'\ncommand = 'ls'\neach = {seed = []}\n", 4, "no values"),
        ] {
            let error = PipelineFile::parse(text).expect_err(text);
            assert_eq!(error.line, line, "{text}: {error}");
            assert!(error.message.contains(says), "{error}");
        }
    }
}
