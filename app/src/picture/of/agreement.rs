//! Agreement of halves of an ensemble's models, by their number.

use gstore_query::daunce::{Agreement, AgreementAt};

use super::super::scale::number;
use super::super::{Axis, Body, Panel, Picture, Series};
use super::count;

/// Rank correlation and overlap of two halves of the models against their number: where the lines are flat,
/// more models change little.
pub fn agreement(agreement: &Agreement) -> Picture {
    let line = |name: &str, colour, value: &dyn Fn(&AgreementAt) -> Option<f64>| {
        let points = agreement.at.iter().filter_map(|at| Some([at.models as f64, value(at)?]));
        Series::new(name, colour, points.collect())
    };
    let by_chance = agreement.at.iter().map(|at| [at.models as f64, agreement.overlap_by_chance]);
    let chance = Series::new("by chance", 2, by_chance.collect()).faint();
    let panel = |heading: String, series: Vec<Series>, notes| Panel {
        body: Body::Lines { x: Axis::linear("models"), y: Axis::linear(&heading), series },
        heading,
        notes,
    };
    let mut notes = Vec::new();
    if let Some((last, half)) = agreement.at.last().and_then(|at| Some((at, at.split_half?))) {
        let expected = last.spearman_brown.map_or_else(String::new, |all| {
            format!("; all of them with as many others by about {}", number(round(all)))
        });
        notes.push(format!(
            "{} rows, {} queries. Halves of {} models agree by {}{expected}.",
            count(agreement.rows as u64),
            count(agreement.queries as u64),
            last.models,
            number(round(half))
        ));
    }
    notes.extend(agreement.left_out().map(|left_out| format!("{left_out}.")));
    let about = format!("Agreement of two halves of the models by their number. {}", notes.join(" "));
    let ranks =
        vec![line("two halves", 0, &|at| at.split_half), line("all, expected", 1, &|at| at.spearman_brown)];
    let overlap = vec![line("two halves", 0, &|at| at.top_overlap), chance];
    let panels = vec![
        panel("rank correlation (Spearman)".to_owned(), ranks, notes),
        panel(format!("share of the first {} rows in common", agreement.top), overlap, Vec::new()),
    ];
    Picture { title: "Agreement of the models of an ensemble".to_owned(), about, panels }
}

fn round(x: f64) -> f64 {
    (x * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_a_point_for_each_number_of_models() {
        let at = |models, half| AgreementAt {
            models,
            split_half: half,
            spearman_brown: half,
            top_overlap: Some(0.25),
        };
        let found = Agreement {
            rows: 100,
            queries: 3,
            rows_left_out: 7,
            queries_left_out: 0,
            top: 20,
            overlap_by_chance: 0.2,
            at: vec![at(4, None), at(8, Some(0.1)), at(16, Some(0.3))],
        };
        let picture = agreement(&found);
        let points = |panel: usize, series: usize| match &picture.panels[panel].body {
            Body::Lines { series: lines, .. } => lines[series].points.clone(),
            _ => Vec::new(),
        };
        assert_eq!(points(0, 0), [[8.0, 0.1], [16.0, 0.3]]);
        assert_eq!(points(1, 1).len(), 3);
        assert!(picture.about.contains("16 models agree by 0.3; all of them"), "{}", picture.about);
        assert!(picture.about.contains("7 rows and 0 queries without"), "{}", picture.about);
        assert!(picture.svg().contains("by chance"));
        let disagree = AgreementAt { spearman_brown: None, ..at(16, Some(-0.3)) };
        let picture = agreement(&Agreement { at: vec![disagree], ..found });
        assert!(picture.about.contains("16 models agree by -0.3."), "{}", picture.about);
    }
}
