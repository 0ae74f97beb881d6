//! A function of the engine with a limit on what it makes.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, FieldRef};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};
use gstore_functions::from_engine;

use super::charge::with_reservation;
use super::growth::{Growth, pairs};
use super::{Budget, MAX_REPEATED, MAX_VALUE};
use crate::cooperative::at_length;
use crate::error::SqlError;

/// Bytes that are made at a time, by the estimate, which may be far above what is made.
const PIECE: u64 = MAX_VALUE;
/// Bytes of a batch that count for nothing: the operators count what they keep.
const ORDINARY: u64 = 4 << 20;
/// Pairs that are compared before the next look at whether the statement is to end: some 50 ms.
const RUN_PAIRS: u64 = 1 << 24;
/// Bytes of a run of a function with patterns, however fast those before were.
const RUN_BYTES: u64 = ORDINARY;
/// A run that takes less is followed by one of more rows.
const SHORT: Duration = Duration::from_millis(20);
/// A run whose rows take longer is followed by one of half as many.
const LONG: Duration = Duration::from_millis(200);

/// A function that refuses to make too much.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct BoundedFunction {
    engine: Arc<ScalarUDF>,
    growth: Growth,
    budget: Arc<Budget>,
}

pub(super) fn limit_function(engine: Arc<ScalarUDF>, growth: Growth, budget: &Arc<Budget>) -> ScalarUDF {
    ScalarUDF::from(BoundedFunction { engine, growth, budget: Arc::clone(budget) })
}

// Not handed on: `simplify`, which may put the engine's own function in place of this one.
impl ScalarUDFImpl for BoundedFunction {
    from_engine! {
        name() -> &str;
        aliases() -> &[String];
        schema_name(args: &[Expr]) -> DfResult<String>;
        signature() -> &Signature;
        coerce_types(types: &[DataType]) -> DfResult<Vec<DataType>>;
        return_type(types: &[DataType]) -> DfResult<DataType>;
        return_field_from_args(args: ReturnFieldArgs) -> DfResult<FieldRef>;
        is_strict() -> bool;
        documentation() -> Option<&Documentation>;
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        if self.growth == Growth::Pairs {
            let pairs = pairs(&args.args, args.number_rows)?;
            self.budget.compare(self.name(), pairs.iter().copied().max().unwrap_or(0), &args.args)?;
            return self.compared(args, &pairs, RUN_PAIRS);
        }
        if args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_))) {
            let bytes = self.growth.bytes(&args.args, 1)?.into_iter().max().unwrap_or(0);
            self.budget.constant(self.name(), self.growth, bytes)?;
            if bytes.saturating_mul(args.number_rows as u64) > MAX_REPEATED {
                let why = format!("{}() would make {bytes} bytes for each row", self.name());
                return Err(SqlError::refused(why).into());
            }
            return self.engine.invoke_with_args(args);
        }
        let mut bytes = self.growth.bytes(&args.args, args.number_rows)?;
        bytes.resize(args.number_rows, 0);
        if let Some(most) = bytes.iter().max().filter(|most| **most > MAX_VALUE) {
            let (name, limit) = (self.name(), MAX_VALUE >> 20);
            let why = format!("{name}() would make a value of up to {most} bytes, more than {limit} MiB");
            return Err(SqlError::refused(why).into());
        }
        let total = bytes.iter().fold(0u64, |sum, bytes| sum.saturating_add(*bytes));
        let is_ordinary = total <= ORDINARY;
        let takes_long = self.growth.takes_long();
        if is_ordinary && !(takes_long && args.number_rows > 0) {
            return self.engine.invoke_with_args(args);
        }
        let piece = |rows: Range<usize>| {
            if is_ordinary {
                return self.of_rows(&args, rows);
            }
            let expected: u64 = rows.clone().filter_map(|row| bytes.get(row)).sum();
            self.piece(&args, rows, expected)
        };
        let made = match takes_long {
            true => at_length(|| self.by_the_clock(&bytes, piece)),
            false => self.each(runs(&bytes, PIECE), piece),
        };
        match <[ArrayRef; 1]>::try_from(made?) {
            Ok([only]) => Ok(ColumnarValue::Array(only)),
            Err(parts) if is_ordinary => Ok(ColumnarValue::Array(joined(&parts)?)),
            Err(parts) => {
                let all: u64 = parts.iter().map(|part| part.get_array_memory_size() as u64).sum();
                let memory = self.budget.reserve(all)?;
                Ok(ColumnarValue::Array(with_reservation(&joined(&parts)?, memory)?))
            }
        }
    }
}

