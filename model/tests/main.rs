//! The tests of this crate's public interface in one program: linked once, run by name.

mod backend_conformance;
mod backends;
mod checkpoints;
mod common;
mod corruption;
mod extend;
mod families;
mod family_folders;
mod finetunes;
#[cfg(feature = "hub")]
mod hub;
mod moments;
mod oracle;
mod oracle_of_backends;
mod padding;
mod replaced;
mod rope;
