//! Promise: what blocks leave out of a score is no more than what is said, with any damping or filter, and
//! that does not depend on how rows are stored.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, UInt64Type};

use super::*;
use crate::work::JobContext;

/// Coordinates that a module keeps.
const KEPT: u32 = 64;

/// A row of a ranking: its id, its score, what is left out of that at most, and the target's row that is most
/// like it.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    id: String,
    score: f64,
    ignored: Option<f32>,
    target: u64,
}

fn ask(store: &Store, options: &str) -> Vec<Row> {
    let sql = format!(
        "SELECT id, score, ignored, target_row FROM influence('pool', 'val', explain => true{options}) ORDER BY id"
    );
    let batches = crate::query(&store.snapshot().unwrap(), &sql, None, &JobContext::silent("test")).unwrap();
    let mut rows = Vec::new();
    for batch in &batches {
        let ids = arrow_cast::cast(batch.column(0), &arrow_schema::DataType::Utf8).unwrap();
        let ids = ids.as_string::<i32>();
        let scores = batch.column(1).as_primitive::<Float32Type>();
        let ignored = batch.column(2).as_primitive::<Float32Type>();
        let targets = batch.column(3).as_primitive::<UInt64Type>();
        for at in 0..batch.num_rows() {
            rows.push(Row {
                id: ids.value(at).to_owned(),
                score: f64::from(scores.value(at)),
                ignored: ignored.iter().nth(at).flatten(),
                target: targets.value(at),
            });
        }
    }
    assert_eq!(rows.len(), 6);
    rows
}

/// A store with rows of blocks, those of the pool of this type, and what they leave out.
fn ingested(path: &Path, fit: &(String, Vec<Module>, Vec<ModuleFactors>), dtype: DType) -> Store {
    let (checkpoint, modules, factors) = fit;
    fs_err::create_dir_all(path).unwrap();
    let store = store(path);
    publish(&store, path, "fit", checkpoint, modules, factors);
    let basis = EigenProjection::of(&store.snapshot().unwrap(), "fit", KEPT, false, &Cancel::new()).unwrap();
    basis.publish(&store, "test").unwrap();
    for (dataset, dtype) in [("pool", dtype), ("val", DType::F32)] {
        let both = vec![Kind::GradSgd, Kind::Residual];
        run(&store, IngestRequest { kinds: both, dtype, ..request(dataset, basis.spec.clone()) }).unwrap();
    }
    store
}

#[test]
fn what_blocks_leave_out_of_a_score_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let fit = fitted();
    let (_, modules, factors) = &fit;
    let cut = ingested(&folder.path().join("cut"), &fit, DType::F32);
    let plain = folder.path().join("plain");
    fs_err::create_dir_all(&plain).unwrap();
    let other = store(&plain);
    let [pool, val] = ROWS.map(|(dataset, rows)| gradients(&other, dataset, rows, modules));
    let damping = factors[0].inverse(&modules[0], Strategy::Ekfac, Damping::OfMean).unwrap().damping();
    let mut largest = 0.0_f64;
    for (options, filter) in [
        (String::new(), Filter::Inverse(Damping::OfMean)),
        (format!(", damping => {:e}", 0.5 * damping), Filter::Inverse(Damping::Value(0.5 * damping))),
        (format!(", damping => {:e}", 20.0 * damping), Filter::Inverse(Damping::Value(20.0 * damping))),
        (", filter => 'identity'".to_owned(), Filter::Identity),
        (", filter => 'source:10*1e-3'".to_owned(), Filter::Source { steps: 10, rate: 1e-3 }),
    ] {
        let inverse = |(module, factors): (&Module, &ModuleFactors)| -> Inverse {
            factors.filtered(module, Strategy::Ekfac, filter).unwrap()
        };
        let inverses: Vec<Inverse> = modules.iter().zip(factors).map(inverse).collect();
        let exact = |row: usize, target: usize| -> f64 {
            let of_module = |((inverse, own), target): ((&Inverse, &Vec<f64>), &Vec<f64>)| {
                dot(&inverse.apply(target), own)
            };
            inverses.iter().zip(&pool[row]).zip(&val[target]).map(of_module).sum()
        };
        let [more, less] =
            ["max", "min"].map(|word| ask(&cut, &format!(", sim => 'dot', within => '{word}'{options}")));
        let mean = ask(&cut, &format!(", sim => 'dot'{options}"));
        let folded = ask(&cut, &format!(", sim => 'dot', fold => 'mean'{options}"));
        for at in 0..6 {
            let like = usize::try_from(more[at].target).unwrap();
            let [best, worst] = [exact(at, like), exact(at, 1 - like)];
            for (found, exact) in [
                (&more[at], best),
                (&less[at], worst),
                (&mean[at], 0.5 * (best + worst)),
                (&folded[at], 0.5 * (best + worst)),
            ] {
                assert_eq!(found.id, format!("pool{at}"));
                let bound = f64::from(found.ignored.unwrap());
                let off = (found.score - exact).abs();
                assert!(off > 0.0 && off <= bound, "{options}, {found:?}: {exact}");
                largest = largest.max(off / bound);
            }
        }
    }
    assert!(largest > 1e-3, "a bound that is never near: {largest}");
    // Cosines have none, and vectors that are normalised before they are folded.
    for options in [", sim => 'cosine'", ", sim => 'dot', fold => 'unit_mean'"] {
        assert!(ask(&cut, options).iter().all(|row| row.ignored.is_none()));
    }
}

