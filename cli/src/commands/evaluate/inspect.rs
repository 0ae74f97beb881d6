//! `gstore evaluate scores`: of each query the rows with the highest and the lowest scores, with their texts.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use gstore::factors::{PromptScores, REPORTED, prompt_and_completion, score_report, whole_text};
use gstore_data::TextSample;
use gstore_evaluate::attribution::Ids;

use super::result::check_markdown;
use super::{draw, scores};
use crate::args::EvaluateScoresArgs;
use crate::context::Context;
use crate::failure::refuse;
use crate::output::{self, Output};

/// Writes the report of each method.
pub fn run(context: &Context, args: &EvaluateScoresArgs) -> Result<()> {
    let to = args.output.as_deref();
    check_markdown(to)?;
    output::check(context, &[to], args.force)?;
    let read = [args.of.data.clone(), args.of.query_data.clone(), scores::files(&args.scores)].concat();
    output::check_unread(&[to], read.iter().map(PathBuf::as_path), std::iter::empty())?;
    if args.scores.is_empty() {
        refuse!("which scores? give --scores or --sql");
    }
    let cancel = context.cancel_on_interrupt("stopping; nothing was written");
    let (pool, queries) = draw::rows_and_queries(context, &args.of, &cancel)?;
    let ids = |samples: &[TextSample], of| Ids::new(samples.iter().map(|s| s.id.clone()), of);
    let (rows, asked) = (ids(&pool, "the rows")?, ids(&queries, "the queries")?);
    let methods = scores::read(context, &args.scores, (&rows, &asked), None, &cancel)?;
    let texts: Vec<_> = queries.iter().map(|query| prompt_and_completion(&query.content)).collect();
    let mut text = |row: usize| pool.get(row).map_or_else(String::new, |sample| whole_text(&sample.content));
    let mut out = Output::create(to, args.force)?;
    for method in &methods {
        let prompts = texts.iter().enumerate().map(|(query, (prompt, completion))| PromptScores {
            prompt,
            completion: completion.as_deref(),
            scores: method.of_query(query).to_vec(),
        });
        out.write_all(score_report(&method.method, prompts, REPORTED, &mut text).as_bytes())?;
    }
    out.finish()
}
