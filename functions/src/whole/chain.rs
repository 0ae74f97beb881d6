//! Long chains of operators as few calls: for each operand the engine asks again for the types and names of
//! all that are below it, so that a chain of nested calls takes time that grows with the square of its length
//! or more.

use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, ScalarUDF};

use super::{IntegerOperations, Operation};
use crate::error::FunctionError;

/// Calls inside one another, each of two operands, as short statements have them.
const CALLS: usize = 8;
/// Most operations of a call: all its operands are there at once.
const OPERATIONS: usize = 64;

/// An operation on two operands: by itself, or as a further one of the call that is its left operand.
pub(super) fn applied(operation: Operation, left: Expr, right: Expr) -> Expr {
    let mut operations = vec![operation];
    let args = match (with_operation(&left, operation), left) {
        (Some(all), Expr::ScalarFunction(call)) => {
            operations = all;
            let mut args = call.args;
            args.push(right);
            args
        }
        (_, left) => vec![left, right],
    };
    ScalarUDF::from(IntegerOperations { operations }).call(args)
}

/// The operations of a call with one more, if it stands upon many others and has few.
fn with_operation(left: &Expr, operation: Operation) -> Option<Vec<Operation>> {
    let (whole, _) = call_of(left)?;
    let inside = std::iter::successors(Some(left), |of| call_of(of).and_then(|(_, args)| args.first()));
    let is_long = inside.skip(1).take(CALLS).count() == CALLS;
    (is_long && whole.operations.len() < OPERATIONS)
        .then(|| whole.operations.iter().copied().chain([operation]).collect())
}

/// The function and the operands of an expression that is a call of one for whole numbers.
fn call_of(expr: &Expr) -> Option<(&IntegerOperations, &[Expr])> {
    let Expr::ScalarFunction(call) = expr else { return None };
    Some((call.func.inner().downcast_ref::<IntegerOperations>()?, call.args.as_slice()))
}

/// The name of a call, as if each of its operations were a call of two operands; made in one go for those
/// inside too.
pub(super) fn name(whole: &IntegerOperations, args: &[Expr]) -> DfResult<String> {
    let (mut inside, mut rest) = ((whole, args), Vec::new());
    let first = loop {
        let (whole, args) = inside;
        let Some((first, others)) = args.split_first() else {
            return Err(FunctionError::internal("operands of an operation").into());
        };
        rest.extend(whole.operations.iter().zip(others).rev());
        match call_of(first) {
            Some(call) => inside = call,
            None => break first,
        }
    };
    let mut name = "(".repeat(rest.len().saturating_sub(1));
    name += &in_parentheses(first.schema_name().to_string());
    for (place, (operation, right)) in rest.iter().enumerate().rev() {
        name.extend([" ", operation.sign(), " "]);
        name += &in_parentheses(right.schema_name().to_string());
        if place > 0 {
            name.push(')');
        }
    }
    Ok(name)
}

/// The name of an operand, in parentheses where it has an operator.
fn in_parentheses(name: String) -> String {
    let mut open = 0usize;
    let has_operator = name.bytes().any(|byte| {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        byte == b' ' && open == 0
    });
    if has_operator { format!("({name})") } else { name }
}

#[cfg(test)]
mod tests {
    use datafusion::common::Column;

    use super::*;

    fn depth(expr: &Expr) -> usize {
        call_of(expr).map_or(0, |(_, args)| 1 + args.iter().map(depth).max().unwrap_or(0))
    }

    #[test]
    fn long_chains_are_few_calls_with_the_names_of_many() {
        let x = || Expr::Column(Column::from_name("x"));
        let product = applied(Operation::Multiply, x(), x());
        let short = applied(Operation::Subtract, x(), product.clone());
        let short = applied(Operation::Add, short, product);
        assert_eq!((depth(&short), short.schema_name().to_string().as_str()), (3, "(x - (x * x)) + (x * x)"));
        let mut name = "x".to_owned();
        let mut long = x();
        for n in 0..500 {
            let (operation, sign) = [(Operation::Add, "+"), (Operation::Subtract, "-")][n % 2];
            name = format!("{} {sign} x", if n == 0 { name } else { format!("({name})") });
            long = applied(operation, long, x());
        }
        assert_eq!(long.schema_name().to_string(), name);
        assert!(depth(&long) < 20, "{}", depth(&long));
    }
}
