use std::collections::HashSet;
use std::io::Read;

use super::*;

fn lines() -> Body {
    let points = |times: f64| (1..=20).map(|i| [f64::from(i), times / f64::from(i)]).collect();
    let series =
        |name: &str, colour, faint, times| Series { faint, ..Series::new(name, colour, points(times)) };
    let mut gap = series("two & more", 1, false, 4.0);
    gap.points[9][1] = f64::NAN;
    let series = vec![series("one", 0, true, 2.2), series("one", 0, false, 2.0), gap];
    Body::Lines { x: Axis::linear("step"), y: Axis::log("loss"), series }
}

fn histogram() -> Body {
    Body::Histogram(Histogram {
        x: "score".to_owned(),
        y: "rows".to_owned(),
        first: -0.04,
        width: 0.01,
        counts: vec![1, 30, 200, 940, 1210, 400, 20, 0, 2],
        band: Some((-0.012, 0.012, "noise floor".to_owned())),
        marks: vec![(0.035, "best 1%".to_owned())],
    })
}

fn bars() -> Body {
    Body::Bars {
        rows: vec![
            ("math".to_owned(), vec![0.61, 0.25]),
            ("a label that is much longer than there is room for".to_owned(), vec![0.39, 0.75]),
            ("none".to_owned(), vec![0.0, 0.0004]),
        ],
        series: vec!["best 100".to_owned(), "pool of 2,000".to_owned()],
        shares: true,
    }
}

fn tokens() -> Body {
    let texts = ["Is", " 7", " <odd>", "?\n", "Yes", ",", " 7", " is", " odd", ".", " Größe", " 漢字", ""];
    let token = |(i, text): (usize, &&str)| Token {
        text: (*text).to_owned(),
        value: (i > 3).then(|| [0.5, -0.25, 0.0, 1.0][i % 4]),
    };
    Body::Tokens(texts.iter().enumerate().map(token).collect())
}

fn picture(body: Body) -> Picture {
    let notes = vec!["A sentence below the plot that says what <it> means.".to_owned()];
    let panel = Panel { heading: "A heading".to_owned(), body, notes };
    Picture { title: "A & B".to_owned(), about: "What it \"shows\".".to_owned(), panels: vec![panel] }
}

fn all() -> [(&'static str, Picture, &'static str); 4] {
    [
        ("lines", picture(lines()), include_str!("golden/lines.svg")),
        ("histogram", picture(histogram()), include_str!("golden/histogram.svg")),
        ("bars", picture(bars()), include_str!("golden/bars.svg")),
        ("tokens", picture(tokens()), include_str!("golden/tokens.svg")),
    ]
}

#[test]
fn svg_has_the_bytes_that_it_had() {
    for (name, picture, golden) in all() {
        assert!(picture.svg() == golden, "{name}.svg is now\n{}", picture.svg());
    }
}

#[test]
fn files_stand_alone() {
    for (name, picture, _) in all() {
        for text in [picture.svg(), picture.html()] {
            assert!(!text.contains("<script") && !text.contains("@import"), "{name}");
            // The only address is the name of the format.
            let addresses = text.matches("http").count() - text.matches("http://www.w3.org/2000/svg").count();
            assert_eq!(addresses, 0, "{name}");
            assert!(text.contains("<title id=\"title\">A &amp; B</title>"), "{name}");
            assert!(text.contains("<desc id=\"about\">What it &quot;shows&quot;.</desc>"), "{name}");
            assert!(text.contains("prefers-color-scheme:dark") && !text.contains("<odd>"), "{name}");
        }
        assert!(picture.html().starts_with("<!DOCTYPE html>"), "{name}");
    }
}

