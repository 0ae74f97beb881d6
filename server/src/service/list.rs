//! The datasets and features of a store as flights.

use std::sync::Arc;

use arrow_flight::{FlightDescriptor, FlightInfo};
use tonic::Status;

use super::Asking;
use super::get;
use crate::answer::ask::Asked;
use crate::answer::plain::Wanted;
use crate::answer::stream;
use crate::status;

/// The flights whose path, with slashes, contains the text.
pub(super) async fn flights(asking: &Asking, text: &[u8]) -> Result<Vec<FlightInfo>, Status> {
    let text = std::str::from_utf8(text);
    let text = text.map_err(|_| Status::invalid_argument("the criteria are a part of a path, as text"))?;
    let held = asking.session(None).await?;
    let snapshot = Arc::clone(held.snapshot());
    let mut found = Vec::new();
    for dataset in snapshot.datasets() {
        let name = dataset.name.clone();
        found.push((vec!["dataset".to_owned(), name.clone()], Wanted::Dataset { name, rows: None }));
    }
    for feature in snapshot.features() {
        let (dataset, number) = (feature.desc.dataset.clone(), feature.number.to_string());
        let same = |f: &&Arc<gstore_store::FeaturePart>| f.attrs.label == feature.attrs.label;
        let alone = snapshot.features_of(&dataset).into_iter().filter(same).count() == 1;
        let label = if alone { feature.attrs.label.clone() } else { number.clone() };
        let path = vec!["vectors".to_owned(), dataset.clone(), label];
        found.push((path, Wanted::Vectors { dataset, feature: number, rows: None, stored: true }));
    }
    let mut infos = Vec::new();
    for (path, wanted) in found.into_iter().filter(|(path, _)| path.join("/").contains(text)) {
        let described = get::describe(asking, Asked::Plain(wanted)).await?;
        let info = described.info(asking).try_with_schema(&stream::told(&described.schema));
        let info = info.map_err(|e| status::internal("a schema cannot be sent", &e))?;
        infos.push(info.with_descriptor(FlightDescriptor::new_path(path)));
    }
    Ok(infos)
}
