//! Feature labels: `kind@checkpoint`, with a suffix where that name is taken.
//!
//! The suffix says in what the feature differs from the one that has the name (and, where that label is taken
//! too, from the one that has that).
//!
//! A label is for people and never part of an identity; a feature keeps the one that it was given. That is settled
//! when it is published, among the features that there are then.

use gstore_core::Kind;
use gstore_store::{EncodingSpec, FeatureDesc, FeaturePart, SignRotation, Snapshot};

use super::describe::parse_adam;
use super::request::{EmbeddingForm, IngestRequest, ProjectionChoice};
use crate::gradient::{AdamParams, LossForm, ModuleSelection};
use crate::projection::{ProjectionKind, ProjectionSpec};
use gstore_data::{TemplateKind, TextOptions};
use gstore_model::ComputePrecision;
use gstore_model::Reduction;

/// Longest text of a selection of modules in a label.
const MODULES: usize = 32;

/// The label of a feature: its own if it has one, else the plain one, else one with as few
/// words as tell it apart.
pub(super) fn label(
    snapshot: &Snapshot,
    request: &IngestRequest,
    kind: Kind,
    projection: &ProjectionSpec,
    (desc, encoding): (&FeatureDesc, &EncodingSpec),
    plain: &str,
) -> String {
    if let Some(part) = snapshot.feature_by_key(&desc.key()) {
        return part.attrs.label.clone();
    }
    let stored = snapshot.features_of(&desc.dataset);
    let taken = |label: &str| stored.iter().find(|part| part.attrs.label == label).map(|part| &***part);
    let Some(holder) = taken(plain) else { return plain.to_owned() };
    let mut words = LabelProperty::all(request, kind, projection);
    if holder.desc.checkpoint != desc.checkpoint {
        // Another model's checkpoint of the same name.
        words.push(LabelProperty::new(request.run.clone(), false, |a, b| a.checkpoint != b.checkpoint));
    }
    // A comma or a space would end the label where a query names it.
    words.retain(|word| word.text.chars().all(is_plain));
    let stored_encoding = |rival: &FeatureDesc| {
        let dataset = snapshot.dataset(&rival.dataset).ok()?;
        Some(&dataset.encoding(&rival.encoding)?.spec)
    };
    let differs = |word: &LabelProperty, rival: &FeatureDesc| {
        let of_encoding = word.in_encoding.zip(stored_encoding(rival));
        (word.differs)(desc, rival) && of_encoding.is_none_or(|(differs, other)| differs(encoding, other))
    };
    free_label(plain, desc, holder, &words, (taken, differs))
}

fn free_label<'a>(
    plain: &str,
    desc: &FeatureDesc,
    holder: &'a FeaturePart,
    words: &[LabelProperty],
    (taken, differs): (
        impl Fn(&str) -> Option<&'a FeaturePart>,
        impl Fn(&LabelProperty, &FeatureDesc) -> bool,
    ),
) -> String {
    // Those that have a label which this feature could have: a word stands in the label if it tells the
    // feature from one of them.
    let mut rivals = vec![holder];
    loop {
        let differs = |word: &&LabelProperty| rivals.iter().any(|rival| differs(word, &rival.desc));
        let named = |words: &[&LabelProperty]| {
            let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
            if texts.is_empty() { plain.to_owned() } else { format!("{plain}:{}", texts.join("+")) }
        };
        let all: Vec<&LabelProperty> = words.iter().filter(differs).collect();
        let unusual: Vec<&LabelProperty> = all.iter().copied().filter(|word| !word.usual).collect();
        let (short, long) = (named(&unusual), named(&all));
        let mut found = Vec::new();
        for label in [short, long.clone()] {
            match taken(&label) {
                None => return label,
                Some(rival) => found.push(rival),
            }
        }
        found.retain(|rival| rivals.iter().all(|known| known.number != rival.number));
        if found.is_empty() {
            // What no word names, such as other optimizer moments of the same weights.
            let separator = if long == plain { ':' } else { '-' };
            return format!("{long}{separator}{}", desc.key().get(..8).unwrap_or_default());
        }
        rivals.extend(found);
    }
}

