//! Text options taken over from stored features.
//!
//! A command need not repeat the options that features of the store were computed with. If other options make
//! it compute another feature, it says so first, and dropping that feature undoes it.

use gstore_tests::binary::{self, Finished};
use gstore_tests::place::Place;
use gstore_tests::world;

use crate::generate::lines;
use crate::served::{Served, token};

/// An ingest of losses with the demo's model.
fn ingest(place: &Place, dataset: &str, more: &[&str]) -> Finished {
    binary::run(place.with_model(&format!("ingest --dataset {dataset} --features loss")).args(more))
}

/// A pool of eight samples with losses of texts that are cut off after 256 tokens, and one sample more.
fn place() -> Place {
    let place = Place::of(&[("pool", 8), ("q", 3)]);
    ingest(&place, "pool", &["--data", "pool.jsonl", "--max-length", "256"]).says(0, &["8 rows of pool"]);
    place.samples("pool", 9);
    place.add("pool");
    place
}

const NOTE: &str =
    "note: pool has loss@base with --max-length 256; this computes another feature, for all 9 rows";

/// What is said where the defaults apply, since nothing says which of the encodings is meant.
const SEVERAL: &str = "note: the features of pool have 2 encodings that could be meant, with --max-length 256 or \
    with --max-length 2048; the default, with --max-length 2048, is used";

const SECOND: &str =
    "pool has two encodings: `tokens`, `scored_tokens` and `truncated` are no longer columns";

#[test]
fn a_forgotten_flag_is_that_of_the_features_that_there_are() {
    let place = place();
    let taken = "note: --max-length 256 is taken from the features of pool; \
        with --max-length 2048 texts become other tokens";
    let dry = ingest(&place, "pool", &["--dry-run"]);
    dry.says(0, &[taken]);
    assert!(dry.stdout.contains("loss f32 x 1: 1 row missing"), "{}", dry.stdout);
    ingest(&place, "pool", &[]).says(0, &[taken]).lacks(&["second feature", "two encodings"]);
    assert_eq!(place.value("SELECT count(*) FROM gstore.features"), "1");
    assert_eq!(place.value("SELECT min(rows) FROM gstore.features"), "9");
    // A target becomes tokens as its pool did.
    let whose = "note: --max-length 256 is taken from the features of run model";
    ingest(&place, "q", &["--data", "q.jsonl"]).says(0, &[whose]);
    assert_eq!(place.value("SELECT count(DISTINCT key) FROM gstore.features"), "2");
    let info = place.json(&["info", "q", "--json"]);
    assert_eq!(info["encodings"][0]["max_length"], 256, "{info}");
}

#[test]
fn other_texts_are_announced_before_and_can_be_taken_back() {
    let place = place();
    let other = ["--max-length", "2048"];
    ingest(&place, "pool", &[&other[..], &["--dry-run"]].concat()).says(0, &[NOTE, SECOND]);
    ingest(&place, "pool", &other).says(0, &[NOTE, SECOND]);
    ingest(&place, "pool", &["--max-length", "1024", "--dry-run"]).says(0, &[]).lacks(&["two encodings"]);
    assert_eq!(
        place.value("SELECT encodings FROM gstore.datasets WHERE dataset = 'pool'"),
        "\"tulu:length_256, tulu:length_2048\""
    );
    assert_eq!(place.value("SELECT count(DISTINCT encoding) FROM gstore.samples"), "2");
    for args in [
        &["query", "SELECT avg(tokens) FROM pool"][..],
        &["delete", "--dataset", "pool", "--where", "tokens < 99", "--dry-run"],
    ] {
        let words = ["there is no column `tokens`", "in several", "gstore.samples", "gstore drop feature"];
        place.run(args).fails(&words);
    }
    // Without a flag neither is preferred to the default, which one of them is.
    ingest(&place, "pool", &[]).says(0, &[SEVERAL, "nothing to compute"]);
    perplexities(&place, "pool", &[]).says(0, &[SEVERAL]);
    for given in ["256", "2048"] {
        ingest(&place, "pool", &["--max-length", given, "--dry-run"]).says(0, &[]).lacks(&["encodings"]);
    }
    place.ok(&["drop", "feature", "pool/loss@base:length_2048"]);
    assert_eq!(place.value("SELECT count(tokens) FROM pool"), "8");
    ingest(&place, "pool", &[]).says(0, &["--max-length 256"]);
    assert_eq!(place.value("SELECT count(tokens) FROM pool"), "9");
}

