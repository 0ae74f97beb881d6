//! Tables of scores: a line for each row, query, damping and part.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, Float64Array, RecordBatch, StringArray, UInt32Array, UInt64Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use gstore_curvature::{Damping, Filter, Module};
use gstore_sql::output::{Format, ResultWriter};
use gstore_store::SampleReader;

use super::pass::RowScores;
use super::request::{ScorePer, TableOutput};
use crate::factors::error::FactorJobError;

/// Rows whose ids are read at once.
const CHUNK: usize = 1024;

/// Which columns a table has, and what stands in them.
pub(super) struct TableLayout<'a> {
    /// Ids of the queries; none where there is no column of them.
    pub queries: Option<&'a [String]>,
    pub filters: &'a [Filter],
    pub per: ScorePer,
    pub modules: &'a [Module],
    /// Whether there are rows of the pool.
    pub rows: bool,
}

/// Writes the lines of a table, which begins with the first of them: what is refused before has written
/// nothing.
pub(super) struct ScoreTableWriter<'a> {
    /// Where the table goes, until it begins.
    output: Option<TableOutput<'a>>,
    writer: Option<ResultWriter<Box<dyn Write + Send + 'a>>>,
    layout: TableLayout<'a>,
    schema: SchemaRef,
    samples: &'a SampleReader,
    /// Places of queries that have no scores.
    without: BTreeSet<usize>,
}

/// A damping as the table has it: a tenth of the mean eigenvalue is null.
pub(super) fn number(damping: Damping) -> Option<f64> {
    match damping {
        Damping::Value(value) => Some(value),
        Damping::OfMean => None,
    }
}

impl TableLayout<'_> {
    /// Whether filters other than inverses are told apart.
    fn has_filters(&self) -> bool {
        self.filters.len() > 1 && self.filters.iter().any(|filter| filter.damping().is_none())
    }

    /// Whether inverses are told apart by their dampings.
    fn has_dampings(&self) -> bool {
        self.filters.iter().filter(|filter| filter.damping().is_some()).count() > 1
    }

    fn schema(&self) -> SchemaRef {
        let field = |name: &str, ty: DataType, nullable: bool| Field::new(name, ty, nullable);
        let part = match self.per {
            ScorePer::Row => None,
            ScorePer::Module => Some(field("module", DataType::Utf8, false)),
            ScorePer::Token => Some(field("token", DataType::UInt32, false)),
        };
        let fields = [
            self.queries.map(|_| field("query", DataType::Utf8, false)),
            self.rows.then(|| field("row", DataType::UInt64, false)),
            self.rows.then(|| field("id", DataType::Utf8, true)),
            part,
            self.has_filters().then(|| field("filter", DataType::Utf8, false)),
            self.has_dampings().then(|| field("damping", DataType::Float64, true)),
            Some(field("score", DataType::Float64, false)),
        ];
        Arc::new(Schema::new(fields.into_iter().flatten().collect::<Vec<_>>()))
    }
}

/// A line: place of the query, filter, row, part, score.
struct ScoreLine {
    query: usize,
    filter: usize,
    row: u64,
    part: usize,
    score: f64,
}

impl<'a> ScoreTableWriter<'a> {
    pub fn new(
        output: TableOutput<'a>,
        layout: TableLayout<'a>,
        samples: &'a SampleReader,
    ) -> Result<Self, FactorJobError> {
        let (schema, has_header) = (layout.schema(), output.format != Format::Lines);
        let (output, writer, without) = (Some(output), None, BTreeSet::new());
        let mut lines = Self { output, writer, layout, schema, samples, without };
        // Without a header nothing is written yet, and too many columns are refused before any work.
        if !has_header {
            lines.begin()?;
        }
        Ok(lines)
    }

    fn begin(&mut self) -> Result<(), FactorJobError> {
        if let Some(TableOutput { out, format, style }) = self.output.take() {
            self.writer = Some(ResultWriter::new(format, &self.schema, out, style)?);
        }
        Ok(())
    }

    /// Writes no scores of a query.
    pub fn leave_out(&mut self, query: usize) {
        self.without.insert(query);
    }

