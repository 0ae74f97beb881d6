//! Spectra of factors: figures of each module, and pictures of each layer.
//!
//! The eigenvalues of a module's curvature are the entries of its matrix `[out, input]`: the curvature is
//! diagonal in the eigenbasis, and that matrix is its diagonal.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt64Array};
use arrow_schema::ArrowError;
use gstore_curvature::{CurvatureError, Damping, Module, ModuleFactors, Spectrum, Strategy};

use crate::picture::{Axis, Body, Heat, Panel, Picture, Series, TooLarge};

/// Shares of the sum for which the needed eigenvalues are counted.
const SHARES: [f64; 3] = [0.9, 0.95, 0.99];

/// Largest eigenvalues that are drawn by themselves.
const TOP: usize = 100;

/// Points of a line.
const POINTS: usize = 1000;

/// Rows and columns of a drawn matrix, at most.
const CELLS: (usize, usize) = (40, 96);

/// A module's eigenvalues.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleSpectrum {
    /// The module.
    pub module: Module,
    /// Eigenvalues of its curvature, `[out, input]`, in the order of the eigenvalues of both covariances.
    pub matrix: Vec<f64>,
    /// Their figures, at the damping that was asked for.
    pub spectrum: Spectrum,
}

/// The spectra of modules, in their order.
///
/// # Errors
/// What the strategy needs and what was not fitted, and values that are not finite.
pub fn spectra(
    factors: &[(Module, ModuleFactors)],
    strategy: Strategy,
    damping: Damping,
) -> Result<Vec<ModuleSpectrum>, CurvatureError> {
    let of = |(module, factors): &(Module, ModuleFactors)| -> Result<_, CurvatureError> {
        let matrix = factors.eigenvalues(module, strategy)?;
        let spectrum = Spectrum::new(matrix.clone(), damping.of(&matrix));
        Ok(ModuleSpectrum { module: module.clone(), matrix, spectrum })
    };
    factors.iter().map(of).collect()
}

/// How far the factors of a module are from others, such as those of another seed. Differences are relative.
#[derive(Debug, Clone, PartialEq)]
pub struct SpectrumDifference {
    /// Name of the others.
    pub against: String,
    /// Of the eigenvalues of its curvature by rank, as [`Spectrum::difference`] has it.
    pub lambda: f64,
    /// The same of the covariance of inputs, where it is used.
    pub activation: Option<f64>,
    /// Of the covariance of gradients of outputs.
    pub gradient: Option<f64>,
    /// Of the effective dimension.
    pub dimension: f64,
}

/// Figures of the spectra, a row for each module: `module, out, inputs, eigenvalues, max, min, mean, median,
/// damping, effective_dimension, needed_90, needed_95, needed_99` (how many of the largest have that share of
/// the sum) and `condition`.
///
/// # Errors
/// Columns that make no table.
pub fn spectrum_table(spectra: &[ModuleSpectrum]) -> Result<RecordBatch, ArrowError> {
    table(columns(&spectra.iter().collect::<Vec<_>>()))
}

/// The same with a row for each of the factors that they are compared with and module, and the columns `against,
/// lambda_difference, activation_difference, gradient_difference, dimension_difference`. `differences`: for each of
/// the factors those of all spectra.
///
/// # Errors
/// Columns that make no table.
pub fn difference_table(
    spectra: &[ModuleSpectrum],
    differences: &[SpectrumDifference],
) -> Result<RecordBatch, ArrowError> {
    let numbers = |of: &dyn Fn(&SpectrumDifference) -> Option<f64>| -> ArrayRef {
        Arc::new(differences.iter().map(of).collect::<Float64Array>())
    };
    let others = differences.iter().map(|one| Some(one.against.as_str())).collect::<StringArray>();
    let repeated: Vec<&ModuleSpectrum> = spectra.iter().cycle().take(differences.len()).collect();
    let mut all = columns(&repeated);
    all.extend([
        ("against", Arc::new(others) as ArrayRef),
        ("lambda_difference", numbers(&|one| Some(one.lambda))),
        ("activation_difference", numbers(&|one| one.activation)),
        ("gradient_difference", numbers(&|one| one.gradient)),
        ("dimension_difference", numbers(&|one| Some(one.dimension))),
    ]);
    table(all)
}

