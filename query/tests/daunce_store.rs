//! Promise: a question about losses in a store is answered as the definition says, whatever the threads,
//! filters, cells and stripes.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use gstore_core::Cancel;
use gstore_query::QueryError;
use gstore_query::daunce::{Pair, *};
use gstore_query::influence::*;
use gstore_store::*;

use crate::common::{GO, Numbers, TestStore, request};

const MODELS: usize = 12;

/// Losses less the base's, as they are stored: of a row one for each model.
type Table = Vec<Vec<f32>>;

fn table(seed: u64, rows: usize) -> Table {
    let mut numbers = Numbers(seed);
    let shared: Vec<f32> = numbers.vector(MODELS);
    let row = |_| shared.iter().map(|s| 0.05 * s + 0.1 * numbers.next()).collect();
    (0..rows).map(row).collect()
}

/// A store with losses of two datasets under an ensemble of two groups, in stripes of the given members.
struct World {
    store: TestStore,
    pool: Table,
    target: Table,
    /// Rows of the pool that have lost their offsets.
    lost: Vec<usize>,
}

fn members(groups: bool) -> Vec<Member> {
    (0..MODELS)
        .map(|k| Member::new(format!("m{k}"), if groups && k % 3 == 0 { "other" } else { "theta" }))
        .collect()
}

impl World {
    fn new(rows: usize, stripes: &[Range<usize>], change: impl Fn(&mut Table)) -> Self {
        Self::grouped(rows, stripes, false, change)
    }

    fn grouped(rows: usize, stripes: &[Range<usize>], groups: bool, change: impl Fn(&mut Table)) -> Self {
        Self::with_lost(rows, stripes, (groups, &[]), change)
    }

    fn with_lost(
        rows: usize,
        stripes: &[Range<usize>],
        (groups, lost): (bool, &[usize]),
        change: impl Fn(&mut Table),
    ) -> Self {
        let store = TestStore::new();
        store.dataset("pool", rows).dataset_of("target", &[Some("a"), Some("b"), Some("a"), None]);
        let update = EnsembleUpdate::new("e", "theta", members(groups));
        store.store.update_ensemble(&update, "test").unwrap();
        let (mut pool, target) = (table(5, rows), table(6, 4));
        change(&mut pool);
        for (name, table, lost) in [("pool", &pool, lost), ("target", &target, &[])] {
            write(&store, name, stripes, (table, lost));
        }
        Self { store, pool, target, lost: lost.to_vec() }
    }

    fn plan(&self, change: impl FnOnce(&mut Covariance)) -> Prepared {
        self.plan_of("target", change)
    }

    fn plan_of(&self, target: &str, change: impl FnOnce(&mut Covariance)) -> Prepared {
        Prepared::new(&self.store.snapshot(), &self.spec(target, change)).unwrap()
    }

    fn spec(&self, target: &str, change: impl FnOnce(&mut Covariance)) -> InfluenceSpec {
        let mut covariance = Covariance::default();
        change(&mut covariance);
        InfluenceSpec {
            pools: vec!["pool".into()],
            targets: vec![TargetRef::parse(target)],
            covariance: Some(covariance),
            ..InfluenceSpec::default()
        }
    }

    /// Score of a row with a sample of the target, by the definition.
    fn pair(&self, centring: &Centring, row: usize, query: usize) -> Option<f64> {
        let how = centring.how();
        let (row, query) = (wide(row, &self.pool[row], how), wide(query, &self.target[query], how));
        Pair::new(centring, &row, &query).score(how.score)
    }

    fn centring(&self, how: CovarianceOptions, models: Models) -> Centring {
        let loss =
            |(row, values): (usize, &Vec<f32>), k: usize| f64::from(offset(row)) + f64::from(values[k]);
        let mean = |k: usize| {
            let rows = self.pool.iter().enumerate().filter(|(row, _)| !self.lost.contains(row));
            let losses = rows.map(|row| loss(row, k));
            let own: Vec<f64> = losses.filter(|loss| loss.is_finite()).collect();
            own.iter().sum::<f64>() / own.len() as f64
        };
        Centring::new(models, how, (0..MODELS).map(mean).collect())
    }
}

/// The loss of a row under theta_0.
fn offset(row: usize) -> f32 {
    2.0 + (row % 7) as f32 * 0.125
}

/// What is centred of a row: its losses, or, where the offset cancels or is to be subtracted, what is stored.
fn wide(row: usize, values: &[f32], how: CovarianceOptions) -> Vec<f64> {
    let offset = if how.center == Center::Model { offset(row) } else { 0.0 };
    values.iter().map(|x| f64::from(offset) + f64::from(*x)).collect()
}

