//! Quantization of vectors of f32: stored values, a scale and a norm per module group.
//!
//! Invariants
//! - value = stored * scale of its group
//! - f16: scale is the power of two that puts the group's largest magnitude into [2^14, 2^15), but at least
//!   2^-126 so that it is a normal number; i8: largest magnitude / 127; f32 and all-zero groups: 1; i1: the
//!   mean magnitude, which is 0 for all-zero groups, of the rotated group where the feature has a rotation
//! - norm is the L2 norm before rounding: squares summed in f64 in [`super::lanes`], rounded once to f32

use super::block::{StoredRow, apply};
use super::lanes::sum;
use super::signs::store_signs;
use super::values::ValueVec;
use gstore_core::{DType, ModuleGroup, RowFlags, SignRotation};
use half::f16;
use half::slice::HalfFloatSliceExt;
use std::ops::Range;

/// Largest magnitude and norm of a group, or `None` if they are not finite numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stats {
    largest: f32,
    norm: f32,
}

fn stats(group: &[f32]) -> Option<Stats> {
    const INFINITE: u32 = 0x7f80_0000;
    let largest = group.iter().fold(0u32, |m, v| m.max(v.to_bits() & 0x7fff_ffff));
    if largest >= INFINITE {
        return None;
    }
    let norm = sum(group, |v| v * v).sqrt() as f32;
    norm.is_finite().then_some(Stats { largest: f32::from_bits(largest), norm })
}

/// 2^e for -126 <= e <= 127.
fn power_of_two(e: i32) -> f32 {
    f32::from_bits(((e + 127).clamp(1, 254) as u32) << 23)
}

/// The exponent of the leading bit: floor(log2(x)) for a positive normal number; subnormal ones count as
/// 2^-127.
fn exponent(x: f32) -> i32 {
    (x.to_bits() >> 23) as i32 - 127
}

/// The coordinates of a module group. Groups cover every coordinate of a vector once, so none ends beyond it.
pub(super) fn group_of<'a, T>(vector: &'a [T], group: &Range<usize>) -> &'a [T] {
    vector.get(group.clone()).unwrap_or_default()
}

/// Reused memory of [`store_row`], and how groups are rotated before their signs are taken.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    rotation: SignRotation,
    /// A group as it is rounded, or rotated.
    scaled: Vec<f32>,
    stats: Vec<Stats>,
}

impl Scratch {
    /// For vectors of a feature with this rotation.
    pub(crate) fn of(rotation: SignRotation) -> Self {
        Scratch { rotation, ..Scratch::default() }
    }
}

/// Appends the stored form of one vector. Returns false, with zeros stored, if a value, a rotated value or a
/// norm is not a finite number.
pub(crate) fn store_row(
    vector: &[f32],
    groups: &[Range<usize>],
    values: &mut ValueVec,
    scale: &mut Vec<f32>,
    norm: &mut Vec<f32>,
    scratch: &mut Scratch,
) -> bool {
    scratch.stats.clear();
    for g in groups {
        match stats(group_of(vector, g)) {
            Some(s) => scratch.stats.push(s),
            None => {
                store_zeros(vector.len(), groups, values, scale, norm);
                return false;
            }
        }
    }
    let begun = (values.len(), scale.len());
    for (g, s) in groups.iter().zip(&scratch.stats) {
        let place = (&mut scratch.scaled, scratch.rotation);
        let of_group = store_group(group_of(vector, g), s.largest, values, place);
        // Rounding may carry a rotated coordinate beyond the largest number where the norm is nearly that.
        if !of_group.is_finite() {
            values.truncate(begun.0);
            scale.truncate(begun.1);
            norm.truncate(begun.1);
            store_zeros(vector.len(), groups, values, scale, norm);
            return false;
        }
        norm.push(s.norm);
        scale.push(of_group);
    }
    true
}

impl StoredRow {
    /// What a vector would read back as if it were stored as `dtype`, bit for bit; nothing is written.
    /// `groups` cover every coordinate once; signs are those of a feature without a rotation. `None` if a
    /// value or a norm is not a finite number.
    pub fn of(vector: &[f32], groups: &[ModuleGroup], dtype: DType) -> Option<StoredRow> {
        let groups: Vec<Range<usize>> =
            groups.iter().map(|g| g.start as usize..g.start as usize + g.len as usize).collect();
        let items = groups.iter().map(|group| dtype.items(group.len())).sum();
        let mut values = ValueVec::new(dtype, items, 1);
        let (mut scale, mut norm) = (Vec::new(), Vec::new());
        if !store_row(vector, &groups, &mut values, &mut scale, &mut norm, &mut Scratch::default()) {
            return None;
        }
        let mut vector = vec![0.0; vector.len()];
        values.view().widen(&groups, &mut vector);
        apply(&scale, &groups, &mut vector);
        Some(StoredRow { pos: None, vector, norm, flags: RowFlags::empty() })
    }
}

