//! The columns of `influence()`: the ranking's own, then the pools' metadata and token counts.

use std::ops::Range;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use gstore_query::influence::{PlanSide, Prepared};
use gstore_store::ColumnType;

use crate::samples::{COUNTS, ColumnSource, PartSource, SampleTable, free_name};
use crate::union::{SampleUnion, UnionPart};
use crate::virtuals::NamedVirtuals;

/// The schema of `influence()` and where its sample columns come from.
pub(super) struct InfluenceColumns {
    /// The pools' samples in the shape of the whole table; score and subtask are absent there.
    pub(super) samples: SampleUnion,
    /// Index of `pool`, which exists only where there are several.
    pub(super) pool: Option<usize>,
    /// Index of `row`.
    pub(super) row: usize,
    /// Index of `pos`, which exists only where tokens are scored.
    pub(super) pos: Option<usize>,
    /// Index of `token`, the text at that position.
    pub(super) token: Option<usize>,
    /// Index of `id`.
    pub(super) id: usize,
    /// Index of `score`, which is called `similarity` where neighbours are looked for.
    pub(super) score: usize,
    /// Index of `subtask`: the one that decided the score. Neighbours, and rows that are scored for
    /// themselves, have none.
    pub(super) subtask: Option<usize>,
    /// Index of `in_target`, which exists only where it was asked for.
    pub(super) in_target: Option<usize>,
    /// Index of `record`.
    pub(super) record: usize,
    /// Indexes of the columns for which records are read: that, parts of it, and the texts of tokens.
    of_records: Vec<usize>,
    /// Indexes of the columns of explanations, if they were asked for.
    pub(super) explained: Option<Range<usize>>,
    /// Indexes of [`ERRORS`], which only covariances have.
    pub(super) errors: Option<Range<usize>>,
    /// What is said of columns of other models than the question's.
    pub(super) notes: Vec<String>,
}

/// The columns that say how far a covariance can be trusted.
const ERRORS: [(&str, DataType, bool); 4] = [
    ("se", DataType::Float64, true),
    ("z", DataType::Float64, true),
    ("models", DataType::UInt32, false),
    ("noise_floor", DataType::Float64, true),
];

/// Columns that exist only where they were asked for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ExtraColumns {
    pub(super) in_target: bool,
    pub(super) explanation: bool,
    /// The columns of `nearest()`.
    pub(super) neighbours: bool,
    /// Rows are scored for themselves: there is no subtask.
    pub(super) own: bool,
    /// There are rankings for each of something: `target` and `rank` stand before these columns.
    pub(super) each: bool,
    /// The virtual columns that the statement names.
    pub(super) asked: NamedVirtuals,
}

/// The columns that explain a score; without the last three where all scores have errors anyway.
fn explained_columns(of_losses: bool) -> Vec<(&'static str, DataType, bool)> {
    // The parts of a covariance are models.
    let scores = if of_losses { "model_scores" } else { "checkpoint_scores" };
    let mut columns = vec![
        (scores, DataType::new_list(DataType::Float32, true), false),
        ("target_dataset", DataType::Utf8, false),
        ("target_id", DataType::Utf8, true),
        ("target_row", DataType::UInt64, false),
        ("target_score", DataType::Float32, false),
    ];
    if !of_losses {
        columns.extend(["stderr", "noise_floor", "ignored"].map(|name| (name, DataType::Float32, true)));
    }
    columns
}

struct ColumnsBuilder {
    fields: Vec<Field>,
    sources: Vec<Vec<PartSource>>,
}

impl ColumnsBuilder {
    /// Adds a column with one source for each pool; returns its index.
    fn add(&mut self, name: &str, ty: DataType, nullable: bool, sources: Vec<PartSource>) -> usize {
        self.fields.push(Field::new(name, ty, nullable));
        for (of_pool, source) in self.sources.iter_mut().zip(sources) {
            of_pool.push(source);
        }
        self.fields.len() - 1
    }

    /// Adds a column that no pool has.
    fn add_absent(&mut self, name: &str, ty: DataType, nullable: bool) -> usize {
        let absent = vec![PartSource::Absent; self.sources.len()];
        self.add(name, ty, nullable, absent)
    }