/// Writes the losses of a dataset: a feature for each stripe, and the offsets but for those that are `lost`.
fn write(store: &TestStore, dataset: &str, stripes: &[Range<usize>], (table, lost): (&Table, &[usize])) {
    let snapshot = store.snapshot();
    let ensemble = snapshot.ensemble("e").unwrap();
    let columns = LossColumns::new(ensemble, dataset, "e".repeat(64));
    let mut features: Vec<JobFeature> =
        stripes.iter().map(|range| columns.members(range.clone(), 0)).collect();
    features.push(columns.offset(OffsetOf::Base));
    let plan = LossColumns::plan("test", features, &serde_json::Value::Null);
    let mut job = store.store.start_job(plan).unwrap();
    for (i, range) in stripes.iter().map(Some).chain([None]).enumerate() {
        let mut writer = job.segment_writer(i).unwrap();
        for (row, losses) in table.iter().enumerate() {
            if range.is_none() && lost.contains(&row) {
                continue;
            }
            let values = range.map_or(vec![offset(row)], |range| losses[range.clone()].to_vec());
            let flags = match values.iter().any(|x| x.is_nan()) {
                true => RowFlags::MISSING,
                false => RowFlags::empty(),
            };
            writer.push(row as u64, &values, flags).unwrap();
        }
        job.seal(i, writer).unwrap();
    }
    job.publish(None, true).unwrap();
}

fn all_scores(plan: &Prepared, threads: usize) -> BTreeMap<u64, f32> {
    let mut found = BTreeMap::new();
    plan.scores(None, threads, &GO, |rows| {
        found.extend(rows.iter().map(|row| (row.row, row.score)));
        ControlFlow::Continue(())
    })
    .unwrap();
    found
}

fn left_out(plan: &Prepared) -> Vec<(u64, Reason)> {
    let mut found = Vec::new();
    plan.excluded(None, 1, &GO, |rows| {
        found.extend(rows.iter().map(|row| (row.row, row.reason)));
        ControlFlow::Continue(())
    })
    .unwrap();
    found
}

/// Scores are rounded to f32 at the end, those of samples before they are combined, where correlations are.
fn close(got: f32, want: f64, score: Score) -> bool {
    let floor = if score == Score::Corr { 2e-7 } else { 1e-9 };
    (f64::from(got) - want).abs() <= 1e-6 * want.abs() + floor
}

const STRIPES: [Range<usize>; 3] = [0..7, 7..8, 8..MODELS];

#[test]
fn scores_are_the_definition_whatever_the_terms() {
    // More rows than a cell has.
    let world = World::new(4200, &STRIPES, |_| {});
    let models = Models::one(MODELS);
    for score in [Score::Cov, Score::Corr] {
        for center in [Center::Row, Center::Model, Center::Both, Center::Base] {
            let how = CovarianceOptions { score, center, ddof: 1 };
            let centring = world.centring(how, models.clone());
            let plan = world.plan(|covariance| covariance.how = how);
            let found = all_scores(&plan, 2);
            assert_eq!(found.len(), 4200);
            // Subtasks: a of samples 0 and 2, b of 1, and sample 3 under the dataset's name.
            for row in [0usize, 17, 4095, 4096, 4199] {
                let of = |query| world.pair(&centring, row, query).unwrap();
                let want = [(of(0) + of(2)) / 2.0, of(1), of(3)].into_iter().fold(f64::MIN, f64::max);
                assert!(
                    close(found[&(row as u64)], want, score),
                    "{score} {center} row {row}: {} {want}",
                    found[&(row as u64)]
                );
            }
            assert_eq!(found, all_scores(&plan, 1), "bits do not depend on threads");
        }
    }
}

