//! Tags over the network: names that keep snapshots.

use gstore_store::{ChangeError, ConcurrentChange, SnapshotName, Store, TagInfo, TagName, TagOptions};
use serde::Deserialize;
use serde_json::{Value, json};
use tonic::Status;

use super::AuthorizedRequest;
use crate::json::read_object;
use crate::put::{disk_status, may_write};
use crate::status;

/// What messages call that which a client sends with an action.
const BODY: &str = "the body of the action";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: String,
    snapshot: Option<Value>,
    #[serde(default, rename = "move")]
    move_there: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delete {
    name: String,
}

/// A tag as clients see it.
pub(super) fn tag_json(tag: &TagInfo) -> Value {
    json!({"name": tag.name, "snapshot": tag.snapshot, "created": tag.created})
}

/// Names a snapshot.
pub(super) async fn create(asking: &AuthorizedRequest, body: &[u8]) -> Result<Vec<u8>, Status> {
    let wanted: Create = read_object(BODY, body)?;
    let name: TagName = wanted.name.parse().map_err(|e| invalid(&e))?;
    let at: Option<SnapshotName> = match wanted.snapshot {
        None => None,
        Some(Value::String(text)) => Some(text.parse().map_err(|e| invalid(&e))?),
        Some(Value::Number(number)) => Some(number.to_string().parse().map_err(|e| invalid(&e))?),
        Some(_) => return Err(Status::invalid_argument("a snapshot is a number or a tag")),
    };
    let what = format!("create_tag {name}");
    change(asking, &what, move |store, command| {
        let target = store.tag_target(at.as_ref()).map_err(|e| status::open_status(&e))?;
        let options = TagOptions { command, move_there: wanted.move_there };
        store.tag(&name, &target, options).map_err(|e| tag_status(&e))?;
        Ok(json!({"name": name.to_string(), "snapshot": target.number()}))
    })
    .await
}

/// Removes a name.
pub(super) async fn delete(asking: &AuthorizedRequest, body: &[u8]) -> Result<Vec<u8>, Status> {
    let wanted: Delete = read_object(BODY, body)?;
    let what = format!("delete_tag {}", wanted.name.escape_debug());
    change(asking, &what, move |store, command| {
        let snapshot = store.snapshot().map_err(|e| status::open_status(&e))?;
        let tag = snapshot.tag(&wanted.name).map_err(|e| Status::not_found(e.to_string()))?;
        store.untag(&tag, &command).map_err(|e| tag_status(&e))?;
        Ok(tag_json(&tag))
    })
    .await
}

/// Changes the store, for a token that may write all of it: a tag keeps every dataset.
async fn change(
    asking: &AuthorizedRequest,
    what: &str,
    change: impl FnOnce(&Store, String) -> Result<Value, Status> + Send + 'static,
) -> Result<Vec<u8>, Status> {
    let work = async {
        may_write(&asking.caller)?;
        if asking.caller.datasets.is_some() {
            let why = "tags belong to the whole store, and the token is only for some datasets";
            return Err(Status::permission_denied(why));
        }
        let store = asking.core.sessions.store.clone();
        let command = format!("{what} (token {})", asking.caller.name);
        let work = asking.core.workers.spawn_blocking(move || change(&store, command));
        work.await.unwrap_or_else(|e| Err(status::internal("the tag cannot be changed", &e)))
    };
    Ok(asking.recorded("tag", what, work).await?.to_string().into_bytes())
}

fn invalid(error: &dyn std::fmt::Display) -> Status {
    Status::invalid_argument(error.to_string())
}

fn tag_status(error: &ChangeError) -> Status {
    match error {
        error if error.is_damage() => status::damaged(),
        ChangeError::TagExists { name, snapshot, .. } => Status::already_exists(format!(
            "tag {name:?} is on snapshot {snapshot} already; `move` takes it from there"
        )),
        error @ ChangeError::TagVerb { .. } => invalid(error),
        ChangeError::Changed(error @ ConcurrentChange::Gone { .. }) => Status::not_found(error.to_string()),
        ChangeError::Changed(error) => Status::aborted(error.to_string()),
        error => disk_status(error).unwrap_or_else(|| status::internal("the tag cannot be changed", error)),
    }
}
