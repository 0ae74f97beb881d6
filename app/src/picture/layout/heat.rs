//! Matrices in shades.

use super::super::Heat;
use super::super::scale::number;
use super::super::scene::{Anchor, Role, Scene};
use super::{EDGE, WIDTH, key, tick, visible};

/// Boxes of a matrix, and the axes in words; returns the lower end.
pub(super) fn heat(scene: &mut Scene, heat: &Heat, (top, height): (f64, f64)) -> f64 {
    let Some(range) = heat.range() else { return top };
    let top = key(scene, range, |place| (Role::Series(0), shade(place)), top) + 6.0;
    let scale = heat.scale();
    // Whole pixels of a PNG, so that no lines are between the boxes.
    let side = |room: f64, parts: usize| ((room / parts.max(1) as f64 * 2.0).floor() / 2.0).max(0.5);
    let (wide, high) = (side(WIDTH - 2.0 * EDGE, heat.columns), side(height, heat.rows()));
    for (at, value) in heat.values.iter().enumerate() {
        let Some(place) = scale.place(*value) else { continue };
        let (row, column) = (at / heat.columns, at % heat.columns);
        let place_of_box = [EDGE + column as f64 * wide, top + row as f64 * high, wide, high];
        scene.block(place_of_box, Role::Series(0), shade(place), number(*value));
    }
    let bottom = top + heat.rows() as f64 * high;
    tick(scene, [EDGE, bottom + 17.0], &visible(&heat.axes()), Anchor::Start);
    bottom + 20.0
}

/// How much of the colour is laid on.
fn shade(place: f64) -> f64 {
    0.06 + 0.94 * place.clamp(0.0, 1.0)
}
