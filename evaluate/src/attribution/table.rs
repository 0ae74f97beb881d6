//! Results of retraining as tables: which rows each subset has, and what its models say of the queries.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use gstore_core::{Cancel, many};
use serde_json::Value;

use super::ids::Ids;
use super::read::{number, same_as_loss};
use super::subsets::{NO_MULTISET, Subset, SubsetKind, complement};
use super::truth::{Signal, Truth};
use crate::error::EvaluateError;
use crate::records::{PairSource, RecordLocation, each_record, text_of};

/// Names of outputs, and what they are.
const SIGNALS: [(&str, Signal); 3] =
    [("loss", Signal::NegativeLoss), ("margin", Signal::Margin), ("output", Signal::Other)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum SubsetIds {
    /// A list of its rows.
    Rows,
    /// A list of those that it leaves out.
    Without,
    /// One of its rows in each of several records.
    Id,
}

impl SubsetIds {
    /// The key of a record.
    fn key(self) -> &'static str {
        match self {
            SubsetIds::Rows => "rows",
            SubsetIds::Without => "without",
            SubsetIds::Id => "id",
        }
    }
}

/// A subset as it is read.
struct NamedSubset {
    name: String,
    kind: SubsetKind,
    ids: Vec<String>,
    form: SubsetIds,
}

impl NamedSubset {
    /// Its rows among those of the pool.
    fn subset(&self, pool: &Ids) -> Subset {
        let mut rows: Vec<u32> =
            self.ids.iter().filter_map(|id| pool.place(id)).map(|place| place as u32).collect();
        rows.sort_unstable();
        let rows = if self.form == SubsetIds::Without { complement(&rows, pool.len()) } else { rows };
        Subset { kind: self.kind.clone(), rows }
    }

    /// Fails at the first row that is listed a second time.
    fn check(&self, path: &Path) -> Result<(), EvaluateError> {
        let mut seen = HashSet::with_capacity(self.ids.len());
        let Some(id) = self.ids.iter().find(|id| !seen.insert(id.as_str())) else { return Ok(()) };
        let what = format!("subset {:?} lists row {id:?} twice: {NO_MULTISET}", self.name);
        Err(EvaluateError::File { path: path.to_owned(), what })
    }
}

/// Reads a truth from tables. A record of `subsets` has the name of a `subset`, and `rows` or `without`,
/// lists of ids, or as `id` one row of many records; its `kind`, `group`, `method`, `query` and `share` are
/// those of [`SubsetKind`]. The pool is every row that is named. A record of `outputs` has `subset`, `query`,
/// and `loss`, `margin` or `output`, which are better the larger they are but for the loss, and of which a
/// margin stands alone; several of one subset and query are several runs. A removal leaves out its share of
/// the pool. A subset has a row or has it not: one that lists a row twice is refused, since scores would
/// count it once.
///
/// # Errors
/// Files that cannot be read, names that do not fit together, a whole pool that lacks rows, an output that is
/// not finite or missing.
pub fn read_tables(subsets: &Path, outputs: &Path, cancel: &Cancel) -> Result<Truth, EvaluateError> {
    let named = read_subsets(subsets, cancel)?;
    let mut seen = HashSet::new();
    let ids = named.iter().flat_map(|subset| &subset.ids).filter(|id| seen.insert(*id)).cloned();
    let pool = Ids::new(ids.collect::<Vec<String>>(), &subsets.display().to_string())?;
    let list: Vec<Subset> = named.iter().map(|named| named.subset(&pool)).collect();
    named
        .iter()
        .zip(&list)
        .try_for_each(|(named, subset)| check_share(named, subset, pool.len(), subsets))?;
    for (named, subset) in named.iter().zip(&list).filter(|(named, _)| named.kind == SubsetKind::Full) {
        if let Some(row) = subset.left_out(pool.len()).first() {
            let (name, id) = (&named.name, pool.id(*row as usize));
            let what = format!(
                "subset {name:?} is of kind \"full\", which is the whole pool, and lacks row {id:?}: the pool is every row that a subset names"
            );
            return Err(EvaluateError::File { path: subsets.to_owned(), what });
        }
    }
    let names = Ids::new(named.into_iter().map(|named| named.name), "the subsets")?;
    let (signal, queries, found) = read_outputs(outputs, &names, cancel)?;
    Ok(Truth { pool, queries, subsets: list, signal, outputs: found })
}

