//! Spectra of a store's factors, a module at a time.

use glob::Pattern;
use gstore_curvature::{Damping, Module, ModuleFactors, Strategy};
use gstore_store::Snapshot;

use super::error::FactorJobError;
use super::folder::FactorError;
use super::inspect::{ModuleSpectrum, spectra};
use super::publish::in_folder;

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
}

/// The spectra of factors. Memory: the eigenvalues of the modules that are asked for, twice, and the factors of one.
///
/// # Errors
/// No factors of this name, a glob that is none, no module that is meant, a strategy that was not fitted, damage.
pub fn factor_spectra(
    snapshot: &Snapshot,
    request: &SpectraRequest,
) -> Result<Vec<ModuleSpectrum>, FactorJobError> {
    let found = in_folder(snapshot, &request.name)?;
    let pattern = |text: &String| {
        Pattern::new(text).map_err(|error| FactorJobError::Option(format!("{text} is no glob: {error}")))
    };
    let patterns = request.modules.iter().map(pattern).collect::<Result<Vec<Pattern>, _>>()?;
    let layer = |name: &str| name.split('.').find_map(|part| part.parse::<u32>().ok());
    let is_meant = |module: &&Module| {
        let name = module.name.as_str();
        (request.layer.is_none() || request.layer == layer(name))
            && (patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(name)))
    };
    let stamp = &found.content.stamp;
    let names: Vec<String> =
        stamp.modules.iter().filter(is_meant).map(|module| module.name.clone()).collect();
    if names.is_empty() {
        let known: Vec<&str> = stamp.modules.iter().take(3).map(|module| module.name.as_str()).collect();
        let (name, known) = (&request.name, known.join(", "));
        return Err(FactorJobError::Option(format!(
            "factors `{name}` have no such module; they have for example {known}"
        )));
    }
    let strategy = request.strategy.unwrap_or(found.folder.arguments().strategy());
    let mut all = Vec::with_capacity(names.len());
    let each = &mut |module: Module, factors: ModuleFactors| -> Result<(), FactorError> {
        all.extend(spectra(&[(module, factors)], strategy, request.damping)?);
        Ok(())
    };
    found.folder.each_factors(Some(&names), each).map_err(FactorJobError::other)?;
    Ok(all)
}
