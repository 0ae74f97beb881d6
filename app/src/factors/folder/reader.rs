//! Reader of finished factors, one module at a time: of a folder, or in place of an artifact of a store.
//!
//! Only the quantities that are wanted are opened: covariances are as large as eigenvectors, and scores need
//! none.

mod bases;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gstore_curvature::{Blocks, Covariance, Eigen, Module, ModuleFactors, Squares, Strategy};
use gstore_model::architectures::transformers_name;
use gstore_store::FileMap;

use super::arguments::FactorArguments;
use super::error::FactorError;
use super::tensors::Tensors;
use super::{
    ARGUMENTS, COVARIANCE_COUNTS, COVARIANCES, EIGENVALUES, EIGENVECTORS, LAMBDA, LAMBDA_COUNT, file_name,
};

/// Opens a file by the name of its quantity; none where there is none.
pub(super) type OpenTensors<'a> = dyn FnMut(&str) -> Result<Option<Tensors>, FactorError> + 'a;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FactorParts {
    pub covariances: bool,
    /// Eigenvectors and eigenvalues.
    pub eigen: bool,
    /// Squares of gradients.
    pub lambda: bool,
}

impl FactorParts {
    pub const ALL: Self = Self { covariances: true, eigen: true, lambda: true };
    pub const COVARIANCES: Self = Self { eigen: false, lambda: false, ..Self::ALL };
    pub const EIGEN: Self = Self { covariances: false, lambda: false, ..Self::ALL };
    pub const LAMBDA: Self = Self { covariances: false, eigen: false, ..Self::ALL };

    /// What gradients are preconditioned with.
    pub fn of(strategy: Strategy) -> Self {
        let lambda = matches!(strategy, Strategy::Ekfac | Strategy::Diagonal);
        Self { covariances: false, eigen: strategy.rotates(), lambda }
    }

    /// The sums that later rows are added to.
    pub(crate) fn sums_of(strategy: Strategy) -> Self {
        Self { covariances: strategy.rotates(), eigen: false, lambda: strategy == Strategy::Diagonal }
    }

    /// Names of the quantities, in those of their files.
    pub(super) fn quantities(self) -> impl Iterator<Item = &'static str> {
        let covariances = COVARIANCES.into_iter().chain(COVARIANCE_COUNTS);
        let eigen = EIGENVECTORS.into_iter().chain(EIGENVALUES);
        covariances
            .filter(move |_| self.covariances)
            .chain(eigen.filter(move |_| self.eigen))
            .chain([LAMBDA, LAMBDA_COUNT].into_iter().filter(move |_| self.lambda))
    }

    /// Names of the files that have them, with the arguments.
    pub fn files(self) -> Vec<String> {
        let named = self.quantities().map(|what| file_name(what, None));
        std::iter::once(ARGUMENTS.to_owned()).chain(named).collect()
    }
}

/// What there is of whole modules.
#[derive(Debug)]
pub(crate) struct FactorReader {
    /// What errors call the factors.
    path: PathBuf,
    /// How the factors were fitted.
    pub arguments: FactorArguments,
    covariances: Option<TensorPair>,
    eigen: Option<TensorPair>,
    lambda: Option<(Tensors, Tensors)>,
    /// Names of the modules, in the order of the numbers in them.
    names: Vec<String>,
}

impl FactorReader {
    pub(super) fn new(
        path: &Path,
        arguments: FactorArguments,
        parts: FactorParts,
        open: &mut OpenTensors<'_>,
    ) -> Result<Self, FactorError> {
        let mut pair = |wanted: bool, first, second| match wanted {
            true => TensorPair::open(open, first, second),
            false => Ok(None),
        };
        let covariances = pair(parts.covariances, COVARIANCES, COVARIANCE_COUNTS)?;
        let eigen = pair(parts.eigen, EIGENVECTORS, EIGENVALUES)?;
        let lambda = if parts.lambda { lambda_files(open)? } else { None };
        let known = [covariances.as_ref(), eigen.as_ref()].into_iter().flatten().map(TensorPair::names);
        let of_lambda = lambda.as_ref().map(|(sums, _)| sums.names());
        let mut names = known.chain(of_lambda).max_by_key(Vec::len).unwrap_or_default();
        names.sort_by_cached_key(|name| natural(name));
        Ok(Self { path: path.to_owned(), arguments, covariances, eigen, lambda, names })
    }

