//! The tests of this crate's public interface in one program: linked once, run by name.

mod adding;
mod columns;
mod common;
mod curvature;
mod data_formats;
mod engine;
mod fused_adapters;
mod gauss_newton;
mod golden_ekfac;
mod less_parity;
mod objectives;
mod planned;
mod projection_factored;
mod projection_factored_noise;
mod projection_golden;
mod projection_properties;
mod projection_speed;
mod residual;
mod shards;
#[path = "../../data/tests/support/tensors.rs"]
mod tensors;
mod whole_models;
mod zoo;
