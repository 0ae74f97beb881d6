//! `gstore ask`: the proponents and opponents of a given sample, with their texts.

mod explain;
pub(super) mod text;
mod written;

use anyhow::{Result, bail};
use gstore::{JobContext, RankedQuestion};
use gstore_core::{many, many_of};
use gstore_query::influence::{InfluenceSpec, Mode, Order, Ranking};
use serde_json::{Value, json};

use crate::args::{AskArgs, Format};
use crate::context::Context;
use crate::drawing::{check_file, draw};
use crate::ending::{check_terminal, format_of};
use crate::failure::{UsageError, refuse};
use crate::models::encoder;
use crate::output::{OutputTarget, check, check_apart};
use crate::question::scoring;
use crate::streams::{out, unless_closed};
use crate::summary;

pub(super) use written::write;

/// The metadata column whose values a picture shows.
const SOURCE: &str = "source";

/// Runs the model over the sample, then ranks the pool by it.
pub fn run(context: &Context, args: &AskArgs) -> Result<()> {
    check_words(context, args)?;
    let given = records(args)?;
    let format = format(args)?;
    check(context, &[args.output.output.as_deref()], args.output.force)?;
    let picture = args.draw.picture(args.output.force);
    if let Some(picture) = &picture {
        if args.explain.is_some() {
            refuse!("--plot draws a ranking, and --explain shows one row");
        }
        let plot = picture.output.as_deref();
        // On standard output, the picture follows the rows.
        if OutputTarget::of(plot) != OutputTarget::Stdout {
            check_apart(args.output.output.as_deref().into_iter().chain(plot))?;
        }
        check_file(context, plot, picture.force)?;
    }
    let (snapshot, _lease) = context.state(&context.open()?, &args.state)?;
    let spec = InfluenceSpec { pools: args.pool.clone(), given, raw: args.raw, ..scoring(&args.scoring.0)? };
    if args.explain.is_some() && spec.mode != Mode::Exact {
        refuse!("--explain shows one row by all scores; leave --mode sketch out");
    }
    let models = encoder(context, &args.models)?;
    let cancel = context
        .cancel_on_interrupt("stopping after the current checkpoint; press Ctrl-C again to stop at once");
    let mut reporter = context.reporter();
    let mut work = context.work(&mut reporter, &cancel);
    let asked = gstore::ask(&snapshot, &spec, Some(models), &mut work)?;
    unless_closed(match &args.explain {
        Some(id) => explain::run(args, asked.explain(id, &work)?, (id, format)),
        None => rank(context, args, &asked, format, &work),
    })?;
    if let Some(picture) = &picture {
        let (order, called) = if args.opponents { (Order::Worst, "worst") } else { (Order::Best, "best") };
        let rows = asked.rank(order, args.top, &work)?.rows;
        if let Some(drawn) = asked.picture((&rows, called), SOURCE, &mut work)? {
            draw(picture, &drawn)?;
        }
    }
    Ok(())
}

/// Refuses what belongs to other flags or another command.
fn check_words(context: &Context, args: &AskArgs) -> Result<()> {
    if let Some(target) = &args.target {
        refuse!(
            "`gstore ask` ranks for a sample that is given here, so it has no --target; for the dataset `{target}` ask\n  \
             gstore query \"SELECT id, score FROM influence('{}', '{target}') ORDER BY score DESC LIMIT {}\"{}\nor write a selection with `gstore select`",
            args.pool.join(","),
            args.top,
            context.at_store()
        );
    }
    // A text behind the names of --pool is parsed as one of them.
    let is_text = |name: &&String| name.chars().any(char::is_whitespace);
    if let Some(text) = args.loose.first().or(args.pool.iter().find(is_text)) {
        refuse!(
            "unexpected argument {text:?}: give it as --prompt, with a --completion whose loss is asked about, or as \
             --text, which is scored as a whole"
        );
    }
    Ok(())
}

fn messages(text: &str) -> Result<Value> {
    const FORM: &str = r#"[{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]"#;
    let refuse = |why: String| UsageError(format!("--messages takes a conversation as JSON, {FORM}; {why}"));
    match serde_json::from_str::<Value>(text) {
        Ok(list) if list.is_array() => Ok(list),
        Ok(_) => bail!(refuse(format!("{} is JSON, but not a list", quoted_beginning(text)))),
        // A parser's message about plain text is no help; in a list it may be.
        Err(_) if !text.trim_start().starts_with(['[', '{']) => {
            bail!(refuse(format!("{} is not JSON", quoted_beginning(text))))
        }
        Err(error) => {
            bail!(refuse(format!("not valid JSON at line {}, column {}", error.line(), error.column())))
        }
    }
}

fn quoted_beginning(text: &str) -> String {
    const MOST: usize = 40;
    let more = if text.chars().nth(MOST).is_some() { "..." } else { "" };
    format!("{:?}{more}", text.chars().take(MOST).collect::<String>())
}

