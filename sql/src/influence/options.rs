//! Arguments that several functions have or that take more than one step to read: what is compared, the mode, the rules of a ranking, and what
//! has a ranking of its own.

use gstore_query::QueryError;
use gstore_query::influence::{Diversity, Each, InfluenceSpec, Missing, Mode, Order, Quota};

use super::columns::Besides;
use super::each::EachOptions;
use super::set;
use crate::args::Arguments;
use crate::error::SqlError;

/// The question with the vectors that are compared, and how.
pub(super) fn pairs(args: &Arguments, spec: InfluenceSpec) -> Result<InfluenceSpec, SqlError> {
    let partial = args.boolean("partial")?.unwrap_or(false);
    let mut spec = InfluenceSpec {
        run: args.text("run")?,
        checkpoints: args.texts("checkpoints")?,
        weights: args.numbers("weights")?,
        pool_kind: args.text("pool_kind")?.or(args.text("kind")?),
        target_kind: args.text("target_kind")?,
        features: args.texts("features")?.unwrap_or_default(),
        partial,
        missing: Missing::unless_said(partial),
        ..spec
    };
    set(args, "sim", &mut spec.sim)?;
    set(args, "missing", &mut spec.missing)?;
    if let Some(globs) = args.texts("modules")? {
        spec.modules = Some(globs.join(", ").parse().map_err(|e| SqlError::query(e).about("modules"))?);
    }
    Ok(spec)
}

/// Whether a sketch may serve the ranking, and what it may leave open.
pub(super) fn mode(args: &Arguments) -> Result<Mode, SqlError> {
    let options = (number(args, "miss")?, number(args, "tolerance")?, args.boolean("certified")?);
    let (miss, tolerance, certified) = options;
    Mode::from_options(args.text("mode")?.as_deref(), miss, tolerance, certified).map_err(|error| {
        let blamed = match &error {
            QueryError::Option { .. } => "mode",
            _ if miss.is_some() => "miss",
            _ if tolerance.is_some() => "tolerance",
            _ => "certified",
        };
        SqlError::query(error).about(blamed)
    })
}

fn number(args: &Arguments, name: &'static str) -> Result<Option<f64>, SqlError> {
    let Some(numbers) = args.numbers(name)? else { return Ok(None) };
    match numbers[..] {
        [only] => Ok(Some(only)),
        _ => Err(SqlError::query(QueryError::Spec(format!("`{name}` takes one number"))).about(name)),
    }
}

/// What has a ranking of its own, if the arguments say so.
pub(super) fn each_options(
    args: &Arguments,
    k: Option<usize>,
    rules: &Diversity,
    besides: Besides,
) -> Result<Option<EachOptions>, SqlError> {
    let mut order = Order::Best;
    set(args, "order", &mut order)?;
    let Some(word) = args.text("each")? else {
        return match args.option("order") {
            None => Ok(None),
            Some(_) => Err(SqlError::invalid(
                "`order` is an option of `each`; elsewhere ORDER BY score says it".to_owned(),
            )
            .about("order")),
        };
    };
    let each = word
        .parse()
        .map_err(|_| SqlError::query(QueryError::option("each", &word, Each::WORDS)).about("each"))?;
    let refuse = |why: &str, option| Err(SqlError::invalid(why.to_owned()).about(option));
    check_terms(args, "each", each)?;
    let Some(k) = k else {
        return refuse("`each` gives rankings of a given length; say how long with k => n", "each");
    };
    if *rules != Diversity::default() {
        return refuse(
            "quota, distinct and round_robin are rules of one ranking, so they cannot go with `each`",
            "each",
        );
    }
    if besides.explanation {
        return refuse(
            "`explain` says what stands behind the score of a whole question; leave it or `each` out",
            "explain",
        );
    }
    Ok(Some(EachOptions { each, order, k }))
}

/// Refuses terms that rankings for each would not make use of; `option` is what asks for these.
fn check_terms(args: &Arguments, option: &str, each: Each) -> Result<(), SqlError> {
    let (unused, how): (&[&'static str], _) = match each {
        Each::Sample => (&["within", "across", "fold"], "how samples combine"),
        Each::Subtask => (&["across"], "how subtasks combine"),
        Each::Target => (&[], ""),
    };
    let Some(name) = unused.iter().copied().find(|name| args.option(name).is_some()) else { return Ok(()) };
    let other = if name == "across" { Each::Target } else { Each::Subtask };
    let why = format!(
        "`{name}` says {how}, and with `{option} => '{each}'` each has a ranking by itself; leave `{name}` out, or ask with \
         `{option} => '{other}'`"
    );
    Err(SqlError::invalid(why).about(name))
}

/// The rules that the arguments name.
pub(super) fn rules(args: &Arguments) -> Result<Diversity, SqlError> {
    let quota = match args.texts("quota")? {
        Some(limits) => {
            let quota: Quota = limits.join(",").parse().map_err(|e| SqlError::query(e).about("quota"))?;
            Some(match args.text("quota_by")? {
                Some(column) => quota.by(column),
                None => quota,
            })
        }
        None if args.option("quota_by").is_some() => {
            return Err(SqlError::invalid(
                "`quota_by` says what `quota` counts by, and there is none".to_owned(),
            )
            .about("quota_by"));
        }
        None => None,
    };
    let round_robin = match args.text("round_robin")? {
        Some(word) => Some(word.parse().map_err(|_| {
            SqlError::query(QueryError::option("round_robin", &word, Each::WORDS)).about("round_robin")
        })?),
        None => None,
    };
    if let Some(each) = round_robin {
        check_terms(args, "round_robin", each)?;
    }
    let distinct = match args.numbers("distinct")?.as_deref() {
        None => None,
        Some([limit]) if (-1.0..=1.0).contains(limit) => Some(*limit),
        Some(_) => {
            return Err(
                SqlError::invalid("`distinct` is one cosine, between -1 and 1".to_owned()).about("distinct")
            );
        }
    };
    Ok(Diversity { quota, distinct, round_robin })
}