#[test]
fn a_sum_is_that_of_the_samples_whatever_is_subtracted() {
    const ROWS: usize = 60;
    let world = World::new(ROWS, &STRIPES, |_| {});
    for center in [Center::Row, Center::Model, Center::Both, Center::Base] {
        let how = CovarianceOptions { score: Score::Cov, center, ddof: 1 };
        // Of samples 0 and 2.
        let plan = |within| {
            let spec = InfluenceSpec { within, ..world.spec("target:a", |covariance| covariance.how = how) };
            Prepared::new(&world.store.snapshot(), &spec).unwrap()
        };
        let (sum, mean) = (plan(Within::Sum), plan(Within::Mean));
        let rows = sum.top_k(Order::Best, ROWS, None, 1, &GO).unwrap().rows;
        assert_eq!(rows.len(), ROWS);
        let of_each = EachRequest { memory: 1 << 24, ..request(Each::Sample, ROWS) };
        let mut parts: Vec<Vec<f64>> = vec![Vec::new(); ROWS];
        for ranking in sum.top_k_each(&of_each, &GO).unwrap().rankings {
            ranking.rows.iter().for_each(|row| parts[row.row as usize].push(f64::from(row.score)));
        }
        let sums = sum.estimates(&rows, false, &GO).unwrap();
        let means = mean.estimates(&rows, false, &GO).unwrap();
        let near = |got: Option<f64>, want: f64| (got.unwrap() - want).abs() <= 1e-9 * (1.0 + want.abs());
        for ((row, sum), mean) in rows.iter().zip(sums).zip(means) {
            let (sum, mean) = (sum.estimate, mean.estimate);
            assert!(near(sum.score, 2.0 * mean.score.unwrap()), "{center}: {sum:?} {mean:?}");
            assert!(near(sum.se, 2.0 * mean.se.unwrap()), "{center}: {sum:?} {mean:?}");
            assert!(near(sum.z(), mean.z().unwrap()), "{center}: {sum:?} {mean:?}");
            assert!(near(sum.noise_floor, 2.0 * mean.noise_floor.unwrap()), "{center}: {sum:?} {mean:?}");
            assert!(close(row.score, sum.score.unwrap(), Score::Cov), "{center}: {row:?} {sum:?}");
            let parts = &parts[row.row as usize];
            assert_eq!(parts.len(), 2);
            let scale: f64 = parts.iter().map(|part| part.abs()).sum();
            let difference = (f64::from(row.score) - parts.iter().sum::<f64>()).abs();
            assert!(difference <= 1e-6 * scale, "{center}: {row:?} {parts:?}");
        }
    }
}

#[test]
fn a_ranking_is_a_full_sort_and_its_errors_are_those_of_the_pairs() {
    let world = World::new(300, &STRIPES, |pool| {
        // Ties go to the lower row.
        pool[40] = pool[7].clone();
        pool[200] = pool[7].clone();
    });
    let plan = world.plan_of("target:b", |_| {});
    let scores = all_scores(&plan, 1);
    let mut want: Vec<(u64, f32)> = scores.into_iter().collect();
    for order in [Order::Best, Order::Worst] {
        want.sort_by(|a, b| {
            let by_score = if order == Order::Best { b.1.total_cmp(&a.1) } else { a.1.total_cmp(&b.1) };
            by_score.then(a.0.cmp(&b.0))
        });
        for threads in [1, 3] {
            let ranking = plan.top_k(order, 25, None, threads, &GO).unwrap();
            let got: Vec<(u64, f32)> = ranking.rows.iter().map(|row| (row.row, row.score)).collect();
            assert_eq!(got, want[..25]);
            assert_eq!((ranking.summary.eligible, ranking.summary.live), (300, 300));
        }
    }
    let ranking = plan.top_k(Order::Best, 5, None, 1, &GO).unwrap();
    let centring = world.centring(CovarianceOptions::default(), Models::one(MODELS));
    let found = plan.estimates(&ranking.rows, true, &GO).unwrap();
    for (scored, found) in ranking.rows.iter().zip(found) {
        let wide = |values: &[f32]| values.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
        let pair = Pair::new(&centring, &wide(&world.pool[scored.row as usize]), &wide(&world.target[1]));
        let want = estimate(std::slice::from_ref(&pair), Score::Cov, |values| (values[0], vec![1.0]));
        assert_eq!(found.estimate, want);
        assert!(close(scored.score, want.score.unwrap(), Score::Cov));
        let behind = found.behind.unwrap();
        assert_eq!((behind.nearest.row, behind.of_models.len()), (1, MODELS));
        let without = pair.without_each(Score::Cov)[3].unwrap();
        assert!((behind.of_models[3].unwrap() - (want.score.unwrap() - without)).abs() < 1e-15);
    }
}

#[test]
fn each_sample_has_the_ranking_that_it_has_alone() {
    let world = World::new(250, &STRIPES, |_| {});
    let plan = world.plan(|_| {});
    let samples = plan.target_samples(&GO).unwrap();
    assert_eq!(samples.subtasks, ["a", "b", "target"]);
    assert_eq!(samples.rows.iter().map(|row| row.row).collect::<Vec<_>>(), [0, 2, 1, 3]);
    let rows = |rows: &[Scored]| rows.iter().map(|row| (row.row, row.score.to_bits())).collect::<Vec<_>>();
    let of_each = |each| EachRequest { memory: 1 << 24, ..request(each, 9) };
    let found = plan.top_k_each(&of_each(Each::Sample), &GO).unwrap();
    for ranking in &found.rankings {
        let alone = plan.of_samples(&[ranking.sample.unwrap()], &GO).unwrap();
        assert!(matches!(alone.subtasks(&Cancel::raised()), Err(QueryError::Cancelled(_))), "they are read");
        let want = alone.top_k(Order::Best, 9, None, 1, &GO).unwrap();
        assert_eq!(rows(&ranking.rows), rows(&want.rows));
    }
    let found = plan.top_k_each(&of_each(Each::Subtask), &GO).unwrap();
    for (ranking, name) in found.rankings.iter().zip(["target:a", "target:b", "target:target"]) {
        let want = world.plan_of(name, |_| {}).top_k(Order::Best, 9, None, 1, &GO).unwrap();
        assert_eq!(rows(&ranking.rows), rows(&want.rows), "{name}");
    }
}

