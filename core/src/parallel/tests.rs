//! Promise: loops run every unit once, hand results on in order, and end, whatever a unit does.

use std::ops::ControlFlow;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::{Cancel, Cancelled};

static RUN: Cancel = Cancel::new();

#[derive(Debug, PartialEq)]
enum Failed {
    Unit(usize),
    Cancelled,
}

impl From<Cancelled> for Failed {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

const GO_ON: Result<ControlFlow<()>, Failed> = Ok(ControlFlow::Continue(()));

#[test]
fn results_come_in_order_whatever_takes_long() {
    for threads in [1, 2, 5, 0] {
        let mut seen = Vec::new();
        let slow = |_: &mut (), unit: usize| {
            std::thread::sleep(Duration::from_micros((unit as u64 * 37) % 300));
            Ok(unit)
        };
        ordered(
            100,
            threads,
            &RUN,
            || (),
            slow,
            |unit| {
                seen.push(unit);
                GO_ON
            },
        )
        .unwrap();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    }
}

#[test]
fn no_more_results_wait_than_the_window_allows() {
    let ahead = AtomicUsize::new(0);
    let worst = AtomicUsize::new(0);
    let work = |_: &mut (), _| {
        worst.fetch_max(ahead.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        Ok(())
    };
    ordered(
        200,
        3,
        &RUN,
        || (),
        work,
        |()| {
            std::thread::sleep(Duration::from_micros(200));
            ahead.fetch_sub(1, Ordering::SeqCst);
            GO_ON
        },
    )
    .unwrap();
    assert!(worst.into_inner() <= 7, "window of 6 and the one in hand");
}

#[test]
fn the_first_error_by_unit_wins_and_a_break_stops() {
    let fail = |_: &mut (), unit: usize| {
        if unit >= 7 { Err(Failed::Unit(unit)) } else { Ok(unit) }
    };
    let error = ordered(100, 3, &RUN, || (), fail, |_| GO_ON).unwrap_err();
    assert_eq!(error, Failed::Unit(7));
    let mut count = 0;
    ordered(
        1_000_000,
        3,
        &RUN,
        || (),
        |_, unit| Ok(unit),
        |_| {
            count += 1;
            if count == 10 { Ok(ControlFlow::Break(())) } else { GO_ON }
        },
    )
    .unwrap();
    assert_eq!(count, 10);
}

#[test]
fn every_unit_runs_once_and_errors_surface() {
    let states = unordered(1000, 4, &RUN, Vec::new, |seen: &mut Vec<usize>, unit| {
        seen.push(unit);
        Ok::<(), Failed>(())
    })
    .unwrap();
    assert!(states.iter().all(|seen| seen.is_sorted()));
    let mut all: Vec<_> = states.into_iter().flatten().collect();
    all.sort_unstable();
    assert_eq!(all, (0..1000).collect::<Vec<_>>());
    let failed = unordered(
        10,
        2,
        &RUN,
        || (),
        |_, unit| {
            if unit == 3 { Err(Failed::Unit(unit)) } else { Ok(()) }
        },
    );
    assert_eq!(failed, Err(Failed::Unit(3)));
    let stopped = unordered(10, 2, &Cancel::raised(), || (), |_, _| Ok(()));
    assert_eq!(stopped, Err(Failed::Cancelled));
}

#[test]
fn a_failing_taker_ends_the_loop() {
    let taken = |unit| if unit == 5 { Err(Failed::Unit(50)) } else { GO_ON };
    let ended = ordered(1_000_000, 3, &RUN, || (), |_, unit| Ok(unit), taken);
    assert_eq!(ended, Err(Failed::Unit(50)));
}

#[test]
fn items_of_a_source_come_in_order_and_not_too_far_ahead() {
    let given = AtomicUsize::new(0);
    let mut taken = 0;
    let source = |give: Give<'_, usize>| -> Result<(), Failed> {
        for item in 0..300 {
            assert!(give(item));
            given.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    };
    let work = |_: usize, item: usize| {
        std::thread::sleep(Duration::from_micros((item as u64 * 37) % 200));
        Ok(item)
    };
    let take = |item| {
        assert_eq!(item, taken);
        assert!(given.load(Ordering::SeqCst) <= taken + 8);
        taken += 1;
        GO_ON
    };
    assert_eq!(pipeline(3, 8, source, work, take), Ok(()));
    assert_eq!(taken, 300);
}

#[test]
fn a_source_ends_when_nothing_more_is_wanted_and_its_error_comes_last() {
    let endless = |give: Give<'_, usize>| -> Result<(), Failed> {
        let mut item = 0;
        while give(item) {
            item += 1;
        }
        Ok(())
    };
    let few = |item| if item == 20 { Ok(ControlFlow::Break(())) } else { GO_ON };
    let same = |_: usize, item: usize| Ok(item);
    assert_eq!(pipeline(2, 4, endless, same, few), Ok(()));
    let bad = |_: usize, item| if item == 9 { Err(Failed::Unit(item)) } else { Ok(item) };
    assert_eq!(pipeline(2, 4, endless, bad, |_| GO_ON), Err(Failed::Unit(9)));

    let mut taken = 0;
    let broken = |give: Give<'_, usize>| {
        (0..3).for_each(|item| assert!(give(item)));
        Err(Failed::Unit(3))
    };
    let count = |_| {
        taken += 1;
        GO_ON
    };
    assert_eq!(pipeline(2, 4, broken, same, count), Err(Failed::Unit(3)));
    assert_eq!(taken, 3);
}

