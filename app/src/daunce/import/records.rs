//! Tables of losses: JSON lines, CSV, Parquet or Arrow, as a matrix in a temporary file without a name.
//!
//! Two forms: a record for each cell (`model`, `id`, `loss`, and `n_tokens` if it is known), in any order; or
//! a record for each example, with its `id` and a column for each model.
//!
//! Memory: about 200 bytes for each id, and a batch of cells.

mod reader;

use std::collections::BTreeSet;
use std::path::Path;

use gstore_data::{Place, RecordSource};

use self::reader::{ReadRecords, RecordCell, RecordReader, left_out_note};
use super::manifest::Signal;
use super::matrix::LossMatrix;
use super::rows::SampleRows;
use crate::daunce::DaunceError;
use crate::number::NumberType;
use crate::work::JobContext;

/// What the tables have: ids and models as they are found, and the cells.
#[derive(Debug)]
pub(super) struct RecordTable {
    pub rows: SampleRows,
    /// Ids of the models: those that are known, or in their natural order.
    pub models: Vec<String>,
    /// Of the models that are known, those for which a table with a column for each has none.
    pub absent: Vec<String>,
    /// Precision of the losses: that of the widest of their columns.
    pub precision: NumberType,
    pub matrix: LossMatrix,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum RecordModels<'a> {
    /// Those of the manifest; empty: those that the records name.
    Named(&'a [String]),
    /// One that records need not name.
    One(&'a str),
}

impl<'a> RecordModels<'a> {
    fn known(self) -> &'a [String] {
        match self {
            Self::Named(known) => known,
            Self::One(_) => &[],
        }
    }
}

/// Reads a table into a file in the folder `scratch`. With models of a manifest, a record of any other one is
/// refused. A cell has one value, or, with `replace`, the last one that is given.
pub(super) fn read(
    (path, scratch): (&Path, &Path),
    signal: Signal,
    (of, replace): (RecordModels<'_>, bool),
    work: &mut JobContext<'_>,
) -> Result<RecordTable, DaunceError> {
    let known = of.known();
    let mut reading = RecordReader {
        path,
        scratch,
        signal,
        models: of,
        known: known.iter().map(String::as_str).collect(),
        key: None,
        nulls: Default::default(),
    };
    let (mut rows, mut models) = (SampleRows::default(), SampleRows::of(known.to_vec()));
    // Keys of losses, and those that some record has.
    let (mut columns, mut told): (BTreeSet<String>, BTreeSet<String>) = Default::default();
    let mut has_columns_of_models = false;
    // What there is comes first: the place of a cell depends on the number of models.
    let mut found = |_: &Place, cell: RecordCell<'_>| -> Result<(), DaunceError> {
        // Those that are there already stay where they are.
        rows.add(&cell.id);
        models.add(&cell.model);
        has_columns_of_models |= cell.column == cell.model;
        if !cell.value.is_nan() && !columns.contains(cell.column) {
            columns.insert(cell.column.to_owned());
        }
        if cell.is_told && !told.contains(cell.column) {
            told.insert(cell.column.to_owned());
        }
        Ok(())
    };
    let ReadRecords { count, source, left_out } = reading.each(("finding samples", 0), &mut found, work)?;
    reading.check_nulls(&columns)?;
    let precision = precision(source.as_ref(), &columns);
    // Columns of a table without any loss.
    told.extend(source.columns());
    if has_columns_of_models && !left_out.is_empty() {
        work.progress.note(&left_out_note(path, &left_out));
    }
    if has_columns_of_models && matches!(of, RecordModels::Named([])) {
        for model in reading.columns_of_losses(source.as_ref()) {
            models.add(&model);
        }
    }
    let is_absent = |model: &&String| has_columns_of_models && !told.contains(model.as_str());
    let absent: Vec<String> = known.iter().filter(is_absent).cloned().collect();
    let mut models = models.ids;
    if rows.ids.is_empty() || models.is_empty() {
        return Err(reading.wrong("it has no losses"));
    }
    if !has_columns_of_models && reading.keys().iter().all(|key| !told.contains(*key)) {
        let key = signal.name();
        return Err(reading.wrong(format!("it has no losses: no record has the key `{key}`")));
    }
    if !absent.is_empty() && absent.len() == known.len() {
        return Err(
            reading.wrong("it has no losses: no column is named by the id of a model of the manifest")
        );
    }
    if known.is_empty() {
        models.sort_by_cached_key(|id| natural(id));
    }
    reading.key = reading.keys().into_iter().find(|key| told.contains(*key));
    let matrix = reading.matrix((&rows, &models), (count, replace), work)?;
    Ok(RecordTable { rows, models, absent, precision, matrix })
}

/// Precision of the losses in some columns of a table; double where one of them is not of floats.
fn precision(source: &dyn RecordSource, columns: &BTreeSet<String>) -> NumberType {
    match columns.iter().map(|column| source.float_bits(column).unwrap_or(64)).max() {
        Some(16) => NumberType::F16,
        Some(32) => NumberType::F32,
        _ => NumberType::F64,
    }
}

/// A text with its numbers as numbers, so that model 10 comes behind model 9.
fn natural(text: &str) -> (Vec<(bool, u64, String)>, String) {
    let digits = text.as_bytes().chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit());
    let parts = digits.map(|part| {
        let part = String::from_utf8_lossy(part).into_owned();
        match part.parse::<u64>() {
            Ok(number) => (false, number, String::new()),
            Err(_) => (true, 0, part),
        }
    });
    (parts.collect(), text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
    use arrow_ipc::writer::StreamWriter;
    use gstore_core::{Cancel, Progress, Unit};

    use super::reader::STEP;
    use super::*;
    use crate::daunce::import::cells::CellWriter;

    /// Stages with their totals, and what was done in each; and notes.
    #[derive(Default)]
    struct Stages(Vec<(String, u64, u64)>, Vec<String>);

    impl Progress for Stages {
        fn start(&mut self, stage: &str, total: u64, _: Unit) {
            self.0.push((stage.to_owned(), total, 0));
        }
        fn advance(&mut self, done: u64) {
            self.0.last_mut().unwrap().2 += done;
        }
        fn finish(&mut self) {}
        fn note(&mut self, note: &str) {
            self.1.push(note.to_owned());
        }
    }

    /// Models, ids and losses.
    type ParsedLosses = (Vec<String>, Vec<String>, Vec<f64>);

    fn table(text: &str, known: &[&str]) -> Result<ParsedLosses, String> {
        let known: Vec<String> = known.iter().map(|id| (*id).to_owned()).collect();
        table_of(Signal::Loss, text, RecordModels::Named(&known))
    }

    fn table_of(signal: Signal, text: &str, models: RecordModels<'_>) -> Result<ParsedLosses, String> {
        let folder = tempfile::tempdir().unwrap();
        let name = if text.starts_with('{') { "losses.jsonl" } else { "losses.csv" };
        let path = folder.path().join(name);
        fs_err::write(&path, text).unwrap();
        let table = read((&path, folder.path()), signal, (models, false), &mut JobContext::silent("test"));
        let table = table.map_err(|e| e.to_string())?;
        let all: Vec<usize> = (0..table.rows.ids.len()).collect();
        let mut values = Vec::new();
        table.matrix.read(&all, &mut values).map_err(|e| e.to_string())?;
        Ok((table.rows.ids, table.models, values))
    }

    #[test]
    fn cells_come_in_any_order() {
        let lines = [
            r#"{"model": "m10", "id": "a", "loss": 0.5}"#,
            r#"{"model": "m9", "id": "b", "loss": 0.0, "n_tokens": 4}"#,
            r#"{"model": "m10", "id": "b", "loss": 1.25}"#,
            r#"{"model": "m9", "id": "a", "loss": null}"#,
            r#"{"model": "m10", "id": "a", "loss": 0.5}"#,
        ];
        let (ids, models, values) = table(&lines.join("\n"), &[]).unwrap();
        assert_eq!(
            (ids, models),
            (vec!["a".to_owned(), "b".to_owned()], vec!["m9".to_owned(), "m10".to_owned()])
        );
        assert!(values[0].is_nan());
        assert_eq!(values[1..], [0.5, 0.0, 1.25]);
    }

    #[test]
    fn both_passes_report_their_records_and_can_be_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("losses.csv");
        let rows: String = (0..=STEP).map(|row| format!("{row},1.5\n")).collect();
        fs_err::write(&path, format!("id,m\n{rows}")).unwrap();
        let (mut stages, cancel) = (Stages::default(), Cancel::new());
        let mut work = JobContext { progress: &mut stages, cancel: &cancel, ..JobContext::silent("test") };
        let mut read = || {
            let models = (RecordModels::Named(&[]), false);
            read((&path, folder.path()), Signal::Loss, models, &mut work)
        };
        read().unwrap();
        cancel.raise();
        let stopped = read().unwrap_err();
        assert!(matches!(stopped, DaunceError::Stopped(_)), "{stopped}");
        let all = STEP + 1;
        let found = ("finding samples".to_owned(), 0, all);
        assert_eq!(stages.0[..2], [found, ("reading losses".to_owned(), all, all)]);
    }

