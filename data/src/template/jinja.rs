//! The Jinja environment that chat templates are written for, that of transformers, on top of minijinja.
//!
//! Invariants
//! - rendering depends on the template and its input only: `strftime_now` shows a fixed day, because an
//!   encoding has to mean the same tokens tomorrow
//! - an endless template ends with an error, and no single width or count lets a short one write gigabytes.
//!   Text that a template doubles again and again is not bounded: a template is a program, to be trusted as
//!   far as the source of the model

use std::borrow::Cow;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, StringInput, ValueKind, ValueOrKwargs, from_args};
use minijinja::{Environment, Error, ErrorKind, State, Value, filters};

use super::json::JsonStyle;
use super::python;

const NAME: &str = "chat_template";

/// Steps of one rendering: enough for a conversation of a hundred thousand turns.
const STEPS: u64 = 10_000_000;

/// How the error begins where a template formats a string with `%`, which minijinja has for numbers only.
const PERCENT_OF_TEXT: &str = "tried to use % operator on unsupported types string";

/// The largest width or count that a filter takes.
const WIDEST: i64 = 10_000;

/// The variables whose values surround the model's words, where a template marks them.
pub(super) const MARKS: [&str; 2] = ["__generation", "__endgeneration"];

pub(super) struct ChatEnvironment {
    env: Environment<'static>,
    /// Whether the template marks the model's words.
    pub(super) has_marks: bool,
}

impl ChatEnvironment {
    pub(super) fn new(source: &str) -> Result<Self, Error> {
        let mut env = Environment::new();
        env.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        env.set_unknown_method_callback(|state, value, method, args| {
            if method == "format" {
                check_format(Some(value))?;
            }
            if let Some(text) = value.as_str()
                && let Some(given) = python::text_method(state, text, method, args)?
            {
                return Ok(given);
            }
            minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args)
        });
        env.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        env.add_function("strftime_now", |format: String| strftime_fixed(&format));
        env.set_fuel(Some(STEPS));
        add_filters(&mut env);
        env.add_test("iterable", is_iterable);
        env.add_test("sequence", is_sequence);
        // Jinja turns any line end into a newline; other line ends would reach the tokens.
        let source = source.replace("\r\n", "\n").replace('\r', "\n");
        let (source, has_marks) = generation_tags_as_variables(&source);
        env.add_template_owned(NAME, source)?;
        Ok(Self { env, has_marks })
    }

    pub(super) fn render(&self, context: Value) -> Result<String, Error> {
        self.env.get_template(NAME)?.render(context)
    }
}

