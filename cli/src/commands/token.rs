//! `gstore token`: makes, lists and ends the tokens of a server.

use std::sync::Arc;

use anyhow::Result;
use arrow_array::{ArrayRef, RecordBatch, StringArray, TimestampMillisecondArray};
use gstore_server::{NewToken, TokenInfo, Tokens};
use serde_json::json;

use crate::args::{TokenArgs, TokenWhat};
use crate::context::Context;
use crate::failure::refuse;
use crate::statements::write;
use crate::streams::{out, print_json};

/// Does what the flags say.
pub fn run(context: &Context, args: &TokenArgs) -> Result<()> {
    let store = context.open()?;
    let tokens = Tokens::of(&store);
    match &args.what {
        TokenWhat::Create { name, scope, expires, datasets, json } => {
            let snapshot = store.snapshot()?;
            for dataset in datasets {
                snapshot.dataset(dataset)?;
            }
            let datasets = (!datasets.is_empty()).then(|| datasets.iter().cloned().collect());
            let (scope, expires) = (*scope, *expires);
            let token = tokens.create(NewToken { name: name.clone(), scope, expires, datasets })?;
            context.say("this token is shown once; only its digest is stored:");
            match json {
                true => print_json(&json!({ "name": name, "token": token }))?,
                false => out!("{token}"),
            }
        }
        TokenWhat::List { output } => write(context, &output.to, table(&tokens.list()?)?)?,
        TokenWhat::Revoke { name, json } => {
            let Some(name) = name else { refuse!("{}", ask_for_token(&tokens.list()?)) };
            tokens.revoke(name)?;
            match json {
                true => print_json(&json!({ "name": name }))?,
                false => out!("{name}: revoked"),
            }
        }
    }
    Ok(())
}

/// What is asked where no token is named.
fn ask_for_token(tokens: &[TokenInfo]) -> String {
    let names: Vec<&str> = tokens.iter().map(|token| token.name.as_str()).collect();
    match names.as_slice() {
        [] => "which token? there are none".to_owned(),
        names => format!("which token? give the name of one: {}", names.join(", ")),
    }
}

fn table(tokens: &[TokenInfo]) -> Result<RecordBatch> {
    let text = |value: fn(&TokenInfo) -> String| -> ArrayRef {
        Arc::new(tokens.iter().map(|token| Some(value(token))).collect::<StringArray>())
    };
    let time = |value: fn(&TokenInfo) -> Option<u64>| -> ArrayRef {
        let times = tokens.iter().map(|token| value(token).map(|t| i64::try_from(t).unwrap_or(i64::MAX)));
        Arc::new(times.collect::<TimestampMillisecondArray>().with_timezone("+00:00"))
    };
    let seen = |token: &TokenInfo| match &token.datasets {
        None => "all".to_owned(),
        Some(names) => names.iter().cloned().collect::<Vec<_>>().join(", "),
    };
    let state = |token: &TokenInfo| if token.is_expired() { "expired" } else { "works" }.to_owned();
    Ok(RecordBatch::try_from_iter([
        ("name", text(|token| token.name.clone())),
        ("scope", text(|token| token.scope.name().to_owned())),
        ("datasets", text(seen)),
        ("created", time(|token| Some(token.created))),
        ("expires", time(|token| token.expires)),
        ("state", text(state)),
        ("id", text(|token| token.id.clone())),
    ])?)
}