/// Fails unless a removal leaves out its share of the pool, rounded up or down.
fn check_share(named: &NamedSubset, subset: &Subset, pool: usize, path: &Path) -> Result<(), EvaluateError> {
    let (SubsetKind::Removed { share, .. } | SubsetKind::RemovedAtRandom { share }) = subset.kind else {
        return Ok(());
    };
    let left_out = pool - subset.rows.len();
    if (left_out as f64 - share * pool as f64).abs() < 1.0 {
        return Ok(());
    }
    let what = format!(
        "subset {:?} leaves out {left_out} of {}, and its share is {share}: give the share that it leaves out, and a \
         subset with all rows where some are named by none, since the pool is every row that a subset names",
        named.name,
        many(pool as u64, "row")
    );
    Err(EvaluateError::File { path: path.to_owned(), what })
}

fn read_subsets(path: &Path, cancel: &Cancel) -> Result<Vec<NamedSubset>, EvaluateError> {
    let mut named: Vec<NamedSubset> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    each_record(&PairSource::Files(vec![path.to_owned()]), cancel, &mut |at, value| {
        let name =
            text_of(value.get("subset")).ok_or_else(|| at.error("a subset needs its name as `subset`"))?;
        let (ids, form) = members(&at, &value)?;
        let kind = kind(&at, &value, form)?;
        match places.get(&name).and_then(|place| named.get_mut(*place)) {
            Some(known) if known.form != form => {
                let (before, now) = (known.form.key(), form.key());
                return Err(at.error(&format!("subset {name:?} has `{before}` before, but `{now}` here")));
            }
            Some(_) if form != SubsetIds::Id => return Err(at.error(&format!("subset {name:?} comes twice"))),
            // A record without a kind is of the kind of the first.
            Some(known) if known.kind != kind && given(&value, "kind").is_some() => {
                let shown = |kind: &SubsetKind| serde_json::to_string(kind).unwrap_or_default();
                let (before, now) = (shown(&known.kind), shown(&kind));
                return Err(at.error(&format!("subset {name:?} is {before} before, but {now} here")));
            }
            Some(known) => known.ids.extend(ids),
            None => {
                places.insert(name.clone(), named.len());
                named.push(NamedSubset { name, kind, ids, form });
            }
        }
        Ok(())
    })?;
    named.iter().try_for_each(|subset| subset.check(path))?;
    Ok(named)
}

fn members(at: &RecordLocation<'_>, value: &Value) -> Result<(Vec<String>, SubsetIds), EvaluateError> {
    let list = |key: &str, list: &Value| -> Result<Vec<String>, EvaluateError> {
        let list = list.as_array().ok_or_else(|| at.error(&format!("`{key}` is not a list of ids")))?;
        let ids: Option<Vec<String>> = list.iter().map(|id| text_of(Some(id))).collect();
        ids.ok_or_else(|| at.error(&format!("`{key}` is not a list of ids")))
    };
    match (value.get("rows"), value.get("without"), text_of(value.get("id"))) {
        (Some(rows), None, None) => Ok((list("rows", rows)?, SubsetIds::Rows)),
        (None, Some(rows), None) => Ok((list("without", rows)?, SubsetIds::Without)),
        (None, None, Some(id)) => Ok((vec![id], SubsetIds::Id)),
        _ => Err(at.error("a subset needs one of `rows`, `without` and `id`")),
    }
}

/// The value of a key; none where it is null or, as an empty cell of CSV, an empty text.
fn given<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    value.get(key).filter(|given| !given.is_null() && given.as_str() != Some(""))
}