/// Width, height and pixels of a PNG that this module wrote.
fn decoded(png: &[u8]) -> (usize, usize, Vec<u8>) {
    assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap()) as usize;
    let (mut at, mut chunks) = (8, Vec::new());
    while at < png.len() {
        let (kind, bytes) = (&png[at + 4..at + 8], &png[at + 8..at + 8 + number(at)]);
        let mut sum = flate2::Crc::new();
        sum.update(&png[at + 4..at + 8 + bytes.len()]);
        assert_eq!(sum.sum() as usize, number(at + 8 + bytes.len()));
        chunks.push((kind, bytes));
        at += 12 + bytes.len();
    }
    let kinds: Vec<&[u8]> = chunks.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [b"IHDR", b"IDAT", b"IEND"]);
    assert_eq!(chunks[0].1[8..], [8, 2, 0, 0, 0]);
    let (width, height) = (number(16), number(20));
    let mut rows = Vec::new();
    flate2::read::ZlibDecoder::new(chunks[1].1).read_to_end(&mut rows).unwrap();
    assert_eq!(rows.len(), height * (1 + width * 3));
    let (mut pixels, mut before) = (Vec::new(), vec![0u8; width * 3]);
    for row in rows.chunks(1 + width * 3) {
        assert_eq!(row[0], 2);
        before.iter_mut().zip(&row[1..]).for_each(|(above, own)| *above = above.wrapping_add(*own));
        pixels.extend_from_slice(&before);
    }
    (width, height, pixels)
}

#[test]
fn png_shows_what_svg_has() {
    for (name, picture, _) in all() {
        let svg = picture.svg();
        let side = |key: &str| -> usize {
            let text = svg.split(&format!(" {key}=\"")).nth(1).and_then(|rest| rest.split('"').next());
            text.and_then(|text| text.parse().ok()).unwrap()
        };
        let png = picture.png().unwrap();
        assert!(name != "lines" || png == picture.png().unwrap());
        let (width, height, pixels) = decoded(&png);
        assert_eq!((width, height), (2 * side("width"), 2 * side("height")), "{name}");
        let painted = pixels.chunks(3).filter(|pixel| **pixel != [255, 255, 255]).count();
        assert!(painted > 1000 && painted < width * height / 2, "{name}: {painted}");
    }
}

#[test]
fn a_picture_that_is_too_large_is_refused() {
    let row = |i: usize| (i.to_string(), vec![1.0]);
    let body = Body::Bars { rows: (0..4000).map(row).collect(), series: vec![String::new()], shares: false };
    let error = picture(body).png().unwrap_err().to_string();
    assert!(error.contains("too large for PNG"), "{error}");
}

/// A text without the marks of colours.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for (i, part) in text.split("\u{1b}[").enumerate() {
        out += if i == 0 { part } else { part.split_once('m').map_or("", |(_, rest)| rest) };
    }
    out
}

#[test]
fn text_fits_its_columns() {
    for (name, picture, _) in all() {
        for width in [20, 33, 80, 200] {
            let text = |colour| picture.terminal(TerminalStyle { width, height: 8, colour });
            assert!(!text(false).contains('\u{1b}'), "{name}");
            let coloured = plain(&text(true));
            for line in text(false).lines().chain(coloured.lines()) {
                assert!(font::cells(line) <= width, "{name} in {width}: {line:?}");
            }
            if name == "lines" || name == "histogram" {
                let longest = text(false).lines().map(font::cells).max();
                assert_eq!(longest, Some(width), "{name}");
            }
            assert!(text(false).ends_with('\n') && text(true).contains('\u{1b}'), "{name}");
        }
    }
}

#[test]
fn empty_pictures_are_drawn() {
    let bodies = [
        Body::Lines { x: Axis::log("x"), y: Axis::linear("y"), series: Vec::new() },
        Body::Histogram(Histogram {
            x: "x".to_owned(),
            y: "y".to_owned(),
            first: 0.0,
            width: 1.0,
            counts: Vec::new(),
            band: None,
            marks: Vec::new(),
        }),
        Body::Bars { rows: Vec::new(), series: Vec::new(), shares: false },
        Body::Tokens(Vec::new()),
        Body::Heat(Heat { x: "x".to_owned(), y: "y".to_owned(), columns: 0, values: Vec::new(), log: true }),
    ];
    for body in bodies {
        let picture = picture(body);
        assert!(picture.svg().ends_with("</svg>\n") && picture.png().is_ok());
        for colour in [false, true] {
            assert!(picture.terminal(TerminalStyle { width: 5, height: 0, colour }).contains("A heading"));
        }
    }
}

