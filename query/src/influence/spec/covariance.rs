//! Covariance options of a question: which of them there are, read and written.

use serde_json::{Map, Value, json};

use super::options::{COVARIANCE_OPTIONS, Function, OPTIONS};
use super::values::{OptionError, Options};
use super::{InfluenceSpec, Method};
use crate::daunce::{Covariance, CovarianceOptions};

/// The part of a question that asks for covariances, if it does.
pub(super) fn read(options: &Options) -> Result<Option<Covariance>, OptionError> {
    let method: Option<Method> = options.word("method")?;
    let asked = options.function() == Function::Daunce
        || method == Some(Method::Daunce)
        || method.is_none() && options.has("ensemble");
    if !asked {
        let own = COVARIANCE_OPTIONS.iter().copied().find(|name| options.has(name));
        return own.map_or(Ok(None), |name| {
            let why = format!("`{name}` is an option of the method daunce, which is not asked for");
            Err(OptionError::new(name, why))
        });
    }
    if let Some(option) = OPTIONS.iter().find(|option| option.is_of_vectors() && options.has(option.name)) {
        let name = option.name;
        let why = format!("`{name}` is about vectors, and the method daunce compares losses; leave it out");
        return Err(OptionError::new(name, why));
    }
    let usual = Covariance::default();
    let ddof = options.count("ddof")?.map_or(Ok(usual.how.ddof), |ddof| match ddof {
        0 => Ok(0),
        1 => Ok(1),
        other => Err(OptionError::new("ddof", format!("`ddof => {other}` is neither 0 nor 1"))),
    })?;
    let min_models = options.count("min_models")?.unwrap_or(usual.min_models);
    if let Some(why) = Covariance::refuses_min_models(min_models) {
        return Err(OptionError::new("min_models", why));
    }
    Ok(Some(Covariance {
        ensemble: options.text("ensemble")?,
        signal: options.text("signal")?,
        how: CovarianceOptions {
            score: options.word("score")?.unwrap_or(usual.how.score),
            center: options.word("center")?.unwrap_or(usual.how.center),
            ddof,
        },
        missing: options.word("missing")?.unwrap_or(usual.missing),
        groups: options.texts("groups")?.unwrap_or_default(),
        min_models,
    }))
}

/// The options that ask for it; those that say what is meant anyway are left out.
pub(super) fn write(spec: &InfluenceSpec, all: &mut Map<String, Value>) {
    let Some(covariance) = &spec.covariance else { return };
    let Covariance { ensemble, signal, how, missing, groups, min_models } = covariance;
    let usual = Covariance::default();
    let mut put = |name: &str, value: Value, is_usual: bool| {
        if !is_usual {
            all.insert(name.to_owned(), value);
        }
    };
    put("method", json!(Method::Daunce.word()), false);
    put("ensemble", json!(ensemble), ensemble.is_none());
    put("signal", json!(signal), signal.is_none());
    put("score", json!(how.score.word()), how.score == usual.how.score);
    put("center", json!(how.center.word()), how.center == usual.how.center);
    put("ddof", json!(how.ddof), how.ddof == usual.how.ddof);
    put("missing", json!(missing.word()), *missing == usual.missing);
    put("groups", json!(groups), groups.is_empty());
    put("min_models", json!(min_models), *min_models == usual.min_models);
}