impl BoundedFunction {
    /// What the function gives for rows with so many pairs each, in runs of at most `most`, unless the
    /// statement is stopped.
    fn compared(&self, args: ScalarFunctionArgs, pairs: &[u64], most: u64) -> DfResult<ColumnarValue> {
        self.budget.check()?;
        let each_row = self.compares_each_row(&args.args);
        let total = match each_row {
            true => pairs.iter().fold(0u64, |sum, pairs| sum.saturating_add(*pairs)),
            false => pairs.iter().copied().max().unwrap_or(0),
        };
        if each_row && total > most {
            let found = at_length(|| self.each(runs(pairs, most), |rows| self.of_rows(&args, rows)))?;
            return Ok(ColumnarValue::Array(joined(&found)?));
        }
        let compare = || self.engine.invoke_with_args(args);
        match self.budget.gives_way(total) {
            true => at_length(compare),
            false => compare(),
        }
    }

    /// Whether a call takes as long as its rows have pairs together: constants are compared once for all
    /// rows, and `array_has_any` looks elements up in a list that is the same for all.
    fn compares_each_row(&self, args: &[ColumnarValue]) -> bool {
        let constants = args.iter().filter(|arg| matches!(arg, ColumnarValue::Scalar(_))).count();
        constants == 0 || (constants < args.len() && self.name() != "array_has_any")
    }

    /// What is made of each run of rows, unless the statement is stopped between two.
    fn each(
        &self,
        runs: Vec<Range<usize>>,
        make: impl Fn(Range<usize>) -> DfResult<ArrayRef>,
    ) -> DfResult<Vec<ArrayRef>> {
        let made = runs.into_iter().map(|rows| {
            self.budget.check()?;
            make(rows)
        });
        made.collect()
    }

    /// The same in runs that are as long as the time of those before allows: a pattern may take less than a
    /// microsecond for a row, or seconds.
    fn by_the_clock(
        &self,
        bytes: &[u64],
        make: impl Fn(Range<usize>) -> DfResult<ArrayRef>,
    ) -> DfResult<Vec<ArrayRef>> {
        let (mut pace, mut made, mut start) = (Pace::new(), Vec::new(), 0);
        while start < bytes.len() {
            self.budget.check()?;
            let end = end_of_run(bytes, start, pace.rows, RUN_BYTES);
            let began = Instant::now();
            made.push(make(start..end)?);
            pace.after(end - start, began.elapsed());
            start = end;
        }
        Ok(made)
    }

    /// What the function makes of some rows, with memory for so many bytes.
    fn piece(&self, args: &ScalarFunctionArgs, rows: Range<usize>, expected: u64) -> DfResult<ArrayRef> {
        let memory = self.budget.reserve(expected)?;
        let is_whole = rows.len() == args.number_rows;
        let made = self.of_rows(args, rows)?;
        let size = made.get_array_memory_size() as u64;
        if is_whole && size <= ORDINARY {
            return Ok(made);
        }
        self.budget.resize(&memory, size)?;
        Ok(with_reservation(&made, memory)?)
    }

    /// What the engine's function makes of some rows.
    fn of_rows(&self, args: &ScalarFunctionArgs, rows: Range<usize>) -> DfResult<ArrayRef> {
        let mut args = args.clone();
        args.number_rows = rows.len();
        for arg in &mut args.args {
            if let ColumnarValue::Array(array) = arg {
                *array = array.slice(rows.start, rows.len());
            }
        }
        self.engine.invoke_with_args(args)?.into_array(rows.len())
    }
}

