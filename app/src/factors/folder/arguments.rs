//! Arguments of fits and of scores, by the names and with the defaults of Kronfluence 1.0.1.

use std::path::Path;

use gstore_curvature::Strategy;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::documents;
use super::error::FactorError;

/// Which sums of a fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FactorStage {
    /// Covariances of inputs and of gradients of outputs.
    Covariance,
    /// Squares of gradients.
    Lambda,
}

impl FactorStage {
    /// What names of arguments and of files begin with.
    pub(super) fn name(self) -> &'static str {
        match self {
            FactorStage::Covariance => "covariance",
            FactorStage::Lambda => "lambda",
        }
    }
}

/// Arguments of a fit: those of Kronfluence's `FactorArguments`, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct FactorArguments {
    strategy: Strategy,
    values: Map<String, Value>,
}

impl FactorArguments {
    /// Kronfluence's defaults: labels are sampled, at most 100,000 samples, no partitions, sums in f32.
    pub fn new(strategy: Strategy) -> Self {
        let defaults = json!({
            "strategy": strategy.name(),
            "use_empirical_fisher": false,
            "amp_dtype": null,
            "amp_scale": 65536.0,
            "has_shared_parameters": false,
            "covariance_max_examples": 100_000,
            "covariance_data_partitions": 1,
            "covariance_module_partitions": 1,
            "activation_covariance_dtype": "torch.float32",
            "gradient_covariance_dtype": "torch.float32",
            "eigendecomposition_dtype": "torch.float64",
            "lambda_max_examples": 100_000,
            "lambda_data_partitions": 1,
            "lambda_module_partitions": 1,
            "use_iterative_lambda_aggregation": false,
            "offload_activations_to_cpu": false,
            "per_sample_gradient_dtype": "torch.float32",
            "lambda_dtype": "torch.float32",
        });
        Self { strategy, values: serde_json::from_value(defaults).unwrap_or_default() }
    }

    /// Whose labels the loss has: the data's, or sampled ones.
    pub(crate) fn empirical_fisher(self, empirical: bool) -> Self {
        self.with("use_empirical_fisher", json!(empirical))
    }

    /// The same fit, with its curvature taken as another strategy has it.
    pub(crate) fn taken_as(self, strategy: Strategy) -> Self {
        Self { strategy, ..self.with("strategy", json!(strategy.name())) }
    }

    /// How many of the first samples are fitted on; none: all.
    pub(crate) fn max_examples(self, stage: FactorStage, most: Option<u64>) -> Self {
        self.with(&format!("{}_max_examples", stage.name()), json!(most))
    }

    /// Partitions of the data and of the modules.
    pub(crate) fn partitions(self, stage: FactorStage, (data, modules): (usize, usize)) -> Self {
        self.with(&format!("{}_data_partitions", stage.name()), json!(data))
            .with(&format!("{}_module_partitions", stage.name()), json!(modules))
    }

    /// Sums and eigenvectors are stored in f64.
    #[must_use]
    pub fn in_f64(self) -> Self {
        let names = ["activation_covariance_dtype", "gradient_covariance_dtype", "lambda_dtype"];
        names.into_iter().fold(self, |arguments, name| arguments.with(name, json!("torch.float64")))
    }

    /// How curvature is approximated.
    pub(crate) fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// Whether the loss has the data's labels.
    pub(crate) fn is_empirical(&self) -> bool {
        self.values.get("use_empirical_fisher").and_then(Value::as_bool).unwrap_or(false)
    }

    /// Number of partitions of the data and of the modules.
    pub(crate) fn partitions_of(&self, stage: FactorStage) -> (usize, usize) {
        let of = |what: &str| partition_count(&self.values, &format!("{}_{what}_partitions", stage.name()));
        (of("data"), of("module"))
    }

    /// Whether what an argument of a dtype names is stored in f64.
    pub(super) fn is_double(&self, name: &str) -> bool {
        self.values.get(name).and_then(Value::as_str) == Some("torch.float64")
    }

    pub(super) fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    pub(super) fn read(path: &Path) -> Result<Option<Self>, FactorError> {
        documents::read(path)?.map(|values| Self::of_values(values, path)).transpose()
    }