/// `gstore generate --perplexity --as-features`, with its table in a file.
fn perplexities(place: &Place, dataset: &str, more: &[&str]) -> Finished {
    let line = format!("generate --dataset {dataset} --perplexity --as-features --force -o table.jsonl");
    binary::run(place.with_model(&line).args(more))
}

#[test]
fn perplexities_as_features_are_of_the_tokens_that_an_ingest_takes() {
    let place = place();
    let taken = "note: --max-length 256 is taken from the features of pool";
    perplexities(&place, "pool", &[]).says(0, &[taken]).lacks(&["second feature", "two encodings"]);
    assert_eq!(place.value("SELECT count(*) FROM gstore.features"), "1");
    ingest(&place, "pool", &[]).says(0, &[taken, "nothing to compute"]);
    perplexities(&place, "pool", &["--max-length", "2048"]).says(0, &[NOTE, SECOND]).lacks(&["is taken"]);

    // The table is of the same tokens.
    ingest(&place, "q", &["--data", "q.jsonl", "--max-length", "6"]).says(0, &["3 rows of q"]);
    let of_q = "note: --max-length 6 is taken from the features of q";
    perplexities(&place, "q", &[]).says(0, &[of_q]);
    assert_eq!(lines(&place, "table.jsonl").iter().map(|row| row["tokens"].as_u64()).max(), Some(Some(6)));
    // Without features the defaults apply.
    let line = "generate --dataset q --perplexity --force -o table.jsonl";
    binary::run(&mut place.with_model(line)).says(0, &[]).lacks(&["taken from"]);
    assert!(lines(&place, "table.jsonl").iter().all(|row| row["tokens"].as_u64() > Some(6)));
}

/// None of several encodings is the default.
#[test]
fn several_encodings_are_told_with_the_default_beside_them() {
    let place = Place::of(&[("pool", 4)]);
    for length in ["128", "512"] {
        ingest(&place, "pool", &["--data", "pool.jsonl", "--max-length", length]).says(0, &["published"]);
    }
    let told = "have 2 encodings that could be meant, with --max-length 128 or with --max-length 512; \
        the default, with --max-length 2048, is used";
    ingest(&place, "pool", &["--dry-run"]).says(0, &[told]);
    // Of the options those are named that differ.
    ingest(&place, "pool", &["--max-length", "512", "--template", "plain"]).says(0, &["published"]);
    let told = "have 2 encodings that could be meant, with --template tulu or with --template plain; \
        the default, with --template tulu, is used";
    ingest(&place, "pool", &["--max-length", "512", "--dry-run"]).says(0, &[told]);
}

#[test]
fn a_feature_that_lost_all_of_its_rows_is_no_second_one() {
    let place = place();
    place.ok(&["delete", "--dataset", "pool", "--where", "row >= 0"]);
    place.ok(&["add", "--dataset", "pool", "--data", "pool.jsonl", "--restore-deleted"]);
    let again = ingest(&place, "pool", &["--max-length", "256"]);
    again.says(0, &["9 rows of pool"]).lacks(&["feature, for all"]);
    assert_eq!(place.value("SELECT count(*) FROM gstore.features"), "1");
}

#[test]
fn a_stage_takes_nothing_over() {
    let place = place();
    let model = world::demo().join("model").display().to_string();
    let file = format!(
        "[[stage]]\nname = 'again'\ncommand = 'ingest'\ndataset = 'pool'\nmodel = '{model}'\n\
         features = ['loss']\n"
    );
    place.write("p.toml", file);
    place.run(&["run", "p.toml"]).says(0, &[NOTE]);
    assert_eq!(place.value("SELECT count(*) FROM gstore.features"), "2");
}

