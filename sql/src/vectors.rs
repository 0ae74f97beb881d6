//! `vectors(dataset, feature)`: stored vectors as values, one row per sample or scored token.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, StringArray, UInt8Array, UInt32Array,
    UInt64Array,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::stats::Precision;
use datafusion::error::Result as DfResult;
use gstore_store::{Block, BlockBuffer, FeaturePart, Granularity, ModuleGroup, RowFlags, Snapshot};

use super::args::text;
use super::blocking::Demand;
use super::distinct::distinct;
use super::error::SqlError;
use super::influence::{FunctionCall, FunctionSource};
use super::leaf::{BatchConsumer, Fetch, ReadRequest, RowReader, batch_of};
use super::measured::norm;
use super::samples::{self, ColumnSource, SampleTable};
use super::scan::RowsTable;
use super::tokens::TokenTexts;
use super::virtuals::NamedVirtuals;

/// Options of `vectors()`: its two arguments by name.
pub(crate) const OPTIONS: &[&str] = &["dataset", "feature"];

/// The table function `vectors`.
pub(crate) fn table(call: &FunctionCall<'_>) -> DfResult<Arc<dyn TableProvider>> {
    let [dataset, feature] = call.args.positional(["dataset", "feature"])?;
    let snapshot = &call.source.snapshot;
    let dataset = text("dataset", dataset)?;
    let feature = find(snapshot, &dataset, &text("feature", feature)?)?;
    Ok(Arc::new(RowsTable(Arc::new(VectorRows::new(call.source, &dataset, feature)?))))
}

fn find(snapshot: &Snapshot, dataset: &str, name: &str) -> Result<Arc<FeaturePart>, SqlError> {
    snapshot.dataset(dataset).map_err(|e| SqlError::lookup(e).about("dataset"))?;
    let found = snapshot.feature_of(dataset, name);
    found.cloned().map_err(|e| SqlError::lookup(e).about("feature"))
}

/// The vectors of one feature, scaled.
struct VectorRows {
    source: FunctionSource,
    feature: Arc<FeaturePart>,
    samples: SampleTable,
    schema: SchemaRef,
}

impl VectorRows {
    fn new(source: &FunctionSource, dataset: &str, feature: Arc<FeaturePart>) -> Result<Self, SqlError> {
        let snapshot = &source.snapshot;
        let part = snapshot.dataset(dataset).map_err(SqlError::lookup)?;
        let samples =
            SampleTable::new(Arc::clone(snapshot), Arc::clone(part), None, NamedVirtuals::default(), None);
        let dim = i32::try_from(feature.desc.dim()).map_err(|_| SqlError::internal("dimension"))?;
        let value = Arc::new(Field::new("item", DataType::Float32, false));
        let mut fields = vec![
            Field::new("row", DataType::UInt64, false),
            Field::new("id", DataType::Utf8, false),
            Field::new("vector", DataType::FixedSizeList(value, dim), false),
            Field::new("flags", DataType::UInt8, false),
            // The L2 norm before the vector was rounded.
            Field::new("norm", DataType::Float32, false),
        ];
        if feature.desc.granularity == Granularity::Token {
            // 0 stands for a sample without a scored token.
            fields.insert(1, Field::new("pos", DataType::UInt32, false));
            fields.insert(2, Field::new("token", DataType::Utf8, true));
        }
        Ok(Self { source: source.clone(), feature, samples, schema: Arc::new(Schema::new(fields)) })
    }

    /// The columns asked for of some vectors of a block, by their places in it.
    fn batch(&self, block: &Block<'_>, kept: &[usize], wanted: &[usize]) -> Result<RecordBatch, SqlError> {
        let rows: Vec<u64> = kept.iter().map(|i| block.rows[*i]).collect();
        let schema = Arc::new(self.schema.project(wanted)?);
        let mut values: Vec<ArrayRef> = Vec::with_capacity(wanted.len());
        for field in schema.fields() {
            values.push(match field.name().as_str() {
                "row" => Arc::new(UInt64Array::from(rows.clone())),
                "pos" => Arc::new(UInt32Array::from_iter_values(kept.iter().map(|i| block.pos[*i]))),
                "token" => self.tokens(block, kept)?,
                "id" => self.of_samples(&rows, &ColumnSource::Id)?,
                "vector" => self.vectors(block, kept, field.data_type())?,
                "norm" => {
                    let groups = self.feature.attrs.groups.len();
                    Arc::new(Float32Array::from_iter_values(kept.iter().map(|i| norm(block, *i, groups))))
                }
                _ => Arc::new(UInt8Array::from_iter_values(kept.iter().map(|i| block.flags[*i]))),
            });
        }
        Ok(batch_of(schema, values, rows.len())?)
    }