#[test]
fn what_is_left_out_does_not_depend_on_how_rows_are_stored() {
    let folder = tempfile::tempdir().unwrap();
    let fit = fitted();
    let of = |dtype: DType| {
        let store = ingested(&folder.path().join(dtype.name()), &fit, dtype);
        let rows = ask(&store, ", sim => 'dot'");
        rows.into_iter().map(|row| (row.id, row.ignored.unwrap().to_bits())).collect::<Vec<_>>()
    };
    let expected = of(DType::F32);
    for dtype in [DType::F16, DType::I8, DType::I1] {
        assert_eq!(of(dtype), expected, "{dtype:?}");
    }
}

#[test]
fn no_bound_is_said_where_it_is_not_known_what_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let (checkpoint, modules, factors) = fitted();
    let store = store(folder.path());
    publish(&store, folder.path(), "fit", &checkpoint, &modules, &factors);
    let basis = EigenProjection::of(&store.snapshot().unwrap(), "fit", KEPT, false, &Cancel::new()).unwrap();
    basis.publish(&store, "test").unwrap();
    let kinds = |kinds: &[Kind], dataset: &str| {
        let request = request(dataset, basis.spec.clone());
        run(&store, IngestRequest { kinds: kinds.to_vec(), ..request }).unwrap();
    };
    ["pool", "val"].into_iter().for_each(|dataset| kinds(&[Kind::GradSgd], dataset));
    let none = |store: &Store| ask(store, ", sim => 'dot'").iter().all(|row| row.ignored.is_none());
    assert!(none(&store));
    let shares = |dataset: &str| {
        crate::factors::kept_shares(&store.snapshot().unwrap(), ("fit", dataset), (None, &[]), &Cancel::new())
    };
    assert!(shares("pool").unwrap_err().to_string().contains("no feature of the kind residual"));
    // It can be computed later, by itself.
    kinds(&[Kind::Residual], "pool");
    assert!(none(&store), "nothing is known of the target's rows");
    kinds(&[Kind::Residual], "val");
    assert!(ask(&store, ", sim => 'dot'").iter().all(|row| row.ignored.is_some_and(|bound| bound > 0.0)));

    let shares = shares("pool").unwrap();
    assert!(shares[0].module.is_none() && shares.len() == 3, "{shares:?}");
    for share in &shares {
        let (mean, (least, row)) = (share.mean.unwrap(), share.least.unwrap());
        assert_eq!((share.feature.as_str(), share.vectors), ("residual@base", 6));
        assert_eq!((share.zero, share.lacking), (0, 0));
        assert!(0.0 < least && least <= mean && mean < 1.0 && row < 6, "{share:?}");
    }
    // Without an eigenbasis nothing is left out.
    let flat = IngestRequest { kinds: vec![Kind::Residual], ..request("pool", ProjectionSpec::none()) };
    let refused = run(&store, flat).unwrap_err().to_string();
    assert!(refused.contains("residual is what the blocks of an eigenbasis leave out"), "{refused}");
}
