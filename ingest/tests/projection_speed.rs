//! Speed of the projections, for people:
//! `cargo test -p gstore-ingest --test it projection_speed -- --ignored --nocapture`.

use std::time::Instant;

use gstore_core::Cancel;
use gstore_ingest::projection::{FlatProjector, ProjectionKind, ProjectionSpec};
use gstore_model::params::TensorSpec;

/// Coordinates: LoRA factors of a model with some hundred thousand trainable parameters.
const TENSORS: usize = 64;
const SIZE: usize = 16_384;

#[test]
#[ignore = "measures; needs a quiet machine"]
fn coordinates_per_second() {
    let tensor = |i| TensorSpec { name: format!("m.{i}.weight"), shape: vec![SIZE] };
    let tensors: Vec<_> = (0..TENSORS).map(tensor).collect();
    let grad: Vec<f32> = (0..TENSORS * SIZE).map(|i| (i as f32 * 0.37).sin() + 1.5).collect();
    let cases = [
        ("sjlt s=4 dim 8192", ProjectionKind::Sjlt { s: 4 }, 8192, 4),
        ("sjlt s=1 dim 8192", ProjectionKind::Sjlt { s: 1 }, 8192, 1),
        ("sjlt s=4 dim 65536", ProjectionKind::Sjlt { s: 4 }, 65_536, 4),
        ("mask dim 8192", ProjectionKind::Mask, 8192, 1),
        ("rademacher dim 128", ProjectionKind::Rademacher, 128, 128),
    ];
    for (name, kind, dim, per_coordinate) in cases {
        let spec = ProjectionSpec { kind, dim, ..ProjectionSpec::default() };
        for budget in [usize::MAX, 0] {
            let start = Instant::now();
            let projector = FlatProjector::with_table_budget(&spec, &tensors, None, budget).unwrap();
            let build = start.elapsed().as_secs_f64();
            let mut out = vec![0.0; projector.dim()];
            let best = (0..5)
                .map(|_| {
                    let start = Instant::now();
                    projector.project(&grad, &mut out, &Cancel::new());
                    start.elapsed().as_secs_f64()
                })
                .fold(f64::MAX, f64::min);
            let coordinates = grad.len() as f64 / best / 1e6;
            println!(
                "{name:20} table of up to {budget} bytes in {build:.3} s: {:8.1} M coordinates/s, {:8.1} M non-zeros/s",
                coordinates,
                coordinates * f64::from(per_coordinate),
            );
        }
    }
}
