//! Tests of the words for two requests that differ, as a program without options has them.

use serde_json::json;

use super::*;

#[test]
fn what_differs_is_named_by_its_options() {
    for (stored, asked, says) in [
        (
            json!({"learning rate": 0.002, "seed": 1}),
            json!({"learning rate": 0.001, "seed": 1}),
            "learning_rate=0.001, was 0.002",
        ),
        (
            json!({"LoRA targets": ["a", "b"], "LoRA rank": 8}),
            json!({"LoRA targets": ["a"], "LoRA rank": null}),
            "lora_targets=a, was a,b; no lora_rank, was 8",
        ),
        (json!({"shuffle": true}), json!({"shuffle": false}), "no_shuffle, was not given"),
        (
            json!({"tokens of a packed sequence": 32}),
            json!({"tokens of a packed sequence": null}),
            "no packing, was given",
        ),
        (
            json!({"rates of the optimizer": {"beta1": 0.9, "weight_decay": 0.0}, "optimizer": "adamw"}),
            json!({"rates of the optimizer": {"momentum": 0.5, "weight_decay": 0.1}, "optimizer": "sgd"}),
            "weight_decay=0.1, was 0.0; optim=sgd, was adamw",
        ),
        (
            json!({"dropout": null}),
            json!({"dropout": {"lora": 0.1, "hidden": 0.0}}),
            "lora_dropout=0.1, was 0.0",
        ),
        (json!({"rho": 0.5}), json!({"rho": 0.25}), "its rho is 0.5, not 0.25"),
        (json!({"steps": 4}), json!({"steps": 6}), "6 steps by num_train_epochs or max_steps, was 4"),
    ] {
        assert_eq!(difference(&stored, &asked, &[]).as_deref(), Some(says));
        assert_eq!(difference(&asked, &asked, &[]), None);
    }
}

#[test]
fn devices_of_one_sort_go_on_for_each_other() {
    let of = |[stored, asked]: [&str; 2]| {
        difference(&json!({ "backend": stored }), &json!({ "backend": asked }), &[])
    };
    assert_eq!(of(["cuda:0", "cuda:12"]), None);
    assert_eq!(of(["cpu", "cuda:1"]).as_deref(), Some("backend=cuda:1, was cpu"));
    assert_eq!(of(["cuda:1", "candle:cuda:1"]).as_deref(), Some("backend=candle:cuda:1, was cuda:1"));
}

#[test]
fn what_follows_is_said_where_nothing_else_differs() {
    for (stored, asked, says) in [
        (
            json!({"steps": 60, "warm-up steps": 6}),
            json!({"steps": 120, "warm-up steps": 12}),
            "120 steps by num_train_epochs or max_steps, was 60",
        ),
        (
            json!({"steps": 60, "warm-up steps": 6}),
            json!({"steps": 60, "warm-up steps": 12}),
            "12 warm-up steps by warmup_steps or warmup_ratio, was 6",
        ),
        (
            json!({"steps": 60, "warm-up steps": 6, "samples of a micro-batch": 2}),
            json!({"steps": 30, "warm-up steps": 3, "samples of a micro-batch": 4}),
            "per_device_train_batch_size=4, was 2",
        ),
        (
            json!({"method": "lora", "LoRA rank": 8}),
            json!({"method": "full", "LoRA rank": null}),
            "full, was LoRA",
        ),
        (
            json!({"method": "from scratch"}),
            json!({"method": "adapter of/it"}),
            "adapter=of/it, was from_scratch",
        ),
        // As they are asked for.
        (
            json!({"epochs": 3.0, "steps": null, "warm-up share": 0.0, "warm-up steps": 0}),
            json!({"epochs": null, "steps": 8, "warm-up share": 0.0, "warm-up steps": 2}),
            "no num_train_epochs, was 3.0; max_steps=8, was not given; warmup_steps=2, was 0",
        ),
        (
            json!({"method": "adapter a", "model": "1"}),
            json!({"method": "adapter b", "model": "2"}),
            "adapter=b, was adapter=a; its model differs from the one given",
        ),
        // What only the other one has.
        (json!({"block": 64}), json!({}), "no block, was 64"),
    ] {
        assert_eq!(difference(&stored, &asked, &[]).as_deref(), Some(says));
    }
}

#[test]
fn what_a_training_starts_from_is_known_by_digests_and_not_by_its_place() {
    let from = |path: &str, digest: Option<&str>| {
        let digests = digest.map(|digest| json!({ "weights": digest }));
        json!({ "method": "full", "resumed from": path, START_DIGESTS: digests })
    };
    let asked = from("/o/checkpoint-1", Some("1"));
    assert_eq!(difference(&from("./checkpoint-1", Some("1")), &asked, &[]), None);
    let replaced = difference(&from("/o/checkpoint-1", Some("2")), &asked, &[]);
    let says = "the checkpoint of resume_from_checkpoint=/o/checkpoint-1 is another than the one that it continued from";
    assert_eq!(replaced.as_deref(), Some(says));
    // Earlier versions wrote the place alone.
    assert_eq!(difference(&from("/o/checkpoint-1", None), &asked, &[]), None);
    let other = "resume_from_checkpoint=/o/checkpoint-1, was p";
    for stored in [from("p", None), from("p", Some("2"))] {
        assert_eq!(difference(&stored, &asked, &[]).as_deref(), Some(other));
    }
    let none = json!({ "method": "full", "resumed from": null, START_DIGESTS: null });
    assert_eq!(
        difference(&asked, &none, &[]).as_deref(),
        Some("no resume_from_checkpoint, was /o/checkpoint-1")
    );
    let adapter = |place: &str| json!({ "method": format!("adapter {place}"), "model": "1" });
    assert_eq!(difference(&adapter("./a"), &adapter("/o/a"), &[]), None);
}

#[test]
fn a_job_has_names_of_its_own() {
    let own = [("epochs", "epochs"), ("steps", "steps")];
    let says = difference(&json!({"steps": 4}), &json!({"steps": 1}), &own);
    assert_eq!(says.as_deref(), Some("1 step by epochs or steps, was 4"));
}