#[test]
fn a_range_off_the_axis_has_no_colour_in_the_legend() {
    for (place, is_drawn) in [(0.5, true), (3.0, true), (3.5, false), (-0.2, false)] {
        let Body::Histogram(mut shown) = histogram() else { continue };
        (shown.first, shown.width, shown.counts, shown.marks) = (0.0, 1.0, vec![1, 2, 3], Vec::new());
        shown.band = Some((place - 0.1, place + 0.1, "noise floor".to_owned()));
        let picture = picture(Body::Histogram(shown));
        assert_eq!(picture.svg().contains("noise floor"), is_drawn, "{place}");
        let style = TerminalStyle { width: 60, height: 4, colour: false };
        assert!(picture.terminal(style).contains("noise floor: "), "{place}");
    }
}

#[test]
fn a_histogram_says_what_it_counts() {
    for y in ["rows", "tokens"] {
        let Body::Histogram(mut shown) = histogram() else { continue };
        (shown.y, shown.band) = (y.to_owned(), None);
        let picture = picture(Body::Histogram(shown));
        assert!(picture.svg().contains(&format!(">{y}</text>")), "{y}: {}", picture.svg());
        for (colour, sign) in [(false, '█'), (true, '━')] {
            let text = plain(&picture.terminal(TerminalStyle { width: 60, height: 8, colour }));
            assert!(text.contains(&format!("\n{sign} {y}\n")), "{text}");
        }
    }
}

#[test]
fn a_matrix_has_a_box_for_each_value_that_has_a_shade() {
    let values = vec![1e-6, 1.0, f64::NAN, 1e-3, 0.0, 1e-1];
    let (x, y) = ("inputs".to_owned(), "outputs".to_owned());
    let picture = picture(Body::Heat(Heat { x, y, columns: 3, values, log: true }));
    let svg = picture.svg();
    let boxes = |about: &str| svg.matches(&format!("<title>{about}</title>")).count();
    assert_eq!(["1e-6", "1", "0.001", "0.1", "0"].map(boxes), [1, 1, 1, 1, 0], "{svg}");
    assert!(
        svg.contains("rows: outputs; columns: inputs; shades on a logarithmic scale")
            && picture.png().is_ok()
    );
    let text = picture.terminal(TerminalStyle { width: 60, height: 8, colour: false });
    assert!(text.contains("\n·█\n▒ █\n") && text.contains("logarithmic scale"), "{text}");
}

#[test]
fn tokens_have_the_scale_of_their_colours() {
    let of = |values: &[f64]| {
        let token = |v: &f64| Token { text: "t".to_owned(), value: Some(*v) };
        picture(Body::Tokens(values.iter().map(token).collect()))
    };
    for (values, ends) in
        [(&[0.25, 2.0][..], Some(["0", "2"])), (&[1.0, -2.0][..], Some(["-2", "2"])), (&[0.0][..], None)]
    {
        let picture = of(values);
        let svg = picture.svg();
        let boxes = svg.lines().filter(|line| line.contains("height=\"10\"")).count();
        assert_eq!(boxes, if ends.is_some() { 12 } else { 0 }, "{svg}");
        let text = plain(&picture.terminal(TerminalStyle { width: 60, height: 8, colour: true }));
        if let Some([low, high]) = ends {
            assert!([low, high].iter().all(|end| svg.contains(&format!(">{end}</text>"))), "{svg}");
            let shades = if low == "0" { 5 } else { 10 };
            assert!(text.contains(&format!("\n{low} {} {high}\n", " ".repeat(shades))), "{text}");
        }
        // The boxes are in a PNG too, on a line that no token is in.
        let (width, _, pixels) = decoded(&picture.png().unwrap());
        let line = pixels.chunks(3).skip(2 * 95 * width).take(width);
        let coloured = line.filter(|pixel| pixel[0].abs_diff(pixel[2]) > 20).count();
        assert_eq!(coloured > 150, ends.is_some(), "{coloured}");
    }
}

