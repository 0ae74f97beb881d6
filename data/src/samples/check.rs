//! Options of an encoder that would change no sample.

use super::{SampleError, TextSample};
use crate::Content;
use crate::encode::TextEncoder;

/// Refuses blocks where no sample is a text: nothing else is cut.
///
/// # Errors
/// [`SampleError::NothingToCut`].
pub fn check_block(samples: &[TextSample], encoder: &TextEncoder) -> Result<(), SampleError> {
    let is_text = |sample: &TextSample| matches!(sample.content, Content::Text(_));
    let is_none = encoder.block().is_some() && !samples.is_empty() && !samples.iter().any(is_text);
    if is_none { Err(SampleError::NothingToCut) } else { Ok(()) }
}

/// Refuses a system message that no sample begins with.
///
/// # Errors
/// [`SampleError::NoSystem`].
pub fn check_system(samples: &[TextSample], encoder: &TextEncoder) -> Result<(), SampleError> {
    let is_said = samples.is_empty() || samples.iter().any(|sample| encoder.says_system(&sample.content));
    if is_said { Ok(()) } else { Err(SampleError::NoSystem) }
}