    /// Writes the scores of some rows: of each its parts, filters and queries, the queries those from
    /// `first` on.
    pub fn write(&mut self, rows: &[RowScores], first: usize, queries: usize) -> Result<(), FactorJobError> {
        let columns = self.layout.filters.len() * queries;
        for rows in rows.chunks(CHUNK) {
            let lines = rows.iter().flat_map(|scores| {
                scores.values.iter().enumerate().map(move |(at, score)| ScoreLine {
                    query: first + at % columns % queries,
                    filter: at % columns / queries,
                    row: scores.row,
                    part: at / columns,
                    score: *score,
                })
            });
            let lines: Vec<ScoreLine> = lines.filter(|line| !self.without.contains(&line.query)).collect();
            self.put(&lines)?;
        }
        Ok(())
    }

    pub(crate) fn write_best(
        &mut self,
        query: usize,
        filter: usize,
        best: &[(f64, u64)],
    ) -> Result<(), FactorJobError> {
        if self.without.contains(&query) {
            return Ok(());
        }
        let lines =
            best.iter().map(|(score, row)| ScoreLine { query, filter, row: *row, part: 0, score: *score });
        self.put(&lines.collect::<Vec<_>>())
    }

    fn put(&mut self, lines: &[ScoreLine]) -> Result<(), FactorJobError> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        if let Some(ids) = self.layout.queries {
            let ids = lines.iter().map(|line| ids.get(line.query).map_or("", String::as_str));
            columns.push(Arc::new(StringArray::from_iter_values(ids)));
        }
        if self.layout.rows {
            columns.push(Arc::new(UInt64Array::from_iter_values(lines.iter().map(|line| line.row))));
            columns.push(self.ids(lines)?);
        }
        match self.layout.per {
            ScorePer::Row => {}
            ScorePer::Module => {
                let modules = self.layout.modules;
                let names = lines.iter().map(|line| modules.get(line.part).map_or("", |m| m.name.as_str()));
                columns.push(Arc::new(StringArray::from_iter_values(names)));
            }
            ScorePer::Token => {
                let tokens = lines.iter().map(|line| u32::try_from(line.part).unwrap_or(u32::MAX));
                columns.push(Arc::new(UInt32Array::from_iter_values(tokens)));
            }
        }
        let filters = self.layout.filters;
        if self.layout.has_filters() {
            let names = lines.iter().map(|line| filters.get(line.filter).map(ToString::to_string));
            columns.push(Arc::new(names.collect::<StringArray>()));
        }
        if self.layout.has_dampings() {
            let of = |line: &ScoreLine| {
                filters.get(line.filter).and_then(|filter| filter.damping()).and_then(number)
            };
            let numbers = lines.iter().map(of);
            columns.push(Arc::new(numbers.collect::<Float64Array>()));
        }
        columns.push(Arc::new(Float64Array::from_iter_values(lines.iter().map(|line| line.score))));
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        self.begin()?;
        self.writer.as_mut().map_or(Ok(()), |writer| writer.write(&batch))?;
        Ok(())
    }

    /// The id of each line's row.
    fn ids(&self, lines: &[ScoreLine]) -> Result<ArrayRef, FactorJobError> {
        let mut rows: Vec<u64> = lines.iter().map(|line| line.row).collect();
        rows.dedup();
        let batch = self.samples.get(&rows, &["id"])?;
        let ids = batch.column(0).as_string_opt::<i32>();
        let mut at = 0;
        let mut id_of = |row: u64| {
            while rows.get(at).is_some_and(|found| *found != row) {
                at += 1;
            }
            ids.filter(|ids| at < ids.len() && ids.is_valid(at)).map(|ids| ids.value(at))
        };
        let found: StringArray = lines.iter().map(|line| id_of(line.row)).collect();
        Ok(Arc::new(found))
    }

    /// Ends the table; returns its lines.
    pub fn finish(mut self) -> Result<u64, FactorJobError> {
        self.begin()?;
        Ok(self.writer.map_or(Ok(0), ResultWriter::finish)?)
    }
}