    /// Of maps of the files of [`FactorParts::files`], by these names; what is not among them is not there.
    /// `path` is what errors call the factors.
    pub fn of_maps(
        path: &Path,
        parts: FactorParts,
        mut maps: BTreeMap<String, FileMap>,
    ) -> Result<Self, FactorError> {
        let missing = || FactorError::Missing { folder: path.to_owned(), what: ARGUMENTS.to_owned() };
        let arguments = maps.remove(ARGUMENTS).ok_or_else(missing)?;
        let arguments = FactorArguments::parse(arguments.as_bytes(), &path.join(ARGUMENTS))?;
        let open = &mut |what: &str| {
            let name = file_name(what, None);
            maps.remove(&name).map(|map| Tensors::of_map(path.join(&name), map)).transpose()
        };
        Self::new(path, arguments, parts, open)
    }

    /// Columns of the widest matrix of eigenvectors, as it is stored; none where there are none.
    pub fn widest(&self) -> Result<Option<usize>, FactorError> {
        let Some(files) = &self.eigen else { return Ok(None) };
        let mut most: Option<usize> = None;
        for name in files.names() {
            for side in &files.first {
                most = most.max(Some(side.blocks(&name)?.width()));
            }
        }
        Ok(most)
    }

    /// The modules that are named, or all, in the order of the numbers in their names.
    pub fn chosen(&self, modules: Option<&[String]>) -> Result<Vec<String>, FactorError> {
        let Some(wanted) = modules else { return Ok(self.names.clone()) };
        if let Some(none) = wanted.iter().find(|name| !self.names.contains(name)) {
            let what = format!("factors of module `{none}`; it has {}", some_names(&self.names));
            return Err(FactorError::Missing { folder: self.path.clone(), what });
        }
        Ok(self.names.iter().filter(|name| wanted.contains(name)).cloned().collect())
    }

    /// The name that the files have for a module of a model: its own, or that of transformers.
    pub fn name_in_files<'a>(&self, module: &'a str) -> &'a str {
        match self.names.iter().any(|name| name == module) {
            true => module,
            false => transformers_name(module),
        }
    }

    /// What there is of a module.
    pub fn module(&self, name: &str) -> Result<(Module, ModuleFactors), FactorError> {
        let mut factors = ModuleFactors::default();
        if let Some(files) = &self.covariances {
            factors.activation = Some(files.covariance(0, name)?);
            factors.gradient = Some(files.covariance(1, name)?);
        }
        if let Some(files) = &self.eigen {
            factors.activation_eigen = Some(files.eigen(0, name)?);
            factors.gradient_eigen = Some(files.eigen(1, name)?);
        }
        let shape = self.add_squares(name, &mut factors)?;
        Ok((self.shaped(name, shape, &factors)?, factors))
    }

    /// The squares of a module's gradients alone, if there are some.
    pub fn squares(&self, name: &str) -> Result<ModuleFactors, FactorError> {
        let mut factors = ModuleFactors::default();
        self.add_squares(name, &mut factors)?;
        Ok(factors)
    }

    /// Adds the squares of gradients, if there are some; their outputs and inputs.
    fn add_squares(
        &self,
        name: &str,
        factors: &mut ModuleFactors,
    ) -> Result<Option<(usize, usize)>, FactorError> {
        let Some((sums, counts)) = &self.lambda else { return Ok(None) };
        let found = sums.shape(name)?;
        let [out, input] = found[..] else {
            return Err(sums.wrong(name, &format!("a lambda matrix has two sizes, not {found:?}")));
        };
        let squares = Squares { sums: sums.finite(name)?, count: counts.count(name)? };
        match self.arguments.strategy() {
            Strategy::Diagonal => factors.diagonal = Some(squares),
            _ => factors.lambda = Some(squares),
        }
        Ok(Some((out, input)))
    }

    /// The module that factors are of, whose parts have to agree on its sizes.
    fn shaped(
        &self,
        name: &str,
        shape: Option<(usize, usize)>,
        factors: &ModuleFactors,
    ) -> Result<Module, FactorError> {
        let size = |covariance: &Option<Covariance>| covariance.as_ref().map(|sums| sums.size);
        let of_sums = size(&factors.gradient).zip(size(&factors.activation));
        let of_bases = factors
            .gradient_eigen
            .as_ref()
            .map(Eigen::size)
            .zip(factors.activation_eigen.as_ref().map(Eigen::size));
        let known: Vec<(usize, usize)> = [shape, of_sums, of_bases].into_iter().flatten().collect();
        match known[..] {
            [(out, input), ref others @ ..] if others.iter().all(|other| *other == (out, input)) => {
                Ok(Module { name: name.to_owned(), out, input, bias: false })
            }
            _ => Err(FactorError::file(
                &self.path,
                format!("module `{name}`: its factors have sizes {known:?}"),
            )),
        }
    }
}

