//! A model family: its names in a configuration, its settings, and the reader of its description.

use super::decoder::Decoder;
use crate::files::ModelError;
use crate::files::json::JsonObject;

/// How one family is found and read.
pub(super) struct Family {
    /// Its name in `architectures`.
    pub architecture: &'static str,
    pub model_type: &'static str,
    /// The settings that it understands among those by which some architecture changes its mathematics; the
    /// others must be neutral.
    pub settings: &'static [&'static str],
    /// Fills in the description.
    pub read: fn(JsonObject<'_>) -> Result<Decoder, ModelError>,
}