#[test]
fn a_missing_loss_of_one_target_changes_no_bit_of_another() {
    const ROWS: usize = 200;
    let world = World::new(ROWS, &STRIPES, |_| {});
    world.store.dataset("second", 4);
    let mut second = table(7, 4);
    second[1][3] = f32::NAN;
    write(&world.store, "second", &STRIPES, (&second, &[]));
    let pairwise = |covariance: &mut Covariance| covariance.missing = MissingCells::Pairwise;
    let bits = |rows: &[Scored]| rows.iter().map(|row| (row.row, row.score.to_bits())).collect::<Vec<_>>();
    for within in [Within::Mean, Within::Sum] {
        let spec = |targets: &[&str]| InfluenceSpec {
            targets: targets.iter().copied().map(TargetRef::parse).collect(),
            within,
            ..world.spec("target", pairwise)
        };
        // Of samples 0 and 2; the samples of the other cannot be compared as one.
        let plan = |targets: &[&str]| Prepared::new(&world.store.snapshot(), &spec(targets)).unwrap();
        let alone = plan(&["target:a"]).top_k(Order::Best, ROWS, None, 1, &GO).unwrap();
        let of_each = EachRequest { memory: 1 << 24, ..request(Each::Target, ROWS) };
        let found = plan(&["target:a", "second"]).top_k_each(&of_each, &GO).unwrap();
        assert_eq!(found.rankings.len(), 2);
        assert_eq!(bits(&found.rankings[0].rows), bits(&alone.rows), "{within}");
    }
}

#[test]
fn a_row_that_shares_too_few_models_with_one_target_has_its_scores_with_others() {
    const MINIMUM: usize = 11;
    let world = World::new(6, &[0..MODELS], |pool| pool[2][4] = f32::NAN);
    world.store.dataset_of("second", &[Some("x"), Some("y")]);
    let mut second = table(7, 2);
    second[1][9] = f32::NAN;
    write(&world.store, "second", &[0..MODELS], (&second, &[]));
    let change = |covariance: &mut Covariance| {
        (covariance.missing, covariance.min_models) = (MissingCells::Pairwise, MINIMUM);
    };
    let bits = |rows: &[Scored]| rows.iter().map(|row| (row.row, row.score.to_bits())).collect::<Vec<_>>();
    let targets: Vec<TargetRef> = ["target:a", "second"].map(TargetRef::parse).into();
    let spec = InfluenceSpec { targets, ..world.spec("second", change) };
    let plan = Prepared::new(&world.store.snapshot(), &spec).unwrap();
    // Row 2 shares 10 models with the second sample of the second target, and 11 with all others.
    assert_eq!(plan.top_k(Order::Best, 6, None, 1, &GO).unwrap().rows.len(), 5);
    assert_eq!(left_out(&plan), [(2, Reason::Missing)]);
    let of_each = |each| EachRequest { memory: 1 << 24, ..request(each, 6) };
    let found = plan.top_k_each(&of_each(Each::Sample), &GO).unwrap();
    assert_eq!((found.summary.eligible, found.summary.excluded.total()), (6, 0));
    for ranking in &found.rankings {
        let alone = plan.of_samples(&[ranking.sample.unwrap()], &GO).unwrap();
        let want = alone.top_k(Order::Best, 6, None, 1, &GO).unwrap();
        assert_eq!(bits(&ranking.rows), bits(&want.rows));
    }
    let counts = |each| {
        let found = plan.top_k_each(&of_each(each), &GO).unwrap();
        found.rankings.iter().map(|ranking| ranking.rows.len()).collect::<Vec<_>>()
    };
    assert_eq!(counts(Each::Sample), [6, 6, 6, 5]);
    assert_eq!(counts(Each::Subtask), [6, 6, 5]);
    assert_eq!(counts(Each::Target), [6, 5]);
    // A row that has a score with none is left out of all.
    let only = plan.of_samples(&[found.rankings[3].sample.unwrap()], &GO).unwrap();
    let alone = only.top_k_each(&of_each(Each::Sample), &GO).unwrap().summary;
    assert_eq!((alone.eligible, alone.excluded.missing), (5, 1));
    let said = "1 row is left out: it has no losses under these models, or too few";
    assert!(alone.notes.iter().any(|note| note == said), "{:?}", alone.notes);
}

