//! `SUMMARIZE table` and `SUMMARIZE SELECT ..`: one row for each column, from one pass over the rows.

use arrow_schema::{DataType, Field};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Query, Statement as Sql};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::grammar::Grammar;
use super::tokens::{is, is_word, made, next};
use super::{Planner, merge, planned, put_before};
use crate::bounds::check_part_count;
use crate::common_types;
use crate::error::SqlError;
use crate::names::quoted;
use crate::types;
use crate::walk::inner;

/// Most columns that are summarized at a time.
const MOST_COLUMNS: usize = 100;

/// The name that the summarized rows have in the statement, which no table has by chance.
const ROWS: &str = "summarize()";

/// A statement that begins with SUMMARIZE, as `WITH "summarize()" AS (..) SELECT * FROM "summarize()"`.
pub(super) fn tokens(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let Some((at, first)) = next(&tokens, 0).filter(|(_, token)| is_word(token, "SUMMARIZE")) else {
        return tokens;
    };
    let span = first.span;
    let queries = [Keyword::SELECT, Keyword::WITH, Keyword::FROM, Keyword::VALUES];
    let query = next(&tokens, at + 1)
        .is_some_and(|(_, t)| t.token == Token::LParen || queries.iter().any(|word| is(t, *word)));
    let quoted = format!("\"{ROWS}\"");
    let mut all = made(&["WITH", &quoted, "AS", "("], span);
    if !query {
        all.extend(made(&["SELECT", "*", "FROM"], span));
    }
    let rest = tokens.into_iter().skip(at + 1);
    all.extend(rest.filter(|token| !matches!(token.token, Token::SemiColon | Token::EOF)));
    all.extend(made(&[")", "SELECT", "*", "FROM", &quoted], span));
    all
}

/// Puts the summary in the place of the rows, now that their columns can be known.
pub(crate) async fn expand(planner: Planner<'_>, statement: &mut Statement) -> Result<(), SqlError> {
    let Some(Sql::Query(query)) = inner(statement) else { return Ok(()) };
    let tables = query.with.iter().flat_map(|with| &with.cte_tables);
    let mut numbered = tables.clone().enumerate();
    let Some((at, rows)) = numbered.find(|(_, table)| table.alias.name.value == ROWS) else { return Ok(()) };
    let mut alone: Query = (*rows.query).clone();
    // Views may stand in the query too.
    put_before(&mut alone, tables.take(at).cloned().collect());
    let mut probe = Statement::Statement(Box::new(Sql::Query(Box::new(alone))));
    merge(planner, &mut probe).await?;
    let plan = planned(planner, probe).await?;
    let plan = common_types::resolve(plan).map_err(|e| planner.translate(e))?;
    let fields: Vec<&Field> = plan.schema().fields().iter().map(|field| field.as_ref()).collect();
    // The name of a type is as long as the type.
    let counted = fields.iter().try_for_each(|field| check_part_count(field.data_type()));
    counted.map_err(|e| planner.translate(e))?;
    if fields.len() > MOST_COLUMNS {
        let why = format!("SUMMARIZE of {} columns, more than {MOST_COLUMNS}", fields.len());
        return Err(SqlError::refused(why).hint("write SUMMARIZE SELECT with the columns that are meant"));
    }
    let summary = Parser::new(&Grammar)
        .with_recursion_limit(200)
        .try_with_sql(&summary(&fields))
        .and_then(|mut parser| parser.parse_query())
        .map_err(|_| SqlError::internal("the summary is not understood"))?;
    query.body = summary.body;
    Ok(())
}

/// The statement that summarizes rows with these columns.
fn summary(fields: &[&Field]) -> String {
    // One type for the values of all columns.
    let middle = if fields.iter().any(|field| is_moment(field.data_type())) { "VARCHAR" } else { "DOUBLE" };
    let columns: Vec<String> = fields.iter().map(|field| of_column(field, middle)).collect();
    let shown: Vec<String> = COLUMNS.iter().map(|name| format!("c['{name}'] AS {name}")).collect();
    format!(
        "SELECT {} FROM (SELECT unnest(c) AS c FROM (SELECT [{}] AS c FROM \"{ROWS}\") AS one) AS each_one",
        shown.join(", "),
        columns.join(", ")
    )
}

const COLUMNS: [&str; 12] = [
    "column_name",
    "column_type",
    "min",
    "max",
    "approx_unique",
    "avg",
    "std",
    "q25",
    "q50",
    "q75",
    "count",
    "null_percentage",
];