struct LabelProperty {
    text: String,
    /// Whether it is what one gets without asking.
    usual: bool,
    differs: fn(&FeatureDesc, &FeatureDesc) -> bool,
    /// Of a part of the encoding: whether two encodings differ in that part.
    in_encoding: Option<fn(&EncodingSpec, &EncodingSpec) -> bool>,
}

impl LabelProperty {
    /// Of a part of the description.
    fn new(text: String, usual: bool, differs: fn(&FeatureDesc, &FeatureDesc) -> bool) -> LabelProperty {
        LabelProperty { text, usual, differs, in_encoding: None }
    }

    /// What tells the variants of a kind apart, the computation first.
    fn all(request: &IngestRequest, kind: Kind, projection: &ProjectionSpec) -> Vec<LabelProperty> {
        let compute = match request.compute {
            // Not `f32` or `i8`, which is how vectors may be stored.
            ComputePrecision::F32 | ComputePrecision::I8 => format!("compute_{}", request.compute.name()),
            ComputePrecision::Tf32 | ComputePrecision::Bf16x3 | ComputePrecision::Bf16 => {
                request.compute.name().to_owned()
            }
        };
        let word = LabelProperty::new;
        let usual = request.compute == ComputePrecision::default();
        let mut words = vec![word(compute, usual, |a, b| a.compute != b.compute)];
        if kind.is_embedding() {
            let EmbeddingForm { layer, unit } = request.embedding;
            let of_layer = layer.map_or("final_norm".to_owned(), |n| format!("layer_{n}"));
            let scaling = if unit { "unit" } else { "unscaled" };
            words.extend([
                word(of_layer, layer.is_none(), |a, b| a.space.layer != b.space.layer),
                word(scaling.to_owned(), !unit, |a, b| {
                    a.kind.params.get("unit") != b.kind.params.get("unit")
                }),
            ]);
        } else {
            let (of_loss, reduction) = (request.loss, request.reduction);
            words.extend([
                word(loss(of_loss), of_loss == LossForm::default(), |a, b| a.space.loss != b.space.loss),
                word(reduction.name().to_owned(), reduction == Reduction::default(), |a, b| {
                    a.space.reduction != b.space.reduction
                }),
            ]);
        }
        if kind.takes_gradient() {
            let usual = request.modules == ModuleSelection::default();
            words.extend([
                word(modules(&request.modules), usual, |a, b| a.space.modules != b.space.modules),
                word(projected(projection), is_usual(projection), |a, b| {
                    a.space.projection != b.space.projection
                }),
            ]);
        }
        let (given, less) = (request.adam, AdamParams::default());
        let constants = match kind {
            Kind::GradAdam => Some((adam(&given), given == less)),
            Kind::GradNormalised => Some((format!("eps_{:?}", given.eps), given.eps == less.eps)),
            _ => None,
        };
        if let Some((text, usual)) = constants {
            words.push(word(text, usual, |a, b| parse_adam(&a.kind.params) != parse_adam(&b.kind.params)));
        }
        if !kind.is_full() {
            let rotation = if SignRotation::of(request.dtype).is_none() { "unrotated" } else { "rotated" };
            words.extend([
                word(request.dtype.name().to_owned(), request.dtype == IngestRequest::DTYPE, |a, b| {
                    a.dtype != b.dtype
                }),
                word(rotation.to_owned(), true, |a, b| a.rotation != b.rotation),
            ]);
        }
        words.extend(LabelProperty::of_text(&request.text));
        words
    }

