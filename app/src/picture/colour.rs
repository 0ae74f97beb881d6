//! Colours of roles, on light and on dark ground.

use super::scene::Role;

/// Ground, ink, muted text, grid.
const LIGHT: [u32; 4] = [0xffffff, 0x1f2328, 0x59636e, 0xe3e6ea];
const DARK: [u32; 4] = [0x0d1117, 0xe6edf3, 0x9198a1, 0x2b3138];

/// Series: blue, orange, green, purple, red, teal; told apart by those who see red and green alike as well.
const SERIES: [[u32; 2]; SERIES_COLOURS] = [
    [0x0b62c4, 0x58a6ff],
    [0xc8590a, 0xf0883e],
    [0x13803c, 0x3fb950],
    [0x8250df, 0xbc8cff],
    [0xcf222e, 0xff7b72],
    [0x0f7b87, 0x39c5cf],
];

/// Series of different colours; later ones begin again: lines with dashes, bars with their names.
pub(crate) const SERIES_COLOURS: usize = 6;

/// The colour of a role as 0xRRGGBB.
pub(super) fn of(role: Role, dark: bool) -> u32 {
    let named = if dark { &DARK } else { &LIGHT };
    match role {
        Role::Ink => named[1],
        Role::Muted => named[2],
        Role::Grid => named[3],
        Role::Series(n) => SERIES[n % SERIES_COLOURS][usize::from(dark)],
    }
}

/// Lengths of a dash and a gap of a line in points; none of the first series, whose lines are whole.
pub(super) fn dash(role: Role) -> Option<[f64; 2]> {
    match role {
        Role::Series(n) => [None, Some([6.0, 4.0]), Some([1.0, 4.0])][n / SERIES_COLOURS % 3],
        _ => None,
    }
}

/// The colour of the ground.
pub(super) fn background(dark: bool) -> u32 {
    if dark { DARK[0] } else { LIGHT[0] }
}

/// The class of a role in a style sheet.
pub(super) fn class(role: Role) -> String {
    match role {
        Role::Ink => "ink".to_owned(),
        Role::Muted => "muted".to_owned(),
        Role::Grid => "grid".to_owned(),
        Role::Series(n) => format!("s{}", n % SERIES_COLOURS),
    }
}

/// The rules of all roles, for lines and for what is filled; `scope` stands before each.
pub(super) fn rules(scope: &str, dark: bool) -> String {
    let roles = [Role::Ink, Role::Muted, Role::Grid].into_iter().chain((0..SERIES_COLOURS).map(Role::Series));
    let mut out = format!("{scope} .ground{{fill:#{:06x}}}", background(dark));
    for role in roles {
        let (class, colour) = (class(role), of(role, dark));
        out += &format!(
            "{scope} .{class}{{fill:#{colour:06x}}}{scope} .{class}l{{stroke:#{colour:06x};fill:none}}"
        );
    }
    out
}
