//! Losses with one defect each, and the finding about it.

use super::*;

fn ask(models: usize, base: bool) -> DiagnosisAsk {
    let models = (0..models).map(|k| format!("m{k}")).collect();
    DiagnosisAsk { models, base, compute: "f32".into() }
}

fn found(diagnosis: &Diagnosis) -> Vec<&'static str> {
    diagnosis.findings.iter().map(|finding| finding.what).collect()
}

/// Differences of `models` models on `rows` rows, no two alike.
fn values(rows: usize, models: usize) -> Vec<f32> {
    (0..rows * models).map(|i| ((mix(i as u64 + 1) >> 40) as f32 / 8_388_608.0 - 1.0) * 0.1).collect()
}

#[test]
fn what_is_as_it_should_be_is_not_mentioned() {
    let rows: Vec<u64> = (0..50).collect();
    let found_in = diagnose(ask(40, true), &rows, &values(50, 40), &[1.37; 50]);
    assert!(found_in.findings.is_empty(), "{:?}", found_in.findings);
    let shares: f64 = found_in.models.iter().map(|model| model.leverage).sum();
    assert!((shares - 1.0).abs() < 1e-12);
}

#[test]
fn models_that_are_alike_or_are_the_base_are_named() {
    let mut all = values(20, 40);
    for row in all.chunks_exact_mut(40) {
        row[7] = row[3];
        row[9] = 0.0;
    }
    let rows: Vec<u64> = (0..20).collect();
    let diagnosis = diagnose(ask(40, true), &rows, &all, &[2.0; 20]);
    assert_eq!(found(&diagnosis), ["like_base", "identical"]);
    assert_eq!(diagnosis.findings[0].models, ["m9"]);
    assert_eq!(diagnosis.findings[1].models, ["m3", "m7"]);
    let diagnosis = diagnose(ask(40, true), &rows, &[0.0; 800], &[2.0; 20]);
    assert_eq!(diagnosis.findings[0].severity, Severity::Error);
    assert_eq!(diagnosis.constant_rows, 20);
}

#[test]
fn one_model_that_went_astray_dominates() {
    for (astray, owns) in [(3.0, true), (0.25, false)] {
        let mut all = values(20, 40);
        all.chunks_exact_mut(40).for_each(|row| row[11] += astray);
        let diagnosis = diagnose(ask(40, false), &(0..20).collect::<Vec<_>>(), &all, &[2.0; 20]);
        assert_eq!(found(&diagnosis), ["dominates"]);
        let finding = &diagnosis.findings[0];
        assert_eq!(finding.models, ["m11"]);
        let times = format!("m11 has {:.1} times its share", 40.0 * diagnosis.models[11].leverage);
        assert!(finding.text.contains(&times), "{}", finding.text);
        assert_eq!(finding.text.contains("mostly its own"), owns, "{}", finding.text);
    }
}

#[test]
fn rows_that_cannot_rank_are_counted() {
    let mut all = values(20, 40);
    all[3 * 40..4 * 40].fill(f32::NAN);
    all[5 * 40 + 2] = f32::NAN;
    all[8 * 40..9 * 40].fill(0.25);
    let diagnosis = diagnose(ask(40, false), &(100..120).collect::<Vec<_>>(), &all, &[2.0; 20]);
    assert_eq!(found(&diagnosis), ["no_loss", "missing", "constant"]);
    let rows: Vec<&[u64]> = diagnosis.findings.iter().map(|finding| &finding.rows[..]).collect();
    assert_eq!(rows, [[103], [105], [108]]);
}

#[test]
fn coarse_numbers_are_recognised() {
    let level = 2.37f32;
    let all: Vec<f32> = values(20, 40).iter().map(|x| as_bf16(level + x) - level).collect();
    let diagnosis = diagnose(ask(40, false), &(0..20).collect::<Vec<_>>(), &all, &[level; 20]);
    assert_eq!(found(&diagnosis), ["rounded"]);
    // Variation below the steps of the format.
    let small: Vec<f32> = values(20, 40).iter().map(|x| x * 1e-2).collect();
    let ask = DiagnosisAsk { compute: "bf16".into(), ..ask(40, false) };
    let diagnosis = diagnose(ask, &(0..20).collect::<Vec<_>>(), &small, &[level; 20]);
    assert_eq!(found(&diagnosis), ["resolution"]);
}

#[test]
fn losses_in_double_precision_are_as_exact_as_their_differences() {
    let rows: Vec<u64> = (0..20).collect();
    let found_in = |base: bool, scale: f32, drift: f32| {
        let all: Vec<f32> = values(20, 40).iter().map(|x| drift + x * scale).collect();
        let ask = DiagnosisAsk { compute: "f64".into(), ..ask(40, base) };
        diagnose(ask, &rows, &all, &[2.0 - drift; 20])
    };
    // The values vary by about 0.06.
    for (base, scale, drift, expected) in [
        (true, 1.0, 0.5, &[][..]),
        (true, 1e-2, 0.5, &[]),
        (true, 1e-3, 0.5, &["far_from_base"]),
        // Steps of f32 at 0.5 are 6e-8 wide.
        (true, 5e-7, 0.5, &["resolution", "far_from_base"]),
        // However near losses are to a number of few digits: those of such numbers are farther apart.
        (true, 1e-6, 0.0, &["like_base"]),
        (false, 1e-6, 0.0, &[]),
    ] {
        let diagnosis = found_in(base, scale, drift);
        assert_eq!(found(&diagnosis), expected, "{base} {scale} {drift}: {:?}", diagnosis.findings);
    }
    // Losses in f32 with the fewest digits, as in CSV, keep all of them too.
    let base = 1.4837f32;
    let of_csv = |exact: bool| {
        let losses = values(20, 40).into_iter().map(|x| 2.0 + f64::from(x) * 1e-3);
        let digits = |loss: f64| (loss as f32).to_string().parse::<f64>().unwrap();
        let stored = losses.map(|loss| ((if exact { loss } else { digits(loss) }) - f64::from(base)) as f32);
        let ask = DiagnosisAsk { compute: "f64".into(), ..ask(40, true) };
        diagnose(ask, &rows, &stored.collect::<Vec<_>>(), &[base; 20])
    };
    assert!(found(&of_csv(false)).is_empty());
    assert_eq!(found(&of_csv(true)), ["far_from_base"]);
    // Losses in f32, and so is their difference from 1.5, exactly.
    let single: Vec<f32> = values(20, 40).iter().map(|x| (2.0 + x * 1e-3) - 1.5).collect();
    let ask = DiagnosisAsk { compute: "f64".into(), ..ask(40, true) };
    assert!(found(&diagnose(ask, &rows, &single, &[1.5; 20])).is_empty());
    let far = found_in(true, 1e-3, 0.5).findings.remove(0);
    assert!(far.text.starts_with("20 of 20 rows vary by less than 0.06% of"), "{}", far.text);
    assert_eq!(far.rows, [0, 1, 2, 3, 4]);
}

#[test]
fn few_models_are_noted() {
    let rows: Vec<u64> = (0..9).collect();
    assert_eq!(found(&diagnose(ask(2, false), &rows, &values(9, 2), &[2.0; 9])), ["too_few_models"]);
    assert_eq!(found(&diagnose(ask(9, false), &rows, &values(9, 9), &[2.0; 9])), ["few_models"]);
    let one = diagnose(ask(1, false), &rows, &values(9, 1), &[2.0; 9]);
    let few = one.findings.iter().find(|finding| finding.what == "too_few_models").unwrap();
    assert_eq!((few.severity, few.text.as_str()), (Severity::Note, "1 model: a covariance takes at least 3"));
}
