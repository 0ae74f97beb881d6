//! Variables, and stages that are repeated for several values.

use std::collections::BTreeMap;

use gstore_core::did_you_mean;

use super::{OptionSetting, PipelineError, PipelineFile, Setting, StageTable};

type Result<T> = std::result::Result<T, PipelineError>;

/// Stages of a file at most.
const STAGES: usize = 10_000;

/// Most characters of the name of a stage.
const NAME: usize = 200;

/// Values by name.
pub type Variables = BTreeMap<String, String>;

/// One stage, its variables put in.
#[derive(Debug, Clone)]
pub struct PipelineStage {
    /// Its name, which no other stage has.
    pub name: String,
    /// Name of its table, which all stages of `each` share.
    pub table: String,
    pub says: StageTable,
}

impl PipelineStage {
    /// Whether a name means this stage.
    pub fn is(&self, name: &str) -> bool {
        self.name == name || self.table == name
    }
}

/// The stages of a file, in its order; of a table with `each` the last variable changes fastest. `set` goes
/// before the file's variables.
///
/// # Errors
/// Variables that are not there, two stages with one name, names that cannot be those of files.
pub fn expand(file: &PipelineFile, set: &Variables) -> Result<Vec<PipelineStage>> {
    let mut variables = Variables::new();
    for variable in &file.variables {
        let value = match set.get(&variable.name) {
            Some(value) => value.clone(),
            None => substitute(&variable.value, &variables, variable.line)?,
        };
        if variables.insert(variable.name.clone(), value).is_some() {
            return Err(PipelineError::new(variable.line, format!("`{}` comes twice", variable.name)));
        }
    }
    if let Some(name) = set.keys().find(|name| !variables.contains_key(*name)) {
        return Err(PipelineError::new(1, format!("the pipeline has no variable `{name}` to set")));
    }
    let mut stages: Vec<PipelineStage> = Vec::new();
    for table in &file.stages {
        let each = table.each.iter().map(|each| split_values(each, &variables, table));
        let each = each.collect::<Result<Vec<_>>>()?;
        let count = each.iter().try_fold(1usize, |count, (_, values)| count.checked_mul(values.len()));
        if count.is_none_or(|count| count > STAGES.saturating_sub(stages.len())) {
            return Err(PipelineError::new(table.line, format!("each: more than {STAGES} stages")));
        }
        for values in combinations(&each) {
            let stage = instance(table, &variables, &values)?;
            if let Some(other) = stages.iter().find(|other| other.name == stage.name) {
                let message = format!("the stage in line {} is also called {}", other.says.line, stage.name);
                return Err(PipelineError::new(table.line, message));
            }
            stages.push(stage);
        }
    }
    Ok(stages)
}

/// The values of a variable of `each`, cut at commas.
fn split_values(
    (name, texts): &(String, Vec<String>),
    variables: &Variables,
    table: &StageTable,
) -> Result<(String, Vec<String>)> {
    let mut values = Vec::new();
    for text in texts {
        let text = substitute(text, variables, table.line)?;
        values.extend(text.split(',').map(|value| value.trim().to_owned()).filter(|value| !value.is_empty()));
    }
    match values.is_empty() {
        true => Err(PipelineError::new(table.line, format!("each: `{name}` has no values"))),
        false => Ok((name.clone(), values)),
    }
}

fn combinations(each: &[(String, Vec<String>)]) -> Vec<Vec<(String, String)>> {
    each.iter().fold(vec![Vec::new()], |found, (name, values)| {
        let mut longer = Vec::new();
        for known in &found {
            for value in values {
                let mut known: Vec<(String, String)> = known.clone();
                known.push((name.clone(), value.clone()));
                longer.push(known);
            }
        }
        longer
    })
}

fn instance(table: &StageTable, variables: &Variables, values: &[(String, String)]) -> Result<PipelineStage> {
    let mut variables = variables.clone();
    for (name, value) in values {
        variables.insert(name.clone(), value.clone());
    }
    let put = |text: &String, line| substitute(text, &variables, line);
    let puts = |texts: &[String]| texts.iter().map(|text| put(text, table.line)).collect::<Result<Vec<_>>>();
    let name = match values.is_empty() || table.name.contains("${") {
        true => put(&table.name, table.line)?,
        false => values.iter().fold(table.name.clone(), |name, (_, value)| format!("{name}-{value}")),
    };
    if name.is_empty() || name.starts_with('.') || name.len() > NAME || !name.chars().all(is_of_name) {
        return Err(wrong_name(table, &name, &variables, values));
    }
    let mut settings = Vec::new();
    for setting in &table.settings {
        let given = match &setting.given {
            OptionSetting::Flag(on) => OptionSetting::Flag(*on),
            OptionSetting::Values(texts) => {
                let texts: Result<Vec<String>> = texts.iter().map(|text| put(text, setting.line)).collect();
                OptionSetting::Values(texts?)
            }
        };
        settings.push(Setting { given, ..setting.clone() });
    }
    let says = StageTable {
        command: put(&table.command, table.line)?,
        after: puts(&table.after)?,
        reads: puts(&table.reads)?,
        writes: puts(&table.writes)?,
        args: puts(&table.args)?,
        settings,
        ..table.clone()
    };
    Ok(PipelineStage { name, table: table.name.clone(), says })
}

