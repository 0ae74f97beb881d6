//! Promise: no file of a checkpoint can cause a panic, whatever its bytes.

use crate::common::archive;
use crate::common::optimizer::{index_keyed, specs, state};
use crate::common::tiny::{Tiny, TinyAdapter};
use gstore_model::weights::{Adapter, ModelFolder, Moments, TensorSet, peak_rate};
use proptest::prelude::*;
use tempfile::TempDir;

fn corrupt(mut bytes: Vec<u8>, changes: &[(usize, u8)], keep: usize) -> Vec<u8> {
    let len = bytes.len();
    for (at, value) in changes {
        bytes[at % len] = *value;
    }
    bytes.truncate(len - keep % len);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn corrupted_archives_do_not_panic(changes in prop::collection::vec((0usize..100_000, any::<u8>()), 0..12), cut in prop_oneof![Just(0usize), 0usize..4000]) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("optimizer.pt");
        let states = specs().iter().map(|s| state(s, 3)).collect();
        fs_err::write(&path, corrupt(archive::bytes(&index_keyed(states)), &changes, cut)).unwrap();
        let _ = Moments::load(&path, &specs());
        let _ = peak_rate(folder.path());
    }

    #[test]
    fn random_pickles_do_not_panic(bytes in prop::collection::vec(prop_oneof![
        prop::sample::select(b"\x80.(0N\x88\x89KMJ\x8aGX\x8cBC]})\x85\x86\x87taesuqrhjc\x93RbQ\x94\x95".to_vec()), any::<u8>()], 0..80)) {
        let _ = gstore_model::weights::parse_pickle(&bytes, Default::default());
    }

    #[test]
    fn corrupted_weights_do_not_panic(changes in prop::collection::vec((0usize..4000, any::<u8>()), 0..8), cut in prop_oneof![Just(0usize), 0usize..20_000]) {
        let folder = TempDir::new().unwrap();
        let path = Tiny::new().write(&folder.path().join("base"));
        let file = path.join("model.safetensors");
        fs_err::write(&file, corrupt(fs_err::read(&file).unwrap(), &changes, cut)).unwrap();
        if let Ok(set) = TensorSet::open(&path, "model") {
            for name in set.names() {
                let _ = set.read_f32(name);
            }
        }
        let _ = ModelFolder::open(&path);
    }

    #[test]
    fn corrupted_configurations_do_not_panic(changes in prop::collection::vec((0usize..4000, any::<u8>()), 0..4)) {
        let folder = TempDir::new().unwrap();
        let path = Tiny::new().write(&folder.path().join("base"));
        let adapter = TinyAdapter::new(&["q_proj"], 2).write(&folder.path().join("adapter"));
        for file in [path.join("config.json"), adapter.join("adapter_config.json")] {
            fs_err::write(&file, corrupt(fs_err::read(&file).unwrap(), &changes, 0)).unwrap();
        }
        if let (Ok(model), Ok(adapter)) = (ModelFolder::open(&path), Adapter::open(&adapter)) {
            let _ = adapter.params(&model);
        }
    }
}
