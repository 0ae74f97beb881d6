//! Reports of scores as Markdown: samples with the highest and lowest scores of each prompt, and figures.

use std::fmt::Write;

use gstore_core::{markdown_cell, markdown_line, one_line, shortened};
use gstore_data::{Content, Message, Role};

/// Samples of each end that a report shows.
pub const REPORTED: usize = 10;

const PERCENTILES: [u32; 7] = [10, 25, 50, 75, 90, 95, 99];

/// Characters of a text that are shown.
const SHOWN: usize = 100;

/// Scores of a prompt with all samples.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptScores<'a> {
    /// The prompt.
    pub prompt: &'a str,
    /// What followed it, where that is known.
    pub completion: Option<&'a str>,
    /// A score for each sample, in their order.
    pub scores: Vec<f64>,
}

/// What is asked in a sample, and what the answer is, where that is told apart.
pub fn prompt_and_completion(content: &Content) -> (String, Option<String>) {
    match content {
        Content::Text(text) => (text.clone(), None),
        Content::PromptCompletion { prompt, completion } => (prompt.clone(), Some(completion.clone())),
        Content::Messages(messages) => {
            let said = |part: &[Message]| {
                part.iter().map(|message| message.content.as_str()).collect::<Vec<_>>().join("\n")
            };
            match messages.split_last() {
                Some((last, before)) if last.role == Role::Assistant => {
                    (said(before), Some(last.content.clone()))
                }
                _ => (said(messages), None),
            }
        }
    }
}

/// All of a sample, as a report shows it.
pub fn whole_text(content: &Content) -> String {
    match prompt_and_completion(content) {
        (prompt, Some(completion)) => format!("{prompt} {completion}"),
        (text, None) => text,
    }
}

/// A report of scores: for each prompt the `k` samples with the highest and with the lowest scores, largest,
/// smallest, mean, median, standard deviation (of these scores, not an estimate for more of them) and
/// percentiles, between the two nearest scores. Scores that are not finite are counted and left out. `text`
/// gives the text of a sample, `name` is that of the scores.
pub fn score_report<'a>(
    name: &str,
    prompts: impl IntoIterator<Item = PromptScores<'a>>,
    k: usize,
    text: &mut dyn FnMut(usize) -> String,
) -> String {
    let mut out = format!("# Influence scores: {}\n", markdown_line(name));
    for (at, prompt) in prompts.into_iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "\n## Prompt {}: {}\n", at + 1, markdown_line(prompt.prompt));
        if let Some(completion) = prompt.completion {
            let _ = writeln!(out, "**Completion:** {}\n", markdown_line(completion));
        }
        let finite = |at: &usize| prompt.scores[*at].is_finite();
        // Equal scores stand in the order of their samples, both ways.
        let mut ascending: Vec<usize> = (0..prompt.scores.len()).filter(finite).collect();
        ascending.sort_by(|a, b| prompt.scores[*a].total_cmp(&prompt.scores[*b]));
        let mut descending = ascending.clone();
        descending.sort_by(|a, b| prompt.scores[*b].total_cmp(&prompt.scores[*a]).then(a.cmp(b)));
        let missing = prompt.scores.len() - ascending.len();
        if missing > 0 {
            let _ = writeln!(out, "{missing} of {} scores are not finite.\n", prompt.scores.len());
        }
        if ascending.is_empty() {
            out.push_str("There are no scores.\n");
            continue;
        }
        let few = k.min(ascending.len());
        table(
            &mut out,
            "Highest scores (proponents are above zero)",
            &descending[..few],
            &prompt.scores,
            text,
        );
        table(&mut out, "Lowest scores (opponents are below zero)", &ascending[..few], &prompt.scores, text);
        let values: Vec<f64> = ascending.iter().map(|at| prompt.scores[*at]).collect();
        figures(&mut out, &values);
    }
    out
}

fn table(
    out: &mut String,
    heading: &str,
    rows: &[usize],
    scores: &[f64],
    text: &mut dyn FnMut(usize) -> String,
) {
    let _ = writeln!(out, "### {heading}\n\n| Rank | Score | Example |\n| ---: | ---: | --- |");
    for (rank, at) in rows.iter().enumerate() {
        let _ = writeln!(out, "| {} | {:.6} | {} |", rank + 1, scores[*at], cell_text(&text(*at)));
    }
    out.push('\n');
}