fn table(columns: Vec<(&'static str, ArrayRef)>) -> Result<RecordBatch, ArrowError> {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
}

fn columns(spectra: &[&ModuleSpectrum]) -> Vec<(&'static str, ArrayRef)> {
    let numbers = |of: &dyn Fn(&Spectrum) -> f64| -> ArrayRef {
        Arc::new(spectra.iter().map(|one| Some(of(&one.spectrum))).collect::<Float64Array>())
    };
    let counts = |of: &dyn Fn(&ModuleSpectrum) -> usize| -> ArrayRef {
        Arc::new(spectra.iter().map(|one| Some(of(one) as u64)).collect::<UInt64Array>())
    };
    let names: ArrayRef =
        Arc::new(spectra.iter().map(|one| Some(one.module.name.as_str())).collect::<StringArray>());
    let needed = |at: usize| counts(&move |one| one.spectrum.needed_for(SHARES[at]));
    vec![
        ("module", names),
        ("out", counts(&|one| one.module.out)),
        ("inputs", counts(&|one| one.module.input)),
        ("eigenvalues", counts(&|one| one.matrix.len())),
        ("max", numbers(&largest)),
        ("min", numbers(&smallest)),
        ("mean", numbers(&Spectrum::mean)),
        ("median", numbers(&Spectrum::median)),
        ("damping", numbers(&|spectrum| spectrum.damping)),
        ("effective_dimension", numbers(&Spectrum::effective_dimension)),
        ("needed_90", needed(0)),
        ("needed_95", needed(1)),
        ("needed_99", needed(2)),
        ("condition", numbers(&Spectrum::condition)),
    ]
}

/// Files of a folder that show spectra, by their paths in it: for each layer a folder `layer_L` with
/// `lambda_matrix.png`, `eigenvalue_distribution.png`, `cumulative_variance.png` and
/// `eigenvalue_analysis.txt`. Values of a matrix above the percentile `clip` are drawn as that one. A module
/// outside of layers has a folder `module_NAME`.
///
/// # Errors
/// A picture of too many modules.
pub fn spectrum_files(spectra: &[ModuleSpectrum], clip: f64) -> Result<Vec<(PathBuf, Vec<u8>)>, TooLarge> {
    let mut layers: Vec<(String, Vec<&ModuleSpectrum>)> = Vec::new();
    for one in spectra {
        let layer = layer(&one.module.name);
        match layers.iter_mut().find(|(known, _)| *known == layer) {
            Some((_, modules)) => modules.push(one),
            None => layers.push((layer, vec![one])),
        }
    }
    let mut files = Vec::new();
    for (layer, modules) in &layers {
        let folder = PathBuf::from(layer);
        let mut add = |name: &str, bytes: Vec<u8>| files.push((folder.join(name), bytes));
        add("lambda_matrix.png", matrices(layer, modules, clip).png()?);
        add("eigenvalue_distribution.png", distributions(layer, modules).png()?);
        add("cumulative_variance.png", cumulative(layer, modules).png()?);
        add("eigenvalue_analysis.txt", analysis(modules).into_bytes());
    }
    Ok(files)
}

/// `layer_L` of a module whose name has a number, else `module_NAME`.
fn layer(module: &str) -> String {
    match module.split('.').find_map(|part| part.parse::<u32>().ok()) {
        Some(number) => format!("layer_{number}"),
        None => format!("module_{}", module.replace(['/', '\\'], "_")),
    }
}

fn largest(spectrum: &Spectrum) -> f64 {
    spectrum.values.first().copied().unwrap_or(0.0)
}

fn smallest(spectrum: &Spectrum) -> f64 {
    spectrum.values.last().copied().unwrap_or(0.0)
}

/// The eigenvalue that a percentage of them does not exceed; of values in descending order.
fn percentile(values: &[f64], percent: f64) -> f64 {
    let last = values.len().saturating_sub(1) as f64;
    let above = (last * (1.0 - percent.clamp(0.0, 100.0) / 100.0)).round();
    values.get(above as usize).copied().unwrap_or(0.0)
}

/// The matrices of a layer, means over cells of the logarithmic picture.
fn matrices(layer: &str, modules: &[&ModuleSpectrum], clip: f64) -> Picture {
    let panel = |one: &&ModuleSpectrum| {
        let Module { name, out, input, .. } = &one.module;
        let most = percentile(&one.spectrum.values, clip);
        let (rows, columns) = (CELLS.0.min(*out), CELLS.1.min(*input));
        let cell = |at: usize| {
            let (row, column) = (at / columns, at % columns);
            let part = |at: usize, parts: usize, all: usize| at * all / parts..(at + 1) * all / parts;
            let across = part(column, columns, *input);
            let cells =
                part(row, rows, *out).flat_map(|row| one.matrix[row * input..][across.clone()].iter());
            let (sum, count) =
                cells.fold((0.0_f64, 0_u32), |(sum, count), value| (sum + value.min(most), count + 1));
            sum / f64::from(count.max(1))
        };
        let values = (0..rows * columns).map(cell).collect();
        let x = format!("{input} eigenvectors of inputs, by eigenvalue");
        let y = format!("{out} of gradients");
        Panel {
            heading: name.clone(),
            body: Body::Heat(Heat { x, y, columns, values, log: true }),
            notes: vec![format!("Larger values are drawn as percentile {clip}, {most:.3e}.")],
        }
    };
    Picture {
        title: format!("Eigenvalues of curvature, {layer}"),
        about: "Eigenvalues of the curvature of each module, as a matrix in shades.".to_owned(),
        panels: modules.iter().map(panel).collect(),
    }
}

/// Places of at most [`POINTS`] of some values.
fn thinned(len: usize) -> Vec<usize> {
    let points = POINTS.min(len);
    (0..points).map(|at| if points > 1 { at * (len - 1) / (points - 1) } else { 0 }).collect()
}

/// Eigenvalues by rank: all, and the largest by themselves.
fn distributions(layer: &str, modules: &[&ModuleSpectrum]) -> Picture {
    let panel = |heading: &str, most: usize| {
        let line = |(colour, one): (usize, &&ModuleSpectrum)| {
            let values = &one.spectrum.values;
            let point = |at: usize| [(at + 1) as f64, values[at]];
            let points = thinned(values.len().min(most)).into_iter().map(point).collect();
            Series { name: one.module.name.clone(), colour, faint: false, points }
        };
        let series = modules.iter().enumerate().map(line).collect();
        let body = Body::Lines { x: Axis::linear("rank"), y: Axis::log("eigenvalue"), series };
        Panel { heading: heading.to_owned(), body, notes: Vec::new() }
    };
    Picture {
        title: format!("Eigenvalues of curvature by rank, {layer}"),
        about: "Eigenvalues of the curvature of each module, largest first, on a logarithmic axis."
            .to_owned(),
        panels: vec![
            panel("all eigenvalues", usize::MAX),
            panel(&format!("the largest {TOP} eigenvalues"), TOP),
        ],
    }
}

/// Share of the sum that the largest eigenvalues have.
fn cumulative(layer: &str, modules: &[&ModuleSpectrum]) -> Picture {
    let mut series: Vec<Series> = SHARES
        .iter()
        .map(|share| Series {
            name: "90, 95 and 99 %".to_owned(),
            colour: modules.len(),
            faint: true,
            points: vec![[0.0, *share], [1.0, *share]],
        })
        .collect();
    for (colour, one) in modules.iter().enumerate() {
        let Spectrum { values, total, .. } = &one.spectrum;
        let mut sums = Vec::with_capacity(values.len());
        let mut sum = 0.0;
        for value in values {
            sum += value;
            sums.push(if *total > 0.0 { sum / total } else { 0.0 });
        }
        let point = |at: usize| [(at + 1) as f64 / sums.len() as f64, sums[at]];
        let points = thinned(sums.len()).into_iter().map(point).collect();
        series.push(Series { name: one.module.name.clone(), colour, faint: false, points });
    }
    let note = |one: &&ModuleSpectrum| {
        let of = SHARES.map(|share| one.spectrum.needed_for(share));
        format!(
            "{}: 90 % of the sum in {} of {} eigenvalues, 95 % in {}, 99 % in {}.",
            one.module.name,
            of[0],
            one.matrix.len(),
            of[1],
            of[2]
        )
    };
    let (x, y) = (Axis::linear("share of the eigenvalues, largest first"), Axis::linear("share of the sum"));
    let panel = Panel {
        heading: "share of the sum".to_owned(),
        body: Body::Lines { x, y, series },
        notes: modules.iter().map(note).collect(),
    };
    Picture {
        title: format!("Cumulative share of eigenvalues, {layer}"),
        about: "Share of the sum of eigenvalues that the largest of them have.".to_owned(),
        panels: vec![panel],
    }
}

/// Eight lines of figures for each module, under its name where there are several.
fn analysis(modules: &[&ModuleSpectrum]) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    for (at, one) in modules.iter().enumerate() {
        let spectrum = &one.spectrum;
        if modules.len() > 1 {
            let _ = writeln!(out, "{}Module: {}", if at == 0 { "" } else { "\n" }, one.module.name);
        }
        let _ = writeln!(out, "Total number of eigenvalues: {}", spectrum.values.len());
        for (name, value) in [
            ("Largest", largest(spectrum)),
            ("Smallest", smallest(spectrum)),
            ("Mean", spectrum.mean()),
            ("Median", spectrum.median()),
        ] {
            let _ = writeln!(out, "{name} eigenvalue: {}", figure(value));
        }
        for (share, percent) in SHARES.into_iter().zip(["90", "95", "99"]) {
            let needed = spectrum.needed_for(share);
            let part = 100.0 * needed as f64 / spectrum.values.len().max(1) as f64;
            let _ = writeln!(out, "{percent}% variance captured by {needed} eigenvalues ({part:.2}%)");
        }
    }
    out
}