    /// What tells encodings apart.
    fn of_text(text: &TextOptions) -> [LabelProperty; 4] {
        let word = |text: &str, usual, differs: fn(&EncodingSpec, &EncodingSpec) -> bool| LabelProperty {
            in_encoding: Some(differs),
            ..LabelProperty::new(text.to_owned(), usual, |a, b| a.encoding != b.encoding)
        };
        let (own_system, own_tokenizer) = (text.system.is_none(), text.tokenizer.is_none());
        let system = if own_system { "no_system" } else { "system" };
        let tokenizer = if own_tokenizer { "own_tokenizer" } else { "tokenizer" };
        let length = format!("length_{}", text.max_length);
        [
            word(system, own_system, |a, b| a.system != b.system),
            word(tokenizer, own_tokenizer, |a, b| a.tokenizer != b.tokenizer),
            word(text.template.name(), text.template == TemplateKind::default(), |a, b| {
                (&a.template, &a.template_source) != (&b.template, &b.template_source)
            }),
            word(&length, text.max_length == TextOptions::MAX_LENGTH, |a, b| a.max_length != b.max_length),
        ]
    }
}

/// Whether a character may stand in a word of a label; letters are of any script.
fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '+' | '-' | '*')
}

fn loss(loss: LossForm) -> String {
    match loss {
        LossForm::CrossEntropy { smoothing: 0.0 } => "cross_entropy".to_owned(),
        LossForm::CrossEntropy { smoothing } => format!("smoothing_{smoothing}"),
        LossForm::Margin => "margin".to_owned(),
        LossForm::KlToBase => "kl".to_owned(),
    }
}

/// What is not as in LESS: `b2_0.95+eps_1e-6`.
fn adam(adam: &AdamParams) -> String {
    let less = AdamParams::default();
    let outside = "eps_outside".to_owned();
    let words = [
        (adam.b1 != less.b1).then(|| format!("b1_{}", adam.b1)),
        (adam.b2 != less.b2).then(|| format!("b2_{}", adam.b2)),
        (adam.eps != less.eps).then(|| format!("eps_{:?}", adam.eps)),
        (adam.eps_placement != less.eps_placement).then_some(outside),
    ];
    let words: Vec<String> = words.into_iter().flatten().collect();
    if words.is_empty() { "less".to_owned() } else { words.join("+") }
}

/// `*.mlp.*` and `lm_head` as `mlp+lm_head`.
fn modules(selection: &ModuleSelection) -> String {
    let bare = |pattern: &String| pattern.trim_matches(['*', '.']).to_owned();
    let mut words: Vec<String> = selection.patterns.iter().map(bare).collect();
    if words.is_empty() {
        words.push("blocks".to_owned());
    }
    if selection.biases {
        words.push("biases".to_owned());
    }
    let text = words.join("+");
    let fits = text.len() <= MODULES && words.iter().all(|word| !word.is_empty());
    if fits && text.chars().all(is_plain) { text } else { "modules".to_owned() }
}

fn is_usual(projection: &ProjectionSpec) -> bool {
    let usual = ProjectionChoice::default();
    [true, false].into_iter().any(|adapter| *projection == usual.spec(adapter))
}

fn projected(projection: &ProjectionSpec) -> String {
    let ProjectionSpec { kind, dim, seed, per_checkpoint, basis } = projection;
    if let Some(basis) = basis {
        return format!("{kind}_{dim}_{:.8}", basis.digest());
    }
    if *kind == ProjectionKind::None {
        return "none".to_owned();
    }
    let seed = if *seed == 0 { String::new() } else { format!("_seed_{seed}") };
    let scope = if *per_checkpoint { "_each" } else { "" };
    format!("{kind}_{dim}{seed}{scope}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_named_as_far_as_a_label_can() {
        let named = |patterns: &[&str], biases| {
            let patterns = patterns.iter().map(|p| (*p).to_owned()).collect();
            modules(&ModuleSelection { patterns, biases })
        };
        assert_eq!(named(&["*.mlp.*", "lm_head"], false), "mlp+lm_head");
        assert_eq!(named(&[], true), "blocks+biases");
        assert_eq!(named(&["schicht_ä.*"], false), "schicht_ä");
        assert_eq!(named(&["*"], false), "modules");
        assert_eq!(named(&["*.{q,k}_proj"], false), "modules");
        assert_eq!(named(&["model.layers.0.*", "model.layers.1.*", "model.layers.2.*"], false), "modules");
    }
}