#[test]
fn terminals_obey_nothing_that_is_data() {
    let evil = "\u{1b}[2Jx\u{9b}31m\ry\u{7}".to_owned();
    let bars = Body::Bars {
        rows: vec![(evil.clone(), vec![f64::INFINITY, 1.0]), ("b".to_owned(), vec![f64::NAN, 2.0])],
        series: vec![evil.clone(), "other".to_owned()],
        shares: false,
    };
    let panel = Panel { heading: evil.clone(), body: bars, notes: vec![evil.clone()] };
    let picture = Picture { title: evil.clone(), about: evil, panels: vec![panel] };
    let text = picture.terminal(TerminalStyle { width: 60, height: 8, colour: false });
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
}

#[test]
fn texts_in_files_have_the_signs_of_a_terminal() {
    let odd = "two\nlines\u{1b}".to_owned();
    let body = Body::Bars {
        rows: vec![(odd.clone(), vec![1.0, 2.0]), (String::new(), vec![3.0, 4.0])],
        series: vec![odd.clone(), "other".to_owned()],
        shares: false,
    };
    let panel = Panel { heading: "a\u{1b}\nb".to_owned(), body, notes: vec![odd.clone()] };
    let picture = Picture { title: odd, about: String::new(), panels: vec![panel] };
    let svg = picture.svg();
    // A label and a name of a series, an empty label, a heading, and title and note.
    for (text, times) in [("two↵lines␣", 2), ("·", 1), ("a␣ b", 1), ("two lines␣", 2)] {
        assert_eq!(svg.matches(&format!(">{text}</text>")).count(), times, "{text}: {svg}");
    }
    assert!(svg.contains("<title>two↵lines␣: 1</title>") && svg.contains("<title>·: 3</title>"), "{svg}");
    assert!(picture.html().contains(">two↵lines␣</text>"));
}

#[test]
fn names_of_axes_have_signs_for_what_a_terminal_obeys() {
    let x = Axis::linear("st\u{1b}[2Jep");
    let series = vec![Series::new("one", 0, vec![[0.0, 1.0], [1.0, 2.0]])];
    let picture = picture(Body::Lines { x, y: Axis::linear("loss"), series });
    let text = picture.terminal(TerminalStyle { width: 60, height: 8, colour: false });
    assert!(text.contains("st␣[2Jep") && picture.svg().contains(">st␣[2Jep</text>"), "{text:?}");
}

#[test]
fn characters_without_a_shape_cover_no_others() {
    let png = |title: &str| decoded(&Picture { title: title.to_owned(), ..picture(bars()) }.png().unwrap());
    for (text, same) in [("z\u{200b}ero\u{200d}", "zero"), ("e\u{301}", "é"), ("x\u{301}y", "xy")] {
        assert!(png(text) == png(same), "{text:?}");
    }
    // What is before the sign for an Arabic letter is as without it.
    for before in ["x", "\u{627}"] {
        let (width, _, alone) = png(before);
        let (_, _, followed) = png(&format!("{before}\u{627}"));
        let end = ((20.0 + font::width(before) * 16.0) * 2.0) as usize;
        let is_same = |(one, other): (&[u8], &[u8])| one[..end * 3] == other[..end * 3];
        assert!(alone.chunks(width * 3).zip(followed.chunks(width * 3)).all(is_same), "{before:?}");
        assert!(alone != followed, "{before:?}");
    }
}

/// One row of as many bars as there are values, each of a series of its own.
fn bars_of(values: &[f64]) -> Picture {
    let series = (0..values.len()).map(|i| format!("method {i}")).collect();
    picture(Body::Bars { rows: vec![("LDS".to_owned(), values.to_vec())], series, shares: false })
}

