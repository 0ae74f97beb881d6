//! Filters as Jinja and transformers have them, where minijinja's differ.
//!
//! Invariant: a filter refuses widths and counts beyond [`WIDEST`], which would let a short template write
//! gigabytes.

use std::borrow::Cow;
use std::collections::BTreeSet;

use minijinja::value::{Kwargs, Rest, StringInput, ValueKind, ValueOrKwargs, from_args};
use minijinja::{Environment, Error, ErrorKind, State, Value, filters};

use super::json::JsonStyle;
use super::tags::EACH;
use super::{letters, numbers, python};

/// The largest width or count that a filter takes.
const WIDEST: i64 = 10_000;

/// The filters in which minijinja differs from Jinja.
pub(super) fn add_filters(env: &mut Environment<'static>) {
    env.add_filter(EACH, each);
    env.add_filter("tojson", tojson);
    env.add_filter("indent", bounded(Value::from_function(indent)));
    env.add_filter("round", bounded(Value::from_function(filters::round)));
    for (name, filter, width) in [
        ("batch", Value::from_function(filters::batch), "linecount"),
        ("slice", Value::from_function(filters::slice), "slices"),
    ] {
        let signature = [(width, Value::UNDEFINED), ("fill_with", Value::UNDEFINED)];
        env.add_filter(name, bounded(Value::from_function(by_place(filter, signature))));
    }
    for name in ["default", "d"] {
        let signature = [("default_value", Value::from("")), ("boolean", Value::from(false))];
        env.add_filter(name, by_place(Value::from_function(filters::default), signature));
    }
    let named: [(&'static str, Value, &'static [&'static str]); 6] = [
        ("dictsort", Value::from_function(filters::dictsort), &["case_sensitive", "by", "reverse"]),
        ("groupby", Value::from_function(filters::groupby), &["attribute", "default", "case_sensitive"]),
        ("max", Value::from_function(filters::max), &["case_sensitive", "attribute"]),
        ("min", Value::from_function(filters::min), &["case_sensitive", "attribute"]),
        ("sort", Value::from_function(filters::sort), &["reverse", "case_sensitive", "attribute"]),
        ("unique", Value::from_function(filters::unique), &["case_sensitive", "attribute"]),
    ];
    for (name, filter, arguments) in named {
        env.add_filter(name, by_name(filter, arguments));
    }
    env.add_filter("int", int);
    env.add_filter("float", float);
    env.add_filter("format", format);
    env.add_filter("capitalize", capitalize);
    env.add_filter("title", title);
    env.add_filter("trim", trim);
    env.add_filter("e", escape);
    env.add_filter("escape", escape);
    // The lines of the first are not those of Python, and Jinja has none of the others.
    ["pprint", "bool", "chain", "lines", "split", "zip"].into_iter().for_each(|name| env.remove_filter(name));
}

/// What a loop takes its items from: None is an error in Jinja, and minijinja does not count the characters of
/// a text.
fn each(value: &Value) -> Result<Value, Error> {
    match value.as_str() {
        Some(text) => Ok(text.chars().map(Value::from).collect()),
        None if value.is_none() => {
            let wrong = "a loop over None, which tools and documents are here";
            Err(Error::new(ErrorKind::InvalidOperation, wrong))
        }
        None => Ok(value.clone()),
    }
}

/// A filter that refuses widths and counts beyond [`WIDEST`].
fn bounded(
    filter: Value,
) -> impl Fn(&mut State<'_, '_>, Rest<ValueOrKwargs>) -> Result<Value, Error> + Send + Sync + 'static {
    move |state, args| {
        let args = args.into_values();
        args.iter().skip(1).try_for_each(check_width)?;
        filter.call(state, &args)
    }
}

/// A filter that takes its arguments by their places in minijinja, and by these names as well in Jinja; with
/// Jinja's values of those that are not given.
fn by_place<const N: usize>(
    filter: Value,
    signature: [(&'static str, Value); N],
) -> impl Fn(&mut State<'_, '_>, Value, Rest<ValueOrKwargs>) -> Result<Value, Error> + Send + Sync + 'static {
    move |state, value, args| {
        let names = signature.each_ref().map(|(name, _)| *name);
        let mut call = vec![value];
        for (given, (_, default)) in
            python::arguments(&args.into_values(), &names)?.into_iter().zip(&signature)
        {
            call.push(if given.is_undefined() { default.clone() } else { given });
        }
        filter.call(state, &call)
    }
}

/// A filter that takes its arguments by their names in minijinja, and by their places as well in Jinja.
fn by_name(
    filter: Value,
    names: &'static [&'static str],
) -> impl Fn(&mut State<'_, '_>, Value, Rest<ValueOrKwargs>) -> Result<Value, Error> + Send + Sync + 'static {
    move |state, value, args| {
        let given = python::arguments(&args.into_values(), names)?;
        let named = names.iter().copied().zip(given).filter(|(_, given)| !given.is_undefined());
        filter.call(state, &[value, Value::from(named.collect::<Kwargs>())])
    }
}

