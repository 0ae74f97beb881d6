//! Plans and decisions over a small pipeline of files.

use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::args;
use crate::pipeline::{PipelineError, PipelineFile, Variables};

/// Two chains: a selection of texts that is scored, and a table that depends on nothing.
const FILE: &str = r#"
[[stage]]
name = "score"
command = "generate"
model = "model"
data = "answers.jsonl"
perplexity = true
output = "scores.csv"

[[stage]]
name = "answer"
command = "generate"
model = "model"
data = "prompts.jsonl"
output = "answers.jsonl"

[[stage]]
name = "other"
command = "generate"
model = "model"
data = "texts.jsonl"
perplexity = true
output = "other.csv"
"#;

fn plan_of(text: &str, base: &Path) -> std::result::Result<Plan, PipelineError> {
    Plan::new(&args::command(), &PipelineFile::parse(text)?, base, &Variables::new(), None)
}

/// A folder with the pipeline's inputs.
struct World {
    dir: TempDir,
    journal: Journal,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        fs_err::create_dir(dir.path().join("model")).expect("made");
        let world = Self { dir, journal: Journal::default() };
        for name in ["model/config.json", "prompts.jsonl", "texts.jsonl"] {
            world.write(name, "1");
        }
        world
    }

    fn write(&self, name: &str, text: &str) {
        fs_err::write(self.dir.path().join(name), text).expect("written");
    }

    fn plan(&self, text: &str) -> Plan {
        plan_of(text, self.dir.path()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn decide(&self, plan: &Plan, name: &str, forced: bool) -> Option<RunReason> {
        let mut versions = Versions::new(self.dir.path().to_owned());
        let mut look = Decider { plan, journal: &self.journal, versions: &mut versions };
        look.decide(plan.named(name).expect("a stage")[0], forced).expect("readable")
    }

    /// What a stage leaves: a file whose text follows from what it read.
    fn run(&mut self, plan: &Plan, name: &str) {
        let place = plan.named(name).expect("a stage")[0];
        let mut versions = Versions::new(self.dir.path().to_owned());
        let look = &mut Decider { plan, journal: &self.journal, versions: &mut versions };
        let asked = look.asked(place).expect("readable");
        let output = plan.stages[place].call.value("output").expect("an output");
        self.write(output, &format!("{:?}", asked.inputs.values()));
        let record = StageRecord {
            state: StageState::Done,
            asked,
            store: Some(plan.store_of(place)),
            ..StageRecord::default()
        };
        self.journal.stages.insert(name.to_owned(), record);
        plan.note(place, &mut self.journal, &mut versions).expect("noted");
    }

    /// Runs what is not up to date, as the command does; returns the names.
    fn go(&mut self, plan: &Plan) -> Vec<String> {
        let mut ran = Vec::new();
        for stage in &plan.stages {
            if self.decide(plan, stage.name(), false).is_some() {
                self.run(plan, stage.name());
                ran.push(stage.name().to_owned());
            }
        }
        ran
    }
}

#[test]
fn stages_come_after_those_that_make_what_they_read() {
    let world = World::new();
    let plan = world.plan(FILE);
    let names: Vec<&str> = plan.stages.iter().map(|stage| stage.name()).collect();
    assert_eq!(names, ["answer", "score", "other"]);
    assert_eq!(plan.stages[1].needs, [0]);
    assert_eq!(plan.with_dependents(&[0]).into_iter().collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_folder_of_checkpoints_is_no_model() {
    let world = World::new();
    for step in [4, 12] {
        let checkpoint = world.dir.path().join(format!("trained/checkpoint-{step}"));
        fs_err::create_dir_all(checkpoint).expect("made");
    }
    let of = |model: &str| {
        let text = FILE.replace("model = \"model\"", &format!("model = \"{model}\""));
        plan_of(&text, world.dir.path())
    };
    for name in ["trained", "trained/"] {
        let refused = of(name).expect_err("refused").message;
        let says = "is not itself a model; it holds the checkpoints of a training: name one, such as trained/checkpoint-12";
        assert!(refused.contains(says), "{refused}");
    }
    of("trained/checkpoint-12").expect("planned");
    let tasks = |checkpoints: &str| {
        let stage = "[[stage]]\nname = \"tasks\"\ncommand = \"evaluate tasks\"\nmodel = \"model\"\ndata = \"texts.jsonl\"\n";
        let text = format!("{stage}output = \"tasks.json\"\ncheckpoints = \"{checkpoints}\"\n");
        plan_of(&text, world.dir.path())
    };
    for checkpoints in ["trained", "tuned=trained"] {
        let refused = tasks(checkpoints).expect_err("refused").message;
        assert!(
            refused.contains("stage tasks: trained is not itself a checkpoint; it holds the checkpoints"),
            "{refused}"
        );
    }
    for checkpoints in ["trained/checkpoint-12", "trained/checkpoint-*"] {
        tasks(checkpoints).expect("planned");
    }
    // A model that has checkpoints in its own folder.
    world.write("trained/config.json", "1");
    of("trained").expect("planned");
}

#[test]
fn only_what_depends_on_a_change_runs_again() {
    let mut world = World::new();
    let plan = world.plan(FILE);
    assert_eq!(world.go(&plan), ["answer", "score", "other"]);
    assert!(world.go(&plan).is_empty());

    world.write("texts.jsonl", "2");
    assert_eq!(world.decide(&plan, "other", false), Some(RunReason::Input("texts.jsonl".into())));
    assert_eq!(world.go(&plan), ["other"]);
    world.write("prompts.jsonl", "2");
    assert_eq!(world.go(&plan), ["answer", "score"]);
    world.write("scores.csv", "by hand");
    assert_eq!(world.decide(&plan, "score", false), Some(RunReason::Output("scores.csv".into())));
    assert_eq!(world.go(&plan), ["score"]);
    // The model is a folder, and the file in it is read by all.
    world.write("model/config.json", "2");
    assert_eq!(world.go(&plan).len(), 3);

    let other =
        world.plan(&FILE.replace("output = \"other.csv\"", "output = \"other.csv\"\ncompute = \"bf16\""));
    assert_eq!(world.decide(&other, "other", false), Some(RunReason::Arguments));
    assert_eq!(world.decide(&other, "score", true), Some(RunReason::Forced));
    assert_eq!(world.go(&other), ["other"]);
}

#[test]
fn a_stage_is_up_to_date_for_the_store_that_it_ran_in() {
    let mut world = World::new();
    let text = format!("store = 'a'\n{FILE}")
        .replace("perplexity = true\noutput = \"other.csv\"", "as = \"said\"\noutput = \"other.jsonl\"");
    let file = PipelineFile::parse(&text).expect("TOML");
    let in_store = |store: Option<&str>| {
        Plan::new(&args::command(), &file, world.dir.path(), &Variables::new(), store)
            .unwrap_or_else(|error| panic!("{error}"))
    };
    let (first, other, whole) =
        (in_store(None), in_store(Some("b")), in_store(world.dir.path().join("a").to_str()));
    world.go(&first);
    assert!(world.go(&first).is_empty() && world.go(&whole).is_empty());
    // The others use no store.
    assert_eq!(world.decide(&other, "other", false), Some(RunReason::Store));
    assert_eq!(world.go(&other), ["other"]);
    assert_eq!(world.go(&first), ["other"]);
    // A journal of before the store was noted.
    world.journal.stages.values_mut().for_each(|record| record.store = None);
    assert!(world.go(&first).is_empty());
}

#[test]
fn what_did_not_end_well_runs_again() {
    let mut world = World::new();
    let plan = world.plan(FILE);
    world.go(&plan);
    for (state, why) in [
        (StageState::Running, RunReason::Killed),
        (StageState::Stopped, RunReason::Stopped),
        (StageState::Failed, RunReason::Failed),
    ] {
        world.journal.stages.get_mut("other").expect("ran").state = state;
        assert_eq!(world.decide(&plan, "other", false), Some(why));
    }
}

#[test]
fn an_order_without_files_is_kept_and_passed_on() {
    let mut world = World::new();
    let plan = world.plan(&FILE.replace("name = \"score\"", "name = \"score\"\nafter = \"other\""));
    let names: Vec<&str> = plan.stages.iter().map(|stage| stage.name()).collect();
    assert_eq!(names, ["answer", "other", "score"]);
    world.go(&plan);
    world.write("texts.jsonl", "2");
    assert_eq!(world.go(&plan), ["other", "score"]);
    assert!(world.go(&plan).is_empty());
}

#[test]
fn plans_that_cannot_run_are_refused_with_a_line() {
    let world = World::new();
    let base = world.dir.path();
    let missing = FILE.replace("texts.jsonl", "text.jsonl");
    let circle = FILE.replace("prompts.jsonl", "scores.csv");
    let twice = FILE.replace("other.csv", "scores.csv");
    let unknown = FILE.replace("name = \"other\"", "name = \"other\"\nafter = \"scroe\"");
    let no_store = FILE.replace("data = \"texts.jsonl\"", "dataset = \"pool\"");
    let no_pool = no_store.replacen('\n', "store = \"st\"\n", 1);
    let of_pool = |stage: &str| {
        format!("store = \"st\"\n[[stage]]\nname = \"it\"\ncommand = {stage}\ndataset = \"pool\"\n")
    };
    let deleted = of_pool("\"delete\"\nids = \"texts.jsonl\"");
    let gram = of_pool("\"factors gram\"\nargs = \"g\"");
    let own = FILE.replace("prompts.jsonl", "*s.jsonl");
    let training = |name: &str| {
        format!(
            "[[stage]]\nname = \"{name}\"\ncommand = \"train\"\nmodel = \"model\"\ndata = \"texts.jsonl\"\nrun = \"r\"\noutput = \"{name}\"\n"
        )
    };
    let one_run = format!("store = \"st\"\n{}{}", training("one"), training("two"));
    for (text, line, says) in [
        (missing, 21, "text.jsonl is missing, and no stage makes it"),
        (
            circle,
            2,
            "circle: score reads answers.jsonl, which answer writes; answer reads scores.csv, which score writes",
        ),
        (twice, 23, "also written by stage score"),
        (own, 14, "its pattern *s.jsonl matches answers.jsonl, which it writes"),
        (one_run, 14, "run r in st is also written by stage one"),
        (unknown, 17, "did you mean `score`"),
        (no_store, 17, "which store?"),
        ("[[stage]]\nname = \"kept\"\ncommand = \"verify\"\n".to_owned(), 1, "which store?"),
        (no_pool, 21, "samples of pool in st are missing, and no stage makes them"),
        (deleted, 6, "samples of pool in st are missing, and no stage makes them"),
        (gram, 6, "samples of pool in st are missing, and no stage makes them"),
    ] {
        let error = plan_of(&text, base).expect_err(&text);
        assert!(error.line == line && error.message.contains(says), "{line}: {error}");
    }
}

#[test]
fn stages_of_a_store_are_ordered_by_samples_features_and_runs() {
    let world = World::new();
    let text = "
store = 'st'
stage = [
  {name = 'warm', command = 'train', each = {seed = [1, 2]}, model = 'model', data = 'texts.jsonl', \
   seed = '${seed}', output = 'warm-${seed}'},
  {name = 'pool', command = 'add', dataset = 'pool', data = 'texts.jsonl'},
  {name = 'features', command = 'ingest', each = {seed = [1, 2]}, dataset = 'pool', run = 'warm-${seed}', \
   features = 'grad-sgd'},
  {name = 'best-1', command = 'select', pool = 'pool', target = 'pool:a', run = 'warm-1', top = '5%', \
   output = 'best.jsonl'},
  {name = 'count', command = 'query', args = 'SELECT count(*) FROM pool'},
]
";
    let plan = world.plan(text);
    let needs = |name: &str| needs(&plan, name);
    assert_eq!(needs("features-2"), ["warm-2", "pool"]);
    assert_eq!(needs("best-1"), ["warm-1", "pool", "features-1"]);
    assert_eq!(needs("count"), ["pool", "features-1", "features-2"]);
}

#[test]
fn a_query_of_rows_that_are_deleted_below_it_does_not_wait_for_features() {
    let world = World::new();
    let text = "
store = 'st'
stage = [
  {name = 'add', command = 'add', dataset = 'pool', data = 'texts.jsonl'},
  {name = 'before', command = 'query', args = 'SELECT id FROM pool', output = 'before.csv'},
  {name = 'cut', command = 'delete', dataset = 'pool', where = 'row > 1'},
  {name = 'ing', command = 'ingest', dataset = 'pool', model = 'model', features = 'loss'},
]
";
    let names = |plan: &Plan| plan.stages.iter().map(|stage| stage.name().to_owned()).collect::<Vec<_>>();
    let plan = world.plan(text);
    assert_eq!(names(&plan), ["add", "before", "cut", "ing"]);
    assert_eq!(needs(&plan, "before"), ["add"]);
    assert_eq!(needs(&plan, "cut"), ["add", "before"]);
    // Of rows that stay as they are it reads the features too, which a stage below computes.
    let kept = text.replace("{name = 'cut', command = 'delete', dataset = 'pool', where = 'row > 1'},", "");
    assert_eq!(names(&world.plan(&kept)), ["add", "ing", "before"]);
    // So it does of those that are changed only after that.
    let (cut, ing) = (text.find("  {name = 'cut'").unwrap(), text.find("  {name = 'ing'").unwrap());
    let end = text.rfind(']').unwrap();
    let later = [&text[..cut], &text[ing..end], &text[cut..ing], &text[end..]].concat();
    assert_eq!(names(&world.plan(&later)), ["add", "ing", "before", "cut"]);
}

/// Stages that a stage needs, by their names.
fn needs<'p>(plan: &'p Plan, name: &str) -> Vec<&'p str> {
    let stage = &plan.stages[plan.named(name).expect("a stage")[0]];
    stage.needs.iter().map(|i| plan.stages[*i].name()).collect()
}

/// What a stage reads and writes, in words.
fn uses(plan: &Plan, name: &str) -> (Vec<String>, Vec<String>) {
    let stage = &plan.stages[plan.named(name).expect("a stage")[0]];
    let words = |resources: &[Resource]| resources.iter().map(Resource::to_string).collect();
    (words(&stage.reads), words(&stage.writes))
}

#[test]
fn what_a_stage_reads_and_writes_follows_from_its_arguments() {
    let world = World::new();
    for name in ["base.jsonl", "my data.jsonl", "c.jinja", "held.jsonl"] {
        world.write(name, "1");
    }
    let text = "
store = 'st'
stage = [
  {name = 'text', command = 'evaluate text', data = ['b=base.jsonl', 'texts.jsonl'], rows = 'rows.csv', \
   report = 'report'},
  {name = 'answers', command = 'generate', model = 'model', data = 'my data.jsonl', stop = '.', \
   template = 'BASE/c.jinja', output = 'out.jsonl'},
  {name = 'warm', command = 'train', model = 'model', data = 'texts.jsonl', eval_data = 'held.jsonl', \
   plot = 'loss.svg', output = 'warm'},
]
"
    .replace("BASE", &world.dir.path().display().to_string());
    let plan = world.plan(&text);
    for (stage, reads, writes) in [
        ("text", &["base.jsonl", "texts.jsonl"][..], &["report", "rows.csv"][..]),
        ("answers", &["c.jinja", "model", "my data.jsonl"][..], &["out.jsonl"][..]),
        ("warm", &["held.jsonl", "model", "texts.jsonl"][..], &["loss.svg", "warm", "run warm in st"][..]),
    ] {
        let words = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(uses(&plan, stage), (words(reads), words(writes)), "{stage}");
    }
    // What a stage made itself, and texts that happen to be paths, are no inputs of the next run.
    world.write("loss.svg", "1");
    world.write("out.jsonl", "1");
    assert_eq!(uses(&world.plan(&text), "warm"), uses(&plan, "warm"));
    let error = plan_of(&text.replace("held.jsonl", "hold.jsonl"), world.dir.path()).expect_err("missing");
    assert!(error.message.contains("hold.jsonl is missing"), "{error}");
}

#[test]
fn checkpoints_are_folders_also_behind_a_name_and_those_of_a_run_are_names() {
    let world = World::new();
    let text = "
store = 'st'
stage = [
  {name = 'warm', command = 'train', model = 'model', data = 'texts.jsonl', output = 'warm'},
  {name = 'pool', command = 'add', dataset = 'pool', data = 'texts.jsonl'},
  {name = 'named', command = 'ingest', dataset = 'pool', model = 'model', \
   checkpoints = 'a=warm/checkpoint-3', features = 'grad-sgd'},
  {name = 'rates', command = 'train', model = 'model', data = 'texts.jsonl', output = 'lr=1e-3'},
  {name = 'rate', command = 'ingest', dataset = 'pool', model = 'model', \
   checkpoints = 'lr=1e-3/checkpoint-*', features = 'grad-sgd'},
  {name = 'steps', command = 'ingest', dataset = 'pool', run = 'warm', checkpoints = '3', features = 'loss'},
  {name = 'factors', command = 'factors fit', args = 'f', dataset = 'pool', model = 'model', \
   average = ['warm/checkpoint-1', 'b=warm/checkpoint-2']},
]
";
    let plan = world.plan(text);
    for (stage, reads) in [
        ("named", &["model", "warm/checkpoint-3", "samples of pool in st"][..]),
        ("steps", &["samples of pool in st", "run warm in st"]),
        ("factors", &["model", "warm/checkpoint-1", "warm/checkpoint-2", "samples of pool in st"]),
    ] {
        assert_eq!(uses(&plan, stage).0, reads, "{stage}");
        assert_eq!(needs(&plan, stage)[..2], ["warm", "pool"], "{stage}");
    }
    // The whole is a folder that a stage makes.
    assert_eq!(uses(&plan, "rate").0, ["lr=1e-3/checkpoint-*", "model", "samples of pool in st"]);
    assert!(needs(&plan, "rate").contains(&"rates"));
}

#[test]
fn what_reads_a_store_comes_after_what_writes_it() {
    let world = World::new();
    let text = "
store = 'st'
stage = [
  {name = 'check', command = 'verify'},
  {name = 'pool', command = 'add', dataset = 'pool', data = 'texts.jsonl'},
  {name = 'copy', command = 'backup', to = 'copy'},
  {name = 'text', command = 'evaluate text', dataset = 'one=pool', reference_dataset = 'pool'},
  {name = 'count', command = 'query', args = 'SELECT count(*) FROM POOL'},
  {name = 'picture', command = 'plot overlap', pool = 'pool', target = 'pool:a', with = 'pool', \
   output = 'picture.svg'},
]
";
    let plan = world.plan(text);
    let names: Vec<&str> = plan.stages.iter().map(|stage| stage.name()).collect();
    assert_eq!(names, ["check", "pool", "copy", "text", "count", "picture"]);
    let needs = plan.stages.iter().map(|stage| stage.needs.len());
    assert_eq!(needs.collect::<Vec<_>>(), [0, 0, 1, 1, 1, 1]);
    assert_eq!(uses(&plan, "copy").0, ["the store st"]);
    let runs = "the list of runs with features of pool in st";
    assert_eq!(uses(&plan, "count").0, ["samples of pool in st", "features of pool in st", runs]);
}

#[test]
fn what_reads_a_view_comes_after_what_makes_it() {
    let world = World::new();
    let text = "
store = 'st'
stage = [
  {name = 'pool', command = 'add', dataset = 'pool', data = 'texts.jsonl'},
  {name = 'few', command = 'view create', args = ['few_rows', 'SELECT id FROM pool']},
  {name = 'warm', command = 'train', model = 'model', dataset = 'pool', \
   where = 'id IN (SELECT id FROM few_rows)', output = 'warm'},
  {name = 'count', command = 'query', args = 'SELECT count(*) FROM few_rows'},
  {name = 'first', command = 'tag', args = 'first'},
  {name = 'gone', command = 'tag', args = 'old', delete = true},
  {name = 'list', command = 'view list'},
]
";
    let plan = world.plan(text);
    assert_eq!(needs(&plan, "warm"), ["pool", "few"]);
    assert_eq!(needs(&plan, "count"), ["pool", "few", "warm"]);
    assert_eq!(uses(&plan, "count").0, ["the store st", "view few_rows in st"]);
    for (stage, writes) in
        [("few", &["view few_rows in st"][..]), ("first", &["tag first in st"]), ("gone", &[]), ("list", &[])]
    {
        assert_eq!(uses(&plan, stage).1, writes, "{stage}");
    }
}

#[test]
fn what_names_a_view_above_the_stage_that_makes_it_is_refused() {
    let world = World::new();
    let of = |stage: &str| {
        let text = format!(
            "
store = 'st'
stage = [
  {{name = 'pool', command = 'add', dataset = 'pool', data = 'texts.jsonl'}},
  {stage},
  {{name = 'few', command = 'view create', args = ['few_rows', 'SELECT id FROM pool']}},
]
"
        );
        plan_of(&text, world.dir.path())
    };
    let query = |sql: &str| format!("{{name = 'first', command = 'query', args = \"{sql}\"}}");
    let train = "{name = 'first', command = 'train', model = 'model', dataset = 'pool', \
                 where = 'id IN (SELECT id FROM few_rows) -- few', output = 'warm'}";
    let view = "{name = 'first', command = 'view create', args = ['few_odd', 'SELECT id FROM few_rows']}";
    let own = "{name = 'first', command = 'view create', \
               args = ['few_odd', 'WITH few_rows AS (SELECT id FROM few_rows) SELECT id FROM few_rows']}";
    let file = "{name = 'first', command = 'query', file = 'report.sql'}";
    world.write("report.sql", ".mode csv\nSELECT 1;\nSELECT count(*)\nFROM few_rows;\n");
    let sql = query("SELECT 1; SELECT count(*) FROM Few_Rows");
    for stage in [sql.as_str(), train, view, own, file] {
        let error = of(stage).expect_err(stage);
        let says = "stage first: view few_rows in st is not there, and stage few makes it only later";
        assert!(error.line == 5 && error.message.contains(says), "{error}");
    }
    // The text of a file that a stage writes is not known before.
    let make = "{name = 'make', command = 'query', args = 'SELECT 1', writes = ['report.sql']}";
    of(&format!("{make},\n  {file}")).expect("planned");
    world.write("report.sql", &format!("SELECT 1;{}\nSELECT * FROM few_rows", " ".repeat(1 << 20)));
    of(file).expect("planned");
    // What only looks like its name.
    for sql in
        ["SELECT 'few_rows' FROM pool", "WITH few_rows AS (SELECT id FROM pool) SELECT * FROM few_rows"]
    {
        of(&query(sql)).expect(sql);
    }
}

#[test]
fn a_pattern_of_targets_reads_the_datasets_that_it_matches() {
    let world = World::new();
    let text = "
store = 'st'
stage = [
  {name = 'add', command = 'add', each = {name = ['pool', 'skill_a', 'skill_b', 'other']}, \
   dataset = '${name}', data = 'texts.jsonl'},
  {name = 'best', command = 'select', pool = 'pool', target = 'skill_*', top = '5%', output = 'best.jsonl'},
  {name = 'scores', command = 'query', args = \"SELECT count(*) FROM influence('pool', 'skill_?')\"},
]
";
    let plan = world.plan(text);
    for name in ["best", "scores"] {
        assert_eq!(needs(&plan, name), ["add-pool", "add-skill_a", "add-skill_b"], "{name}");
    }
}

#[test]
fn conditions_read_the_tables_of_their_subselects() {
    let world = World::new();
    let text = "
store = 'st'
stage = [
  {name = 'warm', command = 'train', model = 'model', dataset = 'pool', \
   where = 'id IN (SELECT id FROM picked)', output = 'warm'},
  {name = 'answers', command = 'generate', model = 'model', dataset = 'pool', \
   where = 'row IN (SELECT row FROM gstore.samples)', as = 'answers'},
  {name = 'copies', command = 'daunce train', model = 'model', dataset = 'pool', \
   where = \"source = 'picked'\", models = 4, output = 'copies'},
  {name = 'pool', command = 'add', dataset = 'pool', data = 'texts.jsonl'},
  {name = 'picked', command = 'add', dataset = 'picked', data = 'texts.jsonl'},
  {name = 'features', command = 'ingest', dataset = 'picked', run = 'warm', features = 'grad-sgd'},
  {name = 'best', command = 'select', pool = 'pool', target = 'picked:a', run = 'warm', \
   where = 'row IN (SELECT row FROM gstore.samples)', top = '5%', output = 'best.jsonl'},
]
";
    let plan = world.plan(text);
    let needs = |name: &str| needs(&plan, name);
    // Features of what it trains on do not have to be there before it, and one of them is its own.
    assert_eq!(needs("warm"), ["pool", "picked"]);
    assert_eq!(needs("features"), ["warm", "picked"]);
    let reads = |name: &str| uses(&plan, name).0;
    let samples = ["samples of picked in st", "samples of pool in st"];
    assert_eq!(reads("warm"), [&["model"][..], &samples, &["features of picked in st"]].concat());
    let all = ["features of answers in st", "features of picked in st", "features of pool in st"];
    assert_eq!(reads("answers"), [&["model"][..], &samples, &all, &["run warm in st"]].concat());
    assert_eq!(reads("copies"), ["model", "samples of pool in st"]);
    assert!(reads("best").contains(&"the store st".to_owned()), "{:?}", reads("best"));
}
