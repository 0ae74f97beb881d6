//! The grammar of all text that is parsed here, where operators bind as in DuckDB and PostgreSQL.

use std::any::TypeId;

use datafusion::sql::sqlparser::ast::{Array, Expr};
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, Word};

use super::exprs::{call_at, lambda};
use super::within;

/// The parser's general dialect, with what DuckDB reads in another way.
#[derive(Debug)]
pub(super) struct Grammar;

/// How much signs and operators bind; in the general dialect `+` has 30 and a comparison 20.
const SIGN: u8 = 46;
const ARROW: u8 = 45;
const ZONE: u8 = 43;
const POWER: u8 = 42;
const TIMES: u8 = 40;
/// `&`, `|`, `<<` and `>>`.
const BITS: u8 = 23;
/// `||`, `^@`, `&&`, `@>` and `<@`.
const OTHER: u8 = 22;
/// `LIKE`, `IN`, `BETWEEN` and `~`.
const MATCH: u8 = 21;

/// Methods that are those of the general dialect.
macro_rules! general {
    ($($name:ident)+) => {
        $(fn $name(&self) -> bool {
            GenericDialect.$name()
        })+
    };
}

impl Dialect for Grammar {
    /// The parser asks by the type of a dialect for much that no method says.
    fn dialect(&self) -> TypeId {
        GenericDialect.dialect()
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        GenericDialect.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        GenericDialect.is_identifier_part(ch)
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        match precedence {
            // The parser asks for this with a sign before it; `*` and the like are below.
            Precedence::MulDivModOp => SIGN,
            Precedence::AtTz => ZONE,
            Precedence::Like | Precedence::Between => MATCH,
            other => GenericDialect.prec_value(other),
        }
    }