/// Figures of scores in ascending order.
fn figures(out: &mut String, ascending: &[f64]) {
    let n = ascending.len() as f64;
    let mean = ascending.iter().sum::<f64>() / n;
    let variance = ascending.iter().map(|score| (score - mean) * (score - mean)).sum::<f64>() / n;
    out.push_str("### Figures\n\n");
    for (name, value) in [
        ("Maximum", percentile(ascending, 100)),
        ("Minimum", percentile(ascending, 0)),
        ("Mean", mean),
        ("Median", percentile(ascending, 50)),
        ("Standard deviation", variance.sqrt()),
    ] {
        let _ = writeln!(out, "- **{name}:** {value:.6}");
    }
    out.push_str("\n| Percentile | Score |\n| ---: | ---: |\n");
    for percent in PERCENTILES {
        let _ = writeln!(out, "| {percent} | {:.6} |", percentile(ascending, percent));
    }
}

/// The value below which a percentage lies, on the line between the two nearest, of ascending values.
fn percentile(ascending: &[f64], percent: u32) -> f64 {
    let place = ascending.len().saturating_sub(1) as f64 * f64::from(percent) / 100.0;
    let low = place.floor() as usize;
    match (ascending.get(low), ascending.get(low + 1)) {
        (Some(low), Some(high)) => low + (high - low) * place.fract(),
        (Some(only), None) => *only,
        (None, _) => f64::NAN,
    }
}

/// The beginning of a text in a cell of a table.
fn cell_text(text: &str) -> String {
    markdown_cell(&shortened(&one_line(text), SHOWN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_the_best_the_worst_and_figures() {
        let scores = vec![1.0, -2.5, f64::NAN, 4.0, 1.0];
        let prompts = [
            PromptScores { prompt: "Why is\nthe sky blue?", completion: Some(" Light."), scores },
            PromptScores { prompt: "None", completion: None, scores: Vec::new() },
        ];
        let mut texts = |at: usize| format!("sample {at} | {}", "x".repeat(100 * (at % 2)));
        let report = score_report("seed", prompts, 2, &mut texts);
        let long = "x".repeat(89);
        let expected = format!(
            "# Influence scores: seed\n\n## Prompt 1: Why is the sky blue?\n\n**Completion:** Light.\n\n\
             1 of 5 scores are not finite.\n\n\
             ### Highest scores (proponents are above zero)\n\n| Rank | Score | Example |\n| ---: | ---: | --- |\n\
             | 1 | 4.000000 | sample 3 \\| {long}... |\n| 2 | 1.000000 | sample 0 \\| |\n\n\
             ### Lowest scores (opponents are below zero)\n\n| Rank | Score | Example |\n| ---: | ---: | --- |\n\
             | 1 | -2.500000 | sample 1 \\| {long}... |\n| 2 | 1.000000 | sample 0 \\| |\n\n\
             ### Figures\n\n- **Maximum:** 4.000000\n- **Minimum:** -2.500000\n- **Mean:** 0.875000\n\
             - **Median:** 1.000000\n- **Standard deviation:** 2.301494\n\n\
             | Percentile | Score |\n| ---: | ---: |\n| 10 | -1.450000 |\n| 25 | 0.125000 |\n\
             | 50 | 1.000000 |\n| 75 | 1.750000 |\n| 90 | 3.100000 |\n| 95 | 3.550000 |\n| 99 | 3.910000 |\n\n\
             ## Prompt 2: None\n\nThere are no scores.\n"
        );
        assert_eq!(report, expected);
    }

    #[test]
    fn markup_and_hidden_characters_of_texts_are_shown() {
        let prompt = PromptScores { prompt: "<b>\u{1b}", completion: Some("&lt;"), scores: vec![1.0] };
        let report = score_report("<i>", [prompt], 1, &mut |_| "\u{202e}<script>".to_owned());
        for says in [
            "# Influence scores: &lt;i>\n",
            "Prompt 1: &lt;b>\\u{1b}\n",
            "**Completion:** &amp;lt;\n",
            "| \\\\u{202e}&lt;script> |",
        ] {
            assert!(report.contains(says), "{says} in {report}");
        }
    }
}