/// Files of two quantities, each of inputs and of gradients of outputs.
#[derive(Debug)]
struct TensorPair {
    first: [Tensors; 2],
    second: [Tensors; 2],
}

impl TensorPair {
    /// Opens them; none where one of them is not there.
    fn open(
        open: &mut OpenTensors<'_>,
        first: [&str; 2],
        second: [&str; 2],
    ) -> Result<Option<Self>, FactorError> {
        let [a, b, c, d] = [open(first[0])?, open(first[1])?, open(second[0])?, open(second[1])?];
        Ok(a.zip(b).zip(c.zip(d)).map(|((a, b), (c, d))| Self { first: [a, b], second: [c, d] }))
    }

    /// Names of the modules, in byte order.
    fn names(&self) -> Vec<String> {
        self.first[0].names()
    }

    /// Size of a square matrix, whole or in blocks.
    fn size(&self, side: usize, name: &str) -> Result<usize, FactorError> {
        self.first[side].blocks(name).map(Blocks::size)
    }

    fn covariance(&self, side: usize, name: &str) -> Result<Covariance, FactorError> {
        let (file, size) = (&self.first[side], self.size(side, name)?);
        let sums = Covariance { size, sums: file.finite(name)?, count: self.second[side].count(name)? };
        bases::check_symmetric(file, name, &sums)?;
        Ok(sums)
    }

    fn eigen(&self, side: usize, name: &str) -> Result<Eigen, FactorError> {
        let size = self.size(side, name)?;
        let values = self.second[side].finite(name)?;
        if values.len() != size {
            let detail = format!("{} eigenvalues for {size} eigenvectors", values.len());
            return Err(self.second[side].wrong(name, &detail));
        }
        // Rounding may have made some negative.
        let values = values.into_iter().map(|value| value.max(0.0)).collect();
        Ok(Eigen { values, vectors: self.first[side].finite(name)? })
    }
}

/// Files of squares of gradients and of their counts.
fn lambda_files(open: &mut OpenTensors<'_>) -> Result<Option<(Tensors, Tensors)>, FactorError> {
    let (sums, counts) = (open(LAMBDA)?, open(LAMBDA_COUNT)?);
    Ok(sums.zip(counts))
}

/// A name whose numbers are compared as numbers: layer 2 comes before layer 10.
fn natural(name: &str) -> Vec<(u64, String)> {
    let part = |part: &str| match part.parse() {
        Ok(number) => (number, String::new()),
        Err(_) => (u64::MAX, part.to_owned()),
    };
    name.split('.').map(part).collect()
}

/// A few of some names.
pub(in crate::factors) fn some_names(names: &[String]) -> String {
    let few: Vec<&str> = names.iter().take(3).map(String::as_str).collect();
    match names.len() {
        0 => "none".to_owned(),
        n if n > 3 => format!("{}, ... ({n} in all)", few.join(", ")),
        _ => few.join(", "),
    }
}
