//! An artifact with files. `tests/formats/v1-artifacts` was made by [`build`].

use super::*;

/// The store of [`super::rich`] with an artifact that has files, in the place of another one, and one
/// without.
pub fn build(path: &Path) -> Store {
    let store = rich::build(path);
    let part = |name: &str, content| ArtifactPart::new(name, "gram", vec!["pool".into()], content);
    for (round, bytes) in [(1, b"first".as_slice()), (2, b"\x00\xff\x07".as_slice())] {
        let mut files = store.artifact_files().unwrap();
        files.write("gram.safetensors", |out| out.write_all(bytes)).unwrap();
        files.write("empty", |_| Ok(())).unwrap();
        let seen = store.snapshot().unwrap();
        let next = part("factors", json!({ "round": round }));
        store.put_artifact(next, Some(files), Some(&*seen), "fit").unwrap();
    }
    store.put_artifact(part("cheap", json!([0.1, 1e-300])), None, None, "fit").unwrap();
    store
}

/// The artifacts of a snapshot, as a later version must find them again.
pub fn describe(snapshot: &Snapshot) -> Vec<serde_json::Value> {
    let describe = |name: &String| {
        let part = snapshot.artifact(name).unwrap();
        let bytes = |f: &ArtifactFile| snapshot.artifact_file(&part, &f.name).unwrap().as_bytes().to_vec();
        let files: Vec<_> =
            part.files.iter().map(|f| json!({ "name": f.name, "sha256": sha256_hex(&bytes(f)) })).collect();
        json!({ "name": name, "kind": part.kind, "number": part.number, "datasets": part.datasets,
            "content": part.content, "files": files })
    };
    snapshot.artifacts().unwrap().iter().map(describe).collect()
}