    fn get_next_precedence(&self, parser: &Parser<'_>) -> Option<Result<u8, ParserError>> {
        let binds = match parser.peek_token_ref().token {
            Token::Arrow | Token::LongArrow => ARROW,
            Token::Caret => POWER,
            Token::Mul | Token::Div | Token::DuckIntDiv | Token::Mod => TIMES,
            Token::Ampersand | Token::Pipe | Token::ShiftLeft | Token::ShiftRight => BITS,
            Token::StringConcat | Token::CaretAt | Token::Overlap | Token::AtArrow | Token::ArrowAt => OTHER,
            Token::Tilde
            | Token::TildeAsterisk
            | Token::ExclamationMarkTilde
            | Token::ExclamationMarkTildeAsterisk
            | Token::DoubleTilde
            | Token::DoubleTildeAsterisk
            | Token::ExclamationMarkDoubleTilde
            | Token::ExclamationMarkDoubleTildeAsterisk => MATCH,
            _ if is_null_test(parser) => self.prec_value(Precedence::Is),
            _ => return None,
        };
        Some(Ok(binds))
    }

    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        parser.consume_token(&Token::LBracket).then(|| list(parser))
    }

    /// `IN` with a list that is a value, `ISNULL`, and `IS [NOT] DISTINCT FROM`: of
    /// `a IS DISTINCT FROM b AND c` the right side is `b`, where the general dialect has all of the rest.
    fn parse_infix(
        &self,
        parser: &mut Parser<'_>,
        expr: &Expr,
        precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        use Keyword as K;
        let negated = usize::from(parser.peek_keyword(K::NOT));
        if is_in_list(parser, negated) {
            (0..=negated).for_each(|_| parser.advance_token());
            let span = parser.peek_token_ref().span;
            let list = parser.parse_subexpr(MATCH);
            return Some(list.map(|list| within::condition(expr.clone(), list, negated > 0, span)));
        }
        if is_null_test(parser) {
            parser.advance_token();
            return Some(Ok(Expr::IsNull(Box::new(expr.clone()))));
        }
        let compared: fn(Box<Expr>, Box<Expr>) -> Expr =
            if parser.parse_keywords(&[K::IS, K::DISTINCT, K::FROM]) {
                Expr::IsDistinctFrom
            } else if parser.parse_keywords(&[K::IS, K::NOT, K::DISTINCT, K::FROM]) {
                Expr::IsNotDistinctFrom
            } else {
                return None;
            };
        let right = parser.parse_subexpr(precedence);
        Some(right.map(|right| compared(Box::new(expr.clone()), Box::new(right))))
    }

    fn supports_notnull_operator(&self) -> bool {
        true
    }

    // All that are true: a method that is not named here is false.
    general! {
        allow_extract_custom allow_extract_single_quotes support_map_literal_syntax
        supports_array_join_syntax supports_array_typedef_with_brackets
        supports_asc_desc_in_column_definition supports_bitwise_shift_operators
        supports_comma_separated_set_assignments supports_comma_separated_trim supports_comment_on
        supports_comment_optimizer_hint supports_connect_by supports_constraint_keyword_without_name
        supports_create_index_with_clause supports_create_view_comment_syntax supports_cte_without_as
        supports_data_type_signed_suffix supports_detach supports_dictionary_syntax
        supports_empty_projections supports_explain_with_utility_options supports_extract_comma_syntax
        supports_filter_during_aggregation supports_from_first_select supports_group_by_expr
        supports_group_by_with_modifier supports_install supports_interpolate supports_interval_options
        supports_key_column_option supports_left_associative_joins_without_parens supports_limit_by
        supports_limit_comma supports_load_extension supports_match_against supports_match_recognize
        supports_multiline_comment_hints supports_named_fn_args_with_assignment_operator
        supports_nested_comments supports_optimize_table supports_parens_around_table_factor
        supports_parenthesized_set_variables supports_partition_by_after_order_by supports_pipe_operator
        supports_prewhere supports_projection_trailing_commas supports_quote_delimited_string
        supports_select_format supports_select_item_multi_column_alias supports_select_wildcard_except
        supports_select_wildcard_exclude supports_select_wildcard_ilike supports_select_wildcard_rename
        supports_select_wildcard_replace supports_set_names supports_settings
        supports_start_transaction_modifier supports_string_escape_constant supports_struct_literal
        supports_try_convert supports_unicode_string_literal supports_update_order_by
        supports_user_host_grantee supports_values_as_table_factor
        supports_window_clause_named_window_reference supports_window_function_null_treatment_arg
        supports_with_fill supports_xml_expressions
    }
}

/// `[a, b]` behind its bracket, or `[body FOR parameter IN list IF condition]` as
/// `list_transform(list_filter(list, parameter -> condition), parameter -> body)`.
fn list(parser: &mut Parser<'_>) -> Result<Expr, ParserError> {
    let mut elem = parser.parse_comma_separated0(Parser::parse_expr, Token::RBracket)?;
    let list = match elem.pop() {
        Some(body) if elem.is_empty() && parser.parse_keyword(Keyword::FOR) => {
            let parameter = parser.parse_identifier()?;
            parser.expect_keyword(Keyword::IN)?;
            let of_each = |function, list, body| {
                call_at(function, vec![list, lambda(parameter.clone(), body)], parameter.span)
            };
            let mut list = parser.parse_expr()?;
            if parser.parse_keyword(Keyword::IF) {
                list = of_each("list_filter", list, parser.parse_expr()?);
            }
            of_each("list_transform", list, body)
        }
        last => {
            elem.extend(last);
            Expr::Array(Array { elem, named: false })
        }
    };
    parser.expect_token(&Token::RBracket)?;
    Ok(list)
}

/// Whether IN stands at a place from here on with a list behind it, and no parentheses: those the parser
/// knows.
fn is_in_list(parser: &Parser<'_>, at: usize) -> bool {
    keyword(parser, at) == Keyword::IN
        && match &parser.peek_nth_token_ref(at + 1).token {
            Token::Word(word) => ![Keyword::FROM, Keyword::UNNEST].contains(&word.keyword),
            other => matches!(other, Token::LBracket | Token::Placeholder(_)),
        }
}

