//! Promise: a dry run shows what a pipeline would do and touches nothing, and mistakes are
//! refused before anything runs.

use crate::staged::{FILE, alone, files, go, place, without_store, write, write_target};

#[test]
fn a_pipeline_runs_from_any_folder() {
    let place = place();
    fs_err::create_dir(place.path("sub")).expect("made");
    place.write("sub/c.jinja", "{{ messages }}");
    let text = "[[stage]]\nname = 'score'\ncommand = 'generate'\nmodel = 'org/model'\ndata = '../target.jsonl'\n\
        template = 'c.jinja'\nperplexity = true\noutput = 'o.csv'\n";
    place.write("sub/p.toml", text);
    let plan = place.run(&["run", "sub/p.toml", "--dry-run"]);
    assert!(plan.code == 0 && plan.stdout.contains("run   score"), "{}{}", plan.stdout, plan.stderr);
}

#[test]
fn a_dry_run_shows_the_plan_and_touches_nothing() {
    let place = place();
    let folder = place.path("");
    let before = files(&folder);
    let plan = place.done(&["run", "p.toml", "--dry-run"]);
    assert!(plan.stdout.contains("run   add-pool, since it has not run yet"), "{}", plan.stdout);
    // The training's own dry run measures.
    plan.says(0, &["7 of 7 stages would run, 1 of them in about ", ", and 6 whose time is not known yet\n"]);
    assert_eq!(files(&folder), before);

    go(&place, &[]);
    write_target(&place, 6);
    let before = files(&folder);
    let plan = place.json(&["run", "p.toml", "--dry-run", "--json"]);
    assert_eq!(files(&folder), before);
    let stage = |name: &str| {
        let stages = plan["stages"].as_array().expect("stages");
        stages.iter().find(|stage| stage["name"] == name).expect("planned").clone()
    };
    assert_eq!(stage("add-target")["why"], "target.jsonl has changed");
    assert!(stage("best")["why"].as_str().expect("text").contains("runs before"));
    assert_eq!(stage("warm")["action"], "skip");
    assert!(stage("add-target")["seconds"].is_number());
    // Each of them has run.
    place.done(&["run", "p.toml", "--dry-run"]).says(0, &["of 7 stages would run, in about "]);
}

#[test]
fn a_dry_run_reads_no_config_file_as_the_stages_do_not() {
    let place = place();
    write(&place, &alone(2, ""));
    place.write("gstore.toml", "[train]\noptim = \"none such\"\n");
    let plan = without_store(&place, &["--dry-run", "--json"]).json();
    assert!(plan["stages"][0]["disk"].is_string(), "{plan}");
}

#[test]
fn a_config_file_overrides_nothing_of_the_pipeline() {
    let place = place();
    let stage = "[[stage]]\nname = 'add'\ncommand = 'add'\ndataset = 'pool'\ndata = 'pool.jsonl'\n";
    write(&place, &format!("store = 'own.gstore'\nthreads = 1\n{stage}"));
    place.write("gstore.toml", "store = \"other.gstore\"\nthreads = 2\n");
    let own = "add --store=own.gstore --dataset";
    for config in [&[][..], &["--config", "gstore.toml"]] {
        let plan = without_store(&place, &[&["--dry-run"][..], config].concat());
        assert!(plan.code == 0 && plan.stdout.contains(own), "{}{}", plan.stdout, plan.stderr);
    }
    let run = without_store(&place, &[]);
    assert!(run.code == 0 && place.path("own.gstore").exists(), "{}", run.stderr);
    let log = place.read("p.state/logs/add.log");
    assert!(log.contains("--threads=1"), "{log}");
    // Another store has nothing of it.
    let run = without_store(&place, &["--store", "b.gstore"]);
    assert!(run.stderr.contains("add, since it ran in another store"), "{}", run.stderr);
    assert!(run.code == 0 && place.path("b.gstore").exists(), "{}", run.stderr);
    let again = without_store(&place, &["--store", "b.gstore"]);
    assert!(again.stderr.contains("0 run, 1 up to date"), "{}", again.stderr);
    // A pipeline that names none is run in that of the config file.
    write(&place, stage);
    let plan = without_store(&place, &["--dry-run"]);
    assert!(plan.code == 0 && plan.stdout.contains("/other.gstore"), "{}{}", plan.stdout, plan.stderr);
}

#[test]
fn mistakes_are_refused_before_anything_runs() {
    let place = place();
    for (from, to, says) in [
        ("max-length = 64", "max-lenght = 64", "p.toml:20: `gstore train` has no option `max-lenght`"),
        ("\"pool.jsonl\"", "\"pol.jsonl\"", "p.toml:16: stage warm: pol.jsonl is missing"),
        ("top = 3", "", "p.toml:32: stage best"),
        ("${steps}", "${step}", "did you mean `steps`"),
        (
            "run = \"warm\"\ndata = \"out/best.jsonl\"",
            "model = \"out/warm\"\ndata = \"out/best.jsonl\"",
            "p.toml:44: stage score: out/warm is not itself a model; it holds the checkpoints of a training",
        ),
        (
            "data = \"out/best.jsonl\"",
            "data = \"out/best.jsonl\"\nafter = \"nothing\"",
            "`after` names `nothing`, which is not a stage",
        ),
        ("data = \"${set}.jsonl\"", "data = \"${set}.jsonl\"\nafter = \"score\"", "circle"),
    ] {
        write(&place, &FILE.replace(from, to));
        for more in [&[][..], &["--dry-run"]] {
            place.run(&[&["run", "p.toml"][..], more].concat()).says(2, &[says]);
        }
    }
    let names: Vec<String> = files(&place.path("")).into_keys().collect();
    assert_eq!(names.len(), 3, "{names:?}");
    write(&place, FILE);
    // Its state would be that of p.toml.
    place.write("p.conf", FILE);
    place.run(&["run", "p.conf"]).says(2, &["p.conf: name the file of a pipeline NAME.toml"]);
    place.run(&["run", "p.toml", "--only", "wram"]).says(2, &["did you mean `warm`"]);
    let refused = place.run(&["run", "p.toml", "--only", "sel-3"]).stderr;
    assert!(refused.contains("the stages are ") && refused.contains("warm"), "{refused}");
}

#[test]
fn what_a_stage_would_be_refused_for_is_told_before_anything_runs() {
    let place = place();
    let with =
        |more: &str| write(&place, &FILE.replace("max-length = 64", &format!("max-length = 64\n{more}")));
    with("lora-targets = [\"v_porj\"]");
    let plan = place.run(&["run", "p.toml", "--dry-run"]);
    plan.says(2, &[]);
    assert!(plan.stdout.contains("      would be refused: no linear map"), "{}", plan.stdout);
    assert!(plan.stdout.contains("run   score, since"), "{}", plan.stdout);
    let run = place.run(&["run", "p.toml"]);
    run.says(2, &[]);
    for said in [plan.stderr, run.stderr] {
        assert!(said.contains("stage warm would be refused: ") && said.contains("ends in v_porj"), "{said}");
    }
    assert!(!place.path("p.state/journal.json").exists() && !place.path("out").exists());
    // What follows from the options alone has its place in the file.
    with("momentum = 0.9");
    for more in [&["--dry-run"][..], &[]] {
        let refused = place.run(&[&["run", "p.toml"][..], more].concat());
        refused.says(2, &["p.toml:12: stage warm: --momentum requires --optim sgd"]);
    }
}
