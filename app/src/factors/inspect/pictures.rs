//! Pictures of the spectra of a layer's modules, and their figures as text.

use std::fmt::Write;
use std::path::PathBuf;

use gstore_curvature::{Module, Spectrum};

use super::{MatrixAxes, ModuleSpectrum, SHARES, largest, smallest};
use crate::picture::{
    Axis, Body, Heat, Panel, Picture, SERIES_COLOURS, Series, TooLarge, drawable, number, too_large,
};

/// Largest eigenvalues that are drawn by themselves.
const TOP: usize = 100;

const POINTS: usize = 1000;

/// The colour of the lines of [`SHARES`], which no module has.
const OF_SHARES: usize = SERIES_COLOURS - 1;

/// Rows and columns of a drawn matrix, at most.
const CELLS: (usize, usize) = (40, 96);

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

/// The eigenvalue that a percentage of them does not exceed; of values in descending order.
pub(super) fn percentile(values: &[f64], percent: f64) -> f64 {
    let last = values.len().saturating_sub(1) as f64;
    let above = (last * (1.0 - percent.clamp(0.0, 100.0) / 100.0)).round();
    values.get(above as usize).copied().unwrap_or(0.0)
}

/// The matrices of a layer in shades on a logarithmic scale; a box of a large one is the mean of a block.
pub(super) fn matrices(layer: &str, modules: &[&ModuleSpectrum], clip: f64) -> Picture {
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
        let values: Vec<f64> = (0..rows * columns).map(cell).map(drawable).collect();
        let vectors =
            |order: &str| (format!("{input} eigenvectors of inputs, {order}"), format!("{out} of gradients"));
        let (x, y) = match one.axes {
            MatrixAxes::Weights => (format!("{input} inputs"), format!("{out} outputs")),
            MatrixAxes::ByEigenvalue => vectors("by eigenvalue"),
            MatrixAxes::InBlocks => vectors("by eigenvalue within each block"),
        };
        let mut notes = vec![format!(
            "{}; those larger than {} (percentile {clip}) count as {}.",
            of_box(out.div_ceil(rows.max(1)), input.div_ceil(columns.max(1))),
            number(most),
            number(most)
        )];
        notes.extend(too_large("the drawn matrix", values.iter().copied()));
        Panel { heading: name.clone(), body: Body::Heat(Heat { x, y, columns, values, log: true }), notes }
    };
    Picture {
        title: format!("Eigenvalues of curvature, {layer}"),
        about: "Eigenvalues of the curvature of each module, as a matrix in shades.".to_owned(),
        panels: modules.iter().map(panel).collect(),
    }
}

/// What a box of a drawn matrix stands for, by the largest height and width of a block.
fn of_box(high: usize, wide: usize) -> String {
    match high * wide {
        ..=1 => "Each box is an eigenvalue".to_owned(),
        _ => format!("Each box is the mean of up to {high} x {wide} eigenvalues"),
    }
}

/// The colour of a module by its place in a layer.
fn colour(place: usize) -> usize {
    place + place / OF_SHARES
}

/// Places of at most [`POINTS`] of some values.
fn spaced_points(len: usize) -> Vec<usize> {
    let points = POINTS.min(len);
    (0..points).map(|at| if points > 1 { at * (len - 1) / (points - 1) } else { 0 }).collect()
}

/// Eigenvalues by rank: all, and the largest by themselves.
pub(super) fn distributions(layer: &str, modules: &[&ModuleSpectrum]) -> Picture {
    let panel = |heading: &str, most: usize| {
        let line = |(place, one): (usize, &&ModuleSpectrum)| {
            let values = &one.spectrum.values;
            let point = |at: usize| [(at + 1) as f64, drawable(values[at])];
            let points = spaced_points(values.len().min(most)).into_iter().map(point).collect();
            Series::new(&one.module.name, colour(place), points)
        };
        let values = modules.iter().flat_map(|one| one.spectrum.values.iter().copied().take(most));
        let beyond = too_large("the eigenvalues", values);
        let series = modules.iter().enumerate().map(line).collect();
        let body = Body::Lines { x: Axis::linear("rank"), y: Axis::log("eigenvalue"), series };
        Panel { heading: heading.to_owned(), body, notes: beyond.into_iter().collect() }
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
pub(super) fn cumulative(layer: &str, modules: &[&ModuleSpectrum]) -> Picture {
    let share = |share: f64| vec![[0.0, share], [1.0, share]];
    let mut series = SHARES.map(|at| Series::new("90, 95 and 99 %", OF_SHARES, share(at)).faint()).to_vec();
    for (place, one) in modules.iter().enumerate() {
        let Spectrum { values, total, .. } = &one.spectrum;
        let mut sums = Vec::with_capacity(values.len());
        let mut sum = 0.0;
        for value in values {
            sum += value;
            sums.push(if *total > 0.0 { sum / total } else { 0.0 });
        }
        let point = |at: usize| [(at + 1) as f64 / sums.len() as f64, sums[at]];
        let points = spaced_points(sums.len()).into_iter().map(point).collect();
        series.push(Series::new(&one.module.name, colour(place), points));
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
