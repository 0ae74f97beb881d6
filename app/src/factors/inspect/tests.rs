use std::collections::BTreeSet;

use gstore_curvature::{Eigen, Squares};

use super::pictures::{cumulative, distributions, matrices, percentile};
use super::*;
use crate::picture::{Body, Picture, SERIES_COLOURS, TerminalStyle};

fn factors(name: &str, sums: Vec<f64>, input: usize) -> (Module, ModuleFactors) {
    let module = Module { name: name.to_owned(), out: sums.len() / input, input, bias: false };
    let lambda = Some(Squares { sums, count: 2 });
    (module, ModuleFactors { lambda, ..ModuleFactors::default() })
}

fn spectra(
    factors: impl IntoIterator<Item = (Module, ModuleFactors)>,
    damping: Damping,
) -> Result<Vec<ModuleSpectrum>, CurvatureError> {
    factors.into_iter().map(|of| ModuleSpectrum::new(of, Strategy::Ekfac, damping)).collect()
}

fn all() -> Vec<ModuleSpectrum> {
    let factors = [
        factors("model.layers.21.mlp.up_proj", vec![8.0, 2.0, 0.0, 6.0], 2),
        factors("model.layers.21.mlp.down_proj", (1..=6000).map(f64::from).collect(), 300),
        factors("lm_head", vec![2.0 * 2.0_f64.powi(-30); 10], 5),
    ];
    spectra(factors, Damping::Value(1.0)).unwrap()
}

#[test]
fn figures_are_of_the_entries() {
    let spectra = all();
    assert_eq!(spectra[0].matrix, [4.0, 1.0, 0.0, 3.0]);
    let table = spectrum_table(&spectra).unwrap();
    let text = crate::pretty(&[table]).unwrap();
    let row: Vec<&str> = text.lines().nth(3).unwrap().split('|').map(str::trim).collect();
    let expected = [
        "model.layers.21.mlp.up_proj",
        "2",
        "2",
        "4",
        "4.0",
        "0.0",
        "2.0",
        "2.0",
        "1.0",
        "2.05",
        "3",
        "3",
        "3",
        "5.0",
    ];
    assert_eq!(row[1..15], expected, "{text}");
    let difference = |against: &str| SpectrumDifference {
        against: against.to_owned(),
        lambda: 0.25,
        activation: None,
        gradient: Some(0.5),
        dimension: 0.125,
    };
    let differences: Vec<SpectrumDifference> = ["b", "b", "b", "c", "c", "c"].map(difference).to_vec();
    let text = crate::pretty(&[difference_table(&spectra, &differences).unwrap()]).unwrap();
    let row: Vec<&str> = text.lines().nth(6).unwrap().split('|').map(str::trim).collect();
    assert_eq!(
        (row[1], &row[15..20]),
        ("model.layers.21.mlp.up_proj", &["c", "0.25", "", "0.5", "0.125"][..])
    );
}

#[test]
fn each_layer_has_its_files() {
    let files = spectrum_files(&all(), 99.5).unwrap();
    let names: Vec<String> = files.iter().map(|(path, _)| path.display().to_string()).collect();
    let of = |layer: &str| {
        [
            "lambda_matrix.png",
            "eigenvalue_distribution.png",
            "cumulative_variance.png",
            "eigenvalue_analysis.txt",
        ]
        .map(|name| format!("{layer}/{name}"))
    };
    assert_eq!(names, [of("layer_21"), of("module_lm_head")].concat());
    assert!(
        files
            .iter()
            .filter(|(path, _)| path.extension().is_some_and(|ending| ending == "png"))
            .all(|(_, file)| file.starts_with(b"\x89PNG"))
    );
    let text = String::from_utf8(files[7].1.clone()).unwrap();
    let expected = "Total number of eigenvalues: 10\nLargest eigenvalue: 9.313226e-10\n\
                    Smallest eigenvalue: 9.313226e-10\nMean eigenvalue: 9.313226e-10\n\
                    Median eigenvalue: 9.313226e-10\n90% variance captured by 9 eigenvalues (90.00%)\n\
                    95% variance captured by 10 eigenvalues (100.00%)\n\
                    99% variance captured by 10 eigenvalues (100.00%)\n";
    assert_eq!(text, expected);
    let text = String::from_utf8(files[3].1.clone()).unwrap();
    assert_eq!(text.lines().count(), 2 * 9 + 1, "{text}");
    assert!(text.contains("\n\nModule: model.layers.21.mlp.down_proj\nTotal number of eigenvalues: 6000\n"));
}

#[test]
fn what_is_clipped_and_what_is_empty_is_drawn() {
    let values: Vec<f64> = (0..=100).rev().map(f64::from).collect();
    assert_eq!([0.0, 50.0, 99.5, 100.0].map(|at| percentile(&values, at)), [0.0, 50.0, 99.0, 100.0]);
    assert_eq!(percentile(&[], 50.0), 0.0);
    let zeros = [factors("h.0.mlp", vec![0.0; 4], 2)];
    let zeros = spectra(zeros, Damping::OfMean).unwrap();
    assert_eq!(spectrum_files(&zeros, 99.5).unwrap().len(), 4);
    assert!(spectra([factors("m", vec![f64::NAN], 1)], Damping::OfMean).is_err());
}

