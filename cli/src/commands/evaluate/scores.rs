//! Scores of methods that flags name: files, statements over the store, and random ones.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use gstore::factors::{ScoreFolder, ScoreKind, ScoreSide};
use gstore::named_path;
use gstore_core::{Cancel, first_of, many, many_of, visible};
use gstore_evaluate::EvaluateError;
use gstore_evaluate::attribution::{
    Ids, MissingScores, Scores, ScoresBuilder, add_matrix, files_of_scores, read_scores,
};
use gstore_sql::output::{Format, ResultWriter, TableStyle};
use gstore_sql::{SqlOptions, SqlRunner};

use crate::args::{ComparedScoresArgs, ScoresArgs};
use crate::context::Context;
use crate::failure::refuse;
use crate::statements::session;

/// Names in a note.
const MOST_NAMES: usize = 5;

/// The scores of all methods in the order of the flags: files, statements, the random one.
pub fn compared(
    context: &Context,
    args: &ComparedScoresArgs,
    (pool, queries): (&Ids, &Ids),
    cancel: &Cancel,
) -> Result<Vec<Scores>> {
    let random = args.random.map(|seed| Scores::random("random", pool, queries, seed));
    if args.methods.is_empty() && random.is_none() {
        refuse!("which scores? give --scores, --sql or --random");
    }
    read(context, &args.methods, (pool, queries), random, cancel)
}

/// The scores of files and of statements, and those that are there already.
pub fn read(
    context: &Context,
    args: &ScoresArgs,
    (pool, queries): (&Ids, &Ids),
    known: Option<Scores>,
    cancel: &Cancel,
) -> Result<Vec<Scores>> {
    let missing = args.missing.unwrap_or_default();
    let mut methods: Vec<Scores> = Vec::new();
    for text in &args.scores {
        let (name, path) = named(text);
        let mut builder = ScoresBuilder::new(&name, pool, queries);
        let path = Path::new(path);
        match path.is_dir() && ScoreFolder::is_at(path)? {
            true => of_folder(path, &mut builder, cancel)?,
            false => read_scores(path, &mut builder, cancel)?,
        }
        methods.push(builder.finish(missing)?);
    }
    methods.extend(of_statements(context, &args.sql, (pool, queries), missing, cancel)?);
    methods.extend(known);
    for name in &args.negate {
        let found = methods.iter_mut().find(|scores| scores.method == *name);
        let Some(found) = found else {
            refuse!("--negate {name}: there is no such method");
        };
        *found = found.clone().negated();
    }
    for scores in &methods {
        tell(context, scores);
    }
    Ok(methods)
}

/// Reads a folder of Kronfluence's: the scores of queries with rows, or of rows with themselves where there
/// are no queries.
fn of_folder(path: &Path, into: &mut ScoresBuilder<'_>, cancel: &Cancel) -> Result<()> {
    let kind = if into.is_of_rows() { ScoreKind::OfItself } else { ScoreKind::Pairwise };
    let folder = ScoreFolder::open(path)?;
    let table = folder.total(kind)?;
    let rows = table.shape.last().copied().unwrap_or_default();
    let queries = table.shape.iter().rev().nth(1).copied();
    let columns = queries.unwrap_or(1);
    let of_queries = queries.map(|_| folder.ids_file(ScoreSide::Query));
    let of_rows = folder.ids_file(ScoreSide::Train);
    let lists = (of_rows.as_path(), of_queries.as_deref());
    let value = |row: usize, query: usize| table.values.get(query * rows + row).copied().unwrap_or(f64::NAN);
    let values = (0..rows).flat_map(|row| (0..columns).map(move |query| Ok((row, query, value(row, query)))));
    Ok(add_matrix(path, lists, (rows, columns), values, into, cancel)?)
}

/// The files and folders that scores are read from.
pub fn files(args: &ScoresArgs) -> Vec<PathBuf> {
    args.scores.iter().flat_map(|text| files_of_scores(Path::new(named(text).1))).collect()
}