#[test]
fn every_thread_of_a_pipeline_has_a_number_of_its_own() {
    // Each waits for the others, so that each has one item.
    let all = Barrier::new(4);
    let source = |give: Give<'_, ()>| {
        (0..4).for_each(|_| assert!(give(())));
        Ok::<(), Failed>(())
    };
    let work = |number: usize, ()| {
        all.wait();
        Ok(number)
    };
    let mut numbers = Vec::new();
    let take = |number| {
        numbers.push(number);
        GO_ON
    };
    assert_eq!(pipeline(4, 8, source, work, take), Ok(()));
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2, 3]);
}

#[test]
fn a_panic_anywhere_reaches_the_caller_as_it_is() {
    let panics = |run: &dyn Fn()| {
        let thrown = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_err();
        thrown.downcast_ref() == Some(&"on purpose")
    };
    let at_5 = |unit: usize| {
        assert!(unit != 5, "on purpose");
        Ok::<usize, Failed>(unit)
    };
    let many = |give: Give<'_, usize>| -> Result<(), Failed> {
        (0..1000).all(give);
        Ok(())
    };
    let taking = |unit| at_5(unit).map(|_| ControlFlow::Continue(()));
    assert!(panics(&|| drop(ordered(1000, 3, &RUN, || (), |_, unit| at_5(unit), |_| GO_ON))));
    assert!(panics(&|| drop(ordered(1000, 3, &RUN, || (), |_, unit| Ok(unit), taking))));
    assert!(panics(&|| drop(pipeline(3, 4, many, |_, unit| at_5(unit), |_| GO_ON))));
    assert!(panics(&|| drop(pipeline(3, 4, many, |_, unit| Ok(unit), taking))));
    assert!(panics(&|| drop(each(0..6, at_5))));
}

#[test]
fn places_are_given_in_turn() {
    let next = in_turn(3);
    assert_eq!([(); 5].map(|()| next()), [0, 1, 2, 0, 1]);
    assert_eq!([in_turn(1)(), in_turn(0)()], [0, 0]);
}

#[test]
fn each_item_has_a_thread_and_the_first_that_of_the_caller() {
    let (all, own) = (Barrier::new(3), std::thread::current().id());
    let work = |item: usize| {
        // None comes to its end before the others have begun.
        all.wait();
        Ok::<_, Failed>((item, std::thread::current().id() == own))
    };
    assert_eq!(each(0..3, work), Ok(vec![(0, true), (1, false), (2, false)]));
    let failing = |item: usize| if item > 0 { Err(Failed::Unit(item)) } else { Ok(item) };
    assert_eq!(each(0..4, failing), Err(Failed::Unit(1)));
    assert_eq!(each(0..0, failing), Ok(Vec::new()));
}

#[test]
fn a_panic_in_a_unit_ends_a_loop_in_any_order() {
    let ran = AtomicUsize::new(0);
    let unit = |(): &mut (), at: usize| {
        assert!(at != 0, "on purpose");
        ran.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(1));
        Ok::<(), Failed>(())
    };
    let failing = || drop(unordered(20_000, 2, &RUN, || (), unit));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(failing)).is_err());
    assert!(ran.into_inner() < 20_000 - 1);
}

/// A loop of 8 units on up to 4 threads: the threads that it had, by how many units each ran.
fn threads_of_loop(unit: impl Fn(usize) + Sync) -> Vec<usize> {
    let count = |ran: &mut usize, at: usize| {
        unit(at);
        *ran += 1;
        Ok::<(), Failed>(())
    };
    let threads = unordered(8, 4, &RUN, || 0, count).unwrap();
    assert_eq!(threads.iter().sum::<usize>(), 8);
    threads
}

#[test]
fn loops_inside_units_of_own_workers_run_alone() {
    with_workers(4, || {
        let nested = AtomicUsize::new(0);
        let outer = threads_of_loop(|_| {
            let here = std::thread::current().id();
            let inner = threads_of_loop(|_| {
                assert_eq!(std::thread::current().id(), here);
                nested.fetch_add(1, Ordering::SeqCst);
            });
            assert_eq!(inner, [8]);
            assert_eq!(stages(|| threads_of_loop(|_| ())), [8]);
        });
        assert_eq!((outer.len(), nested.into_inner()), (4, 64));
        // Workers of its own are not those that a unit has to wait for.
        threads_of_loop(|_| assert_eq!(with_workers(2, || threads_of_loop(|_| ()).len()).unwrap(), 2));
        assert_eq!(threads_of_loop(|_| ()).len(), 4, "a loop after them has all workers again");
    })
    .unwrap();
    assert_eq!(with_workers(1, || threads_of_loop(|_| ()).len()).unwrap(), 1);
}

#[test]
fn a_panic_in_a_unit_leaves_own_workers_as_they_were() {
    with_workers(4, || {
        let failing = || threads_of_loop(|unit| assert!(unit != 5, "on purpose"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(failing)).is_err());
        assert_eq!(threads_of_loop(|_| ()).len(), 4);
    })
    .unwrap();
}
