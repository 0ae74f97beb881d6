//! PNG of a scene, on light ground.

use std::io::Write;

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};

use super::TooLarge;
use super::colour::{background, of};
use super::font;
use super::raster::{Paint, Raster};
use super::scene::{Anchor, Item, Scene, TextStyle};

/// Pixels of a point.
const SCALE: f64 = 2.0;

/// Most pixels of an image: 300 MB of memory.
const MOST: usize = 100_000_000;

pub(super) fn image(scene: &Scene) -> Result<Vec<u8>, TooLarge> {
    let (width, height) = ((scene.width * SCALE).ceil() as usize, (scene.height * SCALE).ceil() as usize);
    if width.saturating_mul(height) > MOST {
        return Err(TooLarge { width: scene.width as usize, height: scene.height as usize });
    }
    let mut raster = Raster::new(width, height, background(false));
    scene.items.iter().for_each(|item| draw(&mut raster, item));
    Ok(file(&raster))
}

fn draw(raster: &mut Raster, item: &Item) {
    match item {
        Item::Line { points, role, width, opacity, dash } => {
            let points: Vec<[f64; 2]> = points.iter().map(|point| point.map(|v| v * SCALE)).collect();
            let paint = Paint { colour: of(*role, false), opacity: *opacity };
            match dash {
                None => raster.line(&points, width * SCALE, paint),
                Some(lengths) => dashes(&points, lengths.map(|v| v * SCALE))
                    .iter()
                    .for_each(|part| raster.line(part, width * SCALE, paint)),
            }
        }
        Item::Box { at, role, opacity, .. } => {
            raster.fill(at.map(|v| v * SCALE), Paint { colour: of(*role, false), opacity: *opacity });
        }
        Item::Text { at, text, role, set } => {
            set_text(raster, *at, text, *set, Paint { colour: of(*role, false), opacity: 1.0 });
        }
    }
}

/// The dashes of a line, of the lengths of a dash and a gap: both go on around its corners.
fn dashes(points: &[[f64; 2]], lengths: [f64; 2]) -> Vec<Vec<[f64; 2]>> {
    let mut dashes = Vec::new();
    let mut part: Vec<[f64; 2]> = points.iter().take(1).copied().collect();
    let (mut is_gap, mut left) = (false, lengths[0]);
    for pair in points.windows(2) {
        let [[ax, ay], [bx, by]] = [pair[0], pair[1]];
        let length = (bx - ax).hypot(by - ay);
        let mut at = 0.0;
        while length - at > left {
            at += left;
            let end = [ax + (bx - ax) * at / length, ay + (by - ay) * at / length];
            part.push(end);
            let ended = std::mem::replace(&mut part, vec![end]);
            if !is_gap {
                dashes.push(ended);
            }
            is_gap = !is_gap;
            left = lengths[usize::from(is_gap)];
        }
        left -= length - at;
        part.push([bx, by]);
    }
    if !is_gap {
        dashes.push(part);
    }
    dashes
}

fn set_text(raster: &mut Raster, [x, y]: [f64; 2], text: &str, set: TextStyle, paint: Paint) {
    let size = set.size * SCALE;
    let text = font::composed(text);
    let wide = size * font::width(&text);
    let mut x = x * SCALE
        - match set.anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => wide / 2.0,
            Anchor::End => wide,
        };
    for character in text.chars() {
        let (glyph, advance) = (font::glyph(character), font::advance(character));
        // Marks and joiners without a shape have no place.
        if advance <= 0.0 {
            continue;
        }
        // The sign for a character without a shape is as wide as its place.
        let em = size * (advance / glyph.advance);
        raster.glyph(glyph, [x, y * SCALE], em, paint);
        if set.bold {
            raster.glyph(glyph, [x + size / 28.0, y * SCALE], em, paint);
        }
        x += advance * size;
    }
}

fn file(raster: &Raster) -> Vec<u8> {
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    let side = |v: usize| u32::try_from(v).unwrap_or(u32::MAX).to_be_bytes();
    let mut header = [side(raster.width), side(raster.height)].concat();
    // 8 bits, red green blue, no interlacing.
    header.extend([8, 2, 0, 0, 0]);
    chunk(&mut out, b"IHDR", &header);
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::default());
    let line = raster.width * 3;
    let mut before = vec![0u8; line];
    for row in raster.pixels.chunks(line.max(1)) {
        // Differences from the line above: nearly all of them are zero.
        let mut filtered = vec![2u8];
        filtered.extend(row.iter().zip(&before).map(|(own, above)| own.wrapping_sub(*above)));
        // Writing to memory cannot fail.
        let _ = packed.write_all(&filtered);
        before.copy_from_slice(row);
    }
    chunk(&mut out, b"IDAT", &packed.finish().unwrap_or_default());
    chunk(&mut out, b"IEND", &[]);
    out
}

fn chunk(out: &mut Vec<u8>, kind: &[u8; 4], bytes: &[u8]) {
    out.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    let from = out.len();
    out.extend(kind);
    out.extend(bytes);
    let mut sum = Crc::new();
    sum.update(&out[from..]);
    out.extend(sum.sum().to_be_bytes());
}