/// Gradients at the checkpoints of the demo's training.
fn gradients(place: &Place, dataset: &str, more: &[&str]) -> Finished {
    computed(place, "grad-sgd", dataset, &[&["--dim", "64"][..], more].concat())
}

/// Features of a kind at the checkpoints of the demo's training.
fn computed(place: &Place, kind: &str, dataset: &str, more: &[&str]) -> Finished {
    let line = format!("ingest --dataset {dataset} --data {dataset}.jsonl --features {kind}");
    let mut command = place.with_model(&line);
    binary::run(command.arg("--checkpoints").arg(world::demo().join("warmup/checkpoint-*")).args(more))
}

#[test]
fn a_choice_is_told_with_what_differs_and_one_answer_does_for_all_checkpoints() {
    let place = Place::new();
    for dataset in ["pool", "q"] {
        place.samples(dataset, 8);
        gradients(&place, dataset, &["--max-length", "256"]).says(0, &["published"]);
    }
    let select = ["select", "--pool", "pool", "--target", "q", "--top", "2", "-o", "-"];
    let before = place.ok(&select);
    gradients(&place, "pool", &["--max-length", "2048"]).says(0, &["this computes 4 more features"]);
    // The target leaves one way.
    let one = place.run(&select);
    one.says(0, &["of `pool` the grad-sgd features with --max-length 256 are used", "`--features NUMBERS`"]);
    assert_eq!(one.stdout, before);
    gradients(&place, "q", &["--max-length", "2048"]).says(0, &["this computes 4 more features"]);
    let refused = place.run(&select);
    refused.says(1, &["is ambiguous", "with --max-length 256;", "with --max-length 2048;"]);
    let named = refused.stderr.split("`--features ").nth(1).and_then(|rest| rest.split('`').next());
    let named = named.unwrap_or_else(|| panic!("{}", refused.stderr)).to_owned();
    let labels = |numbers: &str, sort: &str| {
        let of = format!("SELECT count(*) FROM gstore.features WHERE number IN ({numbers}) AND {sort}");
        place.value(&of)
    };
    assert_eq!(labels(&named, "label NOT LIKE '%length%'"), "8", "{named}");
    let chosen = place.ok(&[&select[..], &["--features", &named]].concat());
    // What has no peers goes.
    let drops: Vec<String> = refused
        .stderr
        .split("`gstore drop feature ")
        .skip(1)
        .map(|rest| rest.split(['`', ' ']).next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(labels(&drops.join(","), "label LIKE '%:length_2048'"), "8", "{drops:?}");
    for number in &drops {
        place.ok(&["drop", "feature", number]);
    }
    assert_eq!(place.ok(&select), chosen);
    assert_eq!(place.value("SELECT count(tokens) FROM pool"), "8");
}

#[test]
fn features_of_other_texts_are_announced_whatever_their_type() {
    let place = Place::of(&[("pool", 6)]);
    gradients(&place, "pool", &["--dtype", "f32", "--max-length", "256"]).says(0, &["published"]);
    let other = ["--dry-run", "--max-length", "2048"];
    let dry = |more: &[&str]| gradients(&place, "pool", &[&other[..], more].concat());
    let computes = "; this computes 4 more features, for all 6 rows";
    dry(&[]).says(0, &[&format!(" with --max-length 256, --dtype f32{computes}")]);
    dry(&["--dtype", "f32"]).says(0, &[&format!(" with --max-length 256{computes}")]);
}

/// A question about neighbours is about one checkpoint, and so is the choice that it needs.
#[test]
fn a_choice_among_neighbours_is_one_of_the_newest_checkpoint() {
    let place = Place::of(&[("pool", 8)]);
    for length in ["256", "2048"] {
        computed(&place, "embed-mean", "pool", &["--max-length", length]).says(0, &["published"]);
    }
    let newest = place.value("SELECT name FROM gstore.checkpoints ORDER BY step DESC LIMIT 1");
    let near = |more: &str| {
        place.run(&["query", &format!("SELECT id FROM nearest('pool', text => 'odd'{more}) LIMIT 2")])
    };
    let refused = near("");
    let at = format!("the choice of embed-mean features at {newest} is ambiguous");
    refused.fails(&[&at]);
    let way = between(&refused.stderr, "`features => '", "'").to_owned();
    assert!(way.parse::<u32>().is_ok(), "{way}");
    let named = near(&format!(", features => '{way}'"));
    named.says(0, &[]);
    let of = near(&format!(", features => '{way}', checkpoint => '{newest}'"));
    assert_eq!(named.stdout, of.stdout);
}

/// The text between two others.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let rest = text.split_once(begin).map(|(_, rest)| rest);
    let found = rest.and_then(|rest| rest.split_once(end)).map(|(found, _)| found);
    found.unwrap_or_else(|| panic!("no {begin:?} with {end:?} in {text}"))
}