    #[test]
    fn a_row_may_have_a_column_for_each_model() {
        let (ids, models, values) = table("id,m0,m1\na,1.5,2\nb,,3\n", &[]).unwrap();
        assert_eq!((ids.len(), models), (2, vec!["m0".to_owned(), "m1".to_owned()]));
        assert_eq!(values[..2], [1.5, 2.0]);
        assert!(values[2].is_nan());
        assert_eq!(values[3], 3.0);
        // Also one without any loss.
        let (_, models, values) = table("id,m1,m0,n_tokens\na,,1.5,\nb,,2,\n", &[]).unwrap();
        assert_eq!(models, ["m0", "m1"]);
        assert!([values[1], values[3]].iter().all(|loss| loss.is_nan()));
        assert_eq!([values[0], values[2]], [1.5, 2.0]);
    }

    #[test]
    fn what_is_null_in_all_records_is_no_model() {
        let nulls = r#""model": null, "loss": null, "neg_margin": null, "n_tokens": null"#;
        let text =
            format!("{{\"id\": \"a\", \"m0\": 1.5, {nulls}}}\n{{\"id\": \"b\", \"m0\": null, {nulls}}}\n");
        let (ids, models, values) = table_of(Signal::NegMargin, &text, RecordModels::Named(&[])).unwrap();
        assert_eq!((ids.len(), models), (2, vec!["m0".to_owned()]));
        assert!(values[0] == 1.5 && values[1].is_nan(), "{values:?}");
        for key in ["loss", "neg_margin", "n_tokens"] {
            let text = format!("{text}{{\"id\": \"c\", \"m0\": 2.5, \"{key}\": 3}}\n");
            let error = table_of(Signal::NegMargin, &text, RecordModels::Named(&[])).unwrap_err();
            assert!(error.contains(&format!("line 3: the record has `{key}` and does not name")), "{error}");
        }
    }

