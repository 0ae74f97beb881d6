//! The plan of a statement as a tree whose lines fit a terminal.

use unicode_width::UnicodeWidthStr;

/// Least room for what an operator says of itself, however deep it stands.
const LEAST: usize = 24;

/// An operator of a plan.
struct PlanNode<'a> {
    depth: usize,
    name: &'a str,
    says: &'a str,
}

/// The tree of a plan whose lines stand two blanks deeper than the operator that reads them.
pub(super) fn tree(text: &str, width: usize) -> String {
    let nodes: Vec<PlanNode<'_>> = text.lines().filter(|line| !line.trim().is_empty()).map(node).collect();
    let mut out = String::new();
    // For each level above: whether another operator of it follows.
    let mut open: Vec<bool> = Vec::new();
    for (i, node) in nodes.iter().enumerate() {
        let after = &nodes[i + 1..];
        let below = after.first().is_some_and(|next| next.depth > node.depth);
        let another =
            after.iter().find(|other| other.depth <= node.depth).is_some_and(|o| o.depth == node.depth);
        open.truncate(node.depth);
        open.resize(node.depth, false);
        let above: String = open.iter().skip(1).map(|more| if *more { "│  " } else { "   " }).collect();
        let (knot, beside) = match (node.depth, another) {
            (0, _) => ("", ""),
            (_, true) => ("├─ ", "│  "),
            (_, false) => ("└─ ", "   "),
        };
        out.push_str(&format!("{above}{knot}{}\n", node.name));
        let margin = format!("{above}{beside}{}", if below { "│  " } else { "   " });
        for line in wrap_line(node.says, width.saturating_sub(margin.width()).max(LEAST)) {
            out.push_str(&format!("{margin}{line}\n"));
        }
        open.push(another);
    }
    out.truncate(out.trim_end().len());
    out
}

fn node(line: &str) -> PlanNode<'_> {
    let rest = line.trim_start();
    let (name, says) = rest.split_once(": ").unwrap_or((rest.trim_end_matches(':'), ""));
    PlanNode { depth: (line.len() - rest.len()) / 2, name, says: says.trim() }
}

/// Lines of at most `width`: parts that commas separate stay whole where they fit.
fn wrap_line(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts(text) {
        let fits = lines.last().is_some_and(|line| line.width() + 1 + part.width() <= width);
        match lines.last_mut().filter(|_| fits) {
            Some(line) => {
                line.push(' ');
                line.push_str(part);
            }
            None => lines.extend(cut(part, width)),
        }
    }
    lines
}

/// What commas outside of brackets separate, each with its comma.
fn parts(text: &str) -> Vec<&str> {
    let (mut found, mut from, mut depth) = (Vec::new(), 0, 0i32);
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth <= 0 => {
                found.push(text[from..=at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    found.push(text[from..].trim());
    found.retain(|part| !part.is_empty());
    found
}

/// A part on as many lines as it takes, broken at blanks where there are some.
fn cut(part: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in part.split_inclusive(' ') {
        let used = lines.last().map_or(0, |line| line.width());
        if used > 0 && used + word.trim_end().width() > width {
            lines.push(String::new());
        }
        for c in word.chars() {
            let full = lines.last().is_some_and(|line| line.width() >= width);
            if full {
                lines.push(String::new());
            }
            if let Some(line) = lines.last_mut() {
                line.push(c);
            }
        }
    }
    lines.into_iter().map(|line| line.trim_end().to_owned()).filter(|line| !line.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str = "SortExec: TopK(fetch=3), expr=[score@1 DESC]\n  \
        HashJoinExec: mode=CollectLeft, on=[(row@0, row@0)]\n    \
        InfluenceExec: pool=[pool], target=[t], mode=exact, checkpoints=[checkpoint-104], sim=cosine\n    \
        SampleExec: dataset=pool, columns=[row, source]\n";

    #[test]
    fn operators_hang_below_what_reads_them() {
        assert_eq!(
            tree(PLAN, 50),
            "SortExec\n\
             │  TopK(fetch=3), expr=[score@1 DESC]\n\
             └─ HashJoinExec\n   \
             │  mode=CollectLeft, on=[(row@0, row@0)]\n   \
             ├─ InfluenceExec\n   \
             │     pool=[pool], target=[t], mode=exact,\n   \
             │     checkpoints=[checkpoint-104], sim=cosine\n   \
             └─ SampleExec\n         \
             dataset=pool, columns=[row, source]"
        );
    }

    #[test]
    fn every_line_fits_and_nothing_is_lost() {
        let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
        let long = format!("Filter: {}\n  Scan: {}", "a = 'x y z' OR ".repeat(30), "w".repeat(300));
        for text in [PLAN, &long] {
            for width in [30, 40, 80] {
                let drawn = tree(text, width);
                assert!(drawn.lines().all(|line| line.width() <= width.max(LEAST + 9)), "{drawn}");
                assert_eq!(letters(&drawn), letters(text));
            }
        }
        assert_eq!((tree("", 80), tree("EmptyRelation", 80)), (String::new(), "EmptyRelation".to_owned()));
    }
}
