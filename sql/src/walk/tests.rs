//! Visitors behind a pointer see what they would see before it.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::*;

const TEXT: &str = "SELECT a + 1 FROM t WHERE b > 2 AND c < 3";

fn parsed(text: &str) -> Statement {
    Parser::parse_sql(&GenericDialect {}, text).unwrap().remove(0)
}

#[derive(Default)]
struct Seen(Vec<&'static str>);

macro_rules! seen {
    ($($method:ident($part:ty),)+) => {
        $(fn $method(&mut self, _: $part) -> ControlFlow<()> {
            self.0.push(stringify!($method));
            ControlFlow::Continue(())
        })+
    };
}

impl Visitor for Seen {
    type Break = ();

    methods! { seen }
}

impl VisitorMut for Seen {
    type Break = ();

    methods! { seen mut }
}

#[test]
fn every_method_of_a_visitor_is_called() {
    let (mut seen, mut seen_mut) = (Seen::default(), Seen::default());
    let mut sql = parsed(TEXT);
    assert!(Visit::visit(&sql, &mut seen).is_continue());
    assert!(VisitMut::visit(&mut sql, &mut seen_mut).is_continue());
    assert_eq!(seen.0, seen_mut.0);
    assert_eq!(seen.0[..3], ["pre_visit_statement", "pre_visit_query", "pre_visit_select"]);
    seen.0.sort_unstable();
    seen.0.dedup();
    assert_eq!(seen.0.len(), 14, "{:?}", seen.0);
}

#[test]
fn a_walk_ends_with_what_the_visitor_broke_with() {
    let mut columns = Vec::new();
    let found = visit_expressions(&parsed(TEXT), |expr| {
        let Expr::Identifier(column) = expr else { return None };
        columns.push(column.value.clone());
        (column.value == "b").then_some(columns.len())
    });
    assert_eq!(found, Some(2));
    assert_eq!(columns, ["a", "b"]);
}

#[test]
fn what_is_walked_over_can_be_changed() {
    let mut sql = parsed("SELECT f(a), a FROM a");
    visit_expressions_mut(&mut sql, |expr| {
        if let Expr::Identifier(column) = expr {
            column.value.push('x');
        }
    });
    assert_eq!(sql.to_string(), "SELECT f(ax), ax FROM a");
}
