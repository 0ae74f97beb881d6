//! `ListFlights`: the datasets and features of a store as flights.

use std::collections::HashMap;

use arrow_flight::{FlightDescriptor, FlightInfo};
use gstore_sql::output::plain_schema;
use gstore_store::Snapshot;
use tonic::Status;

use super::AuthorizedRequest;
use super::get;
use crate::answer::ask::FlightRequest;
use crate::answer::plain::PlainRequest;
use crate::status;

/// The flights whose path, with slashes, contains the text, all of one snapshot.
pub(super) async fn flights(asking: &AuthorizedRequest, text: &[u8]) -> Result<Vec<FlightInfo>, Status> {
    let text = std::str::from_utf8(text);
    let text = text.map_err(|_| Status::invalid_argument("the criteria are a part of a path, as text"))?;
    let held = asking.session(None).await?;
    let asking = asking.at(held.snapshot().number());
    let mut infos = Vec::new();
    for (path, wanted) in
        all_flights(held.snapshot()).into_iter().filter(|(path, _)| path.join("/").contains(text))
    {
        let described = get::describe(&asking, FlightRequest::Plain(wanted)).await?;
        let info = described.info(&asking).try_with_schema(&plain_schema(&described.schema));
        let info = info.map_err(|e| status::internal("a schema cannot be sent", &e))?;
        infos.push(info.with_descriptor(FlightDescriptor::new_path(path)));
    }
    Ok(infos)
}

/// The datasets and features by their paths. A label that several features of a dataset have names none of
/// them.
fn all_flights(snapshot: &Snapshot) -> Vec<(Vec<String>, PlainRequest)> {
    let mut found = Vec::new();
    for dataset in snapshot.datasets() {
        let name = dataset.name.clone();
        found.push((vec!["dataset".to_owned(), name.clone()], PlainRequest::Dataset { name, rows: None }));
    }
    let mut labels: HashMap<(&str, &str), usize> = HashMap::new();
    for feature in snapshot.features() {
        *labels.entry((feature.desc.dataset.as_str(), feature.attrs.label.as_str())).or_default() += 1;
    }
    for feature in snapshot.features() {
        let (dataset, number) = (feature.desc.dataset.clone(), feature.number.to_string());
        let same = labels.get(&(dataset.as_str(), feature.attrs.label.as_str()));
        let label = if same == Some(&1) { feature.attrs.label.clone() } else { number.clone() };
        let path = vec!["vectors".to_owned(), dataset.clone(), label];
        found.push((path, PlainRequest::Vectors { dataset, feature: number, rows: None, stored: true }));
    }
    found
}