fn store_group(
    group: &[f32],
    largest: f32,
    values: &mut ValueVec,
    (scaled, rotation): (&mut Vec<f32>, SignRotation),
) -> f32 {
    match values {
        ValueVec::F32(out) => {
            out.extend_from_slice(group);
            1.0
        }
        ValueVec::F16(out) => {
            let (scale, inverse) = if largest == 0.0 {
                (1.0, 1.0)
            } else {
                let e = (exponent(largest) - 14).max(-126);
                (power_of_two(e), power_of_two(-e))
            };
            scaled.clear();
            scaled.extend(group.iter().map(|v| v * inverse));
            let start = out.len();
            out.resize(start + group.len(), f16::ZERO);
            if let Some(target) = out.get_mut(start..) {
                target.convert_from_f32_slice(scaled);
            }
            scale
        }
        ValueVec::I8(out) => {
            let scale = if largest == 0.0 { 1.0 } else { (largest / 127.0).max(f32::MIN_POSITIVE) };
            // Adding and taking away 1.5 * 2^23 rounds to nearest even, and unlike a call to
            // round it is vectorised.
            const ROUND: f32 = 12_582_912.0;
            out.extend(group.iter().map(|v| ((v / scale).clamp(-127.0, 127.0) + ROUND - ROUND) as i8));
            scale
        }
        ValueVec::I1(out, _) if rotation.is_none() => store_signs(group, out),
        ValueVec::I1(out, _) => {
            scaled.clear();
            scaled.extend_from_slice(group);
            rotation.rotate(scaled);
            store_signs(scaled, out)
        }
    }
}

