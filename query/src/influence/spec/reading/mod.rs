//! Questions from options, and as JSON.

#[cfg(test)]
mod tests;
mod text;

pub use text::records;

use gstore_curvature::{Filter, Inversion};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value, json};

use super::mode::{Mode, Plane, SketchMode};
use super::options::Function;
use super::values::{OptionError, Options};
use super::{InfluenceSpec, Missing, TargetRef, covariance};
use crate::error::QueryError;

use text::plain;

impl InfluenceSpec {
    /// The question that options ask. What the values promise together is checked when it is planned.
    ///
    /// # Errors
    /// Values of another type, words that an option does not know, options that contradict each other.
    pub fn from_options(options: &Options) -> Result<Self, OptionError> {
        let mut given = options.value("given").map_or(Ok(Vec::new()), |value| plain("given", value))?;
        given.extend(records(options)?);
        if options.has("target") && !given.is_empty() {
            let why = "the target is a dataset or given as text, not both";
            return Err(OptionError::new("target", why));
        }
        let raw = options.flag("raw")?;
        if raw.is_some() && !options.has("prompt") && !options.has("given") {
            let why = "`raw` says how a `prompt` with its `completion` is asked, and neither is given";
            return Err(OptionError::new("raw", why));
        }
        let (pool_kind, kind) = (options.text("pool_kind")?, options.text("kind")?);
        if pool_kind.is_some() && kind.is_some() {
            let why = "`kind` and `pool_kind` both name the feature kind of the pool; leave one of them out";
            return Err(OptionError::new("pool_kind", why));
        }
        let targets = options.texts("target")?.unwrap_or_default();
        let partial = options.flag("partial")?.unwrap_or(false);
        let checkpoints = match options.text("checkpoint")? {
            Some(name) => Some(vec![name]),
            None => options.texts("checkpoints")?,
        };
        let modules = options.texts("modules")?.map(|globs| globs.join(", ").parse());
        let modules = modules.transpose().map_err(|error| OptionError::of("modules", &error))?;
        let default = Self::default();
        let covariance = covariance::read(options)?;
        let Preconditioner { precondition, damping, inversion, filter, stale } = preconditioner(options)?;
        // The word is one of the losses there.
        let missing = if covariance.is_some() { None } else { options.word("missing")? };
        Ok(Self {
            pools: options.texts("pool")?.unwrap_or_default(),
            targets: targets.iter().map(|target| TargetRef::parse(target)).collect(),
            given,
            raw: raw.unwrap_or(default.raw),
            exclude_target: options.flag("exclude_target")?.unwrap_or(default.exclude_target),
            run: options.text("run")?,
            checkpoints,
            weights: options.numbers("weights")?,
            within: options.word("within")?.unwrap_or(default.within),
            across: options.word("across")?.unwrap_or(default.across),
            fold: options.word("fold")?.unwrap_or(default.fold),
            sim: options.word("sim")?.unwrap_or(default.sim),
            pool_kind: pool_kind.or(kind),
            target_kind: options.text("target_kind")?,
            features: options.texts("features")?.unwrap_or_default(),
            missing: missing.unwrap_or(Missing::default_for(partial)),
            partial,
            by: options.word("by")?.unwrap_or(default.by),
            modules,
            precondition,
            damping,
            inversion,
            filter,
            stale,
            per_token: options.flag("per_token")?.unwrap_or(default.per_token),
            mode: mode(options)?,
            covariance,
            unscored: default.unscored,
        })
    }

    /// The options that ask this question; those that say what is meant anyway are left out.
    fn to_options(&self) -> Map<String, Value> {
        let Self { pools, targets, given, raw, exclude_target, run, checkpoints, weights, .. } = self;
        let Self { within, across, fold, sim, pool_kind, target_kind, features, missing, .. } = self;
        let Self { partial, by, modules, per_token, mode, .. } = self;
        let Self { precondition, damping, inversion, filter, stale, .. } = self;
        let default = Self::default();
        let mut all = Map::new();
        let mut put = |name: &str, value: Value, is_default: bool| {
            if !is_default {
                all.insert(name.to_owned(), value);
            }
        };
        put("pool", json!(pools), pools.is_empty());
        let names: Vec<String> = targets.iter().map(ToString::to_string).collect();
        put("target", json!(names), names.is_empty());
        put("given", json!(given), given.is_empty());
        put("raw", json!(raw), !raw);
        put("exclude_target", json!(exclude_target), !exclude_target);
        put("run", json!(run), run.is_none());
        put("checkpoints", json!(checkpoints), checkpoints.is_none());
        put("weights", json!(weights), weights.is_none());
        put("within", json!(within.word()), *within == default.within);
        put("across", json!(across.word()), *across == default.across);
        put("fold", json!(fold.word()), *fold == default.fold);
        put("sim", json!(sim.word()), *sim == default.sim);
        put("pool_kind", json!(pool_kind), pool_kind.is_none());
        put("target_kind", json!(target_kind), target_kind.is_none());
        put("features", json!(features), features.is_empty());
        put("missing", json!(missing.word()), *missing == Missing::default_for(*partial));
        put("partial", json!(partial), !partial);
        put("by", json!(by.word()), *by == default.by);
        put("modules", json!(modules.as_ref().map(|m| m.text())), modules.is_none());
        put("precondition", json!(precondition), precondition.is_none());
        put("damping", json!(damping), damping.is_none());
        put("inversion", json!(inversion.name()), *inversion == default.inversion);
        put("filter", json!(filter.map(|filter| filter.to_string())), filter.is_none());
        put("stale", json!(stale), !stale);
        put("per_token", json!(per_token), !per_token);
        if let Mode::Sketch(sketch) = mode {
            put("mode", json!("sketch"), false);
            put("miss", json!(sketch.miss), sketch.certified);
            put("tolerance", json!(sketch.tolerance), false);
            put("certified", json!(sketch.certified), !sketch.certified);
            let planes: Option<Vec<&str>> =
                sketch.planes.as_ref().map(|planes| planes.iter().map(|plane| plane.word()).collect());
            put("planes", json!(planes), planes.is_none());
        }
        covariance::write(self, &mut all);
        all
    }
}