/// Runs a command that a message proposes.
fn follow(place: &Place, command: &str) {
    let (_, words) = command.split_once(" ingest ").unwrap_or_else(|| panic!("{command}"));
    // As a shell reads them.
    let words = words.split(' ').map(|word| word.trim_matches('\''));
    place.ok(&["ingest"].into_iter().chain(words).collect::<Vec<_>>());
}

#[test]
fn the_proposed_command_makes_conversations_of_pairs_in_the_form_of_the_pool() {
    let place = Place::of(&[("pool", 30)]);
    let line = |i: usize, text: &str| format!("{{\"id\":\"t{i}\",{text}}}\n");
    let pair = |i| line(i, &format!("\"prompt\":\"Is {i} odd?\",\"completion\":\"{i} may be\""));
    let talk = |i| {
        let turns = format!(
            r#"{{"role":"user","content":"Is {i} odd?"}},{{"role":"assistant","content":"{i} may be"}}"#
        );
        line(i, &format!("\"messages\":[{turns}]"))
    };
    place.write("pairs.jsonl", (0..6).map(pair).collect::<String>());
    place.write("talks.jsonl", (0..6).map(talk).collect::<String>());
    let told = ["pool", "pairs", "talks"].map(|dataset| {
        let done = gradients(&place, dataset, &["--max-length", "256"]);
        done.says(0, &["published"]);
        done.stderr
    });
    let ask = |target: &str| {
        let sql = format!("SELECT row, score FROM influence('pool', {target}) ORDER BY row");
        place.run(&["query", "--format", "csv", &sql])
    };
    let wanted = ask("'talks'");
    wanted.says(0, &[]).lacks(&["two forms"]);
    let note = ask("'pairs'");
    assert_ne!(note.stdout, wanted.stdout);
    let command = between(&note.stderr, "scores compare texts of two forms and follow the form; `", "`");
    assert!(command.contains("--dim 64 ") && command.contains("--template tulu_chat"), "{command}");
    // The ingest of the target said so, and of no other dataset.
    let same = between(&note.stderr, "the pool's samples are", " computes features");
    assert_eq!(told.each_ref().map(|told| told.matches(same).count()), [0, 1, 0], "{told:?}");
    follow(&place, command);
    let done = ask("'pairs'");
    done.says(0, &["of `pairs` the grad-sgd features with --template tulu_chat are used"]);
    assert_eq!(done.stdout, wanted.stdout);
    done.lacks(&["two forms"]);

    // The model's own template is another form than the pool's.
    let chat = gradients(&place, "talks", &["--max-length", "256", "--template", "chat"]);
    chat.says(0, &["this computes 4 more features"]);
    // Those that there are fit.
    chat.lacks(&["two forms"]);
    let chat = place
        .csv("SELECT string_agg(CAST(number AS TEXT), ',') FROM gstore.features WHERE encoding = 'chat'");
    let chat = chat.lines().nth(1).expect("a row").trim_matches('"').to_owned();
    let note = ask(&format!("'talks', features => '{chat}'"));
    note.says(0, &["with the template tulu, and the target `talks` with the template chat", "two forms"]);
    // Those in the form of the pool are there.
    let features = between(&note.stderr, "follow the form; `features => '", "'` names features of one form");
    ask(&format!("'talks', features => '{features}'")).lacks(&["two forms"]);
}

