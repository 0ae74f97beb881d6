//! Generation of answers by a decoder, and the perplexity of given texts.
//!
//! In layers, each of which uses those before it alone:
//! - [`Sampler`] chooses a token from logits, [`StopStrings`] end an answer, `random` gives counter-based
//!   numbers: no model, no files
//! - prompts are read and encoded; `batch` answers prompts, several at a time, over a cache of keys
//!   and values
//! - `journal` keeps answers that are done; [`generate()`] is the whole job: prompts, answers, resumption
//! - [`perplexity()`] scores the tokens of texts, [`choices()`] those of given continuations of prompts
//!
//! Invariants
//! - an answer depends on the request and its own prompt alone: on the CPU backend to the bit, whatever it is
//!   batched with, on any number of threads and devices, and wherever a run was stopped and went on
//! - an answer that was told of is in the journal

#![forbid(unsafe_code)]

mod batch;
mod choices;
mod error;
mod job;
mod journal;
mod load;
mod perplexity;
mod prompts;
mod random;
mod request;
mod sampling;
mod stop;

pub use choices::{ChoiceOutcome, ChoiceQuestion, ChoiceRequest, choices};
pub use error::GenerateError;
pub use gstore_data::SampleSource as PromptSource;
pub use job::{GenerateObserver, GenerateOutcome, SilentObserver, generate, generate_on};
pub use journal::Journal;
pub use load::OpenedModel;
pub use perplexity::{Perplexity, PerplexityRequest, TextScore, TokenScore, check_texts, perplexity};
pub use prompts::Prompt;
pub use random::uniform;
pub use request::{ComputeOptions, GenerateRequest, ModelSource, StoppingCriteria};
pub use sampling::{Sampler, SamplingOptions};
pub use stop::{FinishReason, StopStrings};