/// The `int` filter as Jinja has it: what is no number gives the default, and a number loses its fraction.
fn int(value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let args = python::arguments(&args.into_values(), &["default", "base"])?;
    let (default, base): (&Value, Option<i128>) = from_args(&args)?;
    let whole = match value.as_str() {
        Some(text) => numbers::int(python::strip(text), base.unwrap_or(10)).map(Value::from),
        None => Some(value).filter(|value| value.is_integer()).cloned(),
    };
    match (whole, number(value)?) {
        (Some(whole), _) => Ok(whole),
        (None, Some(number)) if number.abs() < 1e38 => Ok(Value::from(number as i128)),
        (None, Some(number)) if number.is_finite() => {
            Err(Error::new(ErrorKind::InvalidOperation, format!("an integer as large as {number:e}")))
        }
        _ => Ok(if default.is_undefined() { Value::from(0) } else { default.clone() }),
    }
}

/// The `float` filter as Jinja has it: what is no number gives the default.
fn float(value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let args = python::arguments(&args.into_values(), &["default"])?;
    let (default,): (&Value,) = from_args(&args)?;
    Ok(match number(value)? {
        Some(number) => Value::from(number),
        None if default.is_undefined() => Value::from(0.0),
        None => default.clone(),
    })
}

/// `float(value)`; none if this is no number.
fn number(value: &Value) -> Result<Option<f64>, Error> {
    Ok(match value.kind() {
        ValueKind::Undefined => return Err(Error::from(ErrorKind::UndefinedError)),
        ValueKind::String => value.as_str().and_then(|text| numbers::float(python::strip(text))),
        ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        ValueKind::Number => f64::try_from(value.clone()).ok(),
        _ => None,
    })
}

/// The `capitalize` filter as Python has it.
fn capitalize(text: StringInput<'_>) -> Value {
    let capitalized = letters::capitalize(text.as_str());
    text.preserve_safety(capitalized)
}

/// The `title` filter as Jinja has it, which is not Python's `title`.
fn title(text: StringInput<'_>) -> String {
    letters::title_of_words(text.as_str())
}

/// The `trim` filter with Python's white space.
fn trim(text: StringInput<'_>, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let args = python::arguments(&args.into_values(), &["chars"])?;
    let (chars,): (Option<Cow<'_, str>>,) = from_args(&args)?;
    if chars.is_some() {
        return Ok(filters::trim(text, chars));
    }
    let trimmed = python::strip(text.as_str()).to_owned();
    Ok(text.preserve_safety(trimmed))
}

/// The `indent` filter as Jinja has it: with Python's lines, which end in newlines then, and an empty one after
/// the last line end. In place of a width there may be a text.
fn indent(text: StringInput<'_>, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let args = python::arguments(&args.into_values(), &["width", "first", "blank"])?;
    let (width, first, blank): (Option<Value>, Option<bool>, Option<bool>) = from_args(&args)?;
    let (first, blank) = (first.unwrap_or(false), blank.unwrap_or(false));
    let indention = indention(width.unwrap_or_else(|| Value::from(4)))?;
    let ended = format!("{}\n", text.as_str());
    let mut out = String::new();
    for (i, line) in python::lines(&ended, false).into_iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        let is_indented = if i == 0 { first } else { blank || !line.is_empty() };
        if is_indented {
            out.push_str(&indention);
        }
        out.push_str(line);
    }
    Ok(text.preserve_safety(out))
}

/// A text to indent by, or blanks of this number.
fn indention(width: Value) -> Result<String, Error> {
    match width.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => Ok(" ".repeat(usize::try_from(i64::try_from(width)?).unwrap_or(0))),
    }
}

fn format(state: &mut State<'_, '_>, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let args = args.into_values();
    let Some((format, values)) = args.split_first() else {
        return Err(Error::from(ErrorKind::MissingArgument));
    };
    format_by_characters(format, values, |values| {
        let args = [std::slice::from_ref(format), values].concat();
        Value::from_function(filters::format).call(state, &args)
    })
}

