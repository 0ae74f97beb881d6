//! Promise: whatever was acknowledged is there after a kill, a power loss or an error of the medium at any
//! instant, and whatever was not is absent or complete.

use gstore_faults::Stop;
use gstore_faults::fail::{self, FailOptions};
use gstore_faults::suite::Suite;
use gstore_faults::work::{Context, Plan, State, Step};
use gstore_store::IfChanged;
use std::sync::Arc;

fn good(kind: &str) {
    let suite = Suite::short(1, env!("CARGO_BIN_EXE_faults").into(), None);
    let report = suite.run(kind, &Stop::after(None)).expect("a kind");
    println!("{}", report.line());
    assert!(report.is_good(), "{:#?}", report.anomalies);
}

/// The random workloads rely on this: each step does what the model says, even where it was done before.
#[test]
fn a_step_that_is_done_twice_is_done_once() {
    let append = |dataset: &str, ids: std::ops::Range<u64>| Step::Append {
        dataset: dataset.into(),
        samples: ids.map(|id| (id, 0)).collect(),
        changed: IfChanged::Keep,
        restore: false,
    };
    let artifact = |content| Step::Artifact { name: "a".into(), content };
    let view = |sql: &str| Step::View { name: "v".into(), sql: sql.into() };
    let steps = [
        Step::Create,
        append("pool", 0..9),
        append("side", 0..5),
        Step::Members(2),
        Step::Losses(1),
        artifact(1),
        view("SELECT 1"),
        Step::Tag("t".into()),
        append("pool", 9..14),
        Step::Members(3),
        Step::Losses(0),
        Step::Losses(1),
        artifact(2),
        view("SELECT 2"),
        Step::DropDataset("side".into()),
        Step::Delete { dataset: "pool".into(), rows: vec![2, 11], purge: false },
        Step::Revert("t".into()),
        append("pool", 7..12),
        append("side", 3..7),
        Step::Losses(1),
        Step::DropView("v".into()),
        Step::DropArtifact("a".into()),
        Step::DropEnsemble,
        Step::Members(1),
        Step::Revert("t".into()),
        Step::Untag("t".into()),
    ];
    let disk = Arc::new(gstore_faults::disk::SimDisk::new());
    let mut context = Context::new(disk, &gstore_faults::sim::path());
    let mut expected = State::default();
    for step in steps {
        step.apply(&mut expected);
        for time in ["once", "twice"] {
            step.run(&mut context).unwrap();
            let found = State::read(&context.store().unwrap().snapshot().unwrap()).unwrap();
            assert_eq!(expected.difference(&found), None, "{step:?} {time}");
        }
    }
}

#[test]
fn power_is_lost_on_a_simulated_disk() {
    good("sim");
}

#[test]
fn an_operation_fails() {
    good("fail");
}

#[test]
fn commands_of_two_processes_change_what_they_were_told_to() {
    good("intent");
}

/// The tag is no longer visible, and comes back with a power loss: a step that reports that it is done has to
/// be.
#[test]
fn a_flush_fails_while_a_tag_is_removed() {
    let options = FailOptions { steps: 18, stride: 1 };
    let untag_in = |seed| {
        let steps = Plan::new(seed, options.steps).steps;
        steps.iter().position(|step| matches!(step, Step::Untag(_))).map(|at| (seed, at))
    };
    let (seed, untag) = (20261121..).find_map(untag_in).expect("a workload that removes a tag");
    for fault in ["Sync", "Device"] {
        let each = (0..).map(|n| fail::replay(seed, &options, untag, fault, n).map_err(|e| e.to_string()));
        let failures =
            each.take_while(|r| r.as_ref().err().is_none_or(|e| e != "the step has fewer operations"));
        let count =
            failures.enumerate().map(|(n, r)| r.unwrap_or_else(|e| panic!("{fault} at {n}: {e}"))).count();
        assert!(count > 3, "{fault}: {count} operations failed");
    }
}

/// What an anomaly of such reads prints leads to the same reads, by the program's own words.
#[test]
fn a_direct_read_that_goes_wrong_is_replayed_by_its_number() {
    let has_vectors = |seed: &u64| {
        let plan = Plan::new(*seed, 9);
        plan.state(plan.steps.len()).is_some_and(State::has_vectors)
    };
    let seed = (1..).find(has_vectors).expect("a workload with vectors at its end").to_string();
    let replay = |words: &[&str]| {
        let program = std::process::Command::new(env!("CARGO_BIN_EXE_faults"))
            .args(["fail", "--seed", &seed, "--steps", "9"])
            .args(words)
            .output();
        let output = program.expect("the program runs");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    for fault in ["Missing", "Invalid", "Device", "Short", "Flipped", "Zeroed"] {
        assert_eq!(replay(&["--direct", fault, "--n", "0"]), (true, "nothing is wrong\n".to_owned()));
    }
    let (is_good, said) = replay(&["--direct", "Flipped", "--n", "1000000"]);
    assert!(!is_good && said.contains("there are fewer direct reads"), "{said}");
    let (is_good, said) = replay(&["--direct", "Flip", "--n", "0"]);
    assert!(!is_good && said.contains("Flipped"), "{said}");
}

#[test]
fn the_process_is_killed() {
    good("kill");
}

#[test]
fn power_is_lost_on_ext4() {
    good("power");
}

#[test]
fn a_server_is_killed_and_its_disk_fails() {
    good("serve");
}
