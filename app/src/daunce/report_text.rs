//! Reports as Markdown and HTML.

use std::fmt::Write;

use gstore_core::{
    html_head, html_text, many, many_of, markdown_cell, markdown_code, markdown_line, one_line,
};

use super::report::{DaunceReport, Hub, QueryReport, ReportRow};
use crate::picture;

/// Style of a page: no script, no font and no file from elsewhere.
const STYLE: &str = ":root{color-scheme:light dark}body{margin:2rem auto;max-width:72rem;padding:0 1rem;\
                     font:1rem/1.5 system-ui,sans-serif}table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}\
                     th,td{text-align:left;padding:.2rem .6rem;border-top:1px solid #8884;vertical-align:top}\
                     td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}svg{width:100%;height:auto}";

/// Columns of a table of rows.
const COLUMNS: [&str; 7] = ["", "score", "se", "z", "noise", "id", "text"];

impl DaunceReport {
    /// What was compared, in a line.
    fn about(&self) -> String {
        let score = if self.score == "corr" { "Correlation" } else { "Covariance" };
        format!(
            "{score} of `{}` over {} of ensemble {}, centred by {}. A positive score: training on the row lowers the \
             loss of the query.",
            self.signal,
            many(self.models as u64, "model"),
            markdown_code(&self.ensemble),
            self.center
        )
    }

    /// How far halves of the models agree, in sentences.
    fn agreed(&self) -> Vec<String> {
        let last = self.agreement.at.last();
        let last = last.and_then(|last| Some((last.models, last.split_half?, last.top_overlap?)));
        let agreed = last.map(|(models, half, overlap)| {
            format!(
                "Halves of the {} models rank alike by {half:.2} (Spearman); of their first {} rows they have {:.0} % in common, \
                 by chance {:.0} %.",
                models,
                self.agreement.top,
                100.0 * overlap,
                100.0 * self.agreement.overlap_by_chance
            )
        });
        agreed.into_iter().chain(self.agreement.left_out()).collect()
    }

    /// The report as Markdown.
    pub fn markdown(&self) -> String {
        let mut out = format!("# Rows behind {}\n\n{}\n", queries(self.queries.len()), self.about());
        // Writing to a string cannot fail.
        for line in self.agreed().iter().chain(&self.notes) {
            let _ = writeln!(out, "\n- {}", markdown_line(line));
        }
        if !self.hubs.is_empty() {
            let _ =
                writeln!(out, "\n- Among the best rows of several queries: {}", markdown_line(&self.hubs()));
        }
        for query in &self.queries {
            let _ = writeln!(out, "\n## {}\n", markdown_line(&name(query)));
            if let Some(text) = &query.text {
                let _ = writeln!(out, "> {}\n", markdown_line(text));
            }
            for (heading, rows) in [("Best", &query.best), ("Worst", &query.worst)] {
                let _ = writeln!(out, "**{heading}**\n\n| {} |", COLUMNS.join(" | "));
                let _ = writeln!(out, "|{}", "---|".repeat(COLUMNS.len()));
                for (i, row) in rows.iter().enumerate() {
                    let cells = cells(i, row).map(|cell| markdown_cell(&one_line(&cell)));
                    let _ = writeln!(out, "| {} |", cells.join(" | "));
                }
                out.push('\n');
            }
        }
        out
    }

    /// The report as a page that stands alone, with the agreement of the models as a picture.
    pub fn html(&self) -> String {
        let title = format!("Rows behind {}", queries(self.queries.len()));
        let mut out = html_head(&title, STYLE);
        let _ = writeln!(out, "<h1>{title}</h1>\n<p>{}</p>", html_text(&self.about()));
        let mut lines: Vec<String> = self.agreed().into_iter().chain(self.notes.iter().cloned()).collect();
        if !self.hubs.is_empty() {
            lines.push(format!("Among the best rows of several queries: {}", self.hubs()));
        }
        let items: Vec<String> = lines.iter().map(|line| format!("<li>{}</li>", html_text(line))).collect();
        let _ = writeln!(out, "<ul>{}</ul>", items.join(""));
        if self.agreement.at.len() > 1 {
            let svg = picture::agreement(&self.agreement).svg();
            // The declaration of a document has no place inside of another.
            out.push_str(svg.split_once("?>\n").map_or(svg.as_str(), |(_, element)| element));
        }
        for query in &self.queries {
            let _ = writeln!(out, "<h2>{}</h2>", html_text(&name(query)));
            if let Some(text) = &query.text {
                let _ = writeln!(out, "<blockquote>{}</blockquote>", html_text(text));
            }
            for (heading, rows) in [("Best", &query.best), ("Worst", &query.worst)] {
                let head: Vec<String> = COLUMNS.iter().map(|name| format!("<th>{name}</th>")).collect();
                let _ = writeln!(out, "<h3>{heading}</h3>\n<table><tr>{}</tr>", head.join(""));
                for (i, row) in rows.iter().enumerate() {
                    let cells = cells(i, row);
                    let class = |c: usize| if c < 5 { " class=\"n\"" } else { "" };
                    let cells = cells
                        .iter()
                        .enumerate()
                        .map(|(c, cell)| format!("<td{}>{}</td>", class(c), html_text(cell)));
                    let _ = writeln!(out, "<tr>{}</tr>", cells.collect::<String>());
                }
                out.push_str("</table>\n");
            }
        }
        out.push_str("</body>\n</html>\n");
        out
    }

    fn hubs(&self) -> String {
        let hub = |hub: &Hub| format!("{} ({})", hub.id.as_deref().unwrap_or("?"), hub.queries);
        self.hubs.iter().map(hub).collect::<Vec<_>>().join(", ")
    }
}

fn queries(n: usize) -> String {
    many_of(n as u64, "query", "queries")
}

fn name(query: &QueryReport) -> String {
    match &query.id {
        Some(id) => format!("{}: {id}", query.target),
        None => format!("{}: row {}", query.target, query.row),
    }
}

/// The cells of a row, in the order of [`COLUMNS`].
fn cells(place: usize, row: &ReportRow) -> [String; 7] {
    let number = |x: Option<f64>| x.map_or_else(|| "-".to_owned(), |x| format!("{x:.4}"));
    // Covariances may be tiny.
    let score = |x: Option<f64>| match x {
        Some(x) if x != 0.0 && x.abs() < 1e-3 => format!("{x:.3e}"),
        other => number(other),
    };
    [
        (place + 1).to_string(),
        score(Some(row.score)),
        score(row.se),
        row.z.map_or_else(|| "-".to_owned(), |z| format!("{z:.1}")),
        score(row.noise_floor),
        row.id.clone().unwrap_or_else(|| format!("row {}", row.row)),
        row.text.clone().unwrap_or_default(),
    ]
}