    /// The same for several; returns their indexes.
    fn add_all(&mut self, columns: impl IntoIterator<Item = (&'static str, DataType, bool)>) -> Range<usize> {
        let start = self.fields.len();
        for (name, ty, nullable) in columns {
            self.add_absent(name, ty, nullable);
        }
        start..self.fields.len()
    }
}

impl InfluenceColumns {
    /// The columns of a question's answer, with the additional ones that were asked for.
    pub(super) fn new(plan: &Prepared, besides: ExtraColumns) -> Self {
        let table = |side: &PlanSide| {
            let dataset = Arc::clone(&side.dataset);
            SampleTable::new(
                Arc::clone(plan.snapshot()),
                dataset,
                side.encoding(),
                besides.asked,
                Some(plan.plan()),
            )
        };
        let tables: Vec<SampleTable> = plan.pools().iter().map(table).collect();
        let notes = tables.iter().flat_map(|table| table.notes(plan.plan())).collect();
        let n = tables.len();
        let of = |cell: ColumnSource| tables.iter().map(|t| t.source(&cell)).collect::<Vec<_>>();
        let mut b = ColumnsBuilder { fields: Vec::new(), sources: vec![Vec::new(); n] };
        let names = || tables.iter().map(|t| PartSource::Constant(Some(t.dataset().name.clone())));
        let pool = (n > 1).then(|| b.add("pool", DataType::Utf8, false, names().collect()));
        let row = b.add("row", DataType::UInt64, false, of(ColumnSource::Row));
        let per_token = plan.spec().per_token;
        let pos = per_token.then(|| b.add_absent("pos", DataType::UInt32, false));
        let token = per_token.then(|| b.add_absent("token", DataType::Utf8, true));
        let id = b.add("id", DataType::Utf8, false, of(ColumnSource::Id));
        let score_name = if besides.neighbours { "similarity" } else { "score" };
        let score = b.add_absent(score_name, DataType::Float32, false);
        let decided = !besides.neighbours && !besides.own;
        let subtask = decided.then(|| b.add_absent("subtask", DataType::Utf8, true));
        let of_losses = plan.plan().models().is_some();
        let errors = of_losses.then(|| b.add_all(ERRORS));
        let in_target = besides.in_target.then(|| b.add_absent("in_target", DataType::Boolean, false));
        let explained = besides.explanation.then(|| b.add_all(explained_columns(of_losses)));
        let explained_names = [true, false].into_iter().filter(|_| besides.explanation);
        let explained_names = explained_names.flat_map(explained_columns).map(|(name, ..)| name);
        let rank_names = ["target", "rank"].into_iter().filter(|_| besides.each);
        let own = ["pool", "tokens", "scored_tokens", "truncated", "record"];
        let own = own.into_iter().chain(rank_names).chain(explained_names).map(String::from);
        let mut taken: Vec<String> = own.chain(b.fields.iter().map(|field| field.name().clone())).collect();
        for (name, ty) in metadata(&tables) {
            let shown = free_name(&name, &mut taken);
            b.add(&shown, ty, true, of(ColumnSource::Metadata(name)));
        }
        for (cell, name, ty) in COUNTS {
            b.add(name, ty, true, of(cell));
        }
        let record = b.add("record", DataType::Utf8, true, of(ColumnSource::Record));
        let mut of_records: Vec<usize> = token.into_iter().chain([record]).collect();
        for column in besides.asked.columns().filter(|column| !taken.iter().any(|n| n == column.name())) {
            let sources = of(ColumnSource::Virtual(column));
            if sources.iter().any(|source| matches!(source, PartSource::Sample(_))) {
                let at = b.add(column.name(), column.data_type(), true, sources);
                of_records.extend(column.is_of_record().then_some(at));
            }
        }
        let parts =
            tables.into_iter().zip(b.sources).map(|(samples, sources)| UnionPart { samples, sources });
        let samples = SampleUnion { schema: Arc::new(Schema::new(b.fields)), parts: parts.collect() };
        Self {
            samples,
            pool,
            row,
            pos,
            token,
            id,
            score,
            subtask,
            in_target,
            record,
            of_records,
            explained,
            errors,
            notes,
        }
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.samples.schema
    }

    /// Whether a column is known only after scoring. So is the position of a token: samples do not say which
    /// of theirs are scored. Whether a row occurs in the target could be known before, but takes reading its
    /// record, so it is looked at as late as possible.
    pub(super) fn is_result(&self, column: usize) -> bool {
        column == self.score
            || Some(column) == self.subtask
            || Some(column) == self.pos
            || Some(column) == self.token
            || Some(column) == self.in_target
            || [&self.explained, &self.errors].into_iter().flatten().any(|range| range.contains(&column))
    }

    /// Whether records are read for some of these columns, which are then read for few rows at a time.
    pub(super) fn reads_records(&self, columns: &[usize]) -> bool {
        columns.iter().any(|column| self.of_records.contains(column))
    }

    /// Whether the pools' names ascend, so that the order of pools is the order of the column `pool`.
    pub(super) fn pools_ascend(&self) -> bool {
        let names: Vec<&str> = self.samples.parts.iter().map(|p| p.samples.dataset().name.as_str()).collect();
        names.is_sorted()
    }
}

/// Metadata columns of all pools in order of first appearance, each with the type that holds its values.
fn metadata(tables: &[SampleTable]) -> Vec<(String, DataType)> {
    let mut all: Vec<(&str, ColumnType)> = Vec::new();
    for column in tables.iter().flat_map(|t| &t.dataset().columns) {
        match all.iter_mut().find(|(name, _)| *name == column.name) {
            None => all.push((&column.name, column.ty)),
            Some((_, known)) => *known = known.joined(column.ty),
        }
    }
    all.into_iter().map(|(name, ty)| (name.to_owned(), ty.arrow_type())).collect()
}
