//! `gstore demo`: the main job on the bundled model and data, explained step by step.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use arrow_array::Array;
use arrow_array::cast::AsArray;
use gstore::Folders;
use gstore_core::{Cancel, did_you_mean, if_there, many};
use gstore_data::TextOptions;
use gstore_ingest::pipeline::{AddRequest, IngestPlan, IngestRequest, Kind, RunEnding, add, ingest};
use gstore_ingest::projection::{ProjectionKind, ProjectionSpec};
use gstore_query::influence::{InfluenceSpec, Order, Prepared, Ranking, TargetRef};
use gstore_store::{DType, SampleReader, Store};

use crate::args::DemoArgs;
use crate::context::Context;
use crate::failure::{STOPPED, refuse};
use crate::new_store::refuse_inside;
use crate::output::Output;
use crate::streams::out;
use crate::wording::shell_word;

include!(concat!(env!("OUT_DIR"), "/demo_files.rs"));

/// Where the demo works unless `--store` says otherwise.
const FOLDER: &str = "gstore-demo";
/// The rows whose skills are counted.
const TOP: usize = 100;
/// The rows that are shown.
const SHOWN: usize = 5;

pub fn run(context: &Context, args: &DemoArgs) -> Result<ExitCode> {
    let begun = Instant::now();
    let folder = match context.named_store() {
        // A variable or a file may name the user's own store in every command.
        Some(named) if named.join("CURRENT").exists() => {
            let named = named.display();
            context
                .say(&format!("note: {named} is a store, which stays as it is; the demo works in {FOLDER}"));
            PathBuf::from(FOLDER)
        }
        Some(named) => named.to_owned(),
        None => PathBuf::from(FOLDER),
    };
    let input = folder.join("input");
    // Projections side by side would make each of its questions ambiguous, and the commands that it shows.
    let store_path = folder.join(match ProjectionKind::SJLT == args.projection {
        true => "store".to_owned(),
        false => format!("store-{}", args.projection.name()),
    });
    let targets = target_names();
    let target = choose(&targets, args.target.as_deref())?;
    refuse_inside(&store_path)?;
    unpack(&input)?;
    out!("gstore demo, in {}", folder.display());
    out!("");
    out!(
        "1. Input: a small Llama, its LoRA checkpoints, a pool of several skills, and a few examples of what we want."
    );
    let store = Store::open_or_create(&store_path)?;
    let cancel = context.cancel_on_interrupt("stopping; run the same command again to continue");
    out!("   {}", input.display());
    out!("");
    out!("2. Ingest: run every row through the model at every checkpoint, and store");
    out!("   grad-adam   the step that an optimizer would take on the row, projected");
    out!("   embed-mean  the mean of its hidden states");
    out!("   loss        its cross-entropy");
    let pool_kinds = [Kind::GradAdam, Kind::EmbedMean, Kind::Loss];
    if !step(context, &store, &input, args, "pool", &input.join("data/pool.jsonl"), &pool_kinds, &cancel)? {
        return Ok(ExitCode::from(STOPPED));
    }
    out!("   and for the examples of each target grad-sgd, their plain gradients.");
    for name in &targets {
        let data = input.join(format!("data/targets/{name}.jsonl"));
        if !step(context, &store, &input, args, name, &data, &[Kind::GradSgd], &cancel)? {
            return Ok(ExitCode::from(STOPPED));
        }
    }
    out!("");
    show(context, &store, &targets, target, &cancel)?;
    out!("");
    print_next_steps(&store_path, target)?;
    out!("");
    out!("Done in {:.1} s.", begun.elapsed().as_secs_f64());
    Ok(ExitCode::SUCCESS)
}

fn target_names() -> Vec<String> {
    let stem = |name: &str| Some(name.strip_prefix("data/targets/")?.strip_suffix(".jsonl")?.to_owned());
    FILES.iter().filter_map(|(name, _)| stem(name)).collect()
}