#[test]
fn bars_of_more_series_than_colours_have_names() {
    let values = [0.5, -0.25, 0.75, 0.125, 1.0, -0.5, 0.625, 0.375, -1.0];
    let in_legend = |svg: &str| svg.matches("width=\"12\" height=\"4\"").count();
    let few = bars_of(&values[..SERIES_COLOURS]).svg();
    assert_eq!((in_legend(&few), few.matches(">method ").count()), (SERIES_COLOURS, SERIES_COLOURS));
    let many = bars_of(&values);
    let svg = many.svg();
    assert_eq!((in_legend(&svg), svg.matches(">method ").count()), (0, values.len()), "{svg}");
    let number = |line: &str, key: &str| -> f64 {
        let text = line.split(&format!(" {key}=\"")).nth(1).and_then(|rest| rest.split('"').next());
        text.and_then(|text| text.parse().ok()).unwrap()
    };
    let bars: Vec<&str> = svg.lines().filter(|line| line.contains("height=\"11\"")).collect();
    assert_eq!(bars.len(), values.len(), "{svg}");
    // The base line of a name is inside its bar's height, and its end before all bars.
    let first = bars.iter().map(|bar| number(bar, "x")).fold(f64::INFINITY, f64::min);
    for (i, bar) in bars.iter().enumerate() {
        let name = svg.lines().find(|line| line.contains(&format!(">method {i}</text>"))).unwrap();
        let below = number(name, "y") - number(bar, "y");
        assert!((0.0..=11.0).contains(&below) && number(name, "x") < first, "{name}\n{bar}");
        assert!(name.contains("text-anchor=\"end\""), "{name}");
    }
    assert!(many.png().is_ok());
}

#[test]
fn bars_of_more_series_than_fillings_have_names_in_a_terminal() {
    let values = [0.5, -0.25, 0.75, 0.125, 1.0, -0.5, 0.625];
    for (series, colour, is_named) in [(3, false, false), (4, false, true), (6, true, false), (7, true, true)]
    {
        for width in [20, 33, 80] {
            let style = TerminalStyle { width, height: 8, colour };
            let text = plain(&bars_of(&values[..series]).terminal(style));
            assert!(text.lines().all(|line| font::cells(line) <= width), "{text}");
            let named = text.lines().filter(|line| line.contains("met") && line.contains('│')).count();
            assert_eq!(named, if is_named { series } else { 0 }, "{text}");
        }
    }
}

#[test]
fn a_bar_without_a_value_says_so() {
    let rows = vec![("a".to_owned(), vec![1.0]), ("b".to_owned(), vec![f64::NAN])];
    let svg = picture(Body::Bars { rows, series: vec![String::new()], shares: false }).svg();
    assert!(svg.contains(">(none)</text>") && !svg.contains("NaN"), "{svg}");
}

#[test]
fn values_of_the_smallest_size_have_places() {
    for values in [vec![5e-324], vec![0.0, 5e-324], vec![5e-324, 1e-323]] {
        let points = values.iter().enumerate().map(|(i, v)| [i as f64, *v]).collect();
        let series = vec![Series::new("a", 0, points)];
        for y in [Axis::linear("loss"), Axis::log("loss")] {
            let body = Body::Lines { x: Axis::linear("step"), y, series: series.clone() };
            let svg = picture(body).svg();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{values:?}: {svg}");
        }
    }
}

#[test]
fn no_two_of_eighteen_lines_look_alike() {
    let line = |colour| Series::new(&format!("line {colour}"), colour, vec![[0.0, 1.0], [1.0, 2.0]]);
    let drawn = |colour| {
        let (x, y) = (Axis::linear("step"), Axis::linear("loss"));
        picture(Body::Lines { x, y, series: vec![line(colour)] })
    };
    let looks = |colour| {
        let svg = drawn(colour).svg();
        let line = svg.lines().find(|line| line.contains("stroke-width=\"1.8\"")).unwrap();
        (line.to_owned(), drawn(colour).png().unwrap())
    };
    let (lines, images): (HashSet<String>, HashSet<Vec<u8>>) = (0..18).map(looks).unzip();
    assert_eq!((lines.len(), images.len()), (18, 18), "{lines:?}");
}