    /// Of the bytes of a file, which errors call `path`.
    pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Self, FactorError> {
        let values =
            serde_json::from_slice(bytes).map_err(|error| FactorError::file(path, error.to_string()))?;
        Self::of_values(values, path)
    }

    fn of_values(values: Map<String, Value>, path: &Path) -> Result<Self, FactorError> {
        let name = values.get("strategy").and_then(Value::as_str).unwrap_or_default();
        // A name of earlier versions.
        let name = if name == "diagfisher" { "diagonal" } else { name };
        let strategy = Strategy::parse(name).ok_or_else(|| {
            let known: Vec<&str> = Strategy::ALL.iter().map(|strategy| strategy.name()).collect();
            FactorError::file(path, format!("strategy {name:?} is not one of {}", known.join(", ")))
        })?;
        Ok(Self { strategy, values })
    }

    fn with(mut self, name: &str, value: Value) -> Self {
        self.values.insert(name.to_owned(), value);
        self
    }
}

/// Arguments of scores: those of Kronfluence's `ScoreArguments`, in their order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ScoreArguments {
    values: Map<String, Value>,
}

impl Default for ScoreArguments {
    /// Kronfluence's defaults, but for the damping: a tenth of the mean eigenvalue of each module.
    fn default() -> Self {
        let defaults = json!({
            "damping_factor": null,
            "amp_dtype": null,
            "offload_activations_to_cpu": false,
            "data_partitions": 1,
            "module_partitions": 1,
            "compute_per_module_scores": false,
            "compute_per_token_scores": false,
            "query_gradient_accumulation_steps": 1,
            "query_gradient_low_rank": null,
            "use_full_svd": false,
            "aggregate_query_gradients": false,
            "aggregate_train_gradients": false,
            "use_measurement_for_self_influence": false,
            "query_gradient_svd_dtype": "torch.float32",
            "per_sample_gradient_dtype": "torch.float32",
            "precondition_dtype": "torch.float32",
            "score_dtype": "torch.float32",
        });
        Self { values: serde_json::from_value(defaults).unwrap_or_default() }
    }
}

impl ScoreArguments {
    /// The damping of all modules; none: a tenth of the mean eigenvalue of each.
    pub(crate) fn damping(self, damping: Option<f64>) -> Self {
        self.with("damping_factor", json!(damping))
    }

    /// Rank of query gradients, exact; none: all of them.
    pub(crate) fn low_rank(self, rank: Option<usize>) -> Self {
        self.with("query_gradient_low_rank", json!(rank)).with("use_full_svd", json!(rank.is_some()))
    }

    /// Whether there are scores for each module, and for each token.
    pub(crate) fn apart(self, per_module: bool, per_token: bool) -> Self {
        self.with("compute_per_module_scores", json!(per_module))
            .with("compute_per_token_scores", json!(per_token))
    }

    /// Whether gradients of queries, and of training samples, are summed up.
    pub(crate) fn aggregated(self, queries: bool, training: bool) -> Self {
        self.with("aggregate_query_gradients", json!(queries))
            .with("aggregate_train_gradients", json!(training))
    }

    /// Whether one of the two gradients of a sample's score for itself is that of the measurement.
    pub(crate) fn self_influence_of(self, measurement: bool) -> Self {
        self.with("use_measurement_for_self_influence", json!(measurement))
    }

    /// Of the data and of the modules.
    #[cfg(test)]
    pub(crate) fn partitions(self, (data, modules): (usize, usize)) -> Self {
        self.with("data_partitions", json!(data)).with("module_partitions", json!(modules))
    }

    /// Number of partitions of the data and of the modules.
    pub(crate) fn partitions_of(&self) -> (usize, usize) {
        (partition_count(&self.values, "data_partitions"), partition_count(&self.values, "module_partitions"))
    }

    pub(super) fn sums_training(&self) -> bool {
        self.values.get("aggregate_train_gradients").and_then(Value::as_bool).unwrap_or(false)
    }

    pub(super) fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    pub(super) fn read(path: &Path) -> Result<Option<Self>, FactorError> {
        Ok(documents::read::<Map<String, Value>>(path)?.map(|values| Self { values }))
    }