/// Tickets are prompts with completions, chats conversations in the model's own template, and what is asked
/// for conversations in the usual one.
#[test]
fn every_pool_of_another_form_is_told_and_finds_its_own_features_of_the_target() {
    let place = Place::new();
    let tickets =
        (0..6).map(|i| format!("{{\"id\":\"t{i}\",\"prompt\":\"Is {i} odd?\",\"completion\":\"no\"}}\n"));
    place.write("tickets.jsonl", tickets.collect::<String>());
    for dataset in ["talks", "eval", "chats"] {
        place.samples(dataset, 6);
    }
    for dataset in ["tickets", "talks", "eval"] {
        gradients(&place, dataset, &[]).says(0, &["published"]);
    }
    gradients(&place, "chats", &["--template", "chat"]).says(0, &["published"]);
    let ask = |what: &str| {
        let sql = format!("SELECT id, score FROM influence({what}) ORDER BY id, score");
        place.run(&["query", "--format", "csv", &sql])
    };
    let forms = "scores compare texts of two forms and follow the form";
    let target = "the target `eval` with the template tulu";
    let alone = ask("'chats', 'eval'");
    alone.says(0, &["the pool's samples are conversations", target, forms]);
    for pools in ["tickets,chats", "chats,tickets"] {
        let told = ask(&format!("'{pools}', 'eval'"));
        let ticket = "those of the pool `tickets` (6 of 6 samples looked at) are prompts with completions";
        told.says(0, &["the samples of the pool `chats` are conversations", target, ticket, forms]);
        let selected = place.run(&["select", "--pool", pools, "--target", "eval", "--top", "2", "-o", "-"]);
        selected.says(0, &[target, ticket, forms]);
    }
    // The first says what the form is.
    ask("'talks,chats', 'eval'").says(0, &["the pool `chats` with the template chat", forms]);
    ask("'chats,talks', 'eval'").says(0, &["the pool `talks` with the template tulu", target, forms]);
    // Of pairs alone, and of pairs beside conversations, too.
    let whose = "those of the pool `tickets` (6 of 6 samples looked at) are prompts with completions";
    let before = [("tickets", "target `eval`"), ("talks", ""), ("tickets,talks", "pool `talks`")];
    let before = before.map(|(pools, first)| {
        let found = ask(&format!("'{pools}', 'eval'"));
        if first.is_empty() {
            assert!(found.code == 0 && !found.stderr.contains(forms), "{}", found.stderr);
        } else {
            found.says(0, &[&format!("the samples of the {first} are conversations"), whose, forms]);
            let command = between(&found.stderr, &format!("{forms}; `"), "`");
            assert!(command.contains("--dataset tickets ") && command.contains("--template tulu_chat"));
        }
        (pools, found.stdout)
    });

    follow(&place, between(&alone.stderr, &format!("{forms}; `"), "`"));
    let used =
        |template: &str| format!("of `eval` the grad-sgd features with --template {template} are used");
    let own = ask("'chats', 'eval'");
    own.says(0, &[&used("chat")]).lacks(&[forms]);
    let of_chat =
        "SELECT string_agg(CAST(number AS TEXT), ',') AS n FROM gstore.features WHERE encoding = 'chat'";
    let of_chat = place.json(&["query", "--format", "json", of_chat])["n"].as_str().expect("text").to_owned();
    assert_eq!(ask(&format!("'chats', 'eval', features => '{of_chat}'")).stdout, own.stdout);
    for (pools, scores) in before {
        let found = ask(&format!("'{pools}', 'eval'"));
        found.says(0, &[&used("tulu")]);
        assert_eq!(found.stdout, scores, "{pools}");
        assert_eq!(found.stderr.contains(forms), pools.contains("tickets"), "{}", found.stderr);
    }
    let select = ["select", "--pool", "chats", "--target", "eval", "--top", "2", "-o", "-"];
    let token = token(&place, "laptop");
    let server = Served::start(&place, &[]);
    // A server says options without the flags of a command, which its clients may not have.
    let remote = ["--remote", &server.address, "--token", &token];
    for (on, used) in [(&[][..], used("chat")), (&remote, used("chat").replace("--template ", "template="))] {
        place.run(&[&select[..], on].concat()).says(0, &[&used, "`--features NUMBERS` names others"]);
    }
    let matrix = ["matrix", "--pool", "chats", "--target", "eval", "-o", "scores", "--dry-run"];
    place.run(&matrix).says(0, &[&used("chat"), "`--features NUMBERS` names others"]);
    // Of pools of two forms the first one of conversations decides, wherever it stands among pairs.
    let named = ask(&format!("'tickets,chats', 'eval', features => '{of_chat}'"));
    for pools in ["tickets,chats", "chats,tickets"] {
        let found = ask(&format!("'{pools}', 'eval'"));
        found.says(0, &[&used("chat"), "those of the pool `chats`, the first of conversations", forms]);
        assert_eq!(found.stdout, named.stdout, "{pools}");
    }
    for (pools, template) in [("chats,talks", "chat"), ("talks,chats", "tulu")] {
        ask(&format!("'{pools}', 'eval'")).says(0, &[&used(template), forms]);
    }
    ask(&format!("'tickets,chats', 'eval', features => '{of_chat}'")).says(0, &["the pool `tickets`", forms]);
}