#[test]
fn a_target_whose_rows_are_gone_is_refused_among_others_too() {
    let world = World::new(50, &[0..MODELS], |_| {});
    world.store.dataset("second", 4);
    write(&world.store, "second", &[0..MODELS], (&table(7, 4), &[]));
    let targets = ["target", "second"].map(TargetRef::parse).into();
    let both = InfluenceSpec { targets, ..world.spec("target", |_| {}) };
    let ranked = || {
        let plan = Prepared::new(&world.store.snapshot(), &both).unwrap();
        plan.top_k(Order::Best, 3, None, 1, &GO)
    };
    assert_eq!(ranked().unwrap().rows.len(), 3);
    world.store.delete_from("second", 0..4);
    let error = ranked().unwrap_err().to_string();
    assert_eq!(error, "target second has no row that can be compared: it has none");
}

#[test]
fn a_filter_chooses_what_is_scored_and_changes_no_score() {
    let world = World::new(4200, &STRIPES, |_| {});
    let plan = world.plan(|covariance| covariance.how.center = Center::Both);
    let all = all_scores(&plan, 1);
    let some = RowFilter::single([3u64, 4097, 4100, 9999].into_iter().collect());
    let ranking = plan.top_k(Order::Best, 10, Some(&some), 1, &GO).unwrap();
    assert_eq!((ranking.rows.len(), ranking.summary.scanned), (3, 3));
    assert!(ranking.rows.iter().all(|row| all[&row.row].to_bits() == row.score.to_bits()));
}

#[test]
fn missing_cells_are_an_error_a_pairwise_score_or_a_model_less() {
    let world = World::new(50, &[0..MODELS], |pool| {
        pool[9][4] = f32::NAN;
        pool[20].fill(f32::NAN);
        pool[30][5..].fill(f32::NAN);
        pool[31][2..].fill(f32::NAN);
    });
    let error = world.plan(|_| {}).top_k(Order::Best, 3, None, 1, &GO).unwrap_err();
    assert!(matches!(error, QueryError::MissingLosses { rows: 3, scanned: 50, .. }), "{error}");

    let plan = world.plan_of("target:b", |covariance| covariance.missing = MissingCells::Pairwise);
    let found = all_scores(&plan, 1);
    let centring = world.centring(CovarianceOptions::default(), Models::one(MODELS));
    for row in [0usize, 9, 30] {
        assert!(close(found[&(row as u64)], world.pair(&centring, row, 1).unwrap(), Score::Cov), "row {row}");
    }
    assert_eq!(left_out(&plan), [(20, Reason::Missing), (31, Reason::Missing)]);
    let scored = Scored { pool: 0, row: 30, pos: None, score: found[&30], subtask: 0 };
    assert_eq!(plan.estimates(&[scored], false, &GO).unwrap()[0].estimate.models, 5);

    let world = World::new(50, &[0..MODELS], |pool| {
        pool[9][4] = f32::NAN;
        pool[11][7] = f32::NAN;
        pool[20].fill(f32::NAN);
    });
    let plan = world.plan_of("target:b", |covariance| covariance.missing = MissingCells::DropModel);
    let ranking = plan.top_k(Order::Best, 50, None, 1, &GO).unwrap();
    assert_eq!(ranking.summary.eligible, 49);
    assert!(
        ranking.summary.notes.iter().any(|note| note.contains("2 of 12 models")),
        "{:?}",
        ranking.summary.notes
    );
    let found = plan.estimates(&ranking.rows, false, &GO).unwrap();
    assert!(found.iter().all(|row| row.estimate.models == MODELS - 2));
}

#[test]
fn the_mean_of_a_model_is_over_the_rows_that_have_its_loss() {
    // No row has all losses.
    let world = World::new(50, &[0..MODELS], |pool| {
        for (row, values) in pool.iter_mut().enumerate() {
            values[row * 5 % MODELS] = f32::NAN;
        }
    });
    for score in [Score::Cov, Score::Corr] {
        for center in [Center::Model, Center::Both] {
            let how = CovarianceOptions { score, center, ddof: 1 };
            let plan = world.plan_of("target:b", |covariance| {
                (covariance.how, covariance.missing) = (how, MissingCells::Pairwise);
            });
            let (found, centring) = (all_scores(&plan, 2), world.centring(how, Models::one(MODELS)));
            assert_eq!(found.len(), 50);
            for (row, found) in found {
                let want = world.pair(&centring, row as usize, 1).unwrap();
                assert!(close(found, want, score), "{score} {center} row {row}: {found} {want}");
            }
        }
    }
}