/// Says what of a method's scores belongs to nothing here.
fn tell(context: &Context, scores: &Scores) {
    let unknown = &scores.unknown;
    for (count, what) in [(unknown.rows, "rows that are not in the pool"), (unknown.queries, "other queries")]
    {
        if count > 0 {
            let method = visible(&scores.method);
            context.say(&format!("note: {method}: {} of {what} left out", many(count, "score")));
        }
    }
    if !unknown.columns.is_empty() {
        context.say(&format!(
            "note: {}: {} not taken as scores, because no query has that id: {}",
            visible(&scores.method),
            many_of(unknown.columns.len() as u64, "column of numbers is", "columns of numbers are"),
            visible(&first_of(&unknown.columns, MOST_NAMES))
        ));
    }
}

/// The scores that statements give, one method each.
fn of_statements(
    context: &Context,
    statements: &[String],
    (pool, queries): (&Ids, &Ids),
    missing: MissingScores,
    cancel: &Cancel,
) -> Result<Vec<Scores>> {
    let mut named = Vec::with_capacity(statements.len());
    for text in statements {
        let Some(found) = text.split_once('=').filter(|(name, _)| is_name(name)) else {
            refuse!("a statement needs a name, as in --sql NAME='SELECT ...': {text}");
        };
        named.push(found);
    }
    if named.is_empty() {
        return Ok(Vec::new());
    }
    let (snapshot, _lease) = context.open_at(None)?;
    let runner = session(context, snapshot, SqlOptions::default())?;
    let mut methods = Vec::with_capacity(named.len());
    for (name, statement) in named {
        let mut builder = ScoresBuilder::new(name, pool, queries);
        of_statement(&runner, statement, &mut builder, cancel)
            .with_context(|| format!("the statement of {name}"))?;
        methods.push(builder.finish(missing)?);
    }
    Ok(methods)
}

/// Reads the rows of a statement as those of a file.
fn of_statement(
    runner: &SqlRunner,
    statement: &str,
    into: &mut ScoresBuilder<'_>,
    cancel: &Cancel,
) -> Result<()> {
    let file = tempfile::Builder::new().suffix(".jsonl").tempfile()?;
    let mut rows = runner.run(statement, cancel)?;
    let schema = rows.schema().clone();
    let style = TableStyle { width: None, column: None };
    let mut writer =
        ResultWriter::new(Format::Json, &schema, std::io::BufWriter::new(file.as_file()), style)?;
    for batch in &mut rows {
        writer.write(&batch?)?;
    }
    writer.finish()?;
    read_scores(file.path(), into, cancel).map_err(|error| match error {
        // The file is none of the user's, and gone: each of its lines is a row.
        EvaluateError::Record { place, what } => anyhow!("row {} of its result: {what}", place.number),
        error => error.into(),
    })
}

/// `NAME=PATH`, or a path alone, which is called by its name, that of a file without its ending.
fn named(text: &str) -> (String, &str) {
    let of_path = |path: &Path| {
        let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
        name.unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
    };
    let (name, path) = named_path(text);
    (name.map_or_else(|| of_path(Path::new(path)), str::to_owned), path)
}

/// Whether this may be a statement's name: no text of SQL before its first `=`.
fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(['/', ' '])
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn a_method_is_called_by_its_name_or_its_file() {
        assert_eq!(named("less=a/b.csv"), ("less".to_owned(), "a/b.csv"));
        assert_eq!(named("a/b.csv"), ("b".to_owned(), "a/b.csv"));
        assert_eq!(named("a/x=1.csv"), ("x=1".to_owned(), "a/x=1.csv"));
        assert_eq!(named("my method=b.csv"), ("my method".to_owned(), "b.csv"));
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("x=1.csv").display().to_string();
        fs_err::write(&file, "").expect("written");
        assert_eq!(named(&file), ("x=1".to_owned(), &*file));
        assert_eq!(named(&format!("a/b={file}")), ("a/b".to_owned(), &*file));
    }
}