/// A dataset whose last file has another form than the first.
#[test]
fn a_dataset_of_two_forms_is_told_until_it_has_features_of_one() {
    let place = Place::new();
    for dataset in ["mx", "eval"] {
        place.samples(dataset, 6);
    }
    let pairs =
        (0..2).map(|i| format!("{{\"id\":\"t{i}\",\"prompt\":\"Is {i} odd?\",\"completion\":\"no\"}}\n"));
    place.write("pairs.jsonl", pairs.collect::<String>());
    let add = |file: &str| place.run(&["add", "--dataset", "mx", "--data", file]);
    add("mx.jsonl").says(0, &["grad-adam"]).lacks(&["follow the form"]);
    let counts = "of 8 samples of `mx` looked at 6 are conversations and 2 prompts with completions";
    add("pairs.jsonl").says(0, &[counts, "--template tulu_chat"]);

    let forms = "scores compare texts of two forms and follow the form";
    let mixed = [
        "6 of 8 samples of `mx` looked at are conversations, and 2 prompts with completions that were encoded as text without",
        forms,
    ];
    gradients(&place, "mx", &["--data", "pairs.jsonl"]).says(0, &mixed);
    gradients(&place, "eval", &[]).says(0, &mixed);
    let ask = |target: &str| {
        place.run(&["query", &format!("SELECT id, score FROM influence('mx', {target}) ORDER BY id, score")])
    };
    let given = "prompt => 'Is 3 odd?', completion => 'yes'";
    ask(given).says(0, &mixed);
    let told = ask("'eval'");
    told.says(0, &mixed);
    let command = between(&told.stderr, &format!("{forms}; `"), "`");
    assert!(command.contains("--dataset mx ") && command.contains("--template tulu_chat"), "{command}");
    follow(&place, command);
    let done = ask("'eval'");
    done.says(0, &["of `mx` the grad-sgd features with --template tulu_chat are used"]).lacks(&["two forms"]);
    // A sample that is given finds them by the same rule.
    let found = ask(given);
    let used = "of `mx` the grad-sgd features with --template tulu_chat are used, which write also prompts";
    found.says(0, &[used]).lacks(&["two forms"]);
    // What there is needs no ingest.
    let numbers = |encoding: &str| {
        let numbers =
            "SELECT string_agg(CAST(number AS TEXT), ',' ORDER BY number) AS n FROM gstore.features";
        let sql = format!("{numbers} WHERE dataset = 'mx' AND encoding = '{encoding}'");
        place.json(&["query", "--format", "json", &sql])["n"].as_str().expect("text").to_owned()
    };
    let ask_of = |encoding: &str| ask(&format!("{given}, features => '{}'", numbers(encoding)));
    let way = format!("{forms}; `features => '{}'` names features of one form", numbers("tulu_chat"));
    ask_of("tulu").says(0, &[&way]);
    assert_eq!(ask_of("tulu_chat").stdout, found.stdout);
    add("pairs.jsonl").says(0, &[]).lacks(&["follow the form"]);
}

