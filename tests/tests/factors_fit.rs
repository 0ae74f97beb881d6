//! Promise: a fit does all that it is asked for, or refuses it.

use crate::factors::{fit_args, place};
use gstore_tests::binary::Finished;
use gstore_tests::place::Place;

/// A fit that is refused.
fn refused(place: &Place, more: &[&str]) -> Finished {
    let args = fit_args("f", more);
    place.run(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn options_that_a_fit_would_not_use_are_refused() {
    let place = place();
    let partitions = "partitions divide the passes over the data";
    for (more, says) in [
        (&["--fisher", "empirical", "--seed", "7"][..], "--fisher empirical draws none"),
        (&["--strategy", "identity", "--seed", "0"], "--strategy identity draws none"),
        (&["--strategy", "identity", "--fisher", "true"], "--strategy identity has none"),
        (&["--strategy", "diagonal", "--max-block", "64"], "--max-block cuts covariances"),
        (&["--strategy", "identity", "--max-block", "64"], "--max-block cuts covariances"),
        (&["--strategy", "identity", "--data-partitions", "2"], partitions),
        (&["--strategy", "identity", "--module-partitions", "2"], partitions),
        (&["--strategy", "identity", "--partition", "1/2", "--folder", "shared"], partitions),
    ] {
        let refused = refused(&place, more);
        assert!(refused.code == 2 && refused.stderr.contains(says), "{more:?}: {}", refused.stderr);
    }
    assert!(!place.path("shared").exists());
}
