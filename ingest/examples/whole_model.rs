//! The job that `benches/whole_models.sh` times: whole-model gradients without the query engine.
//!
//!     cargo run --release -p gstore-ingest --example whole_model -- \
//!         STORE ROWS.jsonl MODEL f32|bf16 [THREADS [fact_sjlt]]
//!
//! 256 values of each linear layer, `two_sided` with 16 x 16 unless `fact_sjlt` is asked for, stored as f32;
//! conversations in the tokenizer's chat template, cut at 512 tokens.

use std::error::Error;

use gstore_core::Cancel;
use gstore_data::{TemplateKind, TextOptions};
use gstore_ingest::pipeline::{AddRequest, IngestPlan, IngestRequest, Kind, Silent, add, ingest};
use gstore_ingest::projection::{ProjectionKind, ProjectionSpec};
use gstore_model::ComputePrecision;
use gstore_store::{DType, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [store, rows, model, compute, more @ ..] = &arguments[..] else {
        return Err("STORE ROWS.jsonl MODEL f32|bf16 [THREADS [fact_sjlt]]".into());
    };
    let store = Store::create(store)?;
    let rows = AddRequest::new("pool", [rows.into()]);
    add(&store, &rows, &mut Silent)?;
    let sides = match more.get(1).map(String::as_str) {
        Some("fact_sjlt") => ProjectionKind::FactSjlt { k_out: 0, k_in: 0 },
        _ => ProjectionKind::TwoSided { k_out: 0, k_in: 0 },
    };
    let request = IngestRequest {
        kinds: vec![Kind::GradSgd],
        projection: ProjectionSpec::sized(sides, 256).into(),
        dtype: DType::F32,
        compute: if compute == "bf16" { ComputePrecision::Bf16 } else { ComputePrecision::F32 },
        threads: more.first().map_or(Ok(2), |threads| threads.parse())?,
        text: TextOptions::new(TemplateKind::Chat, 512),
        ..IngestRequest::new("pool", model)
    };
    let plan = IngestPlan::new(&store, request, &mut Silent)?;
    let report = ingest(&store, &plan, &mut Silent, &Cancel::new())?;
    eprintln!("{} rows, {} tokens", report.computed, report.tokens);
    Ok(())
}