/// How many rows the next run has.
struct Pace {
    rows: usize,
    /// Time of the fastest run, in which a constant pattern was compiled as in each.
    least: Duration,
}

impl Pace {
    fn new() -> Self {
        Self { rows: 1, least: Duration::MAX }
    }

    /// Takes note of a run. Its rows took what it took beyond the fastest. A run of one row does not tell
    /// whether that was its row or its pattern: the next is of two. Rows may differ, so a run that was not
    /// short is never followed by one of more than four times as many.
    fn after(&mut self, rows: usize, time: Duration) {
        self.least = self.least.min(time);
        let of_rows = if rows > 1 { time - self.least } else { time };
        self.rows = if of_rows < SHORT {
            let most = if time < SHORT { 256 } else { 4 };
            let times = SHORT.as_micros() / of_rows.as_micros().max(1);
            rows.saturating_mul(times.clamp(2, most) as usize)
        } else if rows == 1 {
            2
        } else if of_rows > LONG {
            rows / 2
        } else {
            rows
        };
    }
}

fn joined(parts: &[ArrayRef]) -> DfResult<ArrayRef> {
    let parts: Vec<&dyn Array> = parts.iter().map(|part| &**part).collect();
    Ok(arrow_select::concat::concat(&parts)?)
}

/// The rows in runs of at most so many bytes or pairs, at least one row each.
fn runs(sizes: &[u64], most: u64) -> Vec<Range<usize>> {
    let (mut runs, mut start) = (Vec::new(), 0);
    loop {
        let end = end_of_run(sizes, start, usize::MAX, most);
        runs.push(start..end);
        if end == sizes.len() {
            return runs;
        }
        start = end;
    }
}

