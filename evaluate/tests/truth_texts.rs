//! Promise: options of text are those of rows and queries, and none is refused after the first model.

use gstore_core::Cancel;
use gstore_data::{Content, Message, Role, SampleError, TextOptions, TextSample};
use gstore_evaluate::EvaluateError;
use gstore_evaluate::attribution::{Subset, SubsetKind, TruthFolder, TruthPlan, TruthTexts};

use crate::common::demo;

fn conversation(id: &str) -> TextSample {
    let message = Message::new;
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
fn of(pool: &[TextSample], queries: &[TextSample], text: &TextOptions) -> Result<TruthTexts, EvaluateError> {
    let place = tempfile::tempdir().expect("a folder");
    let subsets = [Subset { kind: SubsetKind::Random, rows: vec![0] }];
    let design = serde_json::Value::Null;
    let plan = TruthPlan { pool, queries, subsets: &subsets, repeats: 1, design };
    let truth = TruthFolder::create(&place.path().join("truth"), &plan, &Cancel::new()).expect("made");
    truth.texts(&text.encoder(&demo()).expect("a tokenizer"), text, &Cancel::new())
}

#[test]
fn a_system_message_goes_where_one_has_a_place() {
    let options = TextOptions { system: Some("Be brief.".to_owned()), ..TextOptions::default() };
    let systems = |pool: &[TextSample], queries: &[TextSample]| {
        let found = of(pool, queries, &options).expect("a place");
        [found.pool.system.is_some(), found.queries.system.is_some()]
    };
    assert_eq!(systems(&[pair("a"), conversation("b")], &[conversation("q")]), [true, true]);
    assert_eq!(systems(&[conversation("a")], &[pair("q")]), [true, false]);
    assert_eq!(systems(&[pair("a")], &[pair("p"), conversation("q")]), [false, true]);
    let error = of(&[pair("a")], &[pair("q")], &options).unwrap_err();
    assert!(matches!(error, EvaluateError::Samples(SampleError::NoSystem)) && error.is_usage(), "{error}");
}

#[test]
fn blocks_cut_a_row_and_no_query() {
    let options = TextOptions { block: Some(16), ..TextOptions::default() };
    let found = of(&[conversation("a"), text("b")], &[conversation("q")], &options).expect("a text");
    assert_eq!((found.pool.block, found.queries.block), (Some(16), None));
    let error = of(&[conversation("a")], &[text("q")], &options).unwrap_err();
    assert!(
        matches!(error, EvaluateError::Samples(SampleError::NothingToCut)) && error.is_usage(),
        "{error}"
    );
}