/// The filters that minijinja has otherwise than Jinja.
fn add_filters(env: &mut Environment<'static>) {
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
    env.add_filter("format", format);
    env.add_filter("capitalize", capitalize);
    env.add_filter("title", title);
    env.add_filter("trim", trim);
    env.add_filter("e", escape);
    env.add_filter("escape", escape);
    // Its lines are not those of Python.
    env.remove_filter("pprint");
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

/// The `capitalize` filter as Python has it.
fn capitalize(text: StringInput<'_>) -> Value {
    let capitalized = python::capitalize(text.as_str());
    text.preserve_safety(capitalized)
}

/// The `title` filter as Jinja has it, which is not Python's `title`.
fn title(text: StringInput<'_>) -> String {
    python::title_of_words(text.as_str())
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

/// The `format` filter, which refuses such widths in a format string.
fn format(state: &mut State<'_, '_>, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let args = args.into_values();
    check_format(args.first())?;
    Value::from_function(filters::format).call(state, &args)
}

/// Checks a format such as `%8d` or `{:8}`, or any other text.
fn check_format(text: Option<&Value>) -> Result<(), Error> {
    let mut runs = text
        .and_then(Value::as_str)
        .into_iter()
        .filter(|t| t.contains(['%', '{']))
        .flat_map(|t| t.split(|c: char| !c.is_ascii_digit()));
    if runs.any(|digits| digits.len() > 4) { Err(too_wide()) } else { Ok(()) }
}

fn check_width(arg: &Value) -> Result<(), Error> {
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

/// The message that a template raised, or what went wrong in it.
pub(super) fn reason(error: &Error) -> String {
    match (error.kind(), error.detail()) {
        (ErrorKind::InvalidOperation, Some(detail)) if detail.starts_with(PERCENT_OF_TEXT) => {
            format!("{detail}: write text | format(value) for Python's text % value")
        }
        (ErrorKind::InvalidOperation, Some(detail)) => detail.to_owned(),
        _ => error.to_string(),
    }
}

/// As in Python, where None is not iterable: `tools is iterable and tools | length > 0` relies on that.
fn is_iterable(value: &Value) -> bool {
    value.kind() != ValueKind::None && value.try_iter().is_ok()
}

/// As in Python, where strings, lists and parts of them, ranges, mappings and undefined values are sequences,
/// and what has no length is none.
fn is_sequence(value: &Value) -> bool {
    match value.kind() {
        ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Undefined => true,
        ValueKind::Iterable => value.len().is_some(),
        _ => false,
    }
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
        let wrong = "separators of tojson are two texts: between items, and behind a key";
        Error::new(ErrorKind::InvalidOperation, wrong)
    })
}

/// transformers marks the model's words with `{% generation %}`. In place of such tags the template gets the
/// variables [`MARKS`], which are empty unless given; what is set between the tags is scoped to them. Also
/// returns whether there is such a tag.
///
/// Tags remain blocks at both ends, since white space next to a block may be trimmed.
fn generation_tags_as_variables(source: &str) -> (String, bool) {
    let mut has_marks = false;
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = ["{%", "{#", "{{"].into_iter().filter_map(|open| rest.find(open)).min() {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        if !tag.starts_with("{%") {
            let end = match tag.starts_with("{#") {
                true => tag.find("#}").map_or(tag.len(), |end| end + 2),
                false => end_of_code(tag, "}}"),
            };
            out.push_str(&tag[..end]);
            rest = &tag[end..];
            continue;
        }
        let (word, after, closes) = first_word(tag);
        if word == "raw" && closes {
            let is_end = |at: &usize| matches!(first_word(&tag[*at..]), ("endraw", _, true));
            let end = tag.match_indices("{%").map(|(at, _)| at).find(is_end).unwrap_or(tag.len());
            out.push_str(&tag[..end]);
            rest = &tag[end..];
            continue;
        }
        let word_at = tag.len() - after.len() - word.len();
        let [open, close] = MARKS;
        has_marks |= closes && word == "generation";
        let word = match word {
            "generation" if closes => format!("with %}}{{{{ {open} }}}}{{% with"),
            "endgeneration" if closes => format!("endwith %}}{{{{ {close} }}}}{{% endwith"),
            word => word.to_owned(),
        };
        out.push_str(&tag[..word_at]);
        out.push_str(&word);
        let (inside, behind) = after.split_at(end_of_code(after, "%}"));
        out.push_str(inside);
        rest = behind;
    }
    out.push_str(rest);
    (out, has_marks)
}

/// The length of code up to and including its first `close` outside a string.
fn end_of_code(code: &str, close: &str) -> usize {
    let mut quote = None;
    let mut chars = code.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if code[at..].starts_with(close) => return at + close.len(),
            None if matches!(c, '\'' | '"') => quote = Some(c),
            Some(_) if c == '\\' => {
                chars.next();
            }
            Some(open) if c == open => quote = None,
            _ => {}
        }
    }
    code.len()
}

/// The first word of a tag, what follows it, and whether the tag ends after it.
fn first_word(tag: &str) -> (&str, &str, bool) {
    let inside = tag[2..].trim_start_matches(['-', '+']).trim_start();
    let end = inside.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(inside.len());
    let (word, after) = inside.split_at(end);
    (word, after, after.trim_start().trim_start_matches(['-', '+']).starts_with("%}"))
}