/// Where a run of at most so many rows, and bytes or pairs, ends; it has one row at least.
fn end_of_run(sizes: &[u64], start: usize, rows: usize, most: u64) -> usize {
    let mut held = 0u64;
    let fit = sizes.iter().skip(start).take(rows).take_while(|size| {
        held = held.saturating_add(**size);
        held <= most
    });
    (start + fit.count().max(1)).min(sizes.len())
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, AtomicU64};

    use arrow_array::types::Int64Type;
    use arrow_array::{ListArray, StringArray};
    use arrow_schema::Field;
    use datafusion::common::config::ConfigOptions;
    use datafusion::execution::memory_pool::UnboundedMemoryPool;
    use datafusion::functions::regex::{regexp_match, regexp_replace};
    use datafusion::functions::string::levenshtein;
    use datafusion::functions_nested::array_has::{array_has_all_udf, array_has_any_udf};
    use datafusion::scalar::ScalarValue;
    use gstore_core::Cancel;

    use super::*;
    use crate::bounds::TURN_PAIRS;
    use crate::error::SqlErrorKind;

    #[test]
    fn rows_are_made_in_runs_that_are_not_too_large() {
        assert_eq!(runs(&[], 9), [0..0]);
        assert_eq!(runs(&[1, 2, 3], 9), [0..3]);
        assert_eq!(runs(&[9, 1, 8, 1], 9), [0..1, 1..3, 3..4]);
        assert_eq!(runs(&[20, 30], 9), [0..1, 1..2]);
    }

    fn bounded(engine: Arc<ScalarUDF>, growth: Growth) -> BoundedFunction {
        let budget = Budget {
            pool: Arc::new(UnboundedMemoryPool::default()),
            constants: AtomicU64::new(0),
            pairs: AtomicU64::new(0),
            compared: AtomicU64::new(0),
            planned: AtomicBool::new(false),
            takes_long: AtomicBool::new(false),
            cancel: OnceLock::new(),
        };
        BoundedFunction { engine, growth, budget: Arc::new(budget) }
    }

    fn call<const N: usize>(
        args: [ColumnarValue; N],
        number_rows: usize,
        gives: DataType,
    ) -> ScalarFunctionArgs {
        let arg_fields = args.iter().map(|arg| Arc::new(Field::new("", arg.data_type(), true))).collect();
        ScalarFunctionArgs {
            args: args.into(),
            arg_fields,
            number_rows,
            return_field: Arc::new(Field::new("", gives, true)),
            config_options: Arc::new(ConfigOptions::default()),
        }
    }

    fn texts(texts: &[Option<&str>]) -> ColumnarValue {
        ColumnarValue::Array(Arc::new(StringArray::from(texts.to_vec())))
    }

    fn lists(lists: Vec<Option<Vec<Option<i64>>>>) -> ColumnarValue {
        ColumnarValue::Array(Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)))
    }

    fn constant(of: &ColumnarValue) -> ColumnarValue {
        let array = of.to_array(1).unwrap();
        ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0).unwrap())
    }

    #[test]
    fn runs_of_rows_give_what_all_rows_give() {
        let words = || texts(&[Some("kitten"), None, Some(""), Some("sitting"), Some("sit")]);
        let others = || texts(&[Some("sitting"), Some("a"), Some("abc"), None, Some("sat")]);
        let all = || {
            lists(vec![
                Some(vec![Some(1), Some(2)]),
                None,
                Some(vec![]),
                Some(vec![Some(3), None]),
                Some(vec![Some(4)]),
            ])
        };
        let some = || {
            lists(vec![
                Some(vec![Some(2)]),
                Some(vec![Some(1)]),
                Some(vec![Some(7)]),
                None,
                Some(vec![Some(4), Some(5)]),
            ])
        };
        let one = texts(&[Some("kit")]);
        let (none, list) = (texts(&[None]), lists(vec![Some(vec![Some(3), Some(1)])]));
        for (engine, gives, args) in [
            (levenshtein(), DataType::Int32, [words(), others()]),
            (levenshtein(), DataType::Int32, [words(), constant(&one)]),
            (levenshtein(), DataType::Int32, [constant(&one), words()]),
            (levenshtein(), DataType::Int32, [constant(&none), words()]),
            (levenshtein(), DataType::Int32, [texts(&[]), texts(&[])]),
            (levenshtein(), DataType::Int32, [texts(&[]), constant(&one)]),
            (array_has_all_udf(), DataType::Boolean, [all(), some()]),
            (array_has_any_udf(), DataType::Boolean, [all(), some()]),
            (array_has_all_udf(), DataType::Boolean, [all(), constant(&list)]),
            (array_has_any_udf(), DataType::Boolean, [constant(&list), all()]),
        ] {
            let rows = args
                .iter()
                .find_map(|arg| match arg {
                    ColumnarValue::Array(array) => Some(array.len()),
                    ColumnarValue::Scalar(_) => None,
                })
                .unwrap();
            let (function, args) = (bounded(engine, Growth::Pairs), call(args, rows, gives));
            let pairs = pairs(&args.args, rows).unwrap();
            let whole = function.engine.invoke_with_args(args.clone()).unwrap().into_array(rows).unwrap();
            for most in [0, 3, 20, u64::MAX] {
                let found = function.compared(args.clone(), &pairs, most).unwrap().into_array(rows).unwrap();
                assert_eq!(&found, &whole, "{} of {:?} by {most}", function.name(), args.args);
            }
        }
        let two = [constant(&one), constant(&one)];
        let found = bounded(levenshtein(), Growth::Pairs)
            .compared(call(two, 3, DataType::Int32), &[9; 3], 0)
            .unwrap();
        assert!(matches!(found, ColumnarValue::Scalar(ScalarValue::Int32(Some(0)))), "{found:?}");
    }

    #[test]
    fn a_raised_flag_ends_a_call_between_two_runs() {
        let words = texts(&[Some("kitten"), Some("sitting")]);
        let function = bounded(levenshtein(), Growth::Pairs);
        let args = call([words.clone(), words], 2, DataType::Int32);
        let cancel = Arc::new(Cancel::new());
        function.budget.ended_by(&cancel);
        assert!(function.compared(args.clone(), &[36, 49], 40).is_ok());
        cancel.raise();
        // In two runs, and in one.
        for most in [40, RUN_PAIRS] {
            let error = SqlError::from(function.compared(args.clone(), &[36, 49], most).unwrap_err());
            assert_eq!(error.kind(), SqlErrorKind::Cancelled);
        }
    }

    #[test]
    fn calls_give_way_by_the_pairs_of_those_before() {
        let budget = bounded(levenshtein(), Growth::Pairs).budget;
        let small = TURN_PAIRS / 4;
        let calls: Vec<bool> = (0..12).map(|_| budget.gives_way(small)).collect();
        let (keep, give) = ([false; 4], [true; 4]);
        assert_eq!(calls, [keep, give, keep].concat());
        assert!(budget.gives_way(TURN_PAIRS), "it is long by itself");
        assert!(budget.gives_way(TURN_PAIRS));
    }

    #[test]
    fn runs_have_as_many_rows_as_their_time_allows() {
        let millis = Duration::from_millis;
        let after = |times: &[Duration]| {
            let mut pace = Pace::new();
            let rows = times.iter().map(|time| {
                pace.after(pace.rows, *time);
                pace.rows
            });
            rows.collect::<Vec<_>>()
        };
        assert_eq!(after(&[Duration::ZERO, millis(1)]), [256, 256 * 20]);
        assert_eq!(after(&[millis(5), millis(20)]), [4, 8]);
        // Each row has a pattern.
        assert_eq!(after(&[millis(60), millis(120), millis(120)]), [2, 2, 2]);
        assert_eq!(after(&[millis(3500), millis(7000), millis(3500)]), [2, 1, 2]);
        // All have the same one.
        assert_eq!(after(&[millis(300); 5]), [2, 8, 32, 128, 512]);
        assert_eq!(after(&[millis(1), millis(1000), millis(500)]), [20, 10, 5]);
    }

    #[test]
    fn patterns_give_by_runs_what_they_give_for_all_rows() {
        const ROWS: usize = 1000;
        let column = |of: &dyn Fn(usize) -> Option<String>| -> ColumnarValue {
            ColumnarValue::Array(Arc::new((0..ROWS).map(of).collect::<StringArray>()))
        };
        let words = column(&|row| (row % 7 != 0).then(|| format!("ab{row}ab")));
        let patterns = column(&|row| (row % 5 != 1).then(|| format!("(b)({})", row % 10)));
        let constant = |text| constant(&texts(&[text]));
        let (one, new, all) = (constant(Some("b(a|1)?")), constant(Some("<\\1>")), constant(Some("g")));
        let pairs = [
            [words.clone(), one.clone()],
            [words.clone(), patterns.clone()],
            [constant(Some("ab12")), patterns],
            [words, constant(None)],
        ];
        for [text, pattern] in pairs {
            let replaced =
                call([text.clone(), pattern.clone(), new.clone(), all.clone()], ROWS, DataType::Utf8);
            let list = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
            let matched = call([text, pattern], ROWS, list);
            for (engine, growth, args) in
                [(regexp_replace(), Growth::Matches, replaced), (regexp_match(), Growth::Groups, matched)]
            {
                let whole = engine.invoke_with_args(args.clone()).unwrap().into_array(ROWS).unwrap();
                let found = bounded(engine, growth).invoke_with_args(args.clone()).unwrap();
                assert_eq!(&found.into_array(ROWS).unwrap(), &whole, "{:?}", args.args.get(1));
            }
        }
    }

    #[test]
    fn a_raised_flag_ends_a_call_with_few_patterns() {
        let (words, patterns) = ([Some("ab"), Some("cd")], [Some("a"), Some("c")]);
        for rows in [1, 2] {
            let (words, patterns) = (texts(&words[..rows]), texts(&patterns[..rows]));
            let function = bounded(regexp_replace(), Growth::Matches);
            let args = call([words, patterns, constant(&texts(&[Some("x")]))], rows, DataType::Utf8);
            let cancel = Arc::new(Cancel::new());
            function.budget.ended_by(&cancel);
            assert!(function.invoke_with_args(args.clone()).is_ok());
            cancel.raise();
            let error = SqlError::from(function.invoke_with_args(args).unwrap_err());
            assert_eq!(error.kind(), SqlErrorKind::Cancelled);
        }
    }
}
