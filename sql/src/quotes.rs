//! Names in the words of the statement, for errors that have the engine's: text in double quotes or in none,
//! names that the statement gives itself, keys of JSON read like fields, texts and times read like lists, and
//! what its functions are called.

mod found;

use datafusion::execution::SessionState;
use datafusion::sql::parser::Statement;
use gstore_core::many;

use super::arity;
use super::dialect;
use super::error::{SqlError, SqlErrorKind};
use super::positions::{TextPosition, only};
use super::walk::inner;
use super::wording::{
    AGGREGATED, AS_WRITTEN, DISTINCT_ORDER, EXISTS, IN_ROWS, IN_WHERE, JOINED, LIST_FIELDS, NO_COLLATE,
    NO_ELEMENTS, NO_FIELD, NO_FIELDS, NO_VALUE, OCCURS, ROW_ALONE, TEXT_AS_NUMBER, TWICE, TYPES, of_rows,
};
use crate::walk::Visit;

/// A call of a function: its name, its place, and how many arguments it has.
type Call = (String, TextPosition, Option<usize>);

/// Names of a statement that may be meant otherwise than they are read.
#[derive(Debug, Default)]
pub(super) struct AmbiguousNames {
    /// In double quotes.
    quoted: Vec<String>,
    /// Given with AS.
    given: Vec<String>,
    /// Columns and their keys, where these are read like fields.
    fields: Vec<(String, String, TextPosition)>,
    /// The last two parts of names with a dot.
    dotted: Vec<(String, String, TextPosition)>,
    /// What is read like a list, with its brackets.
    listed: Vec<(String, TextPosition)>,
    /// Names that one SELECT gives again.
    twice: Vec<TextPosition>,
    /// The second `*` of a SELECT.
    stars: Vec<TextPosition>,
    /// Subqueries in a SELECT that give a column without a name of its own.
    unnamed: Vec<TextPosition>,
    /// Functions, each with the number of its arguments where they all stand in its parentheses.
    called: Vec<Call>,
    /// Columns that are the only argument of a function, as they are written, by the function's place.
    arguments: Vec<(TextPosition, String)>,
    /// Collations.
    collated: Vec<TextPosition>,
    /// What is joined by `||`.
    joined: Vec<TextPosition>,
    /// Where conditions of WHERE begin and end.
    filters: Vec<(TextPosition, TextPosition)>,
    /// Without quotes, where something is compared with them.
    bare: Vec<String>,
    /// Columns that a SELECT DISTINCT is ordered by.
    ordered: Vec<(String, TextPosition)>,
    /// Columns that any query is ordered by, and those that EXCLUDE names.
    unplaced: Vec<(String, TextPosition)>,
    /// Numbers that stand for columns of a result, as they are written.
    numbers: Vec<(String, TextPosition)>,
    /// Conditions on the rows of subqueries, by their form: `= ANY (SELECT ..)`.
    of_rows: Vec<(String, TextPosition)>,
    /// Rows of values that begin with a computed one.
    rows: Vec<TextPosition>,
}

impl AmbiguousNames {
    pub(super) fn of(statement: &mut Statement) -> Self {
        let mut names = Self::default();
        if let Some(sql) = inner(statement) {
            let _ = Visit::visit(&*sql, &mut names);
        }
        names
    }

    /// An error in the words of the statement, with a hint where a name was meant as something else.
    pub(super) fn explain(&self, error: SqlError, state: &SessionState) -> SqlError {
        let error = self.of_filter(self.of_call(error, state), state);
        let error = self.of_order(self.of_names(self.of_plan(self.of_field(error))));
        match error.message() {
            NO_COLLATE => return error.at(self.collated.first().copied()),
            ROW_ALONE => return error.at(only(&self.rows)),
            _ => {}
        }
        if error.kind() != SqlErrorKind::Unknown {
            return error;
        }
        let error = self.placed(error);
        let missing = |name: &&String| error.missing_column() == Some(name.as_str());
        if self.given.iter().any(|name| missing(&name)) {
            return error.hint("a name given with AS is known in what follows it in its SELECT and in WHERE, not in subqueries and ON: repeat the expression, or put it into a subquery");
        }
        let is_bare = |name: &&String| error.missing_column() == Some(name.to_lowercase().as_str());
        if let Some(name) = self.bare.iter().find(is_bare) {
            let quotes = format!("write text in single quotes: '{name}'");
            let both = error.guess().map(|guess| format!("{guess} Or as a text: '{name}', in single quotes"));
            return error.hint(both.unwrap_or(quotes));
        }
        // Of a column that is called so in other letters the hint has the name.
        if let Some(name) = self.quoted.iter().find(missing).filter(|_| error.exact_name().is_none()) {
            let text = name.replace('\'', "''");
            let quotes = format!("double quotes are for names; write text in single quotes: '{text}'");
            return match error.guess() {
                // The same name in another case.
                Some(guess) if guess.ends_with(AS_WRITTEN) => error,
                Some(guess) => {
                    let both = format!("{quotes}; {guess}");
                    error.hint(both)
                }
                None => {
                    let both = error.listing().map(|listing| format!("{quotes}; {listing}"));
                    error.hint(both.unwrap_or(quotes))
                }
            };
        }
        error
    }