#[test]
fn a_row_that_has_lost_its_offset_is_in_no_mean_over_other_rows_than_another() {
    let how = CovarianceOptions { score: Score::Cov, center: Center::Both, ddof: 1 };
    let ask = |world: &World| {
        world.plan_of("target:b", |covariance| {
            (covariance.how, covariance.missing) = (how, MissingCells::Pairwise);
        })
    };
    let notes = |plan: &Prepared| plan.top_k(Order::Best, 3, None, 1, &GO).unwrap().summary.notes;
    let said = "2 rows have lost their offsets and are left out of the means";
    // No row has all losses.
    let world = World::with_lost(50, &[0..MODELS], (false, &[3, 10]), |pool| {
        for (row, values) in pool.iter_mut().enumerate() {
            values[row * 5 % MODELS] = f32::NAN;
        }
    });
    let plan = ask(&world);
    let (found, centring) = (all_scores(&plan, 2), world.centring(how, Models::one(MODELS)));
    assert_eq!(found.len(), 50);
    for (row, found) in found {
        let want = world.pair(&centring, row as usize, 1).unwrap();
        assert!(close(found, want, Score::Cov), "row {row}: {found} {want}");
    }
    assert!(notes(&plan).iter().any(|note| note.contains(said)), "{:?}", notes(&plan));
    // Offsets cancel where all models have the same rows, so no row is left out.
    let [lossy, whole] = [&[3, 10][..], &[]].map(|lost| {
        let world = World::with_lost(50, &[0..MODELS], (false, lost), |_| {});
        let plan = ask(&world);
        assert!(!notes(&plan).iter().any(|note| note.contains(said)), "{:?}", notes(&plan));
        all_scores(&plan, 2)
    });
    for (row, want) in whole {
        assert!(close(lossy[&row], f64::from(want), Score::Cov), "row {row}: {} {want}", lossy[&row]);
    }
}

#[test]
fn what_does_not_vary_is_left_out_of_correlations() {
    let world = World::new(10, &[0..MODELS], |pool| pool[6].fill(0.25));
    let plan = world.plan(|_| {});
    assert_eq!(all_scores(&plan, 1)[&6].to_bits(), 0);
    let plan = world.plan(|covariance| covariance.how.score = Score::Corr);
    assert_eq!(left_out(&plan), [(6, Reason::Constant)]);
    let ranking = plan.top_k(Order::Best, 10, None, 1, &GO).unwrap();
    assert_eq!((ranking.rows.len(), ranking.summary.excluded.constant), (9, 1));
}

#[test]
fn groups_are_centred_by_themselves_and_can_be_chosen() {
    let world = World::grouped(30, &STRIPES, true, |_| {});
    let group: Vec<u32> = (0..MODELS as u32).map(|k| u32::from(k % 3 != 0)).collect();
    let centring = world.centring(CovarianceOptions::default(), Models::grouped(group));
    let found = all_scores(&world.plan_of("target:b", |_| {}), 1);
    for row in 0..30usize {
        assert!(close(found[&(row as u64)], world.pair(&centring, row, 1).unwrap(), Score::Cov));
    }
    let plan = world.plan_of("target:b", |covariance| covariance.groups = vec!["theta".into()]);
    assert_eq!(plan.plan().models().unwrap().members, [1, 2, 4, 5, 7, 8, 10, 11]);
    let spec = world.spec("target", |covariance| covariance.groups = vec!["thetta".into()]);
    let error = Prepared::new(&world.store.snapshot(), &spec).err().unwrap().to_string();
    assert!(error.contains("did you mean \"theta\""), "{error}");
}

#[test]
fn too_few_models_are_refused_and_few_are_mentioned() {
    let world = World::new(10, &[0..2], |_| {});
    let spec = world.spec("target", |_| {});
    let error = Prepared::new(&world.store.snapshot(), &spec).err().unwrap().to_string();
    assert!(error.contains("at least 3 models") && error.contains("only 2 of ensemble `e`"), "{error}");
    let plan = world.plan(|covariance| covariance.min_models = 2);
    assert!(plan.notes().iter().any(|note| note.contains("2 of 12 models")), "{:?}", plan.notes());
    assert!(plan.notes().iter().any(|note| note.contains("fewer than 30")), "{:?}", plan.notes());
    let ranking = plan.top_k(Order::Best, 2, None, 1, &GO).unwrap();
    assert!(plan.estimates(&ranking.rows, false, &GO).unwrap().iter().all(|row| row.estimate.se.is_none()));
}