/// Has values written by a format such as `%8d` or `{:8}`, with its widths in characters: minijinja counts
/// bytes, so that control characters stand in for those of several bytes, as long as there are enough.
pub(super) fn format_by_characters(
    format: &Value,
    values: &[Value],
    write: impl FnOnce(&[Value]) -> Result<Value, Error>,
) -> Result<Value, Error> {
    let format = format.as_str().unwrap_or_default();
    let mut widths = format.split(|c: char| !c.is_ascii_digit());
    if format.contains(['%', '{']) && widths.any(|digits| digits.len() > 4) {
        return Err(too_wide());
    }
    let mut texts = String::new();
    let mut collect = |text: &str| {
        texts.push_str(text);
        String::new()
    };
    values.iter().try_for_each(|value| with_texts(value, &mut collect).map(drop))?;
    let wide: BTreeSet<char> = texts.chars().filter(|c| !c.is_ascii()).collect();
    if wide.is_empty() || !format.contains(|c: char| c.is_ascii_digit()) {
        return write(values);
    }
    let free = ('\0'..' ').filter(|c| !texts.contains(*c) && !format.contains(*c));
    let pairs: Vec<(char, char)> = wide.iter().copied().zip(free).collect();
    if pairs.len() < wide.len() {
        return write(values);
    }
    let narrow = |c: char| pairs.iter().find(|(wide, _)| *wide == c).map_or(c, |(_, narrow)| *narrow);
    let widen = |c: char| pairs.iter().find(|(_, narrow)| *narrow == c).map_or(c, |(wide, _)| *wide);
    let values = values.iter().map(|value| with_texts(value, &mut |text| text.chars().map(narrow).collect()));
    let written = write(&values.collect::<Result<Vec<Value>, Error>>()?)?;
    with_texts(&written, &mut |text| text.chars().map(widen).collect())
}

/// A value, a text or arguments by their names, with other texts.
fn with_texts(value: &Value, change: &mut dyn FnMut(&str) -> String) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        let changed = change(text);
        return Ok(if value.is_safe() { Value::from_safe_string(changed) } else { Value::from(changed) });
    }
    if !value.is_kwargs() {
        return Ok(value.clone());
    }
    let named = Kwargs::try_from(value.clone())?;
    let mut changed = Vec::new();
    for name in named.args() {
        changed.push((name, with_texts(&named.peek::<Value>(name)?, change)?));
    }
    Ok(Value::from(changed.into_iter().collect::<Kwargs>()))
}

pub(super) fn check_width(arg: &Value) -> Result<(), Error> {
    if arg.is_kwargs() {
        let kwargs = Kwargs::try_from(arg.clone())?;
        return kwargs.args().try_for_each(|name| check_width(&kwargs.peek::<Value>(name)?));
    }
    match f64::try_from(arg.clone()) {
        Ok(n) if arg.is_number() && n > WIDEST as f64 => Err(too_wide()),
        _ => Ok(()),
    }
}

fn too_wide() -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("a width or count above {WIDEST}"))
}

/// Escapes for HTML, written as MarkupSafe writes them.
fn escape(value: &Value) -> Value {
    if value.is_safe() {
        return value.clone();
    }
    let mut out = String::new();
    for c in value.to_string().chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            c => out.push(c),
        }
    }
    Value::from_safe_string(out)
}

/// The filter of transformers: `json.dumps(value, ensure_ascii=False, indent=None, separators=None,
/// sort_keys=False)`.
fn tojson(value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
    let args = python::arguments(&args.into_values(), &names)?;
    let (ascii, indent, separators, sorted): (Option<Value>, Option<Value>, Option<Value>, Option<Value>) =
        from_args(&args)?;
    indent.iter().try_for_each(check_width)?;
    let indention = indent.map(indention).transpose()?;
    let [between_items, behind_key] = match separators {
        Some(given) => two_texts(&given)?,
        None => [if indention.is_some() { "," } else { ", " }, ": "].map(str::to_owned),
    };
    let is_asked = |option: Option<Value>| option.is_some_and(|option| option.is_true());
    let style =
        JsonStyle { ascii: is_asked(ascii), indention, between_items, behind_key, sorted: is_asked(sorted) };
    style.dumps(value).map(Value::from)
}

fn two_texts(separators: &Value) -> Result<[String; 2], Error> {
    let texts = separators.try_iter()?.map(|text| text.as_str().map(str::to_owned));
    let texts: Option<Vec<String>> = texts.collect();
    texts.and_then(|texts| texts.try_into().ok()).ok_or_else(|| {
        let wrong = "separators of tojson are two texts: between items, and after a key";
        Error::new(ErrorKind::InvalidOperation, wrong)
    })
}