    #[test]
    fn a_null_is_the_loss_of_a_model_where_others_have_losses_under_its_key() {
        let named = r#"{"model": "ft-0", "id": "a", "loss": 1.0}"#;
        let null = r#"{"id": "b", "loss": null}"#;
        let both = r#"{"id": "b", "loss": null, "neg_margin": null}"#;
        for known in [&[][..], &["ft-0"]] {
            for (text, line) in [
                (format!("{named}\n{null}\n{null}"), 2),
                (format!("{null}\n{named}"), 1),
                (format!("{both}\n{named}"), 1),
                ("model,id,loss\nft-0,a,1.0\n,b,\n".to_owned(), 3),
            ] {
                let ids: Vec<String> = known.iter().map(|id| (*id).to_owned()).collect();
                for signal in [Signal::Loss, Signal::NegMargin] {
                    let error = table_of(signal, &text, RecordModels::Named(&ids)).unwrap_err();
                    let says = format!("line {line}: the record has `loss` and does not name its `model`");
                    assert!(error.contains(&says), "{text}: {error}");
                }
            }
        }
    }

    #[test]
    fn the_index_of_a_data_frame_is_no_model() {
        let folder = tempfile::tempdir().unwrap();
        let models = |name: &str, text: &str, of: RecordModels<'_>| {
            let path = folder.path().join(name);
            fs_err::write(&path, text).unwrap();
            let (mut stages, cancel) = (Stages::default(), Cancel::new());
            let mut work =
                JobContext { progress: &mut stages, cancel: &cancel, ..JobContext::silent("test") };
            let table = read((&path, folder.path()), Signal::Loss, (of, false), &mut work).unwrap();
            (table.models, stages.1)
        };
        let known = ["column_1".to_owned()];
        let named = |known| models("a.csv", ",id,m0,Unnamed: 4\n0,a,1.5,7\n1,b,2,8\n", known);
        let (found, notes) = named(RecordModels::Named(&[]));
        assert_eq!(found, ["m0"]);
        assert!(notes.len() == 1 && notes[0].contains("no models: Unnamed: 4, column_1;"), "{notes:?}");
        // The manifest may name them.
        assert_eq!(named(RecordModels::Named(&known)), (known.to_vec(), Vec::new()));
        let line = r#"{"id": "a", "m0": 1.5, "__index_level_0__": 7, "column_1": 2}"#;
        let (found, notes) = models("b.jsonl", line, RecordModels::Named(&[]));
        assert_eq!((found.join(" ").as_str(), notes.len()), ("column_1 m0", 1), "{notes:?}");
        // Of a frame that was saved twice or thrice, or has names of columns in two lines.
        let line = "id,Unnamed: 0.1,Unnamed: 0.1.1,Unnamed: 1_level_0,Unnamed: 0.x\na,0,1,2,1.5\n";
        let (found, notes) = models("e.csv", line, RecordModels::Named(&[]));
        assert_eq!((found.join(" ").as_str(), notes.len()), ("Unnamed: 0.x", 1), "{notes:?}");
        let base = models("c.csv", ",id,theta\n0,a,1.5\n", RecordModels::One("theta_0"));
        assert_eq!((base.0.join(" ").as_str(), base.1.len()), ("theta", 1), "{base:?}");
        let cells = models("d.csv", ",model,id,loss\n0,m0,a,1.5\n", RecordModels::Named(&[]));
        assert_eq!(cells, (vec!["m0".to_owned()], Vec::new()));
    }

    #[test]
    fn a_nan_of_a_table_is_not_a_missing_loss() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("losses.arrow");
        let texts = |values: [&str; 2]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
        let floats = |values: [Option<f64>; 2]| Arc::new(Float64Array::from(values.to_vec())) as ArrayRef;
        let losses = |columns: Vec<(&str, ArrayRef)>, models: RecordModels<'_>| {
            let ids = ("id", texts(["a", "b"]));
            let batch = RecordBatch::try_from_iter([ids].into_iter().chain(columns)).unwrap();
            let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
            writer.write(&batch).unwrap();
            fs_err::write(&path, writer.into_inner().unwrap()).unwrap();
            let work = &mut JobContext::silent("test");
            let table = read((&path, folder.path()), Signal::Loss, (models, false), work);
            let table = table.map_err(|error| error.to_string())?;
            let mut values = Vec::new();
            let all: Vec<usize> = (0..table.rows.ids.len()).collect();
            table.matrix.read(&all, &mut values).map_err(|error| error.to_string())?;
            Ok::<_, String>(values)
        };
        let (some, nan) = (floats([Some(1.5), Some(2.5)]), floats([Some(f64::NAN), None]));
        let known = ["m1".to_owned()];
        for models in [RecordModels::Named(&[]), RecordModels::Named(&known)] {
            let error = losses(vec![("m0", some.clone()), ("m1", nan.clone())], models).unwrap_err();
            assert!(error.contains("row 0: `m1` is \"NaN\", which is not a finite number"), "{error}");
        }
        let model = ("model", texts(["m1", "m1"]));
        let of_cells = vec![model.clone(), ("loss", nan.clone())];
        let error = losses(of_cells.clone(), RecordModels::Named(&[])).unwrap_err();
        assert!(error.contains("row 0: `loss` is \"NaN\""), "{error}");
        // The mean over no tokens is one.
        let of_none = [of_cells, vec![("n_tokens", floats([Some(0.0), None]))]].concat();
        let missing = losses(of_none, RecordModels::Named(&[])).unwrap();
        assert!(missing.len() == 2 && missing.iter().all(|loss| loss.is_nan()), "{missing:?}");
        // Other columns may have some, and samples without a loss of theta_0.
        let noted = vec![model, ("loss", some), ("n_tokens", nan)];
        assert_eq!(losses(noted, RecordModels::Named(&known)), Ok(vec![1.5, 2.5]));
        let base = vec![("theta", floats([Some(f64::NAN), Some(3.5)]))];
        assert_eq!(losses(base, RecordModels::One("theta_0")), Ok(vec![3.5]));
    }

    #[test]
    fn a_record_of_a_cell_names_its_model() {
        for text in [
            "id,loss\na,0.5\n",
            "id,m0,n_tokens\na,0.5,3\n",
            "{\"id\": \"a\", \"model\": null, \"loss\": 0.5}",
        ] {
            let error = table(text, &[]).unwrap_err();
            assert!(error.contains("does not name its `model`"), "{text}: {error}");
        }
        let error = table("id,loss\na,0.5\n", &["m0"]).unwrap_err();
        assert!(error.contains("line 2: the record has `loss` and does not name its `model`"), "{error}");
        let (_, models, values) = table("id,m0,n_tokens\na,0.5,3\n", &["m0"]).unwrap();
        assert_eq!((models, values), (vec!["m0".to_owned()], vec![0.5]));
        // Theta_0 is one model, which need not be named, also where its loss is null.
        let base = "id,loss,n_tokens\na,0.5,3\nb,1.5,0\nc,,0\nd,,4\n";
        let (ids, models, values) = table_of(Signal::Loss, base, RecordModels::One("theta_0")).unwrap();
        assert_eq!(
            (ids, models),
            (["a", "b", "c", "d"].map(str::to_owned).to_vec(), vec!["theta_0".to_owned()])
        );
        assert_eq!(values[0], 0.5);
        assert!(values[1..].iter().all(|loss| loss.is_nan()), "{values:?}");
    }

    #[test]
    fn a_missing_value_of_the_signal_is_not_the_loss_beside_it() {
        let margins =
            |text: &str, models: RecordModels<'_>| table_of(Signal::NegMargin, text, models).unwrap().2;
        let (null, other, both) = (
            r#"{"model": 1, "id": "a", "neg_margin": null, "loss": 0.5}"#,
            r#"{"model": 1, "id": "a", "loss": 0.5}"#,
            r#"{"model": 1, "id": "b", "neg_margin": 1.5, "loss": 2.5}"#,
        );
        for text in [
            "model,id,neg_margin,loss\n1,a,,0.5\n1,b,1.5,2.5\n",
            &format!("{null}\n{both}"),
            // The key comes with a later record.
            &format!("{other}\n{both}"),
        ] {
            for models in [RecordModels::Named(&[]), RecordModels::One("theta_0")] {
                let values = margins(text, models);
                assert!(values.len() == 2 && values[0].is_nan() && values[1] == 1.5, "{text}: {values:?}");
            }
        }
        for text in ["model,id,loss\n1,a,0.5\n", other] {
            assert_eq!(margins(text, RecordModels::Named(&[])), [0.5], "the signal may stand under `loss`");
        }
    }

    #[test]
    fn records_that_are_none_are_named_by_their_line() {
        let good = "{\"model\": 1, \"id\": \"a\", \"loss\": 0.5}\n";
        let error = table(&format!("{good}{{\"model\": 1, \"id\""), &[]).unwrap_err();
        assert!(error.contains("line 2: malformed JSON at column") && !error.contains("line 1"), "{error}");
        let text = format!("{good}{{\"model\": 1, \"id\": \"b\", \"loss\": 1, \"n_tokens\": -1}}");
        let error = table(&text, &[]).unwrap_err();
        assert!(error.contains("line 2: `n_tokens` is -1"), "{error}");
    }

    #[test]
    fn a_table_without_a_loss_is_refused() {
        let long = "{\"model\": 1, \"id\": \"a\", \"nll\": 0.5}";
        let error = table(long, &[]).unwrap_err();
        assert!(error.contains("it has no losses: no record has the key `loss`"), "{error}");
        for wide in ["id,x0,x1\na,1,2\n", "{\"id\": \"a\", \"x0\": 1}"] {
            let error = table(wide, &["m0", "m1"]).unwrap_err();
            assert!(error.contains("no column is named by the id of a model of the manifest"), "{error}");
        }
        // One that is told to be missing is.
        for (text, known) in [
            ("{\"model\": 1, \"id\": \"a\", \"loss\": null}", &[][..]),
            ("model,id,loss\n1,a,\n", &[]),
            ("{\"id\": \"a\", \"m0\": null}", &["m0"]),
        ] {
            let (_, _, values) = table(text, known).unwrap();
            assert!(values.len() == 1 && values[0].is_nan(), "{text}");
        }
    }

    #[test]
    fn numbers_of_tokens_count_in_a_column_of_texts_too() {
        let (_, _, values) =
            table("model,id,loss,n_tokens,said\n1,a,0.0,\"0\",x\n1,b,1.5,4,x\n", &[]).unwrap();
        assert!(values[0].is_nan() && values[1] == 1.5, "{values:?}");
        let error = table("model,id,loss,n_tokens\n1,a,0.0,0\n1,b,1.5,n/a\n", &[]).unwrap_err();
        assert!(error.contains("line 3: `n_tokens` is \"n/a\", which is not a number of tokens"), "{error}");
        let text = "{\"model\": 1, \"id\": \"a\", \"loss\": 0.5, \"n_tokens\": \"0\"}";
        assert!(table(text, &[]).unwrap().2[0].is_nan());
    }

    #[test]
    fn the_later_of_two_records_of_a_cell_counts_where_it_may_replace_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("losses.jsonl");
        let line = |id: &str, loss: &str| format!("{{\"model\": 1, \"id\": \"{id}\", \"loss\": {loss}}}");
        let lines = [line("a", "0.6"), line("b", "1.5"), line("a", "0.5"), line("a", "null")];
        fs_err::write(&path, lines.join("\n")).unwrap();
        let (mut stages, cancel) = (Stages::default(), Cancel::new());
        let mut losses = |models: RecordModels<'_>, replace: bool| {
            let mut work =
                JobContext { progress: &mut stages, cancel: &cancel, ..JobContext::silent("test") };
            let table = read((&path, folder.path()), Signal::Loss, (models, replace), &mut work);
            let table = table.map_err(|error| error.to_string())?;
            let mut values = Vec::new();
            table.matrix.read(&[0, 1], &mut values).map_err(|error| error.to_string())?;
            Ok::<_, String>(values)
        };
        assert_eq!(losses(RecordModels::Named(&[]), true), Ok(vec![0.5, 1.5]));
        let refused = losses(RecordModels::Named(&[]), false).unwrap_err();
        assert!(refused.ends_with("twice, as 0.6 and as 0.5; replace takes the later one"), "{refused}");
        let refused = losses(RecordModels::One("theta_0"), false).unwrap_err();
        assert!(refused.ends_with("twice, as 0.6 and as 0.5"), "{refused}");
        let note = "1 loss is given again with another value; the later one counts";
        assert_eq!(stages.1, [format!("{}: {note}", path.display())]);
        // Also where the first of them is in the file already.
        let mut cells = CellWriter::new(folder.path(), &path, (1, 1), true).unwrap();
        for value in [1.0, 2.0] {
            cells.push(0, value).unwrap();
            assert_eq!(cells.flush().unwrap(), None);
        }
        assert_eq!(cells.replaced, 1);
        let mut values = Vec::new();
        LossMatrix::of_own(cells.file, &path, 1, 1).read(&[0], &mut values).unwrap();
        assert_eq!(values, [2.0]);
    }

    #[test]
    fn a_cell_has_one_value() {
        let twice =
            "{\"model\": 1, \"id\": \"a\", \"loss\": 0.5}\n{\"model\": 1, \"id\": \"a\", \"loss\": 0.6}";
        let error = table(twice, &[]).unwrap_err();
        assert!(error.contains("\"a\"") && error.contains("0.5") && error.contains("0.6"), "{error}");
        let error = table("{\"model\": \"x\", \"id\": \"a\", \"loss\": 0.5}", &["y"]).unwrap_err();
        assert!(error.contains("not one of the models"), "{error}");
        let error = table("{\"model\": \"x\", \"id\": \"a\", \"loss\": \"NaN\"}", &[]).unwrap_err();
        assert!(error.contains("`loss` is \"NaN\", which is not a finite number"), "{error}");
        assert!(table("{\"model\": \"x\", \"loss\": 1}", &[]).unwrap_err().contains("`id`"));
        for cell in ["nan", "inf"] {
            let error = table(&format!("id,m\na,1.0\nb,2\nc,{cell}\nd,3\n"), &[]).unwrap_err();
            assert!(error.contains(&format!("line 4: `m` is {cell:?}, which is not")), "{error}");
        }
    }
}
