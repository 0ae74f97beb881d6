//! Magnitudes that the signs of rows in an eigenbasis stand for, read at the first answer that needs them.
//!
//! They count wherever such a row is compared with others of the basis, with its own damping or another one.
//! Rows are taken as they are stored where they are no estimates of gradients in an eigenbasis: for their
//! neighbours, and under Gram matrices, which were fitted of them as they are stored.

use gstore_store::{DType, FeaturePart};

use super::Prepared;
use crate::eigen::{self, EigenSpace, Magnitudes};
use crate::error::QueryError;

impl Prepared {
    /// What the signs of a feature of the question stand for; none of other types, and where nothing is known
    /// of its coordinates.
    ///
    /// # Errors
    /// An artifact that cannot be read.
    pub(crate) fn magnitudes(&self, feature: &FeaturePart) -> Result<Option<&Magnitudes>, QueryError> {
        if feature.desc.dtype != DType::I1 {
            return Ok(None);
        }
        let known = self.inputs.magnitudes.get_or_try_init(|| self.read_magnitudes())?;
        let projection = &feature.desc.space.projection;
        Ok(known.iter().find(|(own, _)| own == projection).map(|(_, found)| found))
    }

    /// Those of all features. Memory: 4 bytes a coordinate of each projection.
    fn read_magnitudes(&self) -> Result<Vec<(String, Magnitudes)>, QueryError> {
        let mut found: Vec<(String, Magnitudes)> = Vec::new();
        if self.plan.vector.is_some() {
            return Ok(found);
        }
        let snapshot = self.snapshot();
        let artifacts = snapshot.artifacts()?;
        let features = self.pools().iter().chain(self.targets()).flat_map(|side| &side.features);
        for feature in features.filter(|feature| feature.desc.dtype == DType::I1) {
            let projection = &feature.desc.space.projection;
            let name = EigenSpace::artifact(projection);
            let is_other = self.plan.precondition().is_some_and(|plan| plan.artifact != name);
            let is_known = found.iter().any(|(own, _)| own == projection);
            if is_other || is_known || !artifacts.contains(&name) {
                continue;
            }
            let part = snapshot.artifact(&name)?;
            let map = snapshot.artifact_file(&part, eigen::FILE)?;
            let magnitudes = Magnitudes::of(&EigenSpace::of(&part)?, map.as_bytes(), &feature.attrs.groups)?;
            found.push((projection.clone(), magnitudes));
        }
        Ok(found)
    }
}