fn choose<'a>(targets: &'a [String], wanted: Option<&str>) -> Result<&'a str> {
    let Some(wanted) = wanted else {
        return targets.first().map(String::as_str).context("the demo has no targets");
    };
    match targets.iter().find(|name| *name == wanted) {
        Some(name) => Ok(name),
        None => {
            let near = did_you_mean(wanted, targets.iter().map(String::as_str));
            refuse!("the demo has no target `{wanted}`{near}\n  it has {}", targets.join(", "))
        }
    }
}

/// Writes the bundled files; those that are there already are compared, not trusted.
fn unpack(input: &Path) -> Result<()> {
    for (name, bytes) in FILES {
        let path = input.join(name);
        match if_there(fs_err::read(&path))? {
            Some(present) if present == *bytes => continue,
            Some(_) => bail!(
                "{} is there and is not the demo's; move it away, or give another folder with --store",
                path.display()
            ),
            None => {}
        }
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent)?;
        }
        let mut output = Output::create(Some(&path), false)?;
        output.write_all(bytes)?;
        output.finish()?;
    }
    Ok(())
}

/// Registers and ingests one dataset; false if the user stopped it.
#[allow(clippy::too_many_arguments)] // one line of the story each
fn step(
    context: &Context,
    store: &Store,
    input: &Path,
    args: &DemoArgs,
    dataset: &str,
    data: &Path,
    kinds: &[Kind],
    cancel: &Cancel,
) -> Result<bool> {
    let begun = Instant::now();
    let mut reporter = context.reporter();
    let command = format!("gstore demo ({dataset})");
    let request = AddRequest { command: command.clone(), ..AddRequest::new(dataset, [data.to_owned()]) };
    add(store, &request, &mut reporter)?;
    let pattern = input.join("warmup/checkpoint-*").display().to_string();
    let request = IngestRequest {
        checkpoints: Folders::new(&mut context.reporter(), true).checkpoints(&[pattern])?,
        kinds: kinds.to_vec(),
        projection: projection(args.projection).into(),
        dtype: if args.projection == ProjectionKind::None { DType::F32 } else { DType::F16 },
        text: TextOptions { max_length: 512, ..TextOptions::default() },
        threads: context.threads,
        run: "warmup".to_owned(),
        command,
        ..IngestRequest::new(dataset, input.join("model"))
    };
    let plan = IngestPlan::new(store, request, &mut reporter)?;
    let report = ingest(store, &plan, &mut reporter, cancel)?;
    if report.ending == RunEnding::Stopped {
        return Ok(false);
    }
    let what = if report.snapshot.is_some() { "stored" } else { "there already" };
    let features = plan.features().count();
    out!(
        "   {dataset}: {} x {} {what} in {:.1} s",
        many(plan.rows.len(), "row"),
        many(features as u64, "feature"),
        begun.elapsed().as_secs_f64()
    );
    Ok(true)
}

/// Coordinates of each module of a projection module by module.
const MODULE_DIM: u32 = 256;

fn projection(kind: ProjectionKind) -> ProjectionSpec {
    match kind {
        ProjectionKind::None => ProjectionSpec::none(),
        kind if kind.is_factored() => ProjectionSpec::sized(kind, MODULE_DIM),
        kind => ProjectionSpec { kind, ..ProjectionSpec::default() },
    }
}