    fn with(mut self, name: &str, value: Value) -> Self {
        self.values.insert(name.to_owned(), value);
        self
    }
}

/// What Kronfluence notes of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DatasetNote {
    #[serde(rename = "type")]
    pub kind: String,
    pub dataset_size: u64,
    /// The samples that are meant, in their order; none: all.
    pub indices: Option<Vec<u64>>,
}

/// Writes arguments, or compares them with those that are there.
pub(super) fn settle(path: &Path, values: &Map<String, Value>) -> Result<(), FactorError> {
    let Some(found) = documents::write_or_read::<Map<String, Value>>(path, values)? else { return Ok(()) };
    // 1 and 1.0 are the same number to Python.
    let same = |a: &Value, b: &Value| a == b || a.as_f64().is_some_and(|a| b.as_f64() == Some(a));
    let names = values.keys().chain(found.keys().filter(|name| !values.contains_key(*name)));
    for name in names {
        let (here, there) = (values.get(name), found.get(name));
        if !here.zip(there).is_some_and(|(here, there)| same(here, there)) {
            let text = |value: Option<&Value>| value.map_or_else(|| "not".to_owned(), Value::to_string);
            let (found, expected) = (text(there), text(here));
            return Err(FactorError::OtherArguments {
                path: path.to_owned(),
                argument: name.clone(),
                found,
                expected,
            });
        }
    }
    Ok(())
}

/// Arguments as texts of Python, for the header of a file of tensors.
pub(super) fn python_texts(values: &Map<String, Value>) -> Map<String, Value> {
    let text = |value: &Value| match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => python_number(&number.to_string()),
        other => other.to_string(),
    };
    values.iter().map(|(name, value)| (name.clone(), Value::String(text(value)))).collect()
}

/// `1e-8` as Python writes it: `1e-08`.
fn python_number(text: &str) -> String {
    match text.split_once("e-") {
        Some((digits, power)) if power.len() == 1 => format!("{digits}e-0{power}"),
        _ => text.to_owned(),
    }
}

/// A number of partitions; 1 where none is named.
fn partition_count(values: &Map<String, Value>, name: &str) -> usize {
    let value = values.get(name).and_then(Value::as_u64).and_then(|value| usize::try_from(value).ok());
    value.unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_texts_of_python() {
        let arguments = ScoreArguments::default().damping(Some(1e-8)).apart(true, false).low_rank(Some(32));
        let texts = python_texts(arguments.values());
        let of = |name: &str| texts[name].as_str().unwrap();
        assert_eq!((of("damping_factor"), of("compute_per_module_scores")), ("1e-08", "True"));
        assert_eq!((of("amp_dtype"), of("query_gradient_low_rank")), ("None", "32"));
        let texts = python_texts(FactorArguments::new(Strategy::Ekfac).values());
        assert_eq!(texts["amp_scale"].as_str(), Some("65536.0"));
    }

    #[test]
    fn other_arguments_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("factor_arguments.json");
        let arguments = FactorArguments::new(Strategy::Kfac).partitions(FactorStage::Lambda, (4, 2));
        settle(&path, arguments.values()).unwrap();
        settle(&path, arguments.values()).unwrap();
        assert_eq!(FactorArguments::read(&path).unwrap().as_ref(), Some(&arguments));
        assert_eq!(arguments.partitions_of(FactorStage::Lambda), (4, 2));
        let taken = arguments.clone().taken_as(Strategy::Identity);
        assert_eq!(taken, FactorArguments::new(Strategy::Identity).partitions(FactorStage::Lambda, (4, 2)));
        let other = arguments.clone().empirical_fisher(true);
        let refused = settle(&path, other.values()).unwrap_err().to_string();
        assert!(refused.contains("use_empirical_fisher false where true"), "{refused}");

        fs_err::write(&path, r#"{"strategy": "shampoo"}"#).unwrap();
        let refused = FactorArguments::read(&path).unwrap_err().to_string();
        assert!(refused.contains("\"shampoo\" is not one of identity, diagonal, kfac, ekfac"), "{refused}");
    }
}