    /// The error about the types that a function does not take, or about their number, by the name that it
    /// was called with.
    fn of_call(&self, error: SqlError, state: &SessionState) -> SqlError {
        let message = error.message();
        let own = || message.split_once("() is called as ").or_else(|| message.split_once("() takes "));
        let types = message.split_once(TYPES);
        let Some((name, _)) = types.or_else(own) else { return error };
        let mut calls = self.called.iter().filter(|(written, ..)| {
            let lower = written.to_lowercase();
            let known = if lower == "strftime" { "to_char" } else { dialect::known(&lower) };
            let aggregate = state.aggregate_functions().get(known).map(|function| function.name());
            let scalar = state.scalar_functions().get(known).map(|function| function.name());
            aggregate.or(scalar).unwrap_or(known) == name
        });
        let wrong = types.and_then(|(name, call)| wrong_number(state, name, call, calls.clone()));
        if let Some((worded, place)) = wrong {
            // Other types do not help.
            let error =
                if error.has_hint(TEXT_AS_NUMBER) { SqlError::invalid(worded) } else { error.worded(worded) };
            return error.at(place);
        }
        let Some((written, place, _)) = calls.next() else { return self.of_join(error) };
        let is_only = calls.next().is_none();
        let Some((_, call)) = types else { return error.at(*place) };
        let types = call.split_once('(').map_or("..)", |(_, types)| types);
        let worded = format!("{written}{TYPES}{written}({types}");
        // Decimals of a table are texts in a dataset.
        let argument = self.arguments.iter().find(|(function, _)| function == place);
        let text = argument.filter(|_| is_only && error.has_hint(TEXT_AS_NUMBER)).map(|(_, text)| {
            format!(
                "`{text}` is text: write {written}({text}::DOUBLE); decimals keep their digits as {text}::DECIMAL(18, 2)"
            )
        });
        error.worded(worded).at(*place).maybe_hint(text)
    }

    /// The error about what `||` does not join: the engine has functions of lists in its place.
    fn of_join(&self, error: SqlError) -> SqlError {
        let types = error.message().split_once(TYPES).and_then(|(name, call)| {
            let (_, types) = call.split_once('(')?;
            let of_lists = ["array_append", "array_prepend", "array_concat"].contains(&name);
            Some(types.strip_suffix(')').unwrap_or(types).to_owned()).filter(|_| of_lists)
        });
        let Some(types) = types else { return error };
        let error = error.worded(format!("|| does not join {types}")).hint(
            "it joins two texts, two lists of one type, or a list and a value of the type of its elements; \
             list::VARCHAR is the text of a list",
        );
        error.at(only(&self.joined))
    }

    /// The error about an aggregate function in WHERE, with its name and place if it is the only one there.
    fn of_filter(&self, error: SqlError, state: &SessionState) -> SqlError {
        if !error.message().ends_with(IN_WHERE) {
            return error;
        }
        let is_filter =
            |place: &TextPosition| self.filters.iter().any(|(from, to)| (from..=to).contains(&place));
        let mut found = self.called.iter().filter(|(name, place, _)| {
            let known = dialect::known(&name.to_lowercase()).to_owned();
            is_filter(place) && state.aggregate_functions().contains_key(&known)
        });
        match (found.next(), found.next()) {
            (Some((name, place, _)), None) => error.worded(format!("{name}(){IN_WHERE}")).at(*place),
            _ => error,
        }
    }

    /// The error about a key that is read like a field, with what reads it, and about a field that there is
    /// not.
    fn of_field(&self, error: SqlError) -> SqlError {
        let [before, behind] = NO_FIELD;
        let missing = error.message().strip_prefix(before).and_then(|rest| rest.strip_suffix(behind));
        let is_missing = |key: &str| missing.is_some_and(|missing| key.eq_ignore_ascii_case(missing));
        if let Some((column, key, place)) =
            self.fields.iter().chain(&self.dotted).find(|(_, key, _)| is_missing(key))
        {
            return error.worded(format!("`{column}` has no field `{key}`")).at(*place);
        }
        if let [(column, key, place)] = self.dotted.as_slice()
            && error.message() == LIST_FIELDS
            && self.fields.is_empty()
        {
            let hint = format!(
                "{column}[1].{key} is the field of its first element, list_transform({column}, x -> x.{key}) has those of all"
            );
            let worded = format!("`{column}` is a list, which has no fields");
            return error.worded(worded).at(*place).hint(hint);
        }
        match self.fields.first().filter(|_| error.message() == NO_FIELDS) {
            Some((column, key, place)) => error
                .worded(format!("`{column}` is text, which has no fields"))
                .at(*place)
                .hint(format!("a key of JSON is read with {column}->>'{key}'")),
            None => error,
        }
    }

    /// An error that is found only in the plan of a statement, in the words of the statement.
    pub(super) fn of_plan(&self, error: SqlError) -> SqlError {
        self.of_rows(self.of_list(error))
    }

