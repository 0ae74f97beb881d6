//! Promise: covariances of losses rank rows as leaving them out does, and give the reference's scores from
//! its losses.

use gstore_core::correlation::{descending, spearman};
use gstore_query::daunce::*;
use serde_json::Value;

use crate::common::{Numbers, golden, support};
use crate::tensors::{self, Tensors};

/// Rows and coefficients of the regression.
const N: usize = 60;
const P: usize = 4;
const QUERIES: usize = 20;
const MODELS: usize = 200;

fn uniform(numbers: &mut Numbers) -> f64 {
    (numbers.bits() >> 11) as f64 / (1u64 << 53) as f64
}

fn normal(numbers: &mut Numbers) -> f64 {
    (0..12).map(|_| uniform(numbers)).sum::<f64>() - 6.0
}

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

fn dot(a: &[f64; P], b: &[f64; P]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Inputs and labels.
struct Sample {
    x: Vec<[f64; P]>,
    y: Vec<f64>,
}

impl Sample {
    fn new(numbers: &mut Numbers, rows: usize) -> Self {
        let truth = [1.0, -1.0, 0.5, 0.25];
        let x: Vec<[f64; P]> = (0..rows).map(|_| std::array::from_fn(|_| normal(numbers))).collect();
        let y = x.iter().map(|x| f64::from(u8::from(uniform(numbers) < sigmoid(dot(x, &truth))))).collect();
        Self { x, y }
    }

    fn losses(&self, theta: &[f64; P]) -> impl Iterator<Item = f64> + '_ {
        let theta = *theta;
        self.x.iter().zip(&self.y).map(move |(x, y)| {
            let z = dot(x, &theta);
            z.max(0.0) + (-z.abs()).exp().ln_1p() - y * z
        })
    }
}

/// Newton's minimum of the weighted cross-entropy with these targets, which need not lie in 0..1.
fn fit(x: &[[f64; P]], weights: &[f64], targets: &[f64]) -> [f64; P] {
    let mut theta = [0.0; P];
    for _ in 0..30 {
        let mut gradient = [0.0; P];
        let mut hessian = [[0.0; P]; P];
        for ((x, w), target) in x.iter().zip(weights).zip(targets) {
            let s = sigmoid(dot(x, &theta));
            for i in 0..P {
                gradient[i] += w * (s - target) * x[i];
                for j in 0..P {
                    hessian[i][j] += w * s * (1.0 - s) * x[i] * x[j];
                }
            }
        }
        (0..P).for_each(|i| hessian[i][i] += 1e-9);
        let step = solve(hessian, gradient);
        theta.iter_mut().zip(step).for_each(|(theta, step)| *theta -= step);
    }
    theta
}

/// Gaussian elimination of a positive definite matrix.
fn solve(mut a: [[f64; P]; P], mut b: [f64; P]) -> [f64; P] {
    for i in 0..P {
        for j in i + 1..P {
            let factor = a[j][i] / a[i][i];
            (i..P).for_each(|k| a[j][k] -= factor * a[i][k]);
            b[j] -= factor * b[i];
        }
    }
    for i in (0..P).rev() {
        for j in i + 1..P {
            b[i] -= a[i][j] * b[j];
        }
        b[i] /= a[i][i];
    }
    b
}

/// Losses, one row after the other, from those of the models.
fn by_row(models: &[Vec<f64>]) -> Vec<f64> {
    let rows = models.first().map_or(0, Vec::len);
    (0..rows).flat_map(|i| models.iter().map(move |model| model[i])).collect()
}

