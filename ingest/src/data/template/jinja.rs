//! The Jinja environment that chat templates are written for: that of transformers, on minijinja.
//!
//! Invariants
//! - rendering depends on the template and its input only: `strftime_now` shows a fixed day, because an encoding has to mean
//!   the same tokens tomorrow

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Value};

const NAME: &str = "chat_template";

/// A compiled chat template.
pub(super) struct ChatEnvironment(Environment<'static>);

impl ChatEnvironment {
    pub(super) fn new(source: &str) -> Result<Self, Error> {
        let mut env = Environment::new();
        env.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        env.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        env.add_function("strftime_now", |format: String| strftime_fixed(&format));
        env.add_filter("tojson", tojson);
        env.add_test("iterable", is_iterable);
        // Jinja reads any line end as a newline; a template with others would write them into the tokens.
        let source = source.replace("\r\n", "\n").replace('\r', "\n");
        env.add_template_owned(NAME, without_generation_tags(&source))?;
        Ok(Self(env))
    }

    pub(super) fn render(&self, context: Value) -> Result<String, Error> {
        self.0.get_template(NAME)?.render(context)
    }
}

/// The message that a template raised, or what went wrong in it.
pub(super) fn reason(error: &Error) -> String {
    match (error.kind(), error.detail()) {
        (ErrorKind::InvalidOperation, Some(detail)) => detail.to_owned(),
        _ => error.to_string(),
    }
}

/// As in Python, where none is not iterable: `tools is iterable and tools | length > 0` is written for that.
fn is_iterable(value: &Value) -> bool {
    value.kind() != ValueKind::None && value.try_iter().is_ok()
}

/// `json.dumps(value, ensure_ascii=False)`: as the built-in filter, without its escapes for HTML.
fn tojson(value: &Value, indent: Option<Value>, args: Kwargs) -> Result<Value, Error> {
    let _: Option<bool> = args.get("ensure_ascii")?;
    let escaped = minijinja::filters::tojson(value, indent, args)?;
    Ok(Value::from_safe_string(unescape_html(&escaped.to_string())))
}

fn unescape_html(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let plain = [("\\u003c", '<'), ("\\u003e", '>'), ("\\u0026", '&'), ("\\u0027", '\'')]
            .into_iter()
            .find(|(code, _)| escape.starts_with(code));
        let used = match plain {
            Some((code, c)) => {
                out.push(c);
                code.len()
            }
            None => {
                // A backslash and what it escapes, which is ASCII, stay together: `\\u003c` is text.
                let used = escape.len().min(2);
                out.push_str(&escape[..used]);
                used
            }
        };
        rest = &escape[used..];
    }
    out.push_str(rest);
    out
}

/// transformers marks the model's words with `{% generation %}`; the marks write nothing.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let inside = tag[2..].trim_start_matches(['-', '+']).trim_start();
        let word_len = inside.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(inside.len());
        let word_at = tag.len() - inside.len();
        let after = &inside[word_len..];
        let closes = after.trim_start().trim_start_matches(['-', '+']).starts_with("%}");
        let word = match &inside[..word_len] {
            "generation" if closes => "if true",
            "endgeneration" if closes => "endif",
            word => word,
        };
        out.push_str(&tag[..word_at]);
        out.push_str(word);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// `strftime` of Friday, 26 July 2024, midnight: the day that templates which know no clock fall back to.
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
            Some('D') => "07/26/24",
            Some('F') => "2024-07-26",
            Some('x') => "07/26/24",
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
    }

    #[test]
    fn generation_marks_write_nothing() {
        let source = "a{% generation %} b {%- endgeneration -%}  c{% if generation is defined %}d{% endif %}";
        assert_eq!(render(source), "a bc");
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