    /// The error about a condition on the rows of a subquery in the place of a value, with its form, and with
    /// its place if it is the only one.
    fn of_rows(&self, error: SqlError) -> SqlError {
        let is_compared = |form: &String| form != IN_ROWS && form != EXISTS;
        let form = error.message().strip_suffix(NO_VALUE).map(str::to_owned);
        let has_exists = self.of_rows.iter().any(|(form, _)| form == EXISTS);
        // The engine makes EXISTS of ANY and ALL, and takes the new name of such a column for a failure.
        let compared = match form.as_deref() {
            Some(EXISTS) => !has_exists,
            Some(_) => false,
            None => error.message().contains("Failed due to a difference in schemas"),
        };
        let is_meant = |(known, _): &&(String, TextPosition)| match form.as_deref() {
            _ if compared => is_compared(known),
            Some(IN_ROWS) => known == IN_ROWS,
            Some(form) => form != EXISTS,
            None => false,
        };
        let meant: Vec<&(String, TextPosition)> = self.of_rows.iter().filter(is_meant).collect();
        match meant.as_slice() {
            [(known, place)] => {
                let hint = if is_compared(known) { AGGREGATED } else { JOINED };
                SqlError::invalid(format!("{known}{NO_VALUE}")).at(*place).hint(hint)
            }
            [_, ..] if compared => of_rows(),
            _ => error,
        }
    }

    /// The error about a text or a time that is read like a list, with how it is written there.
    fn of_list(&self, error: SqlError) -> SqlError {
        let what = error.message().strip_suffix(NO_ELEMENTS).map(str::to_owned);
        match (self.listed.as_slice(), what) {
            ([(written, place)], Some(what)) => error
                .worded(format!("`{written}` is of {what}, which has no elements and no slices"))
                .at(*place),
            _ => error,
        }
    }

    /// The error about a column that there is not, with its place where the engine forgets it.
    fn placed(&self, error: SqlError) -> SqlError {
        let place = error.missing_column().and_then(|column| place_of(&self.unplaced, column));
        error.at(place)
    }

    /// The error about a number that stands for a column that a result does not have, with its place.
    fn of_number(&self, error: SqlError) -> SqlError {
        let message = error.message();
        let order = message
            .strip_prefix("Order by column out of bounds, specified: ")
            .and_then(|rest| rest.split_once(", max: "));
        let group = message
            .strip_prefix("Cannot find column with position ")
            .and_then(|rest| rest.split_once(" in SELECT clause. Valid columns: 1 to "));
        let Some((number, columns)) = order.or(group) else { return error };
        let clause = if order.is_some() { "ORDER BY" } else { "GROUP BY" };
        let columns = columns.trim().parse().map_or_else(|_| columns.to_owned(), |n| many(n, "column"));
        let worded = format!("{clause} {number} is not a column of the result, which has {columns}");
        let place = place_of(&self.numbers, number);
        error.worded(worded).at(place)
    }

    /// The error about a column that a SELECT DISTINCT is ordered by and does not select, with its place.
    fn of_order(&self, error: SqlError) -> SqlError {
        let error = self.of_number(error);
        let [before, behind] = DISTINCT_ORDER;
        let column = error.message().strip_prefix(before).and_then(|rest| rest.strip_suffix(behind));
        let place = column.and_then(|column| place_of(&self.ordered, column));
        error.at(place)
    }

    /// The error about a name that a SELECT has twice, with the place of the second.
    fn of_names(&self, error: SqlError) -> SqlError {
        let message = error.message();
        let is_twice = message.starts_with(TWICE) || message.ends_with(OCCURS);
        if let Some(place) = self.twice.first().filter(|_| is_twice) {
            return error.at(*place);
        }
        if let [place] = self.stars.as_slice()
            && is_twice
        {
            return error.at(*place).hint("write the columns that are meant, or * EXCLUDE (..)");
        }
        match self.unnamed.as_slice() {
            [place] if message.ends_with(OCCURS) => {
                error.at(*place).hint("a subquery without a name has that of the column that it selects")
            }
            _ => error,
        }
    }
}

/// What is wrong with the first of the calls of a function that has more or fewer arguments than it takes,
/// and the place of that call. `shown` is the call that the engine refuses: it may have others than the
/// statement, where that was put into other words.
fn wrong_number<'a>(
    state: &SessionState,
    function: &str,
    shown: &str,
    mut calls: impl Iterator<Item = &'a Call>,
) -> Option<(String, TextPosition)> {
    let shown = arity::shown(shown);
    let Some(wanted) = arity::wanted(state, function) else {
        let (name, place, _) = calls.find(|(.., given)| shown == Some(0) && *given == Some(0))?;
        return Some((format!("{name}() needs arguments"), *place));
    };
    if shown.is_some_and(|shown| wanted.contains(&shown)) {
        return None;
    }
    calls.find_map(|(name, place, given)| {
        let given = given.filter(|given| !wanted.contains(given))?;
        Some((arity::said(name, &wanted, given), *place))
    })
}

/// The place of a name among those of several.
fn place_of(all: &[(String, TextPosition)], name: &str) -> Option<TextPosition> {
    all.iter().find(|(known, _)| known == name).map(|(_, place)| *place)
}