fn is_moment(ty: &DataType) -> bool {
    matches!(ty, DataType::Date32 | DataType::Date64 | DataType::Timestamp(..))
}

/// The values of [`COLUMNS`] for a column, each of one type; those of its middle and its quarters of the type
/// `middle`.
fn of_column(field: &Field, middle: &str) -> String {
    let name = quoted(field.name());
    let ty = field.data_type();
    let ordered = !ty.is_nested() && *ty != DataType::Null;
    let number = ty.is_integer() || ty.is_floating() || ty.is_decimal();
    let if_some = |some: bool, what: String, ty: &str| match some {
        true => format!("CAST({what} AS {ty})"),
        false => format!("CAST(NULL AS {ty})"),
    };
    // Times in seconds since 1970.
    let double = match is_moment(ty) {
        true => format!("date_part('epoch', {name})"),
        false => format!("CAST({name} AS DOUBLE)"),
    };
    let moment = |seconds: String, is_day: bool| {
        let micros = format!("to_timestamp_micros(CAST({seconds} * 1000000 AS BIGINT))");
        match ty {
            DataType::Timestamp(_, Some(zone)) => {
                format!(
                    "arrow_cast({micros}, 'Timestamp(Microsecond, Some(\"{}\"))')",
                    zone.replace('\'', "''")
                )
            }
            DataType::Date32 | DataType::Date64 if is_day => format!("CAST({micros} AS DATE)"),
            _ => micros,
        }
    };
    let mean = |of: String, is_day: bool| match is_moment(ty) {
        true => if_some(true, moment(of, is_day), middle),
        false => if_some(number, of, middle),
    };
    // Floats are counted by their text.
    let distinct = if ty.is_floating() { format!("CAST({name} AS VARCHAR)") } else { name.clone() };
    let quantile = |q: &str| mean(format!("approx_percentile_cont({double}, {q})"), true);
    let values = [
        format!("'{}'", field.name().replace('\'', "''")),
        format!("'{}'", types::name(ty).replace('\'', "''")),
        if_some(ordered, format!("min({name})"), "VARCHAR"),
        if_some(ordered, format!("max({name})"), "VARCHAR"),
        if_some(ordered, format!("approx_distinct({distinct})"), "BIGINT"),
        mean(format!("avg({double})"), false),
        if_some(number, format!("stddev({double})"), "DOUBLE"),
        quantile("0.25"),
        quantile("0.5"),
        quantile("0.75"),
        "CAST(count(*) AS BIGINT)".to_owned(),
        format!("CAST(100.0 * (count(*) - count({name})) / nullif(count(*), 0) AS DOUBLE)"),
    ];
    let pairs: Vec<String> =
        COLUMNS.iter().zip(values).map(|(name, value)| format!("'{name}', {value}")).collect();
    format!("named_struct({})", pairs.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_a_query_whatever_the_names_of_columns_are() {
        let fields = [Field::new("a\"b'c", DataType::Utf8, true), Field::new("n", DataType::Float32, true)];
        let text = summary(&fields.iter().collect::<Vec<_>>());
        let parsed = Parser::new(&Grammar).try_with_sql(&text).unwrap().parse_query();
        assert!(parsed.is_ok(), "{text}");
        assert!(
            text.contains("min(\"a\"\"b'c\")") && text.contains("CAST(avg(CAST(\"n\" AS DOUBLE)) AS DOUBLE)"),
            "{text}"
        );
    }

    #[test]
    fn the_middle_of_times_is_a_time() {
        let zone = DataType::Timestamp(arrow_schema::TimeUnit::Microsecond, Some("UTC".into()));
        let fields = [
            Field::new("d", DataType::Date32, true),
            Field::new("z", zone, true),
            Field::new("n", DataType::Int64, true),
        ];
        let text = summary(&fields.iter().collect::<Vec<_>>());
        for part in [
            "CAST(to_timestamp_micros(CAST(avg(date_part('epoch', \"d\")) * 1000000 AS BIGINT)) AS VARCHAR)",
            "0.5) * 1000000 AS BIGINT)) AS DATE) AS VARCHAR)",
            "'Timestamp(Microsecond, Some(\"UTC\"))') AS VARCHAR)",
            "'avg', CAST(avg(CAST(\"n\" AS DOUBLE)) AS VARCHAR)",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