#[test]
fn covariances_rank_as_leaving_out_does() {
    let mut numbers = Numbers(2);
    let (train, queries) = (Sample::new(&mut numbers, N), Sample::new(&mut numbers, QUERIES));
    let base = fit(&train.x, &[1.0; N], &train.y);
    let gradient: Vec<f64> = train.x.iter().zip(&train.y).map(|(x, y)| sigmoid(dot(x, &base)) - y).collect();
    // Every copy minimises the loss less the weighted linear term at the base model.
    let (mut rows, mut of_queries) = (Vec::new(), Vec::new());
    for _ in 0..MODELS {
        let targets: Vec<f64> = train
            .y
            .iter()
            .zip(&gradient)
            .map(|(y, g)| y + (1.0 + (2.0 * uniform(&mut numbers) - 1.0)) * g)
            .collect();
        let theta = fit(&train.x, &[1.0; N], &targets);
        rows.push(train.losses(&theta).collect::<Vec<f64>>());
        of_queries.push(queries.losses(&theta).collect::<Vec<f64>>());
    }
    let (rows, of_queries) = (by_row(&rows), by_row(&of_queries));
    let products = Products::new(
        Centring::new(Models::one(MODELS), CovarianceOptions::default(), Vec::new()),
        of_queries.clone(),
        3,
    );
    let mut scores = vec![0.0; N * QUERIES];
    products.scores((&rows[..], MODELS), None, &mut ProductScratch::default(), &mut scores);

    let before: Vec<f64> = queries.losses(&base).collect();
    let without = |i: usize| -> Vec<f64> {
        let weights: [f64; N] = std::array::from_fn(|j| if i == j { 0.0 } else { 1.0 });
        queries
            .losses(&fit(&train.x, &weights, &train.y))
            .zip(&before)
            .map(|(loss, base)| loss - base)
            .collect()
    };
    let rises: Vec<Vec<f64>> = (0..N).map(without).collect();
    let correlation = |q: usize| {
        let of_scores: Vec<f64> = scores.iter().skip(q).step_by(QUERIES).copied().collect();
        let of_truth: Vec<f64> = rises.iter().map(|rise| rise[q]).collect();
        spearman(&of_scores, &of_truth).unwrap()
    };
    let mean = (0..QUERIES).map(correlation).sum::<f64>() / QUERIES as f64;
    assert!(mean > 0.85, "mean rank correlation with leaving out: {mean}");

    // The halves of the models say so without the truth.
    let ask = AgreementAsk::up_to(MODELS, CovarianceOptions::default(), 10);
    let found = agreement(&rows, &of_queries, &Models::one(MODELS), &ask);
    assert_eq!((found.rows, found.queries, found.at.len()), (N, QUERIES, 10));
    assert!(found.last().unwrap() > 0.8, "{found:?}");
    assert!(found.at[0].split_half < found.last() && found.at[0].top_overlap < found.at[9].top_overlap);
}

/// Losses and scores of the reference.
struct Golden {
    manifest: Value,
    models: usize,
    rows: Vec<f64>,
    queries: Vec<f64>,
    tensors: Tensors,
}

impl Golden {
    fn read() -> Option<Self> {
        let folder = golden("daunce")?;
        let manifest: Value =
            serde_json::from_slice(&fs_err::read(folder.join("manifest.json")).unwrap()).unwrap();
        let tensors = tensors::read(&folder.join("daunce.safetensors"));
        let ((shape, rows), (of_queries, queries)) = (&tensors["train_loss"], &tensors["query_loss"]);
        assert_eq!(shape[0], of_queries[0]);
        // The reference has a line for each model.
        let turned = |values: &[f64], columns: usize| -> Vec<f64> {
            (0..columns).flat_map(|i| values.iter().skip(i).step_by(columns)).copied().collect()
        };
        let (rows, queries) = (turned(rows, shape[1]), turned(queries, of_queries[1]));
        Some(Self { manifest, models: shape[0], rows, queries, tensors })
    }

    fn how(&self, score: Score, center: Center) -> CovarianceOptions {
        CovarianceOptions { score, center, ddof: self.manifest["ddof"].as_u64().unwrap() as u8 }
    }

    fn centring(&self, how: CovarianceOptions) -> Centring {
        let k = self.models;
        let n = (self.rows.len() / k) as f64;
        let means = (0..k).map(|m| self.rows.iter().skip(m).step_by(k).sum::<f64>() / n).collect();
        Centring::new(Models::one(k), how, means)
    }

