//! Collectors against a full sort.

use super::*;
use proptest::prelude::*;

pub(super) fn naive(scores: &[f32], k: usize, highest: bool) -> Vec<(u32, usize)> {
    let mut all: Vec<(f32, usize)> = scores
        .iter()
        .enumerate()
        .filter(|(_, s)| s.is_finite())
        .map(|(i, &s)| (if s == 0.0 { 0.0 } else { s }, i))
        .collect();
    all.sort_by(|a, b| {
        let by_score = if highest { b.0.total_cmp(&a.0) } else { a.0.total_cmp(&b.0) };
        by_score.then(a.1.cmp(&b.1))
    });
    all.truncate(k);
    all.into_iter().map(|(s, i)| (s.to_bits(), i)).collect()
}

pub(super) fn score() -> impl Strategy<Value = f32> {
    prop_oneof![
        4 => (-4i8..4).prop_map(f32::from),
        2 => -1.0f32..1.0,
        1 => Just(-0.0f32),
        1 => prop_oneof![Just(f32::NAN), Just(-f32::NAN), Just(f32::INFINITY), Just(f32::NEG_INFINITY)],
        1 => any::<f32>(),
    ]
}

proptest! {
    #[test]
    fn equals_a_full_sort_however_the_stream_is_split(
        scores in proptest::collection::vec(score(), 0..6000), k in 0usize..300, parts in 1usize..5, highest: bool,
    ) {
        let new = || if highest { TopK::highest(k) } else { TopK::lowest(k) };
        let mut collectors: Vec<TopK> = (0..parts).map(|_| new()).collect();
        for (i, &s) in scores.iter().enumerate().rev() {
            collectors[i % parts].push(s, (7, i as u64 / 3, i as u32 % 3), i as u32);
        }
        let mut all = new();
        collectors.into_iter().for_each(|c| all.merge(c));
        let got: Vec<_> = all.into_sorted();
        let at = |s: &SelectedCandidate| s.place.1 as u32 * 3 + s.place.2;
        prop_assert!(got.iter().all(|s| s.place.0 == 7 && s.payload == at(s)));
        let got: Vec<_> = got.into_iter().map(|s| (s.score.to_bits(), s.payload as usize)).collect();
        prop_assert_eq!(got, naive(&scores, k, highest));
    }
}

#[test]
fn ties_go_to_the_lower_place() {
    let mut top = TopK::highest(4);
    for place in [(1, 0, 0), (0, 9, 1), (0, 2, 7), (2, 1, 0), (0, 9, 0)] {
        top.push(0.5, place, 0);
    }
    let order: Vec<_> = top.into_sorted().into_iter().map(|s| s.place).collect();
    assert_eq!(order, [(0, 2, 7), (0, 9, 0), (0, 9, 1), (1, 0, 0)]);
}

#[test]
fn pages_of_a_ranking_follow_one_another() {
    let scores: Vec<f32> = (0..5000u64).map(|i| ((i * 7919) % 613) as f32 - 300.0).collect();
    for highest in [true, false] {
        let new = |k| if highest { TopK::highest(k) } else { TopK::lowest(k) };
        let mut whole = new(5000);
        scores.iter().enumerate().for_each(|(i, s)| whole.push(*s, (0, i as u64, 3), 0));
        let whole = whole.into_sorted();
        let mut pages: Vec<SelectedCandidate> = Vec::new();
        loop {
            let mut page = new(700).with_room(1);
            if let Some(last) = pages.last() {
                page = page.after(last.score, last.place);
            }
            scores.iter().enumerate().for_each(|(i, s)| page.push(*s, (0, i as u64, 3), 0));
            match page.into_sorted() {
                page if page.is_empty() => break,
                page => pages.extend(page),
            }
        }
        assert_eq!(pages, whole);
    }
}

#[test]
fn a_candidate_has_no_more_padding_than_it_must() {
    assert_eq!(CANDIDATE_BYTES, 24);
}

#[test]
fn a_collector_takes_no_more_memory_than_its_candidates() {
    for (k, room) in [(1, 64), (100, 64), (1000, 64), (1000, 1024)] {
        let part = |first: u64| {
            let mut part = TopK::highest(k).with_room(room);
            (0..20_000u64).for_each(|i| part.push((i * 7919 % 20_011) as f32, (0, first + i, 0), 0));
            part
        };
        let mut all = TopK::highest(k).with_room(room);
        for first in [0, 20_000, 40_000] {
            all.merge(part(first));
            assert!(all.entries.capacity() <= most_held(k, room), "{k} {room}: {}", all.entries.capacity());
        }
    }
}

#[test]
fn an_enormous_k_keeps_everything() {
    let mut top = TopK::lowest(usize::MAX);
    (0..5000u64).for_each(|i| top.push(-(i as f32), (0, i, 0), 0));
    assert_eq!(top.into_sorted().len(), 5000);
}