#[test]
fn too_few_copies_of_several_base_models_are_refused() {
    // One copy of a base model and two of another: less the mean of each, the rows lie on a line.
    let world = World::grouped(10, &[0..3], true, |_| {});
    let refused = |world: &World, change: &dyn Fn(&mut Covariance)| {
        let error = Prepared::new(&world.store.snapshot(), &world.spec("target", change)).err();
        error.expect("it is refused").to_string()
    };
    for center in [Center::Row, Center::Both] {
        let error = refused(&world, &|covariance| covariance.how.center = center);
        for says in [
            "3 models of ensemble `e` with losses of every dataset are copies of 2 base models",
            "leaves 1 degree of freedom, where a score takes at least 2",
            "`groups => 'NAME'`, or ask with `center => 'model'`, or say how few are enough, as with `min_models => 2`",
        ] {
            assert!(error.contains(says), "{center}: {error}");
        }
    }
    for center in [Center::Model, Center::Base] {
        let plan = world.plan(|covariance| covariance.how.center = center);
        assert_eq!(all_scores(&plan, 1).len(), 10, "{center}");
    }
    assert_eq!(all_scores(&world.plan(|covariance| covariance.min_models = 2), 1).len(), 10);
    let world = World::grouped(10, &[0..2], true, |_| {});
    let error = refused(&world, &|covariance| covariance.min_models = 2);
    assert!(error.contains("leaves no degree of freedom, where a score takes at least 1"), "{error}");
    assert!(error.ends_with("or ask with `center => 'model'`"), "{error}");
    // Neither is a way out that is refused again.
    let error = refused(&world, &|_| {});
    assert!(error.contains("only 2 of ensemble `e`"), "{error}");
    assert!(error.ends_with("record the losses of more models"), "{error}");
    let alone = refused(&world, &|covariance| covariance.groups = vec!["theta".into()]);
    assert!(alone.contains("there is only 1 of") && alone.ends_with("of more models"), "{alone}");
    for min_models in [0, 1] {
        let error = refused(&world, &|covariance| covariance.min_models = min_models);
        assert!(error.contains(&format!("`min_models => {min_models}` is fewer")), "{error}");
    }
    let four = World::grouped(10, &[0..4], true, |_| {});
    let error = refused(&four, &|covariance| covariance.min_models = 5);
    assert!(error.contains("only 4 of") && error.ends_with("as with `min_models => 3`"), "{error}");
    assert_eq!(all_scores(&four.plan(|covariance| covariance.min_models = 3), 1).len(), 10);
    // What is left of a row that lacks losses counts in the same way.
    let world = World::grouped(10, &[0..6], true, |pool| {
        // Of both base models, of one, and one of each.
        for (row, lacks) in [(5, &[3, 4, 5][..]), (7, &[0, 3, 5][..]), (8, &[2, 3, 4, 5][..])] {
            lacks.iter().for_each(|k| pool[row][*k] = f32::NAN);
        }
    });
    for (score, ddof) in [(Score::Cov, 0), (Score::Cov, 1), (Score::Corr, 1)] {
        let ask = |center, min_models| {
            world.plan(|covariance| {
                covariance.how = CovarianceOptions { score, center, ddof };
                (covariance.missing, covariance.min_models) = (MissingCells::Pairwise, min_models);
            })
        };
        let (few, two) = ([5, 8].map(|row| (row, Reason::Missing)), [(8, Reason::Missing)]);
        assert_eq!(left_out(&ask(Center::Row, 3)), few, "{score} {ddof}");
        assert_eq!(left_out(&ask(Center::Row, 2)), two, "{score} {ddof}");
        assert_eq!(left_out(&ask(Center::Model, 3)), two, "{score} {ddof}");
        assert_eq!(all_scores(&ask(Center::Row, 3), 1).len(), 8, "{score} {ddof}");
    }
    // A model that is dropped takes one too.
    let world = World::grouped(10, &[0..4], true, |pool| pool[5][2] = f32::NAN);
    let plan = world.plan(|covariance| covariance.missing = MissingCells::DropModel);
    let error = plan.top_k(Order::Best, 3, None, 1, &GO).unwrap_err().to_string();
    assert!(error.contains("3 models with the losses of every row are copies of 2 base models"), "{error}");
}

#[test]
fn questions_that_take_vectors_say_so() {
    let world = World::new(10, &STRIPES, |_| {});
    let plan = world.plan(|_| {});
    assert!(matches!(plan.tiles(1 << 20, &GO).err(), Some(QueryError::Spec(_))));
    assert!(plan.explain_rows(&plan.top_k(Order::Best, 1, None, 1, &GO).unwrap().rows, &GO).is_err());
    let rules = Diversity { distinct: Some(0.9), ..Diversity::default() };
    assert!(plan.check_rules(&rules).unwrap_err().to_string().contains("daunce"));
    let unknown = world.spec("target", |covariance| covariance.ensemble = Some("f".into()));
    assert!(Prepared::new(&world.store.snapshot(), &unknown).is_err());
    world.store.dataset("bare", 3);
    let error =
        Prepared::new(&world.store.snapshot(), &world.spec("bare", |_| {})).err().unwrap().to_string();
    assert!(
        error.contains("dataset `bare` has no `loss` feature under the models of ensemble `e`"),
        "{error}"
    );
}

