//! Promise: similarities of gradients at the point that an ensemble starts from are those of the reference,
//! `golden/daunce`, up to 1e-4 of the largest.

use gstore_query::influence::{InfluenceSpec, Prepared, Sim, TargetRef};
use gstore_tests::pair_scores::pair_scores;
use gstore_tests::place::Place;

use crate::golden_daunce_losses::Golden;

const TOLERANCE: f64 = 1e-4;

/// Rows that are looked at.
const SOME: usize = 64;

/// What the reference has: its name, the kind of the rows' features, and how they are compared with those of
/// queries, which are plain gradients.
const FORMS: [(&str, &str, Sim); 3] = [
    ("gradient.less", "grad-adam", Sim::Cosine),
    ("gradient.cos", "grad-sgd", Sim::Cosine),
    ("gradient.dot", "grad-sgd", Sim::Dot),
];

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_daunce_gradients() {
    let Some(golden) = Golden::read("golden_daunce_gradients") else { return };
    let forms = FORMS.into_iter().filter_map(|form| Some((form, golden.tensors.get(form.0)?)));
    let forms = Vec::from_iter(forms);
    let Some((shape, _)) = forms.first().map(|(_, expected)| expected) else {
        eprintln!("skipped: the reference has no similarities of gradients");
        return;
    };
    let (place, columns) = (Place::new(), shape[1]);
    let every = golden.rows.len().div_ceil(SOME);
    let rows: Vec<&str> = golden.rows.iter().step_by(every).map(String::as_str).collect();
    place.write("pool.jsonl", rows.join("\n"));
    place.write("queries.jsonl", golden.queries.join("\n"));
    let is_adam = forms.iter().any(|((_, kind, _), _)| *kind == "grad-adam");
    let kinds = if is_adam { "grad-adam,grad-sgd" } else { "grad-sgd" };
    for (dataset, kinds) in [("pool", kinds), ("queries", "grad-sgd")] {
        let data = format!("{dataset}.jsonl");
        let of_rows = ["ingest", "--dataset", dataset, "--data", &data, "--features", kinds];
        let of_model = ["--model", &golden.model, "--checkpoints", &golden.adapter, "--run", "theta0"];
        let exact = ["--template", &golden.template, "--projection", "none", "--dtype", "f32"];
        place.ok(&[&of_rows[..], &of_model, &exact, &["--weights", "1"]].concat());
    }
    for ((name, kind, sim), (_, expected)) in forms {
        let spec = InfluenceSpec {
            pools: vec!["pool".to_owned()],
            targets: vec![TargetRef::parse("queries")],
            pool_kind: Some(kind.to_owned()),
            sim,
            ..InfluenceSpec::default()
        };
        let prepared = Prepared::new(&place.snapshot(), &spec).expect("planned");
        let found = pair_scores(&prepared, None, 2).expect("scored");
        assert_eq!((found.rows.len(), found.targets.len()), (rows.len(), columns), "{name}");
        let largest = expected.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        for ((_, row), line) in found.rows.iter().zip(found.sim[0].chunks_exact(columns)) {
            let row = *row as usize * every;
            for (value, target) in line.iter().zip(&found.targets) {
                let query = target.row as usize;
                let due = expected[row * columns + query];
                let off = (f64::from(*value) - due).abs();
                assert!(off <= TOLERANCE * largest, "{name}: row {row}, query {query}: {value} not {due}");
            }
        }
    }
}