/// What the subset is for: as it says, else all but a group where it leaves rows out, else random.
fn kind(at: &RecordLocation<'_>, value: &Value, form: SubsetIds) -> Result<SubsetKind, EvaluateError> {
    let given = |key: &str| given(value, key);
    let Some(kind) = given("kind") else {
        let group = text_of(given("group").or_else(|| value.get("subset"))).unwrap_or_default();
        return Ok(if form == SubsetIds::Without {
            SubsetKind::Without { group }
        } else {
            SubsetKind::Random
        });
    };
    let kind = text_of(Some(kind)).unwrap_or_default();
    let lacks = |key: &str, what: &str| {
        at.error(&format!("a subset of the kind {kind:?} needs the column `{key}`: {what}"))
    };
    let text = |key: &str, what: &str| text_of(given(key)).ok_or_else(|| lacks(key, what));
    let share = || match given("share") {
        Some(share) => match number(at, "share", share)? {
            share if share > 0.0 && share < 1.0 => Ok(share),
            share => Err(at.error(&format!("its share is {share}: a share is between 0 and 1, such as 0.1"))),
        },
        None => Err(lacks("share", "which part of the pool it leaves out, as 0.1")),
    };
    match kind.as_str() {
        "random" => Ok(SubsetKind::Random),
        "full" => Ok(SubsetKind::Full),
        "without" => Ok(SubsetKind::Without {
            group: text("group", "the id of the row that it leaves out, or the name of the group of rows")?,
        }),
        "removed" => Ok(SubsetKind::Removed {
            method: text("method", "the method whose best rows it leaves out")?,
            query: text("query", "the id of the query that these rows are the best for")?,
            share: share()?,
        }),
        "removed_at_random" => Ok(SubsetKind::RemovedAtRandom { share: share()? }),
        _ => Err(at.error(&format!(
            "there is no kind {kind:?}: a subset is random, full, without, removed or removed_at_random"
        ))),
    }
}

/// What a record has for output: a loss also under another sign, as `output`, and nothing else beside it.
fn output_of(at: &RecordLocation<'_>, value: &Value) -> Result<(Signal, f64), EvaluateError> {
    let given = |key: &str| value.get(key).filter(|given| !given.is_null());
    let beside = ["loss", "output"].into_iter().find_map(|key| given(key).and(Some(key)));
    if let (Some(_), Some(other)) = (given("margin"), beside) {
        return Err(at.error(&format!(
            "it has both `margin` and `{other}`, and models are compared by one of them: leave the other column out"
        )));
    }
    let own = SIGNALS.into_iter().find_map(|(key, signal)| Some((key, signal, given(key)?)));
    let (key, signal, own) =
        own.ok_or_else(|| at.error("an output is a `loss`, a `margin` or an `output`"))?;
    let own = number(at, key, own)?;
    if let Some(output) = given("output") {
        same_as_loss(at, value, number(at, "output", output)?)?;
    }
    Ok((signal, if signal == Signal::NegativeLoss { -own } else { own }))
}

/// By subset and run the outputs for all queries.
type Outputs = Vec<Vec<Vec<f64>>>;

fn read_outputs(path: &Path, names: &Ids, cancel: &Cancel) -> Result<(Signal, Ids, Outputs), EvaluateError> {
    let mut signal = None;
    let mut queries: Vec<String> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    // By subset and query the outputs of its runs, in their order.
    let mut found: Vec<Vec<Vec<f64>>> = vec![Vec::new(); names.len()];
    each_record(&PairSource::Files(vec![path.to_owned()]), cancel, &mut |at, value| {
        let subset = text_of(value.get("subset")).ok_or_else(|| at.error("an output needs its `subset`"))?;
        let subset = names.place(&subset).ok_or_else(|| at.error("its subset is not one of the subsets"))?;
        let query = text_of(value.get("query")).ok_or_else(|| at.error("an output needs its `query`"))?;
        let (own, output) = output_of(&at, &value)?;
        if *signal.get_or_insert(own) != own {
            return Err(at.error("outputs are all losses, all margins or all outputs"));
        }
        let place = *places.entry(query.clone()).or_insert_with(|| {
            queries.push(query);
            queries.len() - 1
        });
        let of = &mut found[subset];
        if of.len() <= place {
            of.resize(place + 1, Vec::new());
        }
        of[place].push(output);
        Ok(())
    })?;
    let queries = Ids::new(queries, &path.display().to_string())?;
    let mut outputs = Vec::with_capacity(found.len());
    for (subset, of) in found.into_iter().enumerate() {
        let runs = of.iter().map(Vec::len).max().unwrap_or(0);
        let of_query = |query: &usize| of.get(*query).map_or(0, Vec::len);
        if let Some(query) = (0..queries.len()).find(|query| of_query(query) < runs) {
            let (name, id, has) =
                (names.id(subset), queries.id(query), many(of_query(&query) as u64, "output"));
            let what = format!(
                "subset {name:?} has {has} for query {id:?} and {runs} for another: each of its runs needs one for every query"
            );
            return Err(EvaluateError::File { path: path.to_owned(), what });
        }
        outputs.push((0..runs).map(|run| of.iter().map(|own| own[run]).collect()).collect());
    }
    Ok((signal.unwrap_or(Signal::Other), queries, outputs))
}