/// Whether a character may stand in the name of a stage, which is also that of files.
fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-".contains(c)
}

/// The error of a name that cannot be that of files, with the value in it that does not fit.
fn wrong_name(
    table: &StageTable,
    name: &str,
    variables: &Variables,
    values: &[(String, String)],
) -> PipelineError {
    let mut message = format!(
        "stage {name:?}: a name has up to {NAME} letters `a` to `z` and `A` to `Z`, digits, `.`, `_` and `-`, \
         and no `.` first"
    );
    let is_in_name = |key: &str| match table.name.contains("${") {
        true => table.name.contains(&format!("${{{key}}}")),
        false => values.iter().any(|(of_each, _)| of_each == key),
    };
    let mut parts = variables.iter().filter(|(key, _)| is_in_name(key));
    if let Some((key, value)) = parts.find(|(_, value)| !value.chars().all(is_of_name)) {
        message += &format!(
            "; {value:?} is the value of `{key}`, which is put into the name: use a plain value, such as `llama`, \
             and write the rest where it is used, as in `models/${{{key}}}`"
        );
    }
    PipelineError::new(table.line, message)
}

/// A text with the values of `${name}` put in; `$${` stands for `${` itself.
///
/// # Errors
/// A variable that is not there, or a brace that is not closed.
fn substitute(text: &str, variables: &Variables, line: usize) -> Result<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at]);
            out.push('{');
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let Some(end) = rest[at..].find('}') else {
            return Err(PipelineError::new(line, format!("`{text}` has a `${{` without its `}}`")));
        };
        let name = &rest[at + 2..at + end];
        let Some(value) = variables.get(name) else {
            let hint = did_you_mean(name, variables.keys().map(String::as_str));
            return Err(PipelineError::new(line, format!("there is no variable `{name}`{hint}")));
        };
        out.push_str(value);
        rest = &rest[at + end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stages(text: &str, set: &[(&str, &str)]) -> Result<Vec<PipelineStage>> {
        let set = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        expand(&PipelineFile::parse(text).expect("a pipeline"), &set)
    }

    const FILE: &str = "[variables]\nseeds = [1, 2]\nruns = 'out'\nwarm = '${runs}/warm'\n[[stage]]\nname = 'w'\ncommand = 'train'\n\
        each = {target = ['a', 'b'], seed = '${seeds}'}\noutput = '${warm}-${target}-${seed}'\n\
        [[stage]]\nname = 'sql'\ncommand = 'query'\nargs = ['SELECT $k, $${x}']\nafter = ['w']\n";

    #[test]
    fn stages_are_repeated_for_every_value() {
        let found = stages(FILE, &[("runs", "other")]).expect("stages");
        let names: Vec<&str> = found.iter().map(|stage| stage.name.as_str()).collect();
        assert_eq!(names, ["w-a-1", "w-a-2", "w-b-1", "w-b-2", "sql"]);
        assert_eq!(found[2].says.settings[0].given, OptionSetting::Values(vec!["other/warm-b-1".into()]));
        assert_eq!(found[4].says.args, ["SELECT $k, ${x}"]);
        assert!(found[1].is("w") && found[1].is("w-a-2") && !found[1].is("w-a-1"));
    }

    #[test]
    fn wrong_variables_and_names_are_refused() {
        for (text, line, says) in [
            (FILE.replace("${warm}", "${wram}"), 9, "did you mean `warm`"),
            (FILE.replace("${warm}", "${warm"), 9, ""),
            (FILE.replace("'sql'", "'w-a-2'"), 10, "line 5"),
            (FILE.replace("'sql'", "'ä'"), 10, "letters `a` to `z`"),
            (FILE.replace("'sql'", "'a/b'"), 10, "no `.` first"),
            (FILE.replace("['a', 'b']", "['a', 'm/b']"), 5, "\"m/b\" is the value of `target`"),
            (FILE.replace("name = 'w'", "name = 'w-${warm}'"), 5, "as in `models/${warm}`"),
            (
                FILE.replace("seeds = [1, 2]", &format!("seeds = '{}1'", "1,".repeat(6_000))),
                5,
                "10000 stages",
            ),
        ] {
            let error = stages(&text, &[]).expect_err(&text);
            assert_eq!(error.line, line, "{error}");
            assert!(error.message.contains(says), "{error}");
        }
        assert!(stages(FILE, &[("rusn", "x")]).is_err());
    }

    #[test]
    fn plain_values_give_names_where_paths_cannot() {
        let file = |of_each: &str, used: &str| {
            format!(
                "[[stage]]\nname = 'w'\ncommand = 'train'\neach = {{model = '{of_each}'}}\nmodel = '{used}'\n"
            )
        };
        let error = stages(&file("models/llama", "${model}"), &[]).expect_err("a path in a name").to_string();
        assert!(error.contains("such as `llama`") && error.contains("as in `models/${model}`"), "{error}");
        let found = stages(&file("llama", "models/${model}"), &[]).expect("stages");
        assert_eq!(found[0].name, "w-llama");
        assert_eq!(found[0].says.settings[0].given, OptionSetting::Values(vec!["models/llama".into()]));
    }
}