/// Appends zeros for a vector of `dim` coordinates.
pub(super) fn store_zeros(
    dim: usize,
    groups: &[Range<usize>],
    values: &mut ValueVec,
    scale: &mut Vec<f32>,
    norm: &mut Vec<f32>,
) {
    let mut of_zeros = 1.0;
    match values {
        ValueVec::F16(v) => v.resize(v.len() + dim, f16::ZERO),
        ValueVec::F32(v) => v.resize(v.len() + dim, 0.0),
        ValueVec::I8(v) => v.resize(v.len() + dim, 0),
        ValueVec::I1(v, each) => {
            v.resize(v.len() + *each, 0);
            of_zeros = 0.0;
        }
    }
    scale.resize(scale.len() + groups.len(), of_zeros);
    norm.resize(norm.len() + groups.len(), 0.0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn store(vector: &[f32], groups: &[Range<usize>], dtype: DType) -> (ValueVec, Vec<f32>, Vec<f32>, bool) {
        let items = groups.iter().map(|group| dtype.items(group.len())).sum();
        let mut values = ValueVec::new(dtype, items, 1);
        let (mut scale, mut norm) = (Vec::new(), Vec::new());
        let ok = store_row(vector, groups, &mut values, &mut scale, &mut norm, &mut Scratch::default());
        (values, scale, norm, ok)
    }

    fn f16s(v: ValueVec) -> Vec<f32> {
        match v {
            ValueVec::F16(v) => v.into_iter().map(f32::from).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_group_has_its_own_scale() {
        let (v, scale, norm, ok) = store(&[3.0, -4.0, 3e-9, 4e-9, 0.0], &[0..2, 2..4, 4..5], DType::F16);
        let v = f16s(v);
        assert!(ok);
        assert_eq!(scale[0], 2f32.powi(-12));
        assert_eq!(scale[2], 1.0);
        assert_eq!(norm[0], 5.0);
        assert!((norm[1] / 5e-9 - 1.0).abs() < 1e-6);
        assert!((16384.0..32768.0).contains(&v[1].abs()));
        assert!((v[3] * scale[1] / 4e-9 - 1.0).abs() < 1e-3);
    }

    #[test]
    fn what_is_not_finite_becomes_zeros() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
            let (v, scale, norm, ok) = store(&[1.0, bad, bad], &[0..1, 1..3], DType::F16);
            assert!(!ok, "{bad}");
            assert_eq!((f16s(v), scale, norm), (vec![0.0; 3], vec![1.0; 2], vec![0.0; 2]));
        }
    }

    #[test]
    fn signs_have_the_mean_magnitude_of_their_group() {
        let (v, scale, norm, ok) = store(&[3.0, -4.0, -0.5, 0.0, -0.0], &[0..2, 2..3, 3..5], DType::I1);
        let ValueVec::I1(words, 3) = v else { unreachable!() };
        assert!(ok);
        assert_eq!((words, scale, norm), (vec![0b10, 1, 0], vec![3.5, 0.5, 0.0], vec![5.0, 0.5, 0.0]));
        // A sign times a scale would be a value, so what is not finite has scale 0.
        let (v, scale, norm, ok) = store(&[1.0, f32::NAN, -1.0], &[0..1, 1..3], DType::I1);
        let ValueVec::I1(words, 2) = v else { unreachable!() };
        assert_eq!((ok, words, scale, norm), (false, vec![0; 2], vec![0.0; 2], vec![0.0; 2]));
        // What a row would read back as.
        let group = |start, len| ModuleGroup { name: "m".into(), start, len };
        let row = StoredRow::of(&[3.0, -4.0, -0.5], &[group(0, 2), group(2, 1)], DType::I1).unwrap();
        assert_eq!((row.vector, row.norm), (vec![3.5, -3.5, -0.5], vec![5.0, 0.5]));
    }

    /// A vector whose rotation is one coordinate has the norm of that coordinate: one of nearly the largest
    /// number is stored whole, or is a row that is not finite.
    #[test]
    fn rotated_rows_of_nearly_the_largest_norm_are_stored_whole_or_not_at_all() {
        let mut one = vec![0.0; 65];
        one[0] = 1.0;
        SignRotation::Hadamard.rotate_back(&mut one[..64]);
        let mut refused = 0;
        for below in 0..64 {
            // Of norms up to the largest number, in steps of a last digit.
            let norm = f32::from_bits(f32::MAX.to_bits() - below);
            let vector: Vec<f32> = one.iter().map(|value| value * norm).collect();
            let groups = [64..65, 0..64];
            let (mut values, mut scale, mut norms) = (ValueVec::new(DType::I1, 2, 1), vec![3.0], vec![4.0]);
            let mut scratch = Scratch::of(SignRotation::Hadamard);
            let ok = store_row(&vector, &groups, &mut values, &mut scale, &mut norms, &mut scratch);
            assert!(values.len() == 2 && scale.len() == 3 && norms.len() == 3);
            assert_eq!((scale[0], norms[0]), (3.0, 4.0));
            if ok {
                assert!(scale[2].is_finite() && scale[2] > 0.0 && norms[2] > 0.0);
            } else {
                let ValueVec::I1(words, 2) = values else { unreachable!() };
                assert_eq!((words, &scale[1..], &norms[1..]), (vec![0; 2], &[0.0; 2][..], &[0.0; 2][..]));
                refused += 1;
            }
        }
        assert!(refused < 64);
    }

    proptest! {
        #[test]
        fn f16_is_close(bits in proptest::collection::vec(any::<u32>(), 1..40)) {
            let vector: Vec<f32> = bits.into_iter().map(f32::from_bits).map(|v| if v.is_finite() && v.abs() < 1e30 { v } else { 0.5 }).collect();
            let (v, scale, _, ok) = store(&vector, std::slice::from_ref(&(0..vector.len())), DType::F16);
            prop_assert!(ok);
            let largest = vector.iter().fold(0f32, |m, v| m.max(v.abs()));
            let s = scale[0];
            prop_assert_eq!(s.to_bits() & 0x7f_ffff, 0);
            let v = f16s(v);
            let top = v.iter().fold(0f32, |m, v| m.max(v.abs()));
            if largest >= 2f32.powi(-112) {
                prop_assert!((16384.0..=32768.0).contains(&top));
            }
            for (a, b) in vector.iter().zip(&v) {
                // Half of the last place of an f16, or of its smallest number.
                prop_assert!((a - b * s).abs() <= (a.abs() * 2f32.powi(-11)).max(s * 2f32.powi(-25)), "{} {} {}", a, b, s);
            }
        }

        #[test]
        fn i8_is_close(vector in proptest::collection::vec(-1e3f32..1e3, 1..40)) {
            let (v, scale, _, _) = store(&vector, std::slice::from_ref(&(0..vector.len())), DType::I8);
            let ValueVec::I8(v) = v else { unreachable!() };
            for (a, b) in vector.iter().zip(v) {
                prop_assert!((a - f32::from(b) * scale[0]).abs() <= scale[0] * 0.501);
            }
        }
    }
}