    fn of_samples(&self, rows: &[u64], cell: &ColumnSource) -> Result<ArrayRef, SqlError> {
        let samples::PartSource::Sample(column) = self.samples.source(cell) else {
            return Err(SqlError::internal("samples without a column that all have"));
        };
        Ok(Arc::clone(self.samples.fetch(rows, &[column])?.column(0)))
    }

    /// The texts of tokens; null for a sample without a scored one.
    fn tokens(&self, block: &Block<'_>, kept: &[usize]) -> Result<ArrayRef, SqlError> {
        let rows = distinct(kept.iter().map(|i| block.rows[*i]));
        let records = self.of_samples(&rows, &ColumnSource::Record)?;
        let encoding = self.samples.dataset().encoding(&self.feature.desc.encoding).map(|e| &e.spec);
        let (snapshot, encoder) = (&self.source.snapshot, self.source.encoder.as_ref());
        let texts = TokenTexts::of(snapshot, encoder, encoding, &rows, &records)?;
        let scored = |i: &usize| !RowFlags::from_bits(block.flags[*i]).contains(RowFlags::NO_SCORED);
        let text = |i: &usize| scored(i).then(|| texts.get(block.rows[*i], block.pos[*i])).flatten();
        Ok(Arc::new(kept.iter().map(text).collect::<StringArray>()))
    }

    fn vectors(&self, block: &Block<'_>, kept: &[usize], ty: &DataType) -> Result<ArrayRef, SqlError> {
        let dim = self.feature.desc.dim() as usize;
        let range = |group: &ModuleGroup| group.start as usize..(group.start + group.len) as usize;
        let groups: Vec<Range<usize>> = self.feature.attrs.groups.iter().map(range).collect();
        let mut out = vec![0.0f32; kept.len() * dim];
        for (vector, i) in out.chunks_mut(dim.max(1)).zip(kept) {
            block.vector(*i, &groups, vector);
            // Adding zero turns -0.0 into 0.0.
            vector.iter_mut().for_each(|value| *value += 0.0);
        }
        let DataType::FixedSizeList(item, dim) = ty else {
            return Err(SqlError::internal("type of a vector"));
        };
        let values = Arc::new(Float32Array::from(out));
        Ok(Arc::new(FixedSizeListArray::try_new(Arc::clone(item), *dim, values, None)?))
    }
}

impl RowReader for VectorRows {
    fn describe(&self) -> (&'static str, String) {
        ("VectorExec", format!("feature={}", self.feature.display_name()))
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn count(&self) -> Precision<usize> {
        // The catalog counts rows, not the vectors of their tokens.
        if self.feature.desc.granularity == Granularity::Token {
            return Precision::Absent;
        }
        let rows = usize::try_from(self.feature.rows());
        match self.samples.has_deleted_rows() {
            false => rows.map_or(Precision::Absent, Precision::Exact),
            true => rows.map_or(Precision::Absent, Precision::Inexact),
        }
    }

    fn row_column(&self) -> Option<usize> {
        Some(0)
    }

    fn read(&self, want: &ReadRequest, each: BatchConsumer<'_>) -> Result<(), SqlError> {
        let reader = self.source.snapshot.open_feature(&self.feature)?;
        let mut buffer = BlockBuffer::default();
        for cell in reader.cells() {
            for place in reader.blocks_in(cell) {
                if place.range().end <= want.rows.start || place.range().start >= want.rows.end {
                    continue;
                }
                let block = reader.read_block(place, &mut buffer)?;
                let live = reader.live();
                let kept: Vec<usize> = match live.covers(place.range()) {
                    true => (0..block.len()).collect(),
                    false => (0..block.len()).filter(|i| live.contains(block.rows[*i])).collect(),
                };
                if !kept.is_empty() && each(self.batch(&block, &kept, &want.columns)?)? == Demand::Enough {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
