//! Promise: however few images of a point are checked, one keeps nothing that was not durable, and one all.

use gstore_faults::Random;
use gstore_faults::disk::{Choice, Pending, choices, numbers};

const MOST: u64 = 6;

#[test]
fn nothing_kept_and_everything_kept_are_among_the_images_of_each_point() {
    for changes in 1..40 {
        let pending: Vec<Pending> = (0..changes)
            .map(|id| match id % 3 {
                0 => Pending::Unlink(format!("/{id}").into()),
                _ => Pending::Data { id, offset: 0, data: vec![1; 9], stream: false },
            })
            .collect();
        let chosen = numbers(&pending, MOST, &mut Random::new(changes));
        assert!(chosen.len() as u64 <= MOST, "{changes} changes: {chosen:?}");
        for all in [Choice::Lost, Choice::Whole] {
            let is_all = |number: &u64| {
                choices(&pending, *number, &mut Random::new(*number)).iter().all(|choice| *choice == all)
            };
            assert!(chosen.iter().any(is_all), "{changes} changes: {all:?} is not among {chosen:?}");
        }
    }
}