/// A target that was computed again as conversations keeps its place in questions over both its pools.
#[test]
fn pairs_with_features_of_both_forms_take_those_of_the_first_pool_of_conversations() {
    let place = Place::of(&[("talks", 6)]);
    for dataset in ["plain", "eval"] {
        let pair = |i: usize| {
            format!("{{\"id\":\"{dataset}{i}\",\"prompt\":\"Is {i} odd?\",\"completion\":\"no\"}}\n")
        };
        place.write(&format!("{dataset}.jsonl"), (0..6).map(pair).collect::<String>());
    }
    for dataset in ["talks", "plain", "eval"] {
        gradients(&place, dataset, &[]).says(0, &["published"]);
    }
    gradients(&place, "eval", &["--template", "tulu_chat"]).says(0, &["this computes 4 more features"]);
    for pools in ["talks,plain", "plain,talks"] {
        let done = place.run(&["query", &format!("SELECT id, score FROM influence('{pools}', 'eval')")]);
        let used = "of `eval` the grad-sgd features with --template tulu_chat are used, which fit those of the pool `talks`";
        let other = "those of the pool `plain` (6 of 6 samples looked at) are prompts with completions";
        done.says(0, &[used, other]);
    }
    // A pool of pairs alone is compared with pairs.
    let plain = place.run(&["query", "SELECT id, score FROM influence('plain', 'eval')"]);
    plain.says(0, &["of `eval` the grad-sgd features with --template tulu are used"]).lacks(&["two forms"]);
}

#[test]
fn checkpoints_of_a_run_are_named_and_what_lacks_at_others_is_told() {
    let place = Place::new();
    for dataset in ["pool", "q"] {
        place.samples(dataset, 6);
    }
    let like = ["--dtype", "f32", "--max-length", "256"];
    gradients(&place, "pool", &[&["--run", "r"][..], &like].concat()).says(0, &["published"]);
    place.add("q");
    let name = place.value("SELECT min(checkpoint) FROM gstore.features");
    let of_run = |name: &str| {
        let args = ["ingest", "--dataset", "q", "--run", "r", "--checkpoints", name];
        place.run(&[&args[..], &["--features", "grad-sgd", "--dim", "64"], &like].concat())
    };
    of_run("nothing").says(2, &["run r has ", name.as_str(), "--model DIR"]);
    of_run(&name).says(0, &["1 feature of 6 rows"]);
    // Here and in other commands a step will do.
    let step = place.value(&format!("SELECT step FROM gstore.checkpoints WHERE name = '{name}'"));
    let answer = |checkpoint: &str| {
        let args = ["generate", "--run", "r", "--checkpoint", checkpoint, "--prompt", "7"];
        place.run(&[&args[..], &["--max-new-tokens", "2"]].concat())
    };
    answer(&step).says(0, &[]);
    assert_eq!(answer(&step).stdout, answer(&name).stdout);
    answer("nothing").says(2, &[&name]);
    let select = ["select", "--pool", "pool", "--target", "q", "--top", "2", "-o", "-"];
    let told = place.run(&select);
    let lacks = "is not used: dataset `q` has no grad-sgd feature there; `";
    told.says(0, &[lacks]);
    let command = between(&told.stderr, lacks, "` computes it");
    assert!(
        command.contains("--run r --dataset q --features grad-sgd") && command.contains("--dim 64"),
        "{command}"
    );
    assert!(command.contains(" --checkpoints ") && !command.contains(&name), "{command}");
    follow(&place, command);
    place.run(&select).says(0, &[]).lacks(&["is not used"]);
    assert_eq!(place.value("SELECT count(*) FROM gstore.features"), "8");
    // Other weights are no features.
    let weights = ["--weights", "4", "3", "2", "1"];
    let again = ["ingest", "--dataset", "q", "--run", "r", "--features", "grad-sgd", "--dim", "64"];
    let changed = place.run(&[&again[..], &like, &weights].concat());
    changed.says(0, &["published snapshot", "run `r` was updated; nothing was computed"]);
}