/// The keyword at a place from here on, if there is one.
fn keyword(parser: &Parser<'_>, at: usize) -> Keyword {
    match &parser.peek_nth_token_ref(at).token {
        Token::Word(word) => word.keyword,
        _ => Keyword::NoKeyword,
    }
}

/// Whether the next word is ISNULL, behind a value.
fn is_null_test(parser: &Parser<'_>) -> bool {
    matches!(&parser.peek_token_ref().token, Token::Word(Word { value, quote_style: None, .. })
        if value.eq_ignore_ascii_case("ISNULL"))
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::ast::Expr;

    use crate::dialect::calls::resolve;
    use crate::dialect::exprs::{nested, taken};
    use crate::walk::{inner, visit_expressions_mut};

    /// The condition of a statement with each operation in parentheses.
    fn read(condition: &str) -> String {
        let mut statement = crate::dialect::parse(&format!("SELECT 1 FROM t WHERE {condition}")).unwrap();
        resolve(&mut statement).unwrap();
        visit_expressions_mut(inner(&mut statement).unwrap(), |expr| {
            if let Expr::BinaryOp { .. }
            | Expr::UnaryOp { .. }
            | Expr::IsDistinctFrom(..)
            | Expr::IsNotDistinctFrom(..) = expr
            {
                *expr = *nested(taken(expr));
            }
        });
        statement.to_string().split_once(" WHERE ").unwrap().1.to_owned()
    }

    #[test]
    fn operands_are_those_of_the_operator_that_binds_more() {
        for (sql, expected) in [
            ("1 << 2 & 4", "((1 << 2) & 4)"),
            ("4 | 1 & 2", "((4 | 1) & 2)"),
            ("1 | (2 << 1)", "(1 | ((2 << 1)))"),
            ("a | b ^ 2 & c", "((a | power(b, 2)) & c)"),
            ("a ^ b ^ c * d", "(power(power(a, b), c) * d)"),
            ("-2 ^ -2 * 3", "(power((-2), (-2)) * 3)"),
            ("-a::INT // b", "((-a::INT) // b)"),
            ("-a AT TIME ZONE b ^ 2", "power(timezone(b, (-a)), 2)"),
            ("1 + 2 << 3 * 4", "((1 + 2) << (3 * 4))"),
            ("1 + 2 || 'a' || b * 3", "(((1 + 2) || 'a') || (b * 3))"),
            ("a || b & c || d", "((a || (b & c)) || d)"),
            ("a = b ~ c AND l @> [1] = d", "((a = (b ~ c)) AND ((l @> [1]) = d))"),
            ("a IN l = b", "(list_contains(l, a) = b)"),
            ("a || b || c > d || e", "(((a || b) || c) > (d || e))"),
            ("a || b ^@ 'c' AND d ^@ lower(e)", "(starts_with((a || b), 'c') AND starts_with(d, lower(e)))"),
        ] {
            assert_eq!(read(sql), expected, "{sql}");
        }
    }

    #[test]
    fn arrows_bind_more_than_operators_on_both_sides() {
        assert_eq!(read("x || r->>'n' + 1"), "(x || (json_extract_string(r, 'n') + 1))");
        assert_eq!(read("x + r->>'n' * 2"), "(x + (json_extract_string(r, 'n') * 2))");
        assert_eq!(read("x * r->>'n' + 2"), "((x * json_extract_string(r, 'n')) + 2)");
        assert_eq!(read("x - r->>'n' - 2 < 3"), "(((x - json_extract_string(r, 'n')) - 2) < 3)");
    }

    #[test]
    fn chains_of_arrows_are_one_operand_on_both_sides() {
        let name = "json_extract_string(json_extract(m, 'a'), 'n')";
        assert_eq!(read("x || m->'a'->>'n'"), format!("(x || {name})"));
        assert_eq!(read("x || ': ' || m->'a'->>'n'"), format!("((x || ': ') || {name})"));
        assert_eq!(read("'b' = m->'a'->>'n'"), format!("('b' = {name})"));
        assert_eq!(read("x < m->'a'->>'n' || 'z'"), format!("(x < ({name} || 'z'))"));
        assert_eq!(read("x || m->'a'->>'n' = 'z'"), format!("((x || {name}) = 'z')"));
        assert_eq!(read("m->'a'->>'n' = m->'a'->>'n'"), format!("({name} = {name})"));
        assert!(read("x LIKE m->'a'->>'n'").starts_with(&format!("x LIKE replace({name}, ")));
        assert_eq!(read("x IS DISTINCT FROM m->'a'->>'n'"), format!("(x IS DISTINCT FROM {name})"));
    }

    #[test]
    fn what_follows_a_comparison_is_no_part_of_it() {
        for (condition, expected) in [
            ("a IS DISTINCT FROM b AND c", "((a IS DISTINCT FROM b) AND c)"),
            ("a IS DISTINCT FROM b AND c OR d", "(((a IS DISTINCT FROM b) AND c) OR d)"),
            ("a OR b IS NOT DISTINCT FROM c AND d", "(a OR ((b IS NOT DISTINCT FROM c) AND d))"),
            ("NOT a IS DISTINCT FROM b OR c", "((NOT (a IS DISTINCT FROM b)) OR c)"),
            (
                "a IS DISTINCT FROM b AND c IS NOT DISTINCT FROM d OR e",
                "(((a IS DISTINCT FROM b) AND (c IS NOT DISTINCT FROM d)) OR e)",
            ),
            ("a IS DISTINCT FROM (b AND c) OR d", "((a IS DISTINCT FROM ((b AND c))) OR d)"),
            ("a + 1 is not distinct\nfrom b = c AND d", "(((a + 1) IS NOT DISTINCT FROM (b = c)) AND d)"),
            (
                "CASE WHEN a IS DISTINCT FROM b AND c THEN 1 END = 1",
                "(CASE WHEN ((a IS DISTINCT FROM b) AND c) THEN 1 END = 1)",
            ),
            (
                "r->>'x' IS DISTINCT FROM s->>'y' AND c",
                "((json_extract_string(r, 'x') IS DISTINCT FROM json_extract_string(s, 'y')) AND c)",
            ),
            ("a IS DISTINCT FROM s->>'y' = 'z'", "(a IS DISTINCT FROM (json_extract_string(s, 'y') = 'z'))"),
        ] {
            assert_eq!(read(condition), expected, "{condition}");
        }
    }

    #[test]
    fn statements_are_shown_as_they_were_written() {
        for sql in
            ["SELECT a IS DISTINCT FROM b AND c FROM t", "SELECT DISTINCT a FROM t WHERE a IS NOT NULL"]
        {
            assert_eq!(crate::dialect::parse(sql).unwrap().to_string(), sql);
        }
    }

    #[test]
    fn the_words_are_operators_behind_values_alone() {
        for (sql, expected) in [
            ("SELECT a ISNULL FROM t", "SELECT a IS NULL FROM t"),
            ("SELECT a + 1 notnull AS b FROM t", "SELECT a + 1 IS NOT NULL AS b FROM t"),
            ("SELECT f(a) ISNULL AND b NOTNULL FROM t", "SELECT f(a) IS NULL AND b IS NOT NULL FROM t"),
            ("SELECT isnull, notnull FROM t", "SELECT isnull, notnull FROM t"),
            ("SELECT a AS isnull, t.isnull FROM t", "SELECT a AS isnull, t.isnull FROM t"),
            ("SELECT a \"isnull\" FROM t", "SELECT a AS \"isnull\" FROM t"),
            ("SELECT a FROM t WHERE NOT isnull", "SELECT a FROM t WHERE NOT isnull"),
        ] {
            assert_eq!(crate::dialect::parse(sql).unwrap().to_string(), expected);
        }
    }
}