/// Which rows matter for each target, and what they look like for one.
fn show(context: &Context, store: &Store, targets: &[String], shown: &str, cancel: &Cancel) -> Result<()> {
    let snapshot = store.snapshot()?;
    let pool = snapshot.samples(snapshot.dataset("pool")?)?;
    out!("3. Influence: which rows of the pool would teach the model what a target asks for? (LESS)");
    out!("");
    out!("   {:<12} {:>10} {:>22} {:>9}", "target", "in pool", format!("among the top {TOP}"), "scored in");
    let mut best = None;
    for name in targets {
        let begun = Instant::now();
        let spec = InfluenceSpec {
            pools: vec!["pool".to_owned()],
            targets: vec![TargetRef::parse(name)],
            ..InfluenceSpec::default()
        };
        let plan = Prepared::new(&snapshot, &spec)?;
        let ranking = plan.top_k(Order::Best, TOP, None, context.threads, cancel)?;
        let took = begun.elapsed();
        let rows: Vec<u64> = ranking.rows.iter().map(|row| row.row).collect();
        let among = texts(&pool, &rows, "source")?.iter().filter(|source| *source == name).count();
        let share = share_in_pool(&pool, name)?;
        out!(
            "   {name:<12} {:>9.0}% {:>21.0}% {:>6.1} ms",
            100.0 * share,
            100.0 * among as f64 / ranking.rows.len().max(1) as f64,
            took.as_secs_f64() * 1e3
        );
        if name == shown {
            best = Some(ranking);
        }
    }
    let Some(ranking) = best else { return Ok(()) };
    out!("");
    out!("   The {SHOWN} rows that help `{shown}` most:");
    print_rows(&pool, &ranking)
}

fn texts(pool: &SampleReader, rows: &[u64], column: &str) -> Result<Vec<String>> {
    let batch = pool.get(rows, &[column])?;
    let Some(values) = batch.column_by_name(column) else { bail!("the pool has no column {column}") };
    Ok(match (values.as_string_opt::<i32>(), values.as_binary_opt::<i32>()) {
        (Some(text), _) => text.iter().map(|t| t.unwrap_or_default().to_owned()).collect(),
        (_, Some(bytes)) => {
            (0..bytes.len()).map(|i| String::from_utf8_lossy(bytes.value(i)).into_owned()).collect()
        }
        _ => bail!("column {column} of the pool is not text"),
    })
}

fn share_in_pool(pool: &SampleReader, skill: &str) -> Result<f64> {
    let (mut all, mut own) = (0usize, 0usize);
    for batch in pool.scan(&["source"], None) {
        let batch = batch?;
        let Some(values) = batch.column(0).as_string_opt::<i32>() else {
            bail!("column source of the pool is not text")
        };
        all += values.len();
        own += values.iter().filter(|value| *value == Some(skill)).count();
    }
    Ok(own as f64 / all.max(1) as f64)
}

fn print_rows(pool: &SampleReader, ranking: &Ranking) -> Result<()> {
    let top: Vec<_> = ranking.rows.iter().take(SHOWN).collect();
    let rows: Vec<u64> = top.iter().map(|r| r.row).collect();
    let ids = texts(pool, &rows, "id")?;
    for ((scored, id), record) in top.iter().zip(ids).zip(texts(pool, &rows, "record")?) {
        out!("");
        out!("   {:+.4}  {id}", scored.score);
        let record: serde_json::Value = serde_json::from_str(&record)?;
        for message in record["messages"].as_array().into_iter().flatten() {
            let (role, content) =
                (message["role"].as_str().unwrap_or(""), message["content"].as_str().unwrap_or(""));
            out!("     {:<10} {}", format!("{role}:"), content.replace('\n', "\n                "));
        }
    }
    Ok(())
}

/// Commands that work where they are pasted.
fn print_next_steps(store: &Path, target: &str) -> Result<()> {
    let store = shell_word(store);
    out!("4. Ask more (the last command is a shell, where SHOW TABLES; lists what there is):");
    out!("");
    out!("   gstore select --store {store} --pool pool --target {target} --top 5% -o selected.jsonl");
    out!("   gstore query --store {store} \"");
    out!("     SELECT source, count(*) AS rows, avg(score) AS influence");
    out!("     FROM influence('pool', '{target}') GROUP BY source ORDER BY influence DESC\"");
    out!("   gstore query --store {store} \"");
    out!("     SELECT id, score, noise_floor, target_id");
    out!("     FROM influence('pool', '{target}', explain => true, k => 10) ORDER BY score DESC\"");
    out!("   gstore ls --store {store}");
    out!("   gstore query --store {store}");
    Ok(())
}
