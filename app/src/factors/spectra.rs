//! Spectra of a store's factors, a module at a time, and how far those of other factors are from them.

use glob::Pattern;
use gstore_curvature::{Damping, ModuleFactors, Spectrum, Strategy};
use gstore_store::Snapshot;

use super::error::FactorJobError;
use super::folder::{FactorParts, FactorReader};
use super::inspect::{ModuleSpectrum, SpectrumDifference};
use super::stored::StoredFactors;

/// Which spectra are asked for.
#[derive(Debug, Clone, Default)]
pub struct SpectraRequest {
    /// Name of the factors.
    pub name: String,
    /// Modules of this layer alone: the first number in their names.
    pub layer: Option<u32>,
    /// Modules by globs over their names; empty: all.
    pub modules: Vec<String>,
    /// How curvature is approximated; none: as it was fitted.
    pub strategy: Option<Strategy>,
    /// What is added to eigenvalues.
    pub damping: Damping,
    /// Names of other factors that these are compared with, such as fits of other seeds.
    pub against: Vec<String>,
}

/// The spectra of factors. Memory: the eigenvalues of the modules that are asked for, twice, and the factors
/// of one.
///
/// # Errors
/// No factors of this name, an invalid glob, no module that is asked for, a strategy that was not fitted,
/// damage.
pub fn factor_spectra(
    snapshot: &Snapshot,
    request: &SpectraRequest,
) -> Result<Vec<ModuleSpectrum>, FactorJobError> {
    let found = StoredFactors::open(snapshot, &request.name)?;
    let is_meant = is_meant(request.layer, &request.modules)?;
    let stamp = &found.content.stamp;
    let names: Vec<String> =
        stamp.modules.iter().map(|module| module.name.clone()).filter(|name| is_meant(name)).collect();
    if names.is_empty() {
        return Err(no_module(&request.name, stamp.modules.iter().map(|module| module.name.as_str())));
    }
    let strategy = approximation(request.strategy, &found)?;
    let reader = found.reader(snapshot, FactorParts::of(strategy))?;
    let mut all = Vec::with_capacity(names.len());
    for name in reader.chosen(Some(&names))? {
        all.push(ModuleSpectrum::new(reader.module(&name)?, strategy, request.damping)?);
    }
    Ok(all)
}

/// Tells modules by a layer, the first number in their names, and by globs; without either all are meant.
pub(super) fn is_meant(
    layer: Option<u32>,
    modules: &[String],
) -> Result<impl Fn(&str) -> bool + use<>, FactorJobError> {
    let pattern = |text: &String| {
        Pattern::new(text).map_err(|error| FactorJobError::Option(format!("{text} is not a glob: {error}")))
    };
    let patterns = modules.iter().map(pattern).collect::<Result<Vec<Pattern>, _>>()?;
    let own = |name: &str| name.split('.').find_map(|part| part.parse::<u32>().ok());
    Ok(move |name: &str| {
        (layer.is_none() || layer == own(name))
            && (patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(name)))
    })
}

/// No module of factors is meant; some that they have.
pub(super) fn no_module<'a>(factors: &str, known: impl Iterator<Item = &'a str>) -> FactorJobError {
    let known = known.take(3).collect::<Vec<&str>>().join(", ");
    FactorJobError::Option(format!("factors `{factors}` have no such module; they have for example {known}"))
}

/// How the curvature whose spectra are asked for is approximated.
fn approximation(asked: Option<Strategy>, of: &StoredFactors) -> Result<Strategy, FactorJobError> {
    let has_spectrum = |strategy: Strategy| strategy != Strategy::Identity;
    match of.content.stamp.approximated_as(asked, has_spectrum)? {
        Strategy::Identity => Err(FactorJobError::Option(
            "all eigenvalues of the identity are 1: there is no spectrum".to_owned(),
        )),
        strategy => Ok(strategy),
    }
}

/// How far the other factors of a request are from the spectra of its own, by factors and module. Memory:
/// twice the factors of a module.
///
/// # Errors
/// No factors of a name, or without a module that the spectra are of, a strategy that was not fitted, damage.
pub fn factor_differences(
    snapshot: &Snapshot,
    request: &SpectraRequest,
    of: &[ModuleSpectrum],
) -> Result<Vec<SpectrumDifference>, FactorJobError> {
    let stored = StoredFactors::open(snapshot, &request.name)?;
    let strategy = approximation(request.strategy, &stored)?;
    let parts = FactorParts::of(strategy);
    let own = stored.reader(snapshot, parts)?;
    let read = |reader: &FactorReader, name: &str| reader.module(name).map_err(FactorJobError::from);
    let mut all = Vec::with_capacity(of.len() * request.against.len());
    for against in &request.against {
        let other = StoredFactors::open(snapshot, against)?;
        approximation(Some(strategy), &other).map_err(|error| match error {
            FactorJobError::Refused(why) => FactorJobError::Refused(format!("factors `{against}`: {why}")),
            error => error,
        })?;
        let other = other.reader(snapshot, parts)?;
        let names: Vec<String> = of.iter().map(|one| one.module.name.clone()).collect();
        other.chosen(Some(&names))?;
        for one in of {
            let name = &one.module.name;
            let ((_, before), (module, factors)) = (read(&own, name)?, read(&other, name)?);
            if (module.out, module.input) != (one.module.out, one.module.input) {
                return Err(FactorJobError::Refused(format!(
                    "module `{name}` has {} outputs and {} inputs in factors `{against}`: they are of another model",
                    module.out, module.input
                )));
            }
            let sides = eigenvalue_differences(&before, &factors);
            let ModuleSpectrum { spectrum, .. } =
                ModuleSpectrum::new((module, factors), strategy, request.damping)?;
            all.push(SpectrumDifference {
                against: against.clone(),
                lambda: one.spectrum.difference(&spectrum),
                activation: sides[0],
                gradient: sides[1],
                dimension: relative(one.spectrum.effective_dimension(), spectrum.effective_dimension()),
            });
        }
    }
    Ok(all)
}

/// Differences of the eigenvalues of both covariances, where there are some.
fn eigenvalue_differences(before: &ModuleFactors, now: &ModuleFactors) -> [Option<f64>; 2] {
    let sides =
        [(&before.activation_eigen, &now.activation_eigen), (&before.gradient_eigen, &now.gradient_eigen)];
    sides.map(|(before, now)| {
        let spectrum = |values: &[f64]| Spectrum::new(values.to_vec(), 0.0);
        let (before, now) = before.as_ref().zip(now.as_ref())?;
        Some(spectrum(&before.values).difference(&spectrum(&now.values)))
    })
}

/// The difference of two numbers as a part of the first.
fn relative(of: f64, other: f64) -> f64 {
    if of == other { 0.0 } else { (other - of).abs() / of }
}
