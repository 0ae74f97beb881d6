//! Functions, operators and joins under the names that they have here.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, Join, JoinConstraint, JoinOperator, ObjectName, OrderByKind, Query, Select,
    SelectFlavor, SelectItem, SetExpr, TableFactor, TypedString, UnaryOperator, Value, VisitMut, VisitorMut,
    WildcardAdditionalOptions,
};

use super::aliases;
use super::arrows::tighten;
use super::chained;
use super::compared;
use super::forms;
use super::lists;
use super::powers::raise;
use super::twice;
use crate::error::SqlError;
use crate::parameters::inner;

/// Names of other databases, and those of the same functions here.
const NAMES: &[(&str, &str)] = &[
    ("approx_count_distinct", "approx_distinct"),
    ("approx_quantile", "approx_percentile_cont"),
    ("arbitrary", "any_value"),
    ("ceiling", "ceil"),
    ("countif", "count_if"),
    ("first", "first_value"),
    ("group_concat", "string_agg"),
    ("ifnull", "coalesce"),
    ("json_extract_path_string", "json_extract_string"),
    ("last", "last_value"),
    ("lcase", "lower"),
    ("list", "array_agg"),
    ("list_max", "array_max"),
    ("list_min", "array_min"),
    ("list_value", "make_array"),
    ("listagg", "string_agg"),
    ("ord", "ascii"),
    ("prefix", "starts_with"),
    ("quantile", "percentile_cont"),
    ("regexp_matches", "regexp_like"),
    ("sign", "signum"),
    ("split", "string_to_array"),
    ("str_split", "string_to_array"),
    ("string_split", "string_to_array"),
    ("strlen", "octet_length"),
    ("struct_extract", "get_field"),
    ("suffix", "ends_with"),
    ("ucase", "upper"),
    ("typeof", "arrow_typeof"),
    ("unicode", "ascii"),
    ("variance", "var"),
];

/// The name of a function here, by a name in lower case that it has somewhere.
pub(crate) fn known(name: &str) -> &str {
    NAMES.iter().find(|(other, _)| *other == name).map_or(name, |(_, known)| known)
}

/// Puts a statement into the words of the engine.
pub(crate) fn resolve(statement: &mut Statement) -> Result<(), SqlError> {
    let Some(sql) = inner(statement) else { return Ok(()) };
    aliases::put(sql);
    if let ControlFlow::Break(refused) = sql.visit(&mut Words) {
        return Err(*refused);
    }
    lists::sort(sql);
    twice::apart(sql);
    Ok(())
}

struct Words;

