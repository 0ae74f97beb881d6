//! Questions from options, and as JSON.

use gstore_curvature::Inversion;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value, json};

use super::mode::{Mode, Plane, SketchMode};
use super::options::Function;
use super::values::{OptionError, Options};
use super::{InfluenceSpec, Missing, TargetRef, covariance};
use crate::error::QueryError;

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
            let why = "`raw` says how a `prompt` with its `completion` is asked, and none is given";
            return Err(OptionError::new("raw", why));
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
        let Preconditioner { precondition, damping, inversion, stale } = preconditioner(options)?;
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
            pool_kind: options.text("pool_kind")?.or(options.text("kind")?),
            target_kind: options.text("target_kind")?,
            features: options.texts("features")?.unwrap_or_default(),
            missing: missing.unwrap_or(Missing::default_for(partial)),
            partial,
            by: options.word("by")?.unwrap_or(default.by),
            modules,
            precondition,
            damping,
            inversion,
            stale,
            per_token: options.flag("per_token")?.unwrap_or(default.per_token),
            mode: mode(options)?,
            covariance,
        })
    }

    /// The options that ask this question; those that say what is meant anyway are left out.
    fn to_options(&self) -> Map<String, Value> {
        let Self { pools, targets, given, raw, exclude_target, run, checkpoints, weights, .. } = self;
        let Self { within, across, fold, sim, pool_kind, target_kind, features, missing, .. } = self;
        let Self { partial, by, modules, per_token, mode, precondition, damping, inversion, stale, .. } =
            self;
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
    stale: bool,
}

