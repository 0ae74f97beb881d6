//! JSON expressions: the types of expressions, with [`JSON`] for such texts.

use arrow_schema::{DataType, Field, Fields};
use datafusion::logical_expr::{Expr, ExprSchemable};
use gstore_core::json;
use gstore_functions::marked::{JSON, either, list, plain};
use gstore_functions::{AS_TYPE, KEPT, gives_json};

use super::columns::{MarkedColumns, Scope};

impl MarkedColumns {
    pub(super) fn of(&mut self, expr: &Expr, scope: &Scope) -> DataType {
        let found = match expr {
            Expr::Alias(alias) => Some(self.of(&alias.expr, scope)),
            Expr::Column(column) => scope.column(column),
            Expr::LambdaVariable(variable) => self.parameter(&variable.name),
            Expr::Case(case) => {
                let cases = case.when_then_expr.iter().map(|(_, then)| &**then);
                Some(self.joined(cases.chain(case.else_expr.as_deref()), scope))
            }
            Expr::ScalarSubquery(of) => self.columns(&of.subquery).first().cloned(),
            Expr::ScalarFunction(call) => self.of_call(call.func.name(), &call.args, scope),
            Expr::AggregateFunction(call) => self.of_rows(call.func.name(), &call.params.args, scope),
            Expr::WindowFunction(call) => self.of_rows(call.fun.name(), &call.params.args, scope),
            Expr::HigherOrderFunction(call) => match (call.name(), call.args.as_slice()) {
                ("array_transform", [values, Expr::Lambda(lambda)]) => {
                    let element = self.element(values, scope);
                    self.lambdas.push((lambda.params.clone(), element));
                    let body = self.of(&lambda.body, scope);
                    self.lambdas.pop();
                    Some(list(body))
                }
                ("array_filter", [values, _]) => Some(self.of(values, scope)),
                _ => None,
            },
            _ => None,
        };
        // Of what has no type yet nothing is known.
        found.unwrap_or_else(|| expr.get_type(&scope.schema).map_or(DataType::Utf8, |ty| plain(&ty)))
    }

    /// The type of the values of several expressions; a constant that is JSON is JSON beside what is.
    pub(super) fn joined<'e>(&mut self, parts: impl Iterator<Item = &'e Expr>, scope: &Scope) -> DataType {
        common(parts.map(|part| (self.of(part, scope), part)).collect())
    }

    pub(super) fn element(&mut self, values: &Expr, scope: &Scope) -> Option<DataType> {
        match self.of(values, scope) {
            DataType::List(item) => Some(item.data_type().clone()),
            _ => None,
        }
    }

    /// The type of a parameter of a lambda function, if it is an element.
    fn parameter(&self, name: &str) -> Option<DataType> {
        let mut around = self.lambdas.iter().rev();
        let (params, element) = around.find(|(params, _)| params.iter().any(|param| param == name))?;
        element.clone().filter(|_| params.first().is_some_and(|first| first == name))
    }

    fn with_element(&mut self, values: &Expr, element: &Expr, scope: &Scope) -> Option<DataType> {
        let before = self.element(values, scope)?;
        let of = self.of(element, scope);
        Some(list(common(vec![(before, values), (of, element)])))
    }

    fn of_call(&mut self, name: &str, args: &[Expr], scope: &Scope) -> Option<DataType> {
        match (name, args) {
            (name, _) if gives_json(name) => Some(JSON),
            ("coalesce" | "nvl" | "greatest" | "least" | "array_concat", args) => {
                Some(self.joined(args.iter(), scope))
            }
            ("make_array", args) => Some(list(self.joined(args.iter(), scope))),
            ("array_append", [values, element]) | ("array_prepend", [element, values]) => {
                self.with_element(values, element, scope)
            }
            ("flatten", [lists]) => match self.of(lists, scope) {
                DataType::List(values) if matches!(values.data_type(), DataType::List(_)) => {
                    Some(values.data_type().clone())
                }
                of => Some(of),
            },
            ("array_resize", [of, _]) => Some(self.of(of, scope)),
            (
                AS_TYPE | KEPT | "nullif" | "array_slice" | "array_sort" | "array_reverse" | "array_distinct"
                | "array_compact" | "array_pop_back" | "array_pop_front",
                [of, ..],
            ) => Some(self.of(of, scope)),
            ("array_element", [values, _]) => self.element(values, scope),
            ("named_struct", args) => {
                let field = |pair: &[Expr]| match pair {
                    [Expr::Literal(name, _), value] => {
                        let name = name.try_as_str().flatten()?;
                        Some(Field::new(name, self.of(value, scope), true))
                    }
                    _ => None,
                };
                args.chunks(2).map(field).collect::<Option<Fields>>().map(DataType::Struct)
            }
            ("get_field", [of, keys @ ..]) => {
                let of = self.of(of, scope);
                keys.iter().try_fold(of, |of, key| match (of, key) {
                    (DataType::Struct(fields), Expr::Literal(key, _)) => {
                        let (_, field) = fields.find(key.try_as_str().flatten()?)?;
                        Some(field.data_type().clone())
                    }
                    _ => None,
                })
            }
            _ => None,
        }
    }

    /// The type of what is chosen of the values of several rows, or of their list.
    fn of_rows(&mut self, name: &str, args: &[Expr], scope: &Scope) -> Option<DataType> {
        let of = args.first()?;
        match (name, args) {
            ("array_agg", _) | ("max_by" | "min_by", [_, _, _]) => Some(list(self.of(of, scope))),
            // The third stands where there is no such row.
            ("lag" | "lead", [_, _, other]) => Some(self.joined([of, other].into_iter(), scope)),
            (
                "any_value" | "first_value" | "lag" | "last_value" | "lead" | "max" | "max_by" | "min"
                | "min_by" | "mode" | "nth_value",
                _,
            ) => Some(self.of(of, scope)),
            _ => None,
        }
    }
}

/// What the values of several expressions are; a constant that is JSON is JSON beside what is.
fn common(parts: Vec<(DataType, &Expr)>) -> DataType {
    let beside_json = parts.iter().any(|(ty, _)| *ty == JSON);
    let types = parts.into_iter().map(|(ty, part)| if beside_json && is_json(part) { JSON } else { ty });
    types.reduce(|one, other| either(&one, &other)).unwrap_or(DataType::Null)
}

fn is_json(expr: &Expr) -> bool {
    let Expr::Literal(value, _) = expr else { return false };
    value.try_as_str().flatten().is_some_and(json::is_json)
}