#[test]
fn the_agreement_of_a_question_is_that_of_its_losses() {
    let world = World::new(80, &STRIPES, |_| {});
    let plan = world.plan(|_| {});
    let wide = |table: &Table| table.iter().flatten().map(|x| f64::from(*x)).collect::<Vec<f64>>();
    let order = [0usize, 2, 1, 3];
    let queries: Table = order.iter().map(|q| world.target[*q].clone()).collect();
    let ask = AgreementAsk::up_to(MODELS, CovarianceOptions::default(), 10);
    let want = agreement(&wide(&world.pool), &wide(&queries), &Models::one(MODELS), &ask);
    assert_eq!(plan.agreement(10, &GO).unwrap(), want);
    assert_eq!((want.at.last().unwrap().models, want.rows, want.queries), (MODELS, 80, 4));
    assert_eq!(want.left_out(), None);
}

#[test]
fn rows_that_lack_losses_are_left_out_of_the_agreement_and_counted() {
    let pairwise = |covariance: &mut Covariance| covariance.missing = MissingCells::Pairwise;
    let world = World::new(80, &STRIPES, |pool| {
        pool[3][5] = f32::NAN;
        pool[9].fill(f32::NAN);
    });
    let found = world.plan(pairwise).agreement(10, &GO).unwrap();
    assert_eq!((found.rows, found.rows_left_out, found.queries_left_out), (78, 2, 0));
    assert!(found.left_out().unwrap().starts_with("2 rows and 0 queries"), "{found:?}");
    let world = World::new(80, &STRIPES, |pool| pool.iter_mut().for_each(|row| row[5] = f32::NAN));
    let found = world.plan(pairwise).agreement(10, &GO).unwrap();
    assert_eq!((found.rows, found.rows_left_out, found.at.len()), (0, 80, 0));
    assert!(found.left_out().unwrap().ends_with("nothing is left to compare"), "{found:?}");
}

#[test]
fn the_losses_of_a_store_are_diagnosed() {
    let world = World::new(60, &STRIPES, |pool| {
        for row in pool.iter_mut() {
            row[5] = row[2];
        }
        pool[8].fill(0.5);
    });
    let snapshot = world.store.snapshot();
    let ensemble = snapshot.ensemble("e").unwrap();
    let losses = snapshot.open_losses(ensemble, &LossWanted::of("pool")).unwrap();
    let found = diagnose_stored(ensemble, &losses, &GO).unwrap();
    let what: Vec<&str> = found.findings.iter().map(|finding| finding.what).collect();
    assert_eq!(what, ["identical", "few_models", "constant"]);
    assert_eq!(found.findings[0].models, ["m2", "m5"]);
    assert_eq!((found.rows, found.constant_rows), (60, 1));
    // Rows that come later have no losses.
    world.store.dataset("pool", 3);
    let snapshot = world.store.snapshot();
    let losses = snapshot.open_losses(ensemble, &LossWanted::of("pool")).unwrap();
    let found = diagnose_stored(ensemble, &losses, &GO).unwrap();
    assert_eq!((found.rows, found.empty_rows, found.models[0].missing), (63, 3, 3));
    assert!(found.findings.iter().any(|finding| finding.what == "no_loss" && finding.rows == [60, 61, 62]));
}

/// Time of 100 rankings of 100,000 rows under 256 models: `cargo test --release -- --ignored --nocapture
/// daunce_store`.
#[test]
#[ignore = "measures; needs --release to mean anything"]
fn speed() {
    let models = 256;
    let store = TestStore::with(&[("pool", 100_000), ("target", 100)]);
    let members = (0..models).map(|k| Member::new(format!("m{k}"), "theta"));
    store.store.update_ensemble(&EnsembleUpdate::new("e", "theta", members), "test").unwrap();
    let mut numbers = Numbers(3);
    for (name, rows) in [("pool", 100_000), ("target", 100)] {
        write(&store, name, &[0..models], (&numbers.vectors(rows, models), &[]));
    }
    for score in [Score::Cov, Score::Corr] {
        for threads in [1, 2] {
            let covariance = Covariance {
                how: CovarianceOptions { score, ..CovarianceOptions::default() },
                ..Covariance::default()
            };
            let spec = InfluenceSpec {
                pools: vec!["pool".into()],
                targets: vec![TargetRef::parse("target")],
                covariance: Some(covariance),
                ..InfluenceSpec::default()
            };
            let plan = Prepared::new(&store.snapshot(), &spec).unwrap();
            let request = EachRequest { threads, ..request(Each::Sample, 100) };
            let laps: Vec<String> = (0..3)
                .map(|_| {
                    let start = std::time::Instant::now();
                    plan.top_k_each(&request, &GO).unwrap();
                    format!("{:.3}", start.elapsed().as_secs_f64())
                })
                .collect();
            println!("{score}, {threads} threads: {} s", laps.join(", "));
        }
    }
}