/// `strftime` of Friday, 26 July 2024, midnight: the day that templates fall back to without a clock.
fn strftime_fixed(format: &str) -> String {
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut directive = chars.next();
        let unpadded = directive == Some('-');
        if unpadded {
            directive = chars.next();
        }
        out.push_str(match directive {
            Some('a') => "Fri",
            Some('A') => "Friday",
            Some('b' | 'h') => "Jul",
            Some('B') => "July",
            Some('d' | 'e') => "26",
            Some('m') if unpadded => "7",
            Some('m') => "07",
            Some('y') => "24",
            Some('Y') => "2024",
            Some('j') => "208",
            Some('u' | 'w') => "5",
            Some('H' | 'M' | 'S') if unpadded => "0",
            Some('H' | 'M' | 'S') => "00",
            Some('I') => "12",
            Some('p') => "AM",
            Some('D' | 'x') => "07/26/24",
            Some('F') => "2024-07-26",
            Some('T' | 'X') => "00:00:00",
            Some('c') => "Fri Jul 26 00:00:00 2024",
            Some('%') => "%",
            _ => "",
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use minijinja::context;

    #[test]
    fn templates_without_end_and_huge_widths_are_errors() {
        let fails = |source: &str| {
            let error = ChatEnvironment::new(source).unwrap().render(context! { x => "a\nb" }).unwrap_err();
            reason(&error)
        };
        let rounds = "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}";
        assert!(fails(rounds).contains("fuel"), "{}", fails(rounds));
        for wide in [
            "{{ x | indent(1000000000000) }}",
            "{{ x | indent(width=1000000000000) }}",
            "{{ x | list | batch(100000000000, 1) | list }}",
            "{{ x | list | slice(100000000000) | list }}",
            "{{ '%99999999999d' | format(1) }}",
            "{{ '{:99999999999}'.format(1) }}",
            "{{ [x] | tojson(indent=99999999999) }}",
        ] {
            assert!(fails(wide).contains("width or count"), "{wide}: {}", fails(wide));
        }
        assert_eq!(
            render("{{ 'a\nb' | indent(2) }}{{ '%3d|' | format(7) }}{{ '{:3}'.format(8) }}"),
            "a\n  b  7|  8"
        );
    }

    fn render(source: &str) -> String {
        ChatEnvironment::new(source).unwrap().render(context! { x => "<a> & 'b' \\u003c\n" }).unwrap()
    }

    #[test]
    fn json_is_not_made_safe_for_html() {
        assert_eq!(render("{{ x | tojson }}"), r#""<a> & 'b' \\u003c\n""#);
        assert_eq!(
            render("{{ {'k': [1, 2.5, none]} | tojson(ensure_ascii=False) }}"),
            r#"{"k": [1, 2.5, null]}"#
        );
        for ascii in ["ensure_ascii=True", "true", "4"] {
            let source = format!("{{{{ 'é\u{1f600}' | tojson({ascii}) }}}}");
            assert_eq!(render(&source), r#""\u00e9\ud83d\ude00""#);
        }
        assert_eq!(render("{{ [1] | tojson(indent=2) }}"), "[\n  1\n]");
    }

    /// Expected values are those of transformers.
    #[test]
    fn json_has_the_options_of_python() {
        for (expression, expected) in [
            ("[1, {'a': 'é'}] | tojson(separators=(',', ':'))", r#"[1,{"a":"é"}]"#),
            (
                "[1, {'a': 'é'}] | tojson(indent=2, separators=(',', ' : '))",
                "[\n  1,\n  {\n    \"a\" : \"é\"\n  }\n]",
            ),
            (
                "{'b': 1, 'a': {'d': 1, 'c': 2}, 'B': 3} | tojson(sort_keys=true)",
                r#"{"B": 3, "a": {"c": 2, "d": 1}, "b": 1}"#,
            ),
            ("{'b': 1} | tojson(False, 2)", "{\n  \"b\": 1\n}"),
            ("{'b': 1, 'a': 2} | tojson(false, none, (',', ':'), true)", r#"{"a":2,"b":1}"#),
            (
                "{'b': 1} | tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False)",
                r#"{"b": 1}"#,
            ),
            ("[1, [2, []], {}] | tojson(indent='--')", "[\n--1,\n--[\n----2,\n----[]\n--],\n--{}\n]"),
            ("[1] | tojson(indent=0) ~ [1] | tojson(indent=-3)", "[\n1\n][\n1\n]"),
            ("[1] | tojson(indent=true) ~ [1] | tojson(indent=false)", "[\n 1\n][\n1\n]"),
            ("{1: 'a', none: 2, 1.5: 4} | tojson", r#"{"1": "a", "null": 2, "1.5": 4}"#),
            (
                "[1e-5, 1e16, 1.0, -0.5, 100000000000000000000] | tojson",
                "[1e-05, 1e+16, 1.0, -0.5, 100000000000000000000]",
            ),
            ("[1e300 * 1e10, -1e300 * 1e10, true, (1, 2)] | tojson", "[Infinity, -Infinity, true, [1, 2]]"),
            ("'\x7f\x1f\u{2028}/' | tojson", "\"\x7f\\u001f\u{2028}/\""),
            ("'\x7f' | tojson(true)", "\"\\u007f\""),
        ] {
            assert_eq!(render(&format!("{{{{ {expression} }}}}")), expected, "{expression}");
        }
        let nested = "{% set n = namespace(x=[]) %}{% for i in range(2000) %}{% set n.x = [n.x] %}{% endfor %}\
                      {{ n.x | tojson }}";
        for (source, says) in [
            (nested, "inside one another"),
            ("{{ nothing | tojson }}", "undefined"),
            ("{{ {'a': [nothing]} | tojson }}", "undefined"),
            ("{{ {(1, 2): 3} | tojson }}", "cannot write"),
            ("{{ [1] | tojson(separators=',') }}", "two texts"),
            ("{{ [1] | tojson(nope=1) }}", "nope"),
            ("{{ [1] | tojson(true, ensure_ascii=true) }}", "given twice"),
        ] {
            let error = ChatEnvironment::new(source).unwrap().render(context! {}).unwrap_err();
            assert!(reason(&error).contains(says), "{source}: {}", reason(&error));
        }
    }

    /// Expected values are those of Jinja 3.1.
    #[test]
    fn filters_take_their_arguments_by_places_and_by_names() {
        for (expression, expected) in [
            ("'aXbXc' | replace('X', '-', 1)", "a-bXc"),
            ("'aXbXc' | replace('X', '-', count=1)", "a-bXc"),
            ("'aaa' | replace('a', 'b', none) ~ 'aaa' | replace('a', 'b', -1)", "bbbbbb"),
            ("'aaa' | replace('a', 'b', 0) ~ 123 | replace(2, 'x')", "aaa1x3"),
            ("'xxaxx' | trim(chars='x')", "a"),
            ("' a ' | trim(none)", "a"),
            ("none | default('d', boolean=true)", "d"),
            ("none | d(default_value='d', boolean=True)", "d"),
            ("nothing | default(default_value=3) ~ nothing | default ~ none | default('d')", "3None"),
            ("'' | default(boolean=true) ~ 'x'", "x"),
            ("[1,2,3] | batch(2, fill_with='x') | list", "[[1, 2], [3, 'x']]"),
            ("[1,2,3] | batch(linecount=2) | list", "[[1, 2], [3]]"),
            ("[1,2,3,4,5] | slice(slices=2, fill_with='x') | list", "[[1, 2, 3], [4, 5, 'x']]"),
            ("[1,2,3,4,5] | slice(3, 0) | list", "[[1, 2], [3, 4], [5, 0]]"),
            ("{'b': 1, 'A': 2} | dictsort", "[('A', 2), ('b', 1)]"),
            ("{'b': 1, 'a': 2} | dictsort(false, 'value')", "[('b', 1), ('a', 2)]"),
            ("{'b': 1, 'A': 2} | dictsort(true, by='key', reverse=true)", "[('b', 1), ('A', 2)]"),
            ("[3, 1, 2] | sort(true)", "[3, 2, 1]"),
            ("['b', 'A', 'a'] | sort(false, true)", "['A', 'a', 'b']"),
            ("[{'a': 1}, {'a': 2}] | sort(true, attribute='a') | map(attribute='a') | list", "[2, 1]"),
            ("['b', 'A'] | max(true) ~ ['b', 'A'] | min ~ [{'a': 2}] | min(false, 'a')", "bA{'a': 2}"),
            ("['a', 'A', 'b'] | unique(true) | list", "['a', 'A', 'b']"),
            ("['a', 'A', 'b'] | unique | list", "['a', 'b']"),
            ("[{'a': 1}, {'b': 1}] | groupby('a', 0) | map('first') | list", "[0, 1]"),
            ("'a\nb' | indent(first=true, width=1)", " a\n b"),
        ] {
            let source = format!("{{{{ {expression} }}}}");
            assert_eq!(render(&source), expected, "{expression}");
        }
    }

    #[test]
    fn texts_are_sequences_and_escaped_as_in_python() {
        let source = "{{ x is sequence }} {{ {} is sequence }} {{ [] is sequence }} {{ 1 is sequence }}";
        assert_eq!(render(source).to_lowercase(), "true true true false");
        let source = "{{ [1, 2][1:] is sequence }} {{ range(3) is sequence }} {{ none is sequence }}";
        assert_eq!(render(source), "True True False");
        assert_eq!(render("{{ ([1] | chain(range(2))) is sequence }}"), "False");
        assert_eq!(render("{{ '<\"\\'&>' | e }} {{ ('<' | safe) | escape }}"), "&lt;&#34;&#39;&amp;&gt; <");
        assert_eq!(render("{{ '%d' | format(20240726) }}"), "20240726");
    }

    #[test]
    fn generation_marks_write_nothing() {
        let source = "a{% generation %} b {%- endgeneration -%}  c{% if generation is defined %}d{% endif %}";
        assert_eq!(render(source), "a bc");
        let set =
            "{% set y = 1 %}{% generation %}{% set y = 2 %}{{ y }}{{ x | length }}{% endgeneration %}{{ y }}";
        assert_eq!(render(set), "2171");
        let env = |source: &str| ChatEnvironment::new(source).unwrap();
        assert!(env(set).has_marks && !env("{% if generation %}{% endif %}{# {% generation %} #}").has_marks);
        let raw = "{%- raw %}{% generation %}{# {%+ endraw -%} {% generation %}a{% endgeneration %}";
        let (without, _) = raw.split_at(raw.find(" {% gen").unwrap());
        assert!(env(raw).has_marks && !env(without).has_marks);
        assert_eq!([render(raw), render(without)], ["{% generation %}{# a", "{% generation %}{# "]);
        for text in ["{{ 'it\\'s {% generation %}' }}", "{% set y = '%} {% generation %}' %}{{ \"{#\" }}"] {
            assert!(!env(text).has_marks && env(&format!("{text}{set}")).has_marks, "{text}");
        }
        assert_eq!(render("{{ 'it\\'s {% generation %}' }}"), "it's {% generation %}");
        // Also in a macro, and where white space is trimmed.
        let turns =
            "{% macro turn() -%}\n  {%- generation %}\n a {%- endgeneration %} \n{% endmacro %}{{ turn() }}.";
        let marks = context! { __generation => "<", __endgeneration => ">" };
        assert_eq!(env(turns).render(marks).unwrap(), "< a> \n.");
        assert_eq!(env(turns).render(context! {}).unwrap(), " a \n.");
    }

    /// Expected values are those of Jinja 3.1.
    #[test]
    fn slices_are_those_of_python() {
        for (expression, expected) in [
            ("[][::-1]", "[]"),
            ("''[::-1]", ""),
            ("()[::-1]", "()"),
            ("([1][1:])[::-1] | list", "[]"),
            ("[1,2,3,4][3:0:-1]", "[4, 3, 2]"),
            ("[1,2,3][0:2:-1]", "[]"),
            ("[1,2,3][-5::-1]", "[]"),
            ("[1,2,3][2:-5:-1]", "[3, 2, 1]"),
            ("[1,2,3,4,5][4:0:-2]", "[5, 3]"),
            ("'abc'[2:0:-1]", "cb"),
            ("'abc'[0:2:-1]", ""),
            ("(1,2,3)[2:0:-1]", "(3, 2)"),
            ("nothing | length", "0"),
        ] {
            let source = format!("{{{{ {expression} }}}}");
            assert_eq!(render(&source), expected, "{expression}");
        }
    }

    #[test]
    fn blocks_are_trimmed_as_in_transformers() {
        assert_eq!(render("  {% if true %}\nx\n  {% endif %}\ny\n"), "x\ny");
    }

    #[test]
    fn line_ends_are_newlines() {
        assert_eq!(render("a\r\n{{ 'b\r\n' }}{% if true %}\r\nc\r{% endif %}"), "a\nb\nc\n");
    }

    #[test]
    fn none_is_not_iterable() {
        let source =
            "{{ none is iterable }} {{ nothing is iterable }} {{ x is iterable }} {{ 1 is iterable }}";
        assert_eq!(render(source).to_lowercase(), "false true true false");
    }

    #[test]
    fn python_methods_and_loop_controls() {
        assert_eq!(render("{{ x.split('&')[0].strip() }}"), "<a>");
        assert_eq!(
            render("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}"),
            "01"
        );
    }

    /// Expected values are those of Python 3.
    #[test]
    fn methods_of_texts_are_those_of_python() {
        for (expression, expected) in [
            (r#""they're bill's FRIENDS 3d_world 中a".title()"#, r#""They'Re Bill'S Friends 3D_World 中A""#),
            ("'\u{fb01}x \u{1c6}X \u{1c5}X ΟΔΟΣ. ΑΣΑ ŉa'.title()", "\"Fix \u{1c5}x \u{1c5}x Οδος. Ασα ʼNa\""),
            ("'\u{fb00}A ΟΣ'.capitalize() ~ '\u{1f3}X' | capitalize ~ '' | capitalize", "\"Ffa ος\u{1f2}x\""),
            ("'aab'.removeprefix('a')", r#""ab""#),
            ("'abb'.removesuffix('bb') ~ 'abb'.removesuffix('c')", r#""aabb""#),
            ("'a-b-c'.partition('-')", r#"["a", "-", "b-c"]"#),
            ("'a-b-c'.rpartition('-')", r#"["a-b", "-", "c"]"#),
            ("'abc'.partition('-')", r#"["abc", "", ""]"#),
            ("'abc'.rpartition('-')", r#"["", "", "abc"]"#),
            ("'a-b-c'.rsplit('-', 1)", r#"["a-b", "c"]"#),
            ("'a-b-c'.rsplit('-')", r#"["a", "b", "c"]"#),
            ("'a,b,c'.split(sep=',')", r#"["a", "b", "c"]"#),
            ("'a,b,c'.split(',', maxsplit=1)", r#"["a", "b,c"]"#),
            ("'a,b,c'.split(sep=',', maxsplit=-1)", r#"["a", "b", "c"]"#),
            ("' a b  c '.split(maxsplit=1)", r#"["a", "b  c "]"#),
            ("'aaaa'.split('aa', 1) + 'aaa'.rsplit('aa')", r#"["", "aa", "a", ""]"#),
            ("'a,b,c'.rsplit(sep=',', maxsplit=1)", r#"["a,b", "c"]"#),
            ("' a b  c '.rsplit()", r#"["a", "b", "c"]"#),
            ("' a b  c '.rsplit(none, 1)", r#"[" a b", "c"]"#),
            ("' a b  c '.rsplit(maxsplit=0)", r#"[" a b  c"]"#),
            ("'  '.rsplit() + ''.rsplit()", "[]"),
            ("'a\nb\nc'.splitlines(keepends=true)", r#"["a\n", "b\n", "c"]"#),
            (
                "['abc'.startswith('b', 1), 'abc'.startswith('c', -1), 'abc'.startswith('', 3)]",
                "[true, true, true]",
            ),
            (
                "['abc'.startswith('', 4), 'abc'.startswith('', 2, 1), 'abc'.endswith('', 4)]",
                "[false, false, false]",
            ),
            ("['abc'.startswith(('x', 'bc'), 1), 'abc'.endswith('b', 0, -1)]", "[true, true]"),
            ("['abc'.endswith('ab', none, 2), 'abc'.startswith(('a', 'b'))]", "[true, true]"),
            ("['éaéa'.find('a', 2), 'éaéa'.rfind('a', -2, 99), 'abcabc'.rfind('c', 0, 4)]", "[3, 3, 2]"),
            ("['abcabc'.find('c', 3, 5), 'abc'.find('', 3), 'abc'.find('', 4)]", "[-1, 3, -1]"),
            ("['abcabc'.index('b', 2), 'abcabc'.rindex('b', 0, 3), 'abc'.index('')]", "[4, 1, 0]"),
            ("['abcabc'.count('c', 3), 'abc'.count('', 1), 'abc'.count('', 4)]", "[1, 3, 0]"),
            ("'a-b'.rsplit('-', 0)", r#"["a-b"]"#),
            ("'%s has %d' | format('a', 2)", r#""a has 2""#),
        ] {
            let source = format!("{{{{ ({expression}) | tojson }}}}");
            assert_eq!(render(&source), expected, "{expression}");
        }
    }

    /// Expected values are those of transformers.
    #[test]
    fn white_space_and_lines_are_those_of_python() {
        let x = "\x1c a\x1d b\u{85}c\x0bd\r\ne\x1f";
        for (expression, expected) in [
            ("x.strip()", "a\x1d b\u{85}c\x0bd\r\ne"),
            ("x | trim", "a\x1d b\u{85}c\x0bd\r\ne"),
            ("x.lstrip()", "a\x1d b\u{85}c\x0bd\r\ne\x1f"),
            ("x.rstrip()", "\x1c a\x1d b\u{85}c\x0bd\r\ne"),
            ("x.strip('\x1c e')", "a\x1d b\u{85}c\x0bd\r\ne\x1f"),
            ("'xay' | trim('xy')", "a"),
            ("x.split() | join('|')", "a|b|c|d|e"),
            ("x.split(none, 1) | join('|')", "a|b\u{85}c\x0bd\r\ne\x1f"),
            ("' a '.split(none, 1) | join('|')", "a"),
            ("' \x1f'.split() | length", "0"),
            ("x.splitlines() | join('|')", "| a| b|c|d|e\x1f"),
            ("x.splitlines(true) | join('|')", "\x1c| a\x1d| b\u{85}|c\x0b|d\r\n|e\x1f"),
            ("'yes' if x[:2].isspace() and not x.isspace() and not ''.isspace()", "yes"),
            ("'a\x1fαΣ ßA(ΑΣ)' | title", "A\x1fΑσ SSa(Ασ)"),
            ("x | indent(2)", "\n   a\n   b\n  c\n  d\n  e\x1f"),
            ("'a\n\nb\n' | indent('> ', first=true)", "> a\n\n> b\n"),
            ("'\n\na\n' | indent(1, blank=true)", "\n \n a\n "),
            ("'' | indent(-1, true)", ""),
        ] {
            let env = ChatEnvironment::new(&format!("{{{{ {expression} }}}}")).unwrap();
            assert_eq!(env.render(context! { x => x }).unwrap(), expected, "{expression:?}");
        }
    }

    #[test]
    fn what_python_has_and_a_template_has_not_is_refused_in_words() {
        let fails = |source: &str| {
            let error = ChatEnvironment::new(source).unwrap().render(context! { x => "a" }).unwrap_err();
            reason(&error)
        };
        assert!(fails("{{ '%s' % x }}").ends_with("write text | format(value) for Python's text % value"));
        assert!(fails("{{ 'got %s' % 3 }}").contains("text | format(value)"));
        assert!(fails("{{ x.swapcase() }}").contains("swapcase"), "{}", fails("{{ x.swapcase() }}"));
        for method in ["split(''", "rsplit(''"] {
            assert!(fails(&format!("{{{{ x.{method}) }}}}")).contains("empty"));
        }
        assert!(fails("{{ x.index('b') }}").contains("not there"));
        assert!(fails("{{ x.split('b', sep='b') }}").contains("given twice"));
        let filters = "center filesizeformat forceescape pprint random striptags truncate urlencode urlize \
                       wordcount wordwrap xmlattr";
        for filter in filters.split_whitespace() {
            let says = fails(&format!("{{{{ x | {filter} }}}}"));
            assert!(says.contains(&format!("filter {filter} is unknown")), "{says}");
        }
        assert_eq!(render("{{ 7 % 4 }}"), "3");
    }

    #[test]
    fn the_clock_stands_still() {
        assert_eq!(
            render("{{ strftime_now('%d %b %Y, %A %-m %H:%M %%') }}"),
            "26 Jul 2024, Friday 7 00:00 %"
        );
    }

    #[test]
    fn raised_messages_come_through() {
        let env = ChatEnvironment::new("{{ raise_exception('roles must alternate') }}").unwrap();
        let error = env.render(context! {}).unwrap_err();
        assert_eq!(reason(&error), "roles must alternate");
        assert!(ChatEnvironment::new("{% if %}").is_err());
    }
}
