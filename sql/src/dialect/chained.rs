//! Calls and fields behind a dot: `x.upper()` as `upper(x)`, and `(struct).field`.
//!
//! A column and its field, `s.field`, are left to the engine, which knows tables from structs.

use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, Subscript,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::exprs::text;
use super::tokens::next;
use crate::expanded::name;

/// The tokens with the names of calls behind a dot as plain names: the parser has forms of its own for TRIM,
/// SUBSTRING and others, which stand before their values.
pub(super) fn tokens(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    for dot in 0..tokens.len() {
        if tokens.get(dot).is_none_or(|token| token.token != Token::Period) {
            continue;
        }
        let called = next(&tokens, dot + 1).map(|(at, _)| at);
        let is_call =
            |at: &usize| next(&tokens, at + 1).is_some_and(|(_, after)| after.token == Token::LParen);
        if let Some(at) = called.filter(is_call)
            && let Some(TokenWithSpan { token: Token::Word(word), .. }) = tokens.get_mut(at)
        {
            word.keyword = Keyword::NoKeyword;
        }
    }
    tokens
}

/// Puts calls around the values that they stand behind, and fields into brackets.
pub(super) fn apart(expr: &mut Expr) {
    match expr {
        Expr::Function(function) if function.name.0.len() > 1 => {
            if let Some(of) = before(function) {
                first(function, of);
            }
        }
        Expr::CompoundFieldAccess { root, access_chain } => {
            let mut chain = access_chain.iter();
            if matches!(**root, Expr::Identifier(_)) {
                let fields = |access: &&AccessExpr| matches!(access, AccessExpr::Dot(Expr::Identifier(_)));
                chain =
                    access_chain.get(access_chain.iter().take_while(fields).count()..).unwrap_or(&[]).iter();
            }
            if chain.any(|access| matches!(access, AccessExpr::Dot(Expr::Identifier(_) | Expr::Function(_))))
            {
                *expr = folded((**root).clone(), std::mem::take(access_chain));
            }
        }
        _ => {}
    }
}

/// The value that a call of `value.function(..)` stands behind; the call keeps its own name.
fn before(function: &mut Function) -> Option<Expr> {
    if !matches!(function.args, FunctionArguments::List(_)) {
        return None;
    }
    let parts = function.name.0.iter().map(|part| part.as_ident().cloned());
    let mut parts: Vec<Ident> = parts.collect::<Option<_>>()?;
    let own = parts.pop()?;
    function.name = ObjectName::from(vec![own]);
    Some(match parts.as_slice() {
        [only] => Expr::Identifier(only.clone()),
        _ => Expr::CompoundIdentifier(parts),
    })
}

/// Gives a call its first argument.
fn first(function: &mut Function, of: Expr) {
    if let FunctionArguments::List(list) = &mut function.args {
        list.args.insert(0, FunctionArg::Unnamed(FunctionArgExpr::Expr(of)));
    }
}

fn folded(root: Expr, chain: Vec<AccessExpr>) -> Expr {
    let (mut of, mut open) = (root, Vec::new());
    for access in chain {
        match access {
            AccessExpr::Dot(Expr::Function(mut function))
                if matches!(function.args, FunctionArguments::List(_)) =>
            {
                first(&mut function, accessed(of, std::mem::take(&mut open)));
                of = Expr::Function(function);
            }
            AccessExpr::Dot(Expr::Identifier(field)) => match of {
                Expr::Identifier(column) if open.is_empty() => {
                    of = Expr::CompoundIdentifier(vec![column, field]);
                }
                Expr::CompoundIdentifier(mut parts) if open.is_empty() => {
                    parts.push(field);
                    of = Expr::CompoundIdentifier(parts);
                }
                other => {
                    let key = if open.is_empty() { key(&other, &field) } else { name(&field) };
                    let index = text(&key);
                    open.push(AccessExpr::Subscript(Subscript::Index { index }));
                    of = other;
                }
            },
            other => open.push(other),
        }
    }
    accessed(of, open)
}

/// The name of a field as a written struct has it, whatever its case.
fn key(of: &Expr, field: &Ident) -> String {
    match of {
        Expr::Nested(inner) => key(inner, field),
        Expr::Dictionary(fields) => {
            let known = fields.iter().find(|known| known.key.value.eq_ignore_ascii_case(&field.value));
            known.map_or_else(|| name(field), |known| known.key.value.clone())
        }
        _ => name(field),
    }
}

fn accessed(of: Expr, access_chain: Vec<AccessExpr>) -> Expr {
    match access_chain.is_empty() {
        true => of,
        false => Expr::CompoundFieldAccess { root: Box::new(of), access_chain },
    }
}

#[cfg(test)]
mod tests {
    use crate::dialect::tests::expression;

    #[test]
    fn what_stands_behind_a_dot_is_put_around_it() {
        for (sql, expected) in [
            ("x.upper()", "upper(x)"),
            ("t.x.upper().lower()", "lower(upper(t.x))"),
            ("'x'.upper()", "upper('x')"),
            ("(a || b).repeat(3).len()", "len(repeat((a || b), 3))"),
            ("x.trim().Substring(1, 3)", "Substring(trim(x), 1, 3)"),
            ("t.x.trim(), 'x'.position('y')", "trim(t.x), position('x', 'y')"),
            (
                "[1, 2].list_transform(x -> x + 1)",
                r#"array_transform([1, 2], "element x" -> "element x" + 1)"#,
            ),
            ("l.filter(x -> x > 1).len()", r#"len(array_filter(l, "element x" -> "element x" > 1))"#),
            ("x.list()", "array_agg(x)"),
            ("{'a': 1, 'B': {'c': 2}}.b.c", "{'a': 1, 'B': {'c': 2}}['B']['c']"),
            ("(s).field", "(s)['field']"),
            ("f(x).field[1].upper()", "upper(f(x)['field'][1])"),
            ("s.field", "s.field"),
            ("t.s.field[1]", "t.s.field[1]"),
            ("[3, 4].len()", "len([3, 4])"),
        ] {
            assert_eq!(expression(sql), expected);
        }
    }
}
