//! The picture of a prefilter: recall of the true top by the share of rows that is kept.

use gstore_learn::judge::Report;

use crate::picture::{Axis, Body, Panel, Picture, Series};

/// A line for each target, its interval behind it, what is expected of a perfect one where labels are
/// noisy, and chance.
pub fn recall_picture(report: &Report) -> Picture {
    // Rows without a prediction are kept beside any share.
    let anyway = report.lacking as f64 / (report.rows + report.lacking).max(1) as f64;
    let panels = report.targets.iter().map(|target| {
        let at = |value: &dyn Fn(&gstore_learn::judge::AtBudget) -> f64| {
            target.budgets.iter().map(|at| [at.budget, value(at)]).collect::<Vec<_>>()
        };
        let mut series = vec![Series::new("rows at random", 1, vec![[0.0, anyway], [1.0, 1.0]]).faint()];
        if let Some(ceiling) = &target.ceiling {
            let points = target.budgets.iter().zip(ceiling).map(|(at, ceiling)| [at.budget, *ceiling]);
            series.push(Series::new("perfect, expected", 2, points.collect()).faint());
        }
        // Few rows have none.
        if target.budgets.iter().any(|at| at.interval.is_some()) {
            let end = |points| Series::new("95 % interval", 3, points).faint();
            series.push(end(at(&|at| at.interval.map_or(f64::NAN, |i| i.low))));
            series.push(end(at(&|at| at.interval.map_or(f64::NAN, |i| i.high))));
        }
        series.push(Series::new("prediction", 0, at(&|at| at.recall)));
        Panel {
            heading: format!("recall of the true top for {}", target.target),
            body: Body::Lines { x: Axis::linear("share of rows kept"), y: Axis::linear("recall"), series },
            notes: vec![format!(
                "{} rows of the true top; Spearman's correlation {:.2}.",
                target.top, target.spearman
            )],
        }
    });
    Picture {
        title: format!("What {} keeps", report.learner),
        about: "Recall of the rows with the highest true scores by the share of rows that is kept."
            .to_owned(),
        panels: panels.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gstore_core::Cancel;
    use gstore_learn::learners::{Learner, Means};
    use gstore_learn::{FeatureSet, FitOptions, Labelled, Matrix, Prefilter};

    static RUN: Cancel = Cancel::new();

    #[test]
    fn every_target_has_a_panel() {
        let x = Matrix::new(1, (0..200).map(|i| f64::from(i * 37 % 200)).collect());
        let y = Matrix::new(2, (0..200).flat_map(|i| [x.row(i)[0], -x.row(i)[0]]).collect());
        let ids = (0..200).map(|i| i.to_string()).collect();
        let targets = vec!["gsm8k".to_owned(), "law".to_owned()];
        let data = Labelled::new(ids, (vec!["tokens".to_owned()], &x), (targets, &y), 10).expect("whole");
        let means = Means { seed: 1, threads: 1, cancel: &RUN };
        let learner = Learner::Ridge { alphas: vec![1.0] };
        let options = FitOptions { learner, resamples: 100, ..FitOptions::default() };
        let (_, mut report, _) =
            Prefilter::fit(FeatureSet::default(), &data, &options, &[None; 2], &means).expect("fit");
        let svg = recall_picture(&report).svg();
        for text in ["true top for gsm8k", "true top for law", "rows at random", "95 % interval"] {
            assert!(svg.contains(text), "{text}");
        }
        report.targets.iter_mut().flat_map(|target| &mut target.budgets).for_each(|at| at.interval = None);
        assert!(!recall_picture(&report).svg().contains("95 % interval"));
    }
}
