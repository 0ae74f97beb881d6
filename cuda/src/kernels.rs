//! The kernels' names and source, embedded.

/// The kernels as PTX for devices of capability 8.0 and newer, as `just cuda-kernels` compiled the source.
pub(crate) const PTX: &str = include_str!("../kernels/kernels.ptx");

/// Files of the source, in the order in which `all.cuh` includes them.
const SOURCES: [(&str, &str); 15] = [
    ("common.cuh", include_str!("../kernels/common.cuh")),
    ("elementwise.cu", include_str!("../kernels/elementwise.cu")),
    ("norms.cu", include_str!("../kernels/norms.cu")),
    ("sums.cu", include_str!("../kernels/sums.cu")),
    ("head.cu", include_str!("../kernels/head.cu")),
    ("features.cu", include_str!("../kernels/features.cu")),
    ("rows.cu", include_str!("../kernels/rows.cu")),
    ("estimates.cu", include_str!("../kernels/estimates.cu")),
    ("attention.cuh", include_str!("../kernels/attention.cuh")),
    ("attention_forward.cu", include_str!("../kernels/attention_forward.cu")),
    ("attention_backward.cu", include_str!("../kernels/attention_backward.cu")),
    ("attention_tangent.cu", include_str!("../kernels/attention_tangent.cu")),
    ("attention_bf16.cuh", include_str!("../kernels/attention_bf16.cuh")),
    ("attention_bf16_forward.cu", include_str!("../kernels/attention_bf16_forward.cu")),
    ("attention_bf16_backward.cu", include_str!("../kernels/attention_bf16_backward.cu")),
];

/// The whole source as one unit, without includes.
pub(crate) fn source() -> String {
    SOURCES.iter().flat_map(|(name, text)| ["#line 1 \"", name, "\"\n", text, "\n"]).collect()
}

pub(crate) fn kernel_names() -> impl Iterator<Item = &'static str> {
    let lines = include_str!("../kernels/names.def").lines();
    lines.filter_map(|line| line.strip_prefix("ENTRY(")?.strip_suffix(')'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_has_the_files_that_are_embedded() {
        let included = include_str!("../kernels/all.cuh").lines();
        let included: Vec<&str> =
            included.filter_map(|line| line.strip_prefix("#include \"")?.strip_suffix('"')).collect();
        assert_eq!(included, SOURCES.map(|(name, _)| name));
    }

    /// The first lines of the PTX have the digest of the source that it was compiled from: all files,
    /// concatenated.
    #[test]
    fn the_ptx_is_that_of_the_source() {
        let digest = PTX.lines().find_map(|line| line.strip_prefix("// source "));
        let expected = gstore_core::sha256_hex(SOURCES.map(|(_, text)| text).concat().as_bytes());
        assert_eq!(digest, Some(expected.as_str()), "run `just cuda-kernels`");
        for name in kernel_names() {
            assert!(PTX.contains(&format!(".entry {name}(")), "{name}");
        }
    }
}
