//! Text options of a ground truth: those of the rows that models are trained on, and of the queries.

use std::path::PathBuf;

use anyhow::Result;
use gstore_core::Cancel;
use gstore_data::{
    Reading, SampleError, SampleSource, TextEncoder, TextOptions, TextSample, check_block, check_system,
};
use gstore_evaluate::attribution::TruthFolder;
use gstore_train::TrainError;

/// How each of the two becomes tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Texts {
    /// Of the rows of the pool.
    pub pool: TextOptions,
    /// Of the queries, which are not cut.
    pub queries: TextOptions,
}

/// The options for rows and queries, checked before anything is trained.
///
/// A system message that only one of the two has a place for is left out of the other's, where it changes nothing: by
/// itself each would be refused.
///
/// # Errors
/// Samples that cannot be read; blocks that cut no row, and a system message that neither a row nor a query gets.
pub fn of_each(
    truth: &TruthFolder,
    encoder: &TextEncoder,
    text: &TextOptions,
    cancel: &Cancel,
) -> Result<Texts> {
    let (mut pool, mut queries) = (text.clone(), TextOptions { block: None, ..text.clone() });
    if text.block.is_none() && text.system.is_none() {
        return Ok(Texts { pool, queries });
    }
    let (rows, asked) = (read(truth.pool_file(), cancel)?, read(truth.queries_file(), cancel)?);
    check_block(&rows, encoder).map_err(TrainError::Samples)?;
    let gets = |samples: &[TextSample]| check_system(samples, encoder).is_ok();
    let (in_pool, in_queries) = (gets(&rows), gets(&asked));
    if !in_pool && !in_queries {
        return Err(TrainError::Samples(SampleError::NoSystem).into());
    }
    pool.system = pool.system.filter(|_| in_pool);
    queries.system = queries.system.filter(|_| in_queries);
    Ok(Texts { pool, queries })
}

fn read(path: PathBuf, cancel: &Cancel) -> Result<Vec<TextSample>> {
    let source = SampleSource::Files { paths: vec![path], fields: Vec::new() };
    Ok(source.read(Reading::Whole, &|_, _| true, cancel).map_err(TrainError::from)?.0)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use gstore_data::{Content, Message, Role};
    use gstore_evaluate::attribution::{Subset, SubsetKind, TruthPlan};

    use super::*;

    const BRIEF: &str = "Be brief.";

    fn conversation(id: &str) -> TextSample {
        let message = |role, content: &str| Message { role, content: content.to_owned() };
        let turns = vec![message(Role::User, "Is 7 odd?"), message(Role::Assistant, "Yes.")];
        sample(id, Content::Messages(turns))
    }

    fn pair(id: &str) -> TextSample {
        sample(id, Content::PromptCompletion { prompt: "Is 7 odd?".into(), completion: "Yes.".into() })
    }

    fn text(id: &str) -> TextSample {
        sample(id, Content::Text("Seven is odd.".into()))
    }

    fn sample(id: &str, content: Content) -> TextSample {
        TextSample { row: 0, id: id.to_owned(), content, begun: String::new(), metadata: Vec::new() }
    }

    /// The options of a truth of these rows and queries.
    fn of(pool: &[TextSample], queries: &[TextSample], text: &TextOptions) -> Result<Texts> {
        let place = tempfile::tempdir().unwrap();
        let subsets = [Subset { kind: SubsetKind::Random, rows: vec![0] }];
        let design = serde_json::Value::Null;
        let plan = TruthPlan { pool, queries, subsets: &subsets, repeats: 1, design };
        let truth = TruthFolder::create(&place.path().join("truth"), &plan).unwrap();
        let encoder = text.encoder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/model")).unwrap();
        of_each(&truth, &encoder, text, &Cancel::new())
    }

    fn refused(found: Result<Texts>) -> TrainError {
        found.unwrap_err().downcast().unwrap()
    }

    #[test]
    fn a_system_message_goes_where_one_has_a_place() {
        let options = TextOptions { system: Some(BRIEF.to_owned()), ..TextOptions::default() };
        let systems = |pool: &[TextSample], queries: &[TextSample]| {
            let found = of(pool, queries, &options).unwrap();
            [found.pool.system.is_some(), found.queries.system.is_some()]
        };
        assert_eq!(systems(&[pair("a"), conversation("b")], &[conversation("q")]), [true, true]);
        assert_eq!(systems(&[conversation("a")], &[pair("q")]), [true, false]);
        assert_eq!(systems(&[pair("a")], &[pair("p"), conversation("q")]), [false, true]);
        let error = refused(of(&[pair("a")], &[pair("q")], &options));
        assert!(matches!(error, TrainError::Samples(SampleError::NoSystem)), "{error}");
    }

    #[test]
    fn blocks_cut_a_row_and_no_query() {
        let options = TextOptions { block: Some(16), ..TextOptions::default() };
        let found = of(&[conversation("a"), text("b")], &[conversation("q")], &options).unwrap();
        assert_eq!((found.pool.block, found.queries.block), (Some(16), None));
        let error = refused(of(&[conversation("a")], &[text("q")], &options));
        assert!(matches!(error, TrainError::Samples(SampleError::NothingToCut)), "{error}");
    }
}