    fn scores(&self, how: CovarianceOptions) -> Vec<f64> {
        let products = Products::new(self.centring(how), self.queries.clone(), 3);
        let mut out = vec![0.0; self.rows.len() / self.models * products.len()];
        products.scores((&self.rows[..], self.models), None, &mut ProductScratch::default(), &mut out);
        out
    }

    /// Scores of a method by its name in `against_retraining`. Of more models than it has losses of, the
    /// reference has its own results alone.
    fn scores_of(&self, method: &str) -> Option<Vec<f64>> {
        let words: Vec<&str> = method.split(' ').collect();
        match words[..] {
            ["daunce", score, center] => {
                Some(self.scores(self.how(score.parse().unwrap(), center.parse().unwrap())))
            }
            ["gradient", form] => Some(self.tensors.get(&format!("gradient.{form}"))?.1.clone()),
            _ => None,
        }
    }

    /// Rows of each group of a kind that the reference has left out, and how far the loss of each query rose.
    fn left_out(&self, kind: &str) -> Vec<(Vec<usize>, Vec<f64>)> {
        let is_rows = |name: &&String| {
            let group = name.strip_prefix("without.").and_then(|name| name.strip_prefix(kind));
            group.is_some_and(|group| group.starts_with('-') && group.ends_with(".rows"))
        };
        let mut names: Vec<&String> = self.tensors.keys().filter(is_rows).collect();
        names.sort();
        let (_, base) = &self.tensors["base_query_loss"];
        let group = |name: &String| -> (Vec<usize>, Vec<f64>) {
            let rows = self.tensors[name].1.iter().map(|row| *row as usize).collect();
            let (_, losses) = &self.tensors[&name.replace(".rows", ".query_loss")];
            (rows, losses.iter().zip(base).map(|(loss, base)| loss - base).collect())
        };
        names.into_iter().map(group).collect()
    }
}

/// Relative difference; the reference's scores are stored in f32.
const TOLERANCE: f64 = 1e-6;