#[test]
fn eigenvalues_that_are_too_large_are_left_out_and_counted() {
    let spectra = spectra([factors("h.0.mlp", vec![2e301, 4e301, 6.0, 2.0], 2)], Damping::OfMean).unwrap();
    let modules: Vec<&ModuleSpectrum> = spectra.iter().collect();
    let notes = |picture: Picture| picture.panels.into_iter().filter_map(|mut panel| panel.notes.pop());
    let found: Vec<String> = notes(matrices("layer_0", &modules, 100.0))
        .chain(notes(distributions("layer_0", &modules)))
        .collect();
    let beyond = |what: &str| format!("Left out: 2 values of {what} beyond 1e300.");
    assert_eq!(found, ["the drawn matrix", "the eigenvalues", "the eigenvalues"].map(beyond));
    // Drawn as a percentile that is not too large, they are there.
    let clipped = notes(matrices("layer_0", &modules, 50.0)).next();
    let says = "Each box is an eigenvalue; those larger than 3 (percentile 50) count as 3.";
    assert_eq!(clipped.as_deref(), Some(says));
}

#[test]
fn a_matrix_says_what_its_boxes_and_shades_are() {
    let spectra = all();
    let picture = matrices("layer_21", &[&spectra[1]], 99.5);
    let says = "Each box is the mean of up to 1 x 4 eigenvalues; those larger than 2,985 (percentile 99.5) \
                count as 2,985.";
    assert_eq!(picture.panels[0].notes, [says]);
    assert!(picture.svg().contains("shades on a logarithmic scale"));
}

#[test]
fn a_matrix_says_what_its_rows_and_columns_are() {
    let axes = |strategy: Strategy, inputs: [f64; 4]| {
        let (module, mut of) = factors("h.0.mlp", vec![1.0; 8], 4);
        let eigen = |values: &[f64]| Some(Eigen { values: values.to_vec(), vectors: Vec::new() });
        (of.activation_eigen, of.gradient_eigen) = (eigen(&inputs), eigen(&[1.0, 2.0]));
        of.diagonal = of.lambda.clone();
        let spectrum = ModuleSpectrum::new((module, of), strategy, Damping::Value(1.0)).unwrap();
        let picture = matrices("layer_0", &[&spectrum], 99.5);
        let Body::Heat(heat) = &picture.panels[0].body else { panic!("{picture:?}") };
        [heat.x.clone(), heat.y.clone()]
    };
    // As those of a covariance in two blocks.
    let in_blocks = [1.0, 3.0, 0.0, 2.0];
    let by_eigenvalue = "4 eigenvectors of inputs, by eigenvalue";
    assert_eq!(axes(Strategy::Ekfac, [0.0, 1.0, 1.0, 3.0]), [by_eigenvalue, "2 of gradients"]);
    let within = format!("{by_eigenvalue} within each block");
    assert_eq!(axes(Strategy::Ekfac, in_blocks), [within.as_str(), "2 of gradients"]);
    assert_eq!(axes(Strategy::Diagonal, in_blocks), ["4 inputs", "2 outputs"]);
}

#[test]
fn distributions_name_their_logarithmic_axis() {
    let spectra = all();
    let picture = distributions("layer_21", &[&spectra[0], &spectra[1]]);
    let text = picture.terminal(TerminalStyle { width: 80, height: 8, colour: false });
    for heading in ["all eigenvalues", "the largest 100 eigenvalues"] {
        let drawn = format!("{heading}, on a logarithmic axis");
        assert!(picture.svg().contains(&drawn) && text.contains(&drawn), "{drawn}: {text}");
    }
    let shares = cumulative("layer_21", &[&spectra[0]]);
    assert!(!shares.svg().contains("logarithmic"), "{shares:?}");
}

#[test]
fn no_two_modules_of_a_layer_look_alike() {
    let of = (0..14).map(|at| factors(&format!("h.0.m{at}"), vec![2.0, 1.0], 2));
    let spectra = spectra(of, Damping::OfMean).unwrap();
    let picture = cumulative("layer_0", &spectra.iter().collect::<Vec<_>>());
    let Body::Lines { series, .. } = &picture.panels[0].body else { panic!("{picture:?}") };
    let (lines, modules) = series.split_at(SHARES.len());
    let found: BTreeSet<usize> = modules.iter().map(|one| one.colour).collect();
    // A colour has three kinds of lines.
    assert!(found.len() == 14 && found.iter().all(|colour| *colour < 3 * SERIES_COLOURS), "{found:?}");
    let shares = |colour: &usize| colour % SERIES_COLOURS == lines[0].colour;
    assert!(lines.iter().all(|line| shares(&line.colour)) && !found.iter().any(shares), "{found:?}");
}