fn preconditioner(options: &Options) -> Result<Preconditioner, OptionError> {
    let precondition = options.text("precondition")?;
    // Rows in an eigenbasis have a damping of their own.
    let alone = ["inversion", "stale"].into_iter().find(|name| options.has(name));
    if let (None, Some(name)) = (&precondition, alone) {
        let why =
            format!("`{name}` says how a preconditioner is used, and none is named with `precondition`");
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
    let stale = options.flag("stale")?.unwrap_or(false);
    Ok(Preconditioner { precondition, damping, inversion, stale })
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
    let word = options.text("mode")?;
    let found = Mode::from_options(word.as_deref(), miss, tolerance, certified).map_err(|error| {
        let blamed = match &error {
            QueryError::Option { .. } => "mode",
            _ if miss.is_some() => "miss",
            _ if tolerance.is_some() => "tolerance",
            _ => "certified",
        };
        OptionError::of(blamed, &error)
    })?;
    match (found, planes) {
        (Mode::Sketch(sketch), planes) => Ok(Mode::Sketch(SketchMode { planes, ..sketch })),
        (Mode::Exact, None) => Ok(Mode::Exact),
        (Mode::Exact, Some(_)) => Err(OptionError::new(
            "planes",
            "`planes` is an option of the mode `sketch`, and that is not asked for",
        )),
    }
}

/// Samples that options give as text (`prompt` with `completion`, `messages` or `text`), as
/// records of a data file.
///
/// # Errors
/// What is no text, a prompt without a completion, messages that are no list.
pub fn records(options: &Options) -> Result<Vec<String>, OptionError> {
    let texts = |name: &'static str| options.value(name).map(|value| plain(name, value)).transpose();
    let records = match (texts("prompt")?, texts("completion")?) {
        (None, None) => Vec::new(),
        (Some(prompts), Some(completions)) if prompts.len() == completions.len() => {
            let pairs = prompts.iter().zip(&completions);
            pairs.map(|(prompt, completion)| json!({ "prompt": prompt, "completion": completion })).collect()
        }
        (Some(prompts), Some(completions)) => {
            let why = format!(
                "{} prompts and {} completions; each prompt has one",
                prompts.len(),
                completions.len()
            );
            return Err(OptionError::new("completion", why));
        }
        (prompts, _) => {
            let (there, lacks) =
                if prompts.is_some() { ("prompt", "completion") } else { ("completion", "prompt") };
            let why = format!("`{there}` needs `{lacks}` as well; a text without either is given as `text`");
            return Err(OptionError::new(there, why));
        }
    };
    let messages = texts("messages")?.unwrap_or_default();
    let messages = messages.iter().map(|text| match serde_json::from_str::<Value>(text) {
        Ok(list) if list.is_array() => Ok(json!({ "messages": list })),
        _ => Err(OptionError::new(
            "messages",
            r#"`messages` takes a conversation as a JSON list: '[{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]'"#,
        )),
    });
    let messages = messages.collect::<Result<Vec<Value>, _>>()?;
    let plain = texts("text")?.unwrap_or_default().into_iter().map(|text| json!({ "text": text }));
    Ok(records.into_iter().chain(messages).chain(plain).map(|record| record.to_string()).collect())
}

/// One text or a list of them, as they are: a comma or a space is part of a text.
fn plain(name: &'static str, value: &Value) -> Result<Vec<String>, OptionError> {
    let text = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        other => {
            let why =
                format!("`{name}` must be text, or a list of texts, not {}", super::values::shown(other));
            Err(OptionError::new(name, why))
        }
    };
    let texts = match value {
        Value::Array(values) => values.iter().map(text).collect::<Result<Vec<_>, _>>()?,
        one => vec![text(one)?],
    };
    match texts.is_empty() {
        true => Err(OptionError::new(name, format!("`{name}` is an empty list"))),
        false => Ok(texts),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Across, Fold, Order, Sim, SubtaskBy, Within};
    use super::*;
    use crate::daunce::{Center, Covariance, How, MissingCells, Score};

    fn read(text: &str) -> Result<InfluenceSpec, String> {
        serde_json::from_str(text).map_err(|error: serde_json::Error| error.to_string())
    }

    #[test]
    fn a_question_reads_back_from_its_json() {
        let whole = InfluenceSpec {
            pools: vec!["pool".into(), "other".into()],
            targets: vec![TargetRef::parse("mmlu:law: torts"), TargetRef::parse("gsm8k")],
            exclude_target: true,
            run: Some("warmup".into()),
            checkpoints: Some(vec!["112".into(), "224".into()]),
            weights: Some(vec![0.1, 1.0 / 3.0]),
            within: Within::Max,
            across: Across::Sum,
            fold: Fold::UnitMean,
            sim: Sim::Dot,
            pool_kind: Some("grad-sgd".into()),
            target_kind: Some("grad-sgd".into()),
            features: vec!["7".into()],
            missing: Missing::Renormalise,
            partial: true,
            by: SubtaskBy::Dataset,
            modules: Some("*.mlp.*=1, lm_head=0.5".parse().unwrap()),
            precondition: Some("gram".into()),
            damping: Some(1e-3),
            inversion: Inversion::Tikhonov,
            stale: true,
            per_token: true,
            mode: Mode::Sketch(SketchMode {
                miss: 1e-9,
                tolerance: 0.25,
                certified: false,
                planes: Some(vec![Plane::Nibble, Plane::Int8]),
            }),
            ..InfluenceSpec::default()
        };
        let given = InfluenceSpec {
            pools: vec!["pool".into()],
            given: vec![r#"{"text":" a, b "}"#.into()],
            raw: true,
            mode: Mode::Sketch(SketchMode { certified: true, ..SketchMode::default() }),
            ..InfluenceSpec::default()
        };
        let daunce = InfluenceSpec {
            pools: vec!["pool".into()],
            targets: vec![TargetRef::parse("gsm8k")],
            within: Within::Max,
            covariance: Some(Covariance {
                ensemble: Some("copies".into()),
                signal: Some("loss".into()),
                how: How { score: Score::Corr, center: Center::Both, ddof: 0 },
                missing: MissingCells::Pairwise,
                groups: vec!["a".into(), "b".into()],
                min_models: 5,
            }),
            ..InfluenceSpec::default()
        };
        let plain = InfluenceSpec { covariance: Some(Covariance::default()), ..InfluenceSpec::default() };
        for spec in [whole, given, daunce, plain, InfluenceSpec::default()] {
            let text = serde_json::to_string(&spec).unwrap();
            assert_eq!(read(&text).unwrap(), spec, "{text}");
        }
        assert_eq!(serde_json::to_string(&InfluenceSpec::default()).unwrap(), "{}");
    }

    #[test]
    fn json_is_read_as_options_of_sql_are() {
        let spec =
            read(r#"{"pool":"a, b","target":"t","weights":"0.5,2","checkpoints":[112],"partial":true}"#);
        let spec = spec.unwrap();
        assert_eq!((spec.pools, spec.weights), (vec!["a".into(), "b".into()], Some(vec![0.5, 2.0])));
        assert_eq!((spec.checkpoints, spec.missing), (Some(vec!["112".into()]), Missing::Exclude));
        for damping in ["null", "\"auto\""] {
            let spec = read(&format!(r#"{{"precondition":"g","damping":{damping}}}"#)).unwrap();
            assert_eq!((spec.damping, spec.inversion), (None, Inversion::Damped));
        }
        for (text, named) in [
            (r#"{"witin":"max"}"#, "did you mean `within`?"),
            (r#"{"within":"median"}"#, "within cannot be `median`: it is one of mean, max, min, sum"),
            (r#"{"weights":["heavy"]}"#, "option `weights` must be numbers; `heavy` is none"),
            (r#"{"weights":[1,null]}"#, "number 2 of the list is NULL"),
            (r#"{"partial":"yes"}"#, "option `partial` must be true or false, not yes"),
            (r#"{"pool":[]}"#, "`pool` is empty"),
            (r#"{"miss":0.1}"#, "`miss` is an option of the mode `sketch`"),
            (r#"{"planes":"sign"}"#, "`planes` is an option of the mode `sketch`"),
            (r#"{"k":3}"#, "a question has no option `k`"),
            (r#"{"solver":"cg"}"#, "computes gradients again"),
            (r#"{"solver":"cg"}"#, "with the solver cg"),
            (r#"{"target":"t","text":"x"}"#, "not both"),
            (r#"{"inversion":"tikhonov"}"#, "none is named with `precondition`"),
            (r#"{"precondition":"g","damping":"much"}"#, "not negative, or `auto`, not `much`"),
            (r#"{"precondition":"g","damping":-1}"#, "not negative, or `auto`, not `-1`"),
            (r#"{"precondition":"g","inversion":"sharp"}"#, "damped, absolute, tikhonov, pseudoinverse"),
            (r#"{"score":"corr"}"#, "`score` is an option of the method daunce"),
            (r#"{"method":"daunce","sim":"dot"}"#, "`sim` is about vectors"),
            (r#"{"ensemble":"e","ddof":2}"#, "`ddof` is 0 or 1"),
            (r#"{"ensemble":"e","missing":"exclude"}"#, "error, pairwise, drop_model"),
            (r#"{"ensemble":"e","min_models":1}"#, "at least 2 models"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn the_table_names_each_option_once_and_says_what_it_is_for() {
        use super::super::options::{OPTIONS, Takes};
        for (at, option) in OPTIONS.iter().enumerate() {
            assert!(OPTIONS[at + 1..].iter().all(|other| other.name != option.name), "{}", option.name);
            assert!(!option.about.is_empty() && !option.about.ends_with('.'), "{}", option.name);
            if let Takes::Word(words) = option.takes {
                let default = option.default.split(';').next().unwrap_or_default();
                assert!(default.is_empty() || words.contains(&default), "{}", option.name);
            }
        }
        assert_eq!(Options::new(Function::Influence).word::<Order>("order"), Ok(None));
    }
}