fn same(got: &[f64], want: &[f64], name: &str) {
    assert_eq!(got.len(), want.len(), "{name}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= TOLERANCE * want.abs(), "{name} at {i}: {got} is not {want}");
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_daunce_scores_follow_from_the_losses() {
    let Some(golden) = Golden::read() else { return };
    for (word, score) in [("cov", Score::Cov), ("corr", Score::Corr)] {
        for center in ["example", "example+model"] {
            let name = format!("{word}.{center}");
            let got = golden.scores(golden.how(score, center.parse().unwrap()));
            same(&got, &golden.tensors[&name].1, &name);
        }
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_daunce_errors_follow_from_the_losses() {
    let Some(golden) = Golden::read() else { return };
    let (shape, want) = &golden.tensors["se"];
    let k = golden.models;
    let centring = golden.centring(golden.how(Score::Cov, Center::Row));
    let mut got = Vec::with_capacity(want.len());
    for row in golden.rows.chunks(k) {
        for query in golden.queries.chunks(k) {
            let pair = Pair::new(&centring, row, query);
            got.push(estimate(&[pair], Score::Cov, |values| (values[0], vec![1.0])).se.unwrap());
        }
    }
    assert_eq!(got.len(), shape.iter().product::<usize>());
    same(&got, want, "se");
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_daunce_differences_from_the_base_give_the_same_scores() {
    let Some(golden) = Golden::read() else { return };
    let k = golden.models;
    let less = |values: &[f64], base: &[f64]| -> Vec<f64> {
        values
            .chunks(k)
            .zip(base)
            .flat_map(|(row, base)| row.iter().map(move |x| f64::from((x - base) as f32)))
            .collect()
    };
    let how = golden.how(Score::Cov, Center::Row);
    let rows = less(&golden.rows, &golden.tensors["base_train_loss"].1);
    let queries = less(&golden.queries, &golden.tensors["base_query_loss"].1);
    let products = Products::new(Centring::new(Models::one(k), how, Vec::new()), queries, 3);
    let mut got = vec![0.0; rows.len() / k * products.len()];
    products.scores((&rows[..], k), None, &mut ProductScratch::default(), &mut got);
    let want = golden.scores(how);
    let largest = want.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
    for (got, want) in got.iter().zip(&want) {
        assert!((got - want).abs() <= TOLERANCE * largest, "{got} is not {want}");
    }
}

/// The value whose key names a number of top rows between these parts, and that number.
fn of_top(values: &Value, before: &str, after: &str) -> (usize, f64) {
    let top = |key: &str| key.strip_prefix(before)?.strip_suffix(after)?.parse::<usize>().ok();
    let mut found = values.as_object().unwrap().iter().filter_map(|(key, value)| Some((top(key)?, value)));
    let (top, value) = found.next().unwrap_or_else(|| panic!("{values} has no {before}N{after}"));
    (top, value.as_f64().unwrap())
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_daunce_halves_agree_as_the_reference_says() {
    let Some(golden) = Golden::read() else { return };
    let mut seen = 0;
    for line in golden.manifest["agreement"].as_array().unwrap() {
        let word = |key: &str| line[key].as_str().unwrap();
        let models = line["models"].as_u64().unwrap() as usize;
        let score = word("score").parse().unwrap();
        let how = golden.how(score, word("center").parse().unwrap());
        let (top, overlap) = of_top(line, "split_half_top", "_overlap");
        let ask = AgreementAsk { how, top, at: vec![models] };
        let found = agreement(&golden.rows, &golden.queries, &Models::one(golden.models), &ask);
        let [at] = found.at[..] else { continue };
        // The reference may have more models than it has losses of.
        if at.models != models {
            continue;
        }
        let half = line["split_half_spearman"].as_f64().unwrap();
        assert!((at.split_half.unwrap() - half).abs() < 1e-9, "{line}: {at:?}");
        assert!((at.top_overlap.unwrap() - overlap).abs() < 1e-9, "{line}: {at:?}");
        seen += 1;
    }
    assert!(seen > 0, "no line of the reference could be compared");
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_daunce_rows_of_the_own_family_are_enriched_as_the_reference_says() {
    let Some(golden) = Golden::read() else { return };
    let texts = |value: &Value, key: Option<&str>| -> Vec<String> {
        let list = value.as_array().unwrap().iter();
        list.map(|x| key.map_or(x, |key| &x[key]).as_str().unwrap().to_owned()).collect()
    };
    let sources = texts(&golden.manifest["train_source"], None);
    let targets = texts(&golden.manifest["queries"], Some("target"));
    // Rows of the pool may name the data that their source was taken from, as targets are named.
    let pool = fs_err::read_to_string(support::pool(&support::shared(), &golden.manifest)).unwrap();
    let pool: Vec<&str> = pool.lines().collect();
    let dataset = |row: &Value| -> Option<String> {
        let record: Value = serde_json::from_str(pool[row.as_u64().unwrap() as usize]).unwrap();
        record["dataset"].as_str().map(str::to_owned)
    };
    let datasets: Vec<Option<String>> =
        golden.manifest["train_rows"].as_array().unwrap().iter().map(dataset).collect();
    let is_own =
        |row: usize, target: &String| sources[row] == *target || datasets[row].as_ref() == Some(target);
    let mut seen = 0;
    for (name, of) in golden.manifest["against_retraining"].as_object().unwrap() {
        let Some(scores) = golden.scores_of(name) else { continue };
        let (top, want) = of_top(of, "own_family_share_of_top_", "");
        let m = targets.len();
        let share = |q: usize| {
            let of_query: Vec<f64> = scores.iter().skip(q).step_by(m).copied().collect();
            let found = descending(&of_query);
            found[..top].iter().filter(|row| is_own(**row, &targets[q])).count() as f64 / top as f64
        };
        let got = (0..m).map(share).sum::<f64>() / m as f64;
        assert!((got - want).abs() < 1e-9, "{name}: {got} is not {want}");
        seen += 1;
    }
    assert!(seen > 0, "no result of the reference could be compared");
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_daunce_scores_rank_groups_of_rows_as_the_reference_says() {
    let Some(golden) = Golden::read() else { return };
    let m = golden.queries.len() / golden.models;
    let mut seen = 0;
    for (name, of) in golden.manifest["against_retraining"].as_object().unwrap() {
        let Some(scores) = golden.scores_of(name) else { continue };
        // Of each kind of groups.
        for (key, rank) in of.as_object().unwrap() {
            let Some(kind) = key.strip_prefix("spearman_") else { continue };
            let groups = golden.left_out(kind);
            if groups.is_empty() {
                continue;
            }
            let count = of[format!("groups_{kind}")].as_u64();
            assert!(count.is_none_or(|count| count == groups.len() as u64), "{name}: {of}");
            let (mut ranks, mut found) = (0.0, 0.0);
            for q in 0..m {
                let sum = |rows: &[usize]| rows.iter().map(|row| scores[row * m + q]).sum::<f64>();
                let sums: Vec<f64> = groups.iter().map(|(rows, _)| sum(rows)).collect();
                let rises: Vec<f64> = groups.iter().map(|(_, rises)| rises[q]).collect();
                ranks += spearman(&sums, &rises).expect("groups that differ") / m as f64;
                found += f64::from(u8::from(descending(&sums)[0] == descending(&rises)[0])) / m as f64;
            }
            let most_helpful = of.get(format!("most_helpful_{kind}_found"));
            for (got, want) in [(ranks, Some(rank)), (found, most_helpful)] {
                let Some(want) = want else { continue };
                let want = want.as_f64().unwrap();
                assert!((got - want).abs() < 1e-9, "{name}, {kind}: {got} is not {want}");
            }
            seen += 1;
        }
    }
    assert!(seen > 0, "no result of the reference could be compared");
}

/// Besides what is worth a note, such as that there are few, a model may have more than four times its share of
/// the variation: those that are found are those that have.
#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_daunce_models_have_nothing_wrong_but_what_their_losses_show() {
    let Some(golden) = Golden::read() else { return };
    let k = golden.models;
    let (_, base) = &golden.tensors["base_train_loss"];
    let offset: Vec<f32> = base.iter().map(|x| *x as f32).collect();
    let values: Vec<f32> = golden
        .rows
        .chunks(k)
        .zip(&offset)
        .flat_map(|(row, base)| row.iter().map(move |x| (x - f64::from(*base)) as f32))
        .collect();
    let models = (0..k).map(|m| m.to_string()).collect();
    let rows: Vec<u64> = (0..base.len() as u64).collect();
    let ask = DiagnosisAsk { models, base: true, compute: "f32".into() };
    let found = diagnose(ask, &rows, &values, &offset);
    let (mut shares, mut varying) = (vec![0.0; k], 0.0);
    for row in values.chunks(k) {
        let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / k as f64;
        let squares: Vec<f64> = row.iter().map(|x| (f64::from(*x) - mean).powi(2)).collect();
        let all: f64 = squares.iter().sum();
        if all > 0.0 {
            shares.iter_mut().zip(&squares).for_each(|(share, own)| *share += own / all);
            varying += 1.0;
        }
    }
    let dominant: Vec<String> =
        (0..k).filter(|m| shares[*m] * k as f64 > 4.0 * varying).map(|m| m.to_string()).collect();
    let wrong = found.findings.iter().filter(|finding| finding.severity != Severity::Note);
    let named = wrong.flat_map(|finding| {
        assert_eq!(finding.what, "dominates", "{finding:?}");
        finding.models.clone()
    });
    assert_eq!(named.collect::<Vec<_>>(), dominant);
}