/// Six decimals, of small values behind the first digit that is not 0.
fn figure(value: f64) -> String {
    if value != 0.0 && value.abs() < 1e-3 { format!("{value:.6e}") } else { format!("{value:.6}") }
}

#[cfg(test)]
mod tests {
    use gstore_curvature::Squares;

    use super::*;

    fn factors(name: &str, sums: Vec<f64>, input: usize) -> (Module, ModuleFactors) {
        let module = Module { name: name.to_owned(), out: sums.len() / input, input, bias: false };
        let lambda = Some(Squares { sums, count: 2 });
        (module, ModuleFactors { lambda, ..ModuleFactors::default() })
    }

    fn all() -> Vec<ModuleSpectrum> {
        let factors = [
            factors("model.layers.21.mlp.up_proj", vec![8.0, 2.0, 0.0, 6.0], 2),
            factors("model.layers.21.mlp.down_proj", (1..=6000).map(f64::from).collect(), 300),
            factors("lm_head", vec![2.0 * 2.0_f64.powi(-30); 10], 5),
        ];
        spectra(&factors, Strategy::Ekfac, Damping::Value(1.0)).unwrap()
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
        assert!(
            text.contains("\n\nModule: model.layers.21.mlp.down_proj\nTotal number of eigenvalues: 6000\n")
        );
    }

    #[test]
    fn what_is_clipped_and_what_is_empty_is_drawn() {
        let values: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        assert_eq!([0.0, 50.0, 99.5, 100.0].map(|at| percentile(&values, at)), [0.0, 50.0, 99.0, 100.0]);
        assert_eq!(percentile(&[], 50.0), 0.0);
        let zeros = [factors("h.0.mlp", vec![0.0; 4], 2)];
        let zeros = spectra(&zeros, Strategy::Ekfac, Damping::OfMean).unwrap();
        assert_eq!(spectrum_files(&zeros, 99.5).unwrap().len(), 4);
        assert!(spectra(&[factors("m", vec![f64::NAN], 1)], Strategy::Ekfac, Damping::OfMean).is_err());
    }
}