/// What the flags give, as records of a data file.
fn records(args: &AskArgs) -> Result<Vec<String>> {
    if args.completion.is_empty() && !args.prompt.is_empty() {
        refuse!(
            "a prompt alone has no loss to ask about: add its --completion, or give the text as --text, which is scored as a whole"
        );
    }
    if args.prompt.len() != args.completion.len() {
        refuse!(
            "{} and {}: each --completion needs its --prompt (a text without either is given as --text)",
            many(args.prompt.len() as u64, "prompt"),
            many(args.completion.len() as u64, "completion")
        );
    }
    let pair = |(prompt, completion): (&String, &String)| match args.chat {
        true => json!({ "messages": [
            { "role": "user", "content": prompt }, { "role": "assistant", "content": completion },
        ] }),
        false => json!({ "prompt": prompt, "completion": completion }),
    };
    let mut records: Vec<Value> = args.prompt.iter().zip(&args.completion).map(pair).collect();
    for text in &args.messages {
        records.push(json!({ "messages": messages(text)? }));
    }
    records.extend(args.text.iter().map(|text| json!({ "text": text })));
    if records.is_empty() {
        refuse!("there is no sample to ask about: give --prompt and --completion, --messages, or --text");
    }
    Ok(records.iter().map(Value::to_string).collect())
}

/// The format of the result; what does not go together must show before a model is loaded.
fn format(args: &AskArgs) -> Result<Format> {
    let stdout = OutputTarget::of(args.output.output.as_deref()) == OutputTarget::Stdout;
    let format = match (&args.explain, args.output.format) {
        // A pair is no table, so it is text also in a pipe.
        (Some(_), None) if stdout => Format::Table,
        _ => format_of(&args.output)?,
    };
    if args.explain.is_some() && !matches!(format, Format::Table | Format::Json) {
        refuse!("--explain prints text or JSON: give --format table or --format json");
    }
    check_terminal(format, args.output.output.as_deref())?;
    Ok(format)
}

/// The best and the worst rows as one table.
fn rank(
    context: &Context,
    args: &AskArgs,
    asked: &RankedQuestion,
    format: Format,
    work: &JobContext<'_>,
) -> Result<()> {
    let (mut batches, mut lacking) = (Vec::new(), Vec::new());
    let mut rankings: Vec<Ranking> = Vec::new();
    for (order, wanted) in [(Order::Best, !args.opponents), (Order::Worst, !args.proponents)] {
        if !wanted {
            continue;
        }
        let ranking = asked.rank(order, args.top, work)?;
        lacking.extend(none_of(order, &ranking));
        batches.push(asked.table(order, &ranking.rows, text::record, work.cancel)?);
        rankings.push(ranking);
    }
    let nothing = rankings.iter().all(|ranking| ranking.rows.is_empty());
    if nothing
        && format == Format::Table
        && OutputTarget::of(args.output.output.as_deref()) == OutputTarget::Stdout
    {
        // A table for reading, of which there would be the header alone.
        for line in &lacking {
            out!("{line}");
        }
    } else {
        write(context, (&args.output, args.full), format, &batches)?;
        lacking.iter().for_each(|line| context.say(line));
    }
    summarise(context, &rankings);
    Ok(())
}

/// Why there are no proponents or no opponents, if there are none.
fn none_of(order: Order, ranking: &Ranking) -> Option<String> {
    let (side, bound) = match order {
        Order::Best => ("proponents", "above zero"),
        Order::Worst => ("opponents", "below zero"),
    };
    ranking.rows.is_empty().then(|| match ranking.summary.eligible {
        0 => format!("no {side}: no row has a score"),
        scored => {
            format!("no {side}: {} a score, and none is {bound}", many_of(scored, "row has", "rows have"))
        }
    })
}

fn summarise(context: &Context, rankings: &[Ranking]) {
    let Some(last) = rankings.last().map(|ranking| &ranking.summary) else { return };
    let have = if last.eligible == 1 { "has" } else { "have" };
    let mut line = format!("{} of {} {have} a score", last.eligible, many(last.live, "row"));
    if last.in_target > 0 {
        let occur = many_of(last.in_target, "occurs in the target and was", "occur in the target and were");
        line.push_str(&format!("; {occur} left out"));
    }
    // That all is as it should be needs no line.
    if last.eligible < last.live || last.in_target > 0 {
        context.say(&line);
    }
    // Proponents and opponents are two rankings, and a sketch may do for one what it cannot for the other.
    let same = rankings.windows(2).all(|two| match two {
        [a, b] => {
            a.summary.guarantee == b.summary.guarantee
                && a.summary.notes == b.summary.notes
                && a.summary.planes == b.summary.planes
        }
        _ => true,
    });
    for ranking in rankings.iter().take(if same { 1 } else { rankings.len() }) {
        summary::tell(context, &ranking.summary);
    }
}