impl Serialize for InfluenceSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_options().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for InfluenceSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let refused = |error: OptionError| de::Error::custom(QueryError::from(error));
        let mut options = Options::new(Function::Question);
        for (name, value) in Map::<String, Value>::deserialize(deserializer)? {
            options.set(&name, value).map_err(refused)?;
        }
        Self::from_options(&options).map_err(refused)
    }
}

/// The options of a preconditioner.
struct Preconditioner {
    precondition: Option<String>,
    damping: Option<f64>,
    inversion: Inversion,
    filter: Option<Filter>,
    stale: bool,
}

fn preconditioner(options: &Options) -> Result<Preconditioner, OptionError> {
    let precondition = options.text("precondition")?;
    // Rows in an eigenbasis have a damping of their own.
    let alone = [
        ("inversion", "`inversion` says how a preconditioner is used, and none is named with `precondition`"),
        (
            "stale",
            "`stale` accepts the Gram matrices or factors that `precondition` names, and `precondition` is not given: \
             name them there, also where rows are in the eigenbasis of factors",
        ),
    ];
    let alone = alone.into_iter().find(|(name, _)| options.has(name));
    if let (None, Some((name, why))) = (&precondition, alone) {
        return Err(OptionError::new(name, why));
    }
    let damping = match options.text("damping")? {
        Some(word) if word.eq_ignore_ascii_case("auto") => None,
        Some(word) => match word.parse::<f64>() {
            Ok(damping) if damping.is_finite() && damping >= 0.0 => Some(damping),
            _ => {
                let why = format!("`damping` is a number that is not negative, or `auto`, not `{word}`");
                return Err(OptionError::new("damping", why));
            }
        },
        None => None,
    };
    let inversion = match options.text("inversion")? {
        None => Inversion::default(),
        Some(word) => Inversion::parse(&word.to_ascii_lowercase()).ok_or_else(|| {
            OptionError::of("inversion", &QueryError::option("inversion", &word, &Inversion::NAMES))
        })?,
    };
    let filter = match options.text("filter")? {
        None => None,
        Some(word) => Some(word.parse::<Filter>().map_err(|e| OptionError::new("filter", e.to_string()))?),
    };
    let filter = filter.filter(|filter| filter.damping().is_none());
    if let (Some(filter), Some(_)) = (filter, damping) {
        let why = format!(
            "`damping` is added to eigenvalues that are inverted, and the filter {filter} inverts none"
        );
        return Err(OptionError::new("damping", why));
    }
    let stale = options.flag("stale")?.unwrap_or(false);
    Ok(Preconditioner { precondition, damping, inversion, filter, stale })
}

/// Whether a sketch may serve the ranking, and what it may leave open.
fn mode(options: &Options) -> Result<Mode, OptionError> {
    let (miss, tolerance) = (options.number("miss")?, options.number("tolerance")?);
    let certified = options.flag("certified")?;
    let planes: Option<Vec<Plane>> = match options.texts("planes")? {
        Some(words) => {
            let planes = words.iter().map(|word| word.parse()).collect::<Result<_, _>>();
            Some(planes.map_err(|error| OptionError::of("planes", &error))?)
        }
        None => None,
    };
    match options.text("mode")?.as_deref() {
        Some("sketch") if certified == Some(true) && miss.is_some() => Err(OptionError::new(
            "miss",
            "`certified` leaves no row to chance, and `miss` is a probability of missing one: leave one of them out",
        )),
        Some("sketch") => {
            let default = SketchMode::default();
            Ok(Mode::Sketch(SketchMode {
                miss: miss.unwrap_or(default.miss),
                tolerance: tolerance.unwrap_or(default.tolerance),
                certified: certified.unwrap_or(default.certified),
                planes,
            }))
        }
        None | Some("exact") => {
            match ["miss", "tolerance", "certified", "planes"].into_iter().find(|name| options.has(name)) {
                Some(name) => {
                    let why = format!("`{name}` is an option of the mode `sketch`, which is not asked for");
                    Err(OptionError::new(name, why))
                }
                None => Ok(Mode::Exact),
            }
        }
        Some(other) => Err(OptionError::of("mode", &QueryError::option("mode", other, &["exact", "sketch"]))),
    }
}