#[test]
fn the_proposed_command_projects_the_target_as_the_pool() {
    let (one, each) = (&[][..], &["--projection-per-checkpoint"][..]);
    let text = "sjlt, 8192, seed 0";
    let text_each = format!("{text}, another matrix for each checkpoint");
    for (of_pool, of_target, other) in [(one, each, text_each.as_str()), (each, one, text)] {
        let place = Place::of(&[("pool", 6), ("q", 6)]);
        computed(&place, "grad-sgd", "pool", of_pool).says(0, &["published"]);
        computed(&place, "grad-sgd", "q", of_target).says(0, &["published"]);
        let select = ["select", "--pool", "pool", "--target", "q", "--top", "2", "-o", "-"];
        let told = place.run(&select);
        told.fails(&[" has its own"]);
        let command = between(&told.stderr, &format!(" against {other}; `"), "` computes those of `q`");
        follow(&place, command);
        place.run(&select).says(0, &[]);
    }
}

/// Another dataset may add the model as it was before training to a run, where there are no moments.
#[test]
fn a_checkpoint_is_told_of_only_where_a_dataset_has_its_feature() {
    let place = Place::of(&[("pool", 6), ("q", 6), ("other", 6)]);
    let run = ["--dim", "64", "--run", "r"];
    computed(&place, "grad-adam", "pool", &run).says(0, &["published"]);
    computed(&place, "grad-sgd", "q", &run).says(0, &["published"]);
    let other = "ingest --run r --dataset other --data other.jsonl --features loss";
    binary::run(&mut place.with_model(other)).says(0, &["published"]);
    assert_eq!(place.value("SELECT count(*) FROM gstore.checkpoints"), "5");
    let select = ["select", "--pool", "pool", "--target", "q", "--top", "2", "-o", "-"];
    place.run(&select).says(0, &[]).lacks(&["is not used"]);
    place.typed("ingest --run r --checkpoints base --dataset q --features grad-sgd --module-dim 16");
    let told = place.run(&select);
    told.says(0, &["base is not used: dataset `pool` has no grad-adam feature there"]);
    told.lacks(&["computes it"]);
}

#[test]
fn the_command_that_computes_what_rows_lack_is_told() {
    let place = Place::new();
    for dataset in ["pool", "q"] {
        place.samples(dataset, 8);
        gradients(&place, dataset, &["--max-length", "256"]).says(0, &["published"]);
    }
    place.samples("pool", 9);
    place.add("pool");
    let select = ["select", "--pool", "pool", "--target", "q", "--top", "2", "-o", "-"];
    let refused = place.run(&select);
    refused.says(
        1,
        &["1 of 9 rows lack a checkpoint", "name the checkpoints to use with `--checkpoints NAME,...`"],
    );
    let command = between(&refused.stderr, "; `", "` computes the missing vectors");
    assert!(command.contains("--max-length 256") && command.contains("--dim 64"), "{command}");
    follow(&place, command);
    place.ok(&select);
    // Of a target too.
    place.samples("q", 9);
    place.add("q");
    let refused = place.run(&select);
    refused.says(1, &["1 of 9 rows lack a checkpoint", "1 of the target `q` at "]);
    let command = between(&refused.stderr, "; `", "` computes the missing vectors");
    assert!(command.contains("--dataset q") && command.contains("--dim 64"), "{command}");
    follow(&place, command);
    place.ok(&select);
}