impl VisitorMut for Words {
    type Break = Box<SqlError>;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        chained::apart(expr);
        tighten(expr);
        raise(expr);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        match expr {
            Expr::BinaryOp { left, op: op @ (BinaryOperator::Arrow | BinaryOperator::LongArrow), right } => {
                let name = if *op == BinaryOperator::Arrow { "json_extract" } else { "json_extract_string" };
                *expr = call(name, vec![(**left).clone(), (**right).clone()]);
            }
            Expr::Substring { expr: of, substring_from: from, substring_for: length, .. }
                if from.is_some() || length.is_some() =>
            {
                let one = || Expr::value(Value::Number("1".to_owned(), false));
                let mut args = vec![(**of).clone(), from.as_deref().cloned().unwrap_or_else(one)];
                args.extend(length.as_deref().cloned());
                *expr = call("substr", args);
            }
            Expr::Function(function) => {
                if let Some(other) = renamed(function) {
                    *expr = other;
                }
            }
            Expr::Extract { field, expr: time, .. } => {
                if let Some(other) = forms::part_of(&field.to_string(), time) {
                    *expr = other;
                }
            }
            Expr::Interval(interval) => {
                if let Some(other) = forms::interval(interval) {
                    *expr = other;
                }
            }
            Expr::TypedString(TypedString {
                data_type: DataType::Timestamp(..) | DataType::Date,
                value,
                ..
            }) => {
                forms::usual_time(&mut value.value);
            }
            Expr::Cast { expr: of, data_type: DataType::Timestamp(..) | DataType::Date, .. } => {
                if let Expr::Value(value) = &mut **of {
                    forms::usual_time(&mut value.value);
                }
            }
            Expr::Cast { expr: of, data_type, .. } => forms::whole(of, data_type),
            Expr::CompoundFieldAccess { access_chain, .. } => forms::close(access_chain),
            Expr::UnaryOp { op: UnaryOperator::BitwiseNot, expr: of } => {
                return ControlFlow::Break(Box::new(forms::complement(of)));
            }
            Expr::AnyOp { .. } | Expr::AllOp { .. } => compared::name(expr),
            Expr::SimilarTo { negated, expr: of, pattern, escape_char } => {
                match forms::similar(of, pattern, *negated).filter(|_| escape_char.is_none()) {
                    Some(other) => *expr = other,
                    None => return ControlFlow::Break(Box::new(forms::not_similar(of))),
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Self::Break> {
        // The engine plans a query without columns as one that has none: `UNION ALL BY NAME FROM t`.
        if matches!(select.flavor, SelectFlavor::FromFirstNoSelect) && select.projection.is_empty() {
            select.projection.push(SelectItem::Wildcard(WildcardAdditionalOptions::default()));
        }
        select.from.iter_mut().flat_map(|table| &mut table.joins).for_each(one_side);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<Self::Break> {
        if let TableFactor::NestedJoin { table_with_joins, .. } = table {
            table_with_joins.joins.iter_mut().for_each(one_side);
        }
        ControlFlow::Continue(())
    }

    /// `ORDER BY ALL`: by each column of the result.
    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        forms::limit(query);
        let Query { body, order_by, .. } = query;
        let (SetExpr::Select(select), Some(order)) = (&**body, order_by.as_mut()) else {
            return ControlFlow::Continue(());
        };
        let OrderByKind::Expressions(keys) = &mut order.kind else { return ControlFlow::Continue(()) };
        let plain =
            |item: &SelectItem| matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. });
        if let [only] = keys.as_slice()
            && matches!(&only.expr, Expr::Identifier(name) if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all"))
            && select.projection.iter().all(plain)
        {
            let key = only.clone();
            let place = |n: usize| {
                let mut key = key.clone();
                key.expr = Expr::value(Value::Number(n.to_string(), false));
                key
            };
            *keys = (1..=select.projection.len()).map(place).collect();
        }
        ControlFlow::Continue(())
    }
}

pub(super) fn nested(expr: Expr) -> Box<Expr> {
    Box::new(Expr::Nested(Box::new(expr)))
}

/// `ANTI JOIN` and `SEMI JOIN` are of the rows on the left.
fn one_side(join: &mut Join) {
    let none = JoinOperator::CrossJoin(JoinConstraint::None);
    join.join_operator = match std::mem::replace(&mut join.join_operator, none) {
        JoinOperator::Anti(on) => JoinOperator::LeftAnti(on),
        JoinOperator::Semi(on) => JoinOperator::LeftSemi(on),
        other => other,
    };
}

/// Gives a function its name here; returns what takes its place where it is no function here.
fn renamed(function: &mut Function) -> Option<Expr> {
    let name = match function.name.0.as_slice() {
        [only] => only.as_ident().filter(|ident| ident.quote_style.is_none())?.clone(),
        _ => return None,
    };
    let lower = name.value.to_ascii_lowercase();
    match known(&lower) {
        "count_if" => {
            let [condition]: [Expr; 1] = plain_args(function)?.try_into().ok()?;
            // False counts as little as null.
            let flag = call("nullif", vec![condition, Expr::value(Value::Boolean(false))]);
            set_args(function, vec![flag]);
            set_name(function, &name, "count");
            None
        }
        "mod" => {
            let [left, right]: [Expr; 2] = plain_args(function)?.try_into().ok()?;
            let rest =
                Expr::BinaryOp { left: nested(left), op: BinaryOperator::Modulo, right: nested(right) };
            Some(Expr::Nested(Box::new(rest)))
        }
        "string_agg" => {
            if let FunctionArguments::List(list) = &mut function.args
                && list.args.len() == 1
            {
                let comma = Expr::value(Value::SingleQuotedString(",".to_owned()));
                list.args.push(FunctionArg::Unnamed(FunctionArgExpr::Expr(comma)));
            }
            set_name(function, &name, "string_agg");
            None
        }
        known => {
            let other = plain_args(function).and_then(|args| forms::written(&lower, &args));
            if other.is_some() {
                return other;
            }
            if known != lower {
                set_name(function, &name, known);
            }
            None
        }
    }
}

/// The arguments of a call, if they are nothing but expressions.
fn plain_args(function: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let plain = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    list.args.iter().map(plain).collect()
}

fn arguments(args: Vec<Expr>) -> Vec<FunctionArg> {
    args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect()
}

fn set_args(function: &mut Function, args: Vec<Expr>) {
    if let FunctionArguments::List(list) = &mut function.args {
        list.args = arguments(args);
    }
}

/// Another name in the same place of the text.
fn set_name(function: &mut Function, old: &Ident, name: &str) {
    function.name = ObjectName::from(vec![Ident { value: name.to_owned(), ..old.clone() }]);
}

/// A call of a function.
pub(super) fn call(name: &str, args: Vec<Expr>) -> Expr {
    let list = FunctionArgumentList { duplicate_treatment: None, args: arguments(args), clauses: Vec::new() };
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(list),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_put_into_the_words_of_the_engine() {
        for (sql, expected) in [
            ("SELECT record->>'a' FROM t", "SELECT json_extract_string(record, 'a') FROM t"),
            ("SELECT record->'a'->0 FROM t", "SELECT json_extract(json_extract(record, 'a'), 0) FROM t"),
            (
                "SELECT 1 FROM t WHERE record->>'a' = 'x' AND 'y' < record->>'b' || 'z'",
                "SELECT 1 FROM t WHERE json_extract_string(record, 'a') = 'x' AND 'y' < json_extract_string(record, 'b') || 'z'",
            ),
            (
                "SELECT 1 FROM t WHERE x + record->>'a' > 3",
                "SELECT 1 FROM t WHERE x + json_extract_string(record, 'a') > 3",
            ),
            (
                "SELECT 1 FROM t WHERE record->'a'->>'b' LIKE '%x' AND (record->>'c')::INT > 1",
                "SELECT 1 FROM t WHERE json_extract_string(json_extract(record, 'a'), 'b') LIKE '%x' AND (json_extract_string(record, 'c'))::INT > 1",
            ),
            ("SELECT list(a ORDER BY b) FROM t", "SELECT array_agg(a ORDER BY b) FROM t"),
            ("SELECT count_if(a > 1) FROM t", "SELECT count(nullif(a > 1, false)) FROM t"),
            ("SELECT mod(a, 2) FROM t", "SELECT ((a) % (2)) FROM t"),
            ("SELECT * FROM a ANTI JOIN b USING(row)", "SELECT * FROM a LEFT ANTI JOIN b USING(row)"),
            ("SELECT * FROM a SEMI JOIN b ON a.x = b.x", "SELECT * FROM a LEFT SEMI JOIN b ON a.x = b.x"),
            ("SELECT a, b FROM t ORDER BY ALL", "SELECT a, b FROM t ORDER BY 1, 2"),
            ("SELECT \"list\"(a) FROM t", "SELECT \"list\"(a) FROM t"),
            ("SELECT a * b ^ c ^ 2 + d ^ e FROM t", "SELECT a * power(power(b, c), 2) + power(d, e) FROM t"),
            ("SELECT -a ^ (1 + b ^ 2) FROM t", "SELECT power(-a, (1 + power(b, 2))) FROM t"),
            (
                "SELECT 1 FROM t WHERE a + b ^ 2 > c AND record->>'n' ^ 2 < 9",
                "SELECT 1 FROM t WHERE a + power(b, 2) > c AND power(json_extract_string(record, 'n'), 2) < 9",
            ),
            (
                "SELECT substring(a FROM 2), substring(a FOR 3) FROM t",
                "SELECT substr(a, 2), substr(a, 1, 3) FROM t",
            ),
            (
                "SELECT sum(a) OVER (ORDER BY b RANGE BETWEEN INTERVAL 3 DAYS PRECEDING AND CURRENT ROW) FROM t",
                "SELECT sum(a) OVER (ORDER BY b RANGE BETWEEN INTERVAL '3' DAYS PRECEDING AND CURRENT ROW) FROM t",
            ),
            ("SELECT year(a), epoch(b) FROM t", "SELECT date_part('year', a), date_part('epoch', b) FROM t"),
            (
                "SELECT isodow(a), date_part('dayofyear', a), date_part('year', a) FROM t",
                "SELECT date_part('isodow', a), date_part('doy', a), date_part('year', a) FROM t",
            ),
            ("SELECT extract(dayofweek FROM a) FROM t", "SELECT date_part('dow', a) FROM t"),
            ("SELECT x[:2], x[2:] FROM t", "SELECT x[1:2], x[2:-1] FROM t"),
            (
                "SELECT a SIMILAR TO 'x|y', a NOT SIMILAR TO 'x' FROM t",
                "SELECT regexp_like(a, '^(?:x|y)$'), (NOT regexp_like(a, '^(?:x)$')) FROM t",
            ),
            (
                "SELECT group_concat(DISTINCT x ORDER BY y), string_agg(x, '; ') FROM t",
                "SELECT string_agg(DISTINCT x, ',' ORDER BY y), string_agg(x, '; ') FROM t",
            ),
            ("SELECT a FROM t FETCH FIRST 3 ROWS ONLY", "SELECT a FROM t LIMIT 3"),
            ("TABLE t OFFSET 2 ROWS FETCH NEXT ROW ONLY", "SELECT * FROM t LIMIT 1 OFFSET 2 ROWS"),
            (
                "WITH c AS (TABLE t) TABLE c UNION ALL TABLE t LIMIT 2",
                "WITH c AS (SELECT * FROM t) SELECT * FROM c UNION ALL SELECT * FROM t LIMIT 2",
            ),
            (
                "SELECT a + INTERVAL (n) DAY, a - INTERVAL 1 DAY FROM t",
                "SELECT a + CAST(CAST((n) AS VARCHAR) || ' DAY' AS INTERVAL), a - INTERVAL '1' DAY FROM t",
            ),
            (
                "SELECT unnest(record->'tags') FROM t",
                "SELECT unnest(json_elements(json_extract(record, 'tags'))) FROM t",
            ),
        ] {
            let mut statement = crate::guard::parse(sql).unwrap();
            resolve(&mut statement).unwrap();
            assert_eq!(statement.to_string(), expected);
        }
    }
}
