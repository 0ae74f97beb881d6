//! Tags of templates, rewritten where minijinja lacks them or reads them differently from Jinja.
//!
//! | tag | becomes | as in Jinja |
//! |---|---|---|
//! | `{% generation %}` | `with`, behind a variable | a tag of transformers: [`MARKS`] |
//! | blocks of `set`, `filter`, `autoescape` | the same around a `with` | what is set inside stays there |
//! | `{% raw %}` | `{% raw +%}` | a line end behind it stays |
//! | `{% for m in x %}` | `{% for m in (x)\|__each %}` | None has no items, and a text a last one |
//! | `{% set n.x = 1 %}` and others in macros | `{% if n %}{% endif %}` before it | `n` is an outer one |
//!
//! Invariants
//! - a line keeps its number, which errors name
//! - white space is trimmed as next to the tag that was written

use std::ops::Range;

/// The variables whose values surround the model's words, where a template marks them.
pub(super) const MARKS: [&str; 2] = ["__generation", "__endgeneration"];

/// The filter that gives the items of a loop.
pub(super) const EACH: &str = "__each";

/// A template for minijinja.
pub(super) struct Rewritten {
    pub(super) source: String,
    /// Whether the template marks the model's words.
    pub(super) has_marks: bool,
}

/// transformers marks the model's words with `{% generation %}`. In place of such tags the template gets the
/// variables [`MARKS`], which are empty unless given; what is set between the tags is scoped to them.
///
/// # Errors
/// A `break` or `continue` that minijinja would compile to a jump out of a block that is never closed.
pub(super) fn rewrite(source: &str) -> Result<Rewritten, String> {
    let mut walk =
        Walk { source, open: Vec::new(), out: String::with_capacity(source.len()), has_marks: false };
    let mut rest = source;
    while let Some(at) = ["{%", "{#", "{{"].into_iter().filter_map(|open| rest.find(open)).min() {
        let (before, tag) = rest.split_at(at);
        walk.out.push_str(before);
        rest = walk.tag(tag)?;
    }
    walk.out.push_str(rest);
    Ok(Rewritten { source: walk.out, has_marks: walk.has_marks })
}

/// The expression at a place in what [`rewrite`] gave, as the template has it.
pub(super) fn as_written(source: &str, place: Range<usize>) -> Option<&str> {
    let (found, before) = (source.get(place.clone())?, source.get(..place.start)?);
    if found.starts_with(EACH) {
        return Some(before.strip_suffix(")|")?.rsplit_once("in (")?.1);
    }
    // Of filters, attributes and calls it may be the last part only.
    if !before.trim_end().ends_with('|') && !found.starts_with(['.', '[', '(']) {
        return Some(found);
    }
    let start = before.rfind("{{").max(before.rfind("{%"))? + 2;
    Some(source.get(start..place.end)?.trim_start_matches(['-', '+']))
}

struct Walk<'s> {
    source: &'s str,
    /// The blocks around the place, the outermost first.
    open: Vec<Block<'s>>,
    out: String,
    has_marks: bool,
}

struct Block<'s> {
    /// The word of its tag; `else` behind that of a loop, where jumps leave an outer loop.
    word: &'s str,
    /// The place of its tag in the source.
    at: usize,
}

impl<'s> Walk<'s> {
    /// Writes the tag that a text begins with, and returns what follows.
    fn tag(&mut self, text: &'s str) -> Result<&'s str, String> {
        if text.starts_with("{#") {
            let end = text.find("#}").map_or(text.len(), |end| end + 2);
            return Ok(self.copy(text, end));
        }
        let tag = Tag::at(text);
        if is_tag(text, "raw") {
            let close = if tag.close == "%}" { "+%}" } else { tag.close };
            self.write([tag.open, tag.sign, tag.blank, tag.word, tag.code, close]);
            let is_end = |at: &usize| is_tag(&tag.behind[*at..], "endraw");
            let end = tag.behind.match_indices("{%").map(|(at, _)| at).find(is_end);
            return Ok(self.copy(tag.behind, end.unwrap_or(tag.behind.len())));
        }
        let at = self.source.len() - text.len();
        let ends = self.ends(&tag);
        match tag.word {
            "break" | "continue" => self.check_jump(tag.word, at)?,
            "else" => match self.open.last_mut() {
                Some(block) if block.word == "for" => block.word = "else",
                _ => {}
            },
            _ if ends => drop(self.open.pop()),
            _ => {}
        }
        let opens = tag.opens();
        self.has_marks |= opens && tag.word == "generation";
        let sign = self.show_names(&tag);
        let written = rewritten(&tag, opens, ends);
        self.write([tag.open, sign, tag.blank, &written, tag.close]);
        if opens {
            self.open.push(Block { word: tag.word, at });
        }
        Ok(tag.behind)
    }

    /// minijinja gives a macro those outer variables that it finds in its tags, and overlooks some of them: puts
    /// a tag before this one that names them, and returns the sign that is left for this one.
    fn show_names(&mut self, tag: &Tag<'s>) -> &'s str {
        let is_in_macro = self.open.iter().any(|block| ["macro", "call"].contains(&block.word));
        let names = if is_in_macro { tag.overlooked() } else { Vec::new() };
        if names.is_empty() {
            return tag.sign;
        }
        // White space before an expression is not trimmed.
        let sign = if tag.open == "{{" && tag.sign.is_empty() { "+" } else { tag.sign };
        self.write(["{%", sign, " if ", &names.join(" or "), " %}{% endif %}"]);
        ""
    }

    fn write<const N: usize>(&mut self, parts: [&str; N]) {
        parts.into_iter().for_each(|part| self.out.push_str(part));
    }

    /// Writes so much of a text as it is, and returns the rest.
    fn copy(&mut self, text: &'s str, length: usize) -> &'s str {
        let (own, behind) = text.split_at(length);
        self.out.push_str(own);
        behind
    }

    /// Whether a tag ends the innermost block.
    fn ends(&self, tag: &Tag<'_>) -> bool {
        let Some(of) = tag.word.strip_prefix("end") else { return false };
        self.open.last().is_some_and(|block| block.word == of || (block.word == "else" && of == "for"))
    }

    /// minijinja leaves a block without closing it where a jump leads out of it.
    fn check_jump(&self, word: &str, at: usize) -> Result<(), String> {
        let line = |at: usize| 1 + self.source[..at].matches('\n').count();
        let mut left: Option<&Block<'_>> = None;
        for block in self.open.iter().rev() {
            match block.word {
                "for" => {
                    let Some(Block { word: left, at: from }) = left else { return Ok(()) };
                    return Err(format!(
                        "{{% {word} %}} in line {} leaves {{% {left} %}} of line {}, which is not supported: \
                         end {left} before it, or write {{% if %}} around what it skips",
                        line(at),
                        line(*from)
                    ));
                }
                "if" | "else" => {}
                "macro" | "call" | "block" => break,
                _ => left = left.or(Some(block)),
            }
        }
        Err(format!("{{% {word} %}} in line {} is in no loop", line(at)))
    }
}

/// What stands in a tag instead of its word and code.
///
/// Tags remain blocks at both ends, since white space next to a block may be trimmed.
fn rewritten(tag: &Tag<'_>, opens: bool, ends: bool) -> String {
    let Tag { word, code, .. } = tag;
    let [open, close] = MARKS;
    match *word {
        "generation" if opens => format!("with %}}{{{{ {open} }}}}{{% with{code}"),
        "endgeneration" if ends => format!("endwith %}}{{{{ {close} }}}}{{% endwith{code}"),
        "set" | "filter" | "autoescape" if opens => format!("{word}{code} %}}{{% with "),
        "endset" | "endfilter" | "endautoescape" if ends => format!("endwith %}}{{% {word}{code}"),
        "for" => format!("for{}", each(code).unwrap_or_else(|| (*code).to_owned())),
        _ => format!("{word}{code}"),
    }
}

/// The code of a `for` with [`EACH`] behind what it loops over; none if it has no such form.
fn each(code: &str) -> Option<String> {
    let mut words = words(code).filter(|(_, _, depth)| *depth == 0).map(|(at, word, _)| (at, word));
    let start = words.find(|(_, word)| *word == "in")?.0 + "in".len();
    let end = words.find(|(_, word)| ["if", "recursive"].contains(word)).map_or(code.len(), |(at, _)| at);
    let (before, items, behind) = (&code[..start], &code[start..end], &code[end..]);
    (!items.trim().is_empty()).then(|| format!("{before} ({items})|{EACH} {behind}"))
}

/// A tag or an expression.
struct Tag<'s> {
    /// `{%` or `{{`.
    open: &'s str,
    /// What says how white space before it is trimmed.
    sign: &'s str,
    blank: &'s str,
    /// The first word of a tag; empty in an expression.
    word: &'s str,
    code: &'s str,
    /// Its end, with the sign there; empty where it has no end.
    close: &'s str,
    /// What follows.
    behind: &'s str,
}

impl<'s> Tag<'s> {
    /// The one that a text begins with.
    fn at(text: &'s str) -> Self {
        let (open, inside) = text.split_at(2);
        let end = if open == "{{" { "}}" } else { "%}" };
        let (sign, inside) = inside.split_at(inside.len() - without_sign(inside).len());
        let (code, close, behind) = match end_of_code(inside, end) {
            Some(at) => {
                let (inside, behind) = inside.split_at(at + end.len());
                let (code, close) = inside.split_at(at - usize::from(inside[..at].ends_with(['-', '+'])));
                (code, close, behind)
            }
            None => (inside, "", ""),
        };
        let (blank, code) = code.split_at(code.len() - code.trim_start().len());
        let length = match open {
            "{{" => 0,
            _ => code.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(code.len()),
        };
        let (word, code) = code.split_at(length);
        Self { open, sign, blank, word, code, close, behind }
    }

    /// Whether a block begins with it.
    fn opens(&self) -> bool {
        match self.word {
            "autoescape" | "block" | "call" | "filter" | "for" | "if" | "macro" | "with" => true,
            "generation" => self.code.trim().is_empty(),
            // One that takes what follows up to its end, and no value.
            "set" => {
                let value = parts(self.code).find(|(_, part)| matches!(part, Part::Sign('=' | '|')));
                !matches!(value, Some((_, Part::Sign('='))))
            }
            _ => false,
        }
    }

    /// The names in it, if minijinja overlooks one of them in a macro: what has a part taken, what is set and
    /// read at once, a namespace that is set, and what the tag of a block gives a filter.
    fn overlooked(&self) -> Vec<&'s str> {
        let names: Vec<&str> =
            words(self.code).map(|(_, word, _)| word).filter(|word| is_name(word)).collect();
        let is_twice = || names.iter().enumerate().any(|(at, name)| names[..at].contains(name));
        let is_overlooked = match self.word {
            "autoescape" | "filter" => true,
            "set" => self.opens() || self.sets_attribute() || is_twice(),
            "with" => is_twice(),
            _ => false,
        };
        if is_overlooked || has_slice(self.code) { names } else { Vec::new() }
    }

    fn sets_attribute(&self) -> bool {
        let mut target = parts(self.code).take_while(|(_, part)| *part != Part::Sign('='));
        target.any(|(_, part)| part == Part::Sign('.'))
    }
}

/// Whether a word is no keyword and no number.
fn is_name(word: &str) -> bool {
    let is_keyword = matches!(
        word.to_ascii_lowercase().as_str(),
        "and" | "else" | "false" | "if" | "in" | "is" | "none" | "not" | "or" | "recursive" | "true"
    );
    !is_keyword && !word.starts_with(|c: char| c.is_ascii_digit())
}

/// Whether a part is taken of something, `a[1:]`.
fn has_slice(code: &str) -> bool {
    let mut open = Vec::new();
    parts(code).any(|(_, part)| {
        match part {
            Part::Sign(c @ ('(' | '[' | '{')) => open.push(c),
            Part::Sign(')' | ']' | '}') => {
                open.pop();
            }
            _ => {}
        }
        part == Part::Sign(':') && open.last() == Some(&'[')
    })
}

/// Whether a text begins with the tag that is this word alone.
fn is_tag(text: &str, word: &str) -> bool {
    let inside = text.strip_prefix("{%").map(|inside| without_sign(inside).trim_start());
    let behind = inside.and_then(|inside| inside.strip_prefix(word));
    behind.is_some_and(|behind| without_sign(behind.trim_start()).starts_with("%}"))
}

fn without_sign(text: &str) -> &str {
    text.strip_prefix(['-', '+']).unwrap_or(text)
}

/// Where this end of a tag stands, outside texts and brackets.
fn end_of_code(code: &str, end: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, part) in parts(code) {
        if depth == 0 && code[at..].starts_with(end) {
            return Some(at);
        }
        depth += part.opens();
    }
    None
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part<'c> {
    /// A name, a keyword or a number.
    Word(&'c str),
    /// A text in quotes.
    Text,
    Sign(char),
}

impl Part<'_> {
    /// How many brackets it opens.
    fn opens(self) -> isize {
        match self {
            Part::Sign('(' | '[' | '{') => 1,
            Part::Sign(')' | ']' | '}') => -1,
            _ => 0,
        }
    }
}

/// The parts of an expression, with their places.
fn parts(code: &str) -> impl Iterator<Item = (usize, Part<'_>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = code[at..].trim_start();
        let first = rest.chars().next()?;
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let (length, part) = match first {
            '\'' | '"' => (length_of_text(rest, first), Part::Text),
            c if is_word(c) => {
                let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                (length, Part::Word(&rest[..length]))
            }
            c => (c.len_utf8(), Part::Sign(c)),
        };
        let start = code.len() - rest.len();
        at = start + length;
        Some((start, part))
    })
}

/// The words of an expression that are no attributes, with their places and the brackets open there.
fn words(code: &str) -> impl Iterator<Item = (usize, &str, isize)> {
    let (mut depth, mut is_attribute) = (0, false);
    parts(code).filter_map(move |(at, part)| {
        let found = match part {
            Part::Word(word) if !is_attribute => Some((at, word, depth)),
            _ => None,
        };
        depth += part.opens();
        is_attribute = part == Part::Sign('.');
        found
    })
}

/// The bytes of a text in quotes, with these.
fn length_of_text(code: &str, quote: char) -> usize {
    let mut chars = code.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == quote {
            return at + c.len_utf8();
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_out_of_a_block_in_a_loop_is_refused_with_both_lines() {
        let opens =
            ["with", "with y = 1", "set z", "set z | upper", "filter upper", "autoescape true", "generation"];
        for (open, jump) in opens.into_iter().flat_map(|open| [(open, "break"), (open, "continue")]) {
            let word = open.split(' ').next().unwrap();
            let within = format!("{{% for m in x %}}\n{{%- {open} -%}}\n{{% if m %}}{{% {jump} %}}");
            let source = format!("{within}{{% endif %}}{{% end{word} %}}{{% endfor %}}");
            let refused = rewrite(&source).err().unwrap();
            let says =
                format!("{{% {jump} %}} in line 3 leaves {{% {word} %}} of line 2, which is not supported");
            assert!(refused.starts_with(&says), "{source}: {refused}");
            // A block that was ended, and one around the loop.
            let loops = format!("{{% for m in x %}}{{% {jump} %}}{{% endfor %}}");
            for taken in [
                format!("{{% for m in x %}}{{% {open} %}}{{% end{word} %}}{{% {jump} %}}{{% endfor %}}"),
                format!("{{% {open} %}}{loops}{{% end{word} %}}"),
                format!("{{% for n in x %}}{{% {open} %}}{loops}{{% end{word} %}}{{% endfor %}}"),
                format!("{{% for m in x %}}{{% set y = 1 %}}{{% {jump} %}}{{% endfor %}}"),
            ] {
                assert_eq!(rewrite(&taken).err(), None, "{taken}");
            }
        }
        let both = "{% for m in x %}{% for n in m %}{% else %}{% break %}{% endfor %}{% endfor %}";
        assert_eq!(rewrite(both).err(), None);
        for nowhere in [
            "{% break %}",
            "{% for m in x %}{% endfor %}{% if x %}{% break %}{% endif %}",
            "{% for m in x %}{% else %}{% break %}{% endfor %}",
            "{% for m in x %}{% macro f() %}{% break %}{% endmacro %}{% endfor %}",
            "{% for m in x %}{% call f() %}{% break %}{% endcall %}{% endfor %}",
        ] {
            assert_eq!(
                rewrite(nowhere).err().as_deref(),
                Some("{% break %} in line 1 is in no loop"),
                "{nowhere}"
            );
        }
    }

    #[test]
    fn loops_take_what_is_between_their_words() {
        for (source, out) in [
            ("{% for m in x %}", "{% for m in ( x )|__each %}"),
            ("{%-for(a,b)in x|items-%}", "{%-for(a,b)in ( x|items)|__each -%}"),
            (
                "{% for m in [a if b else c][1:] if m.if in x recursive -%}",
                "{% for m in ( [a if b else c][1:] )|__each if m.if in x recursive -%}",
            ),
            ("{% for m in x.if recursive %}", "{% for m in ( x.if )|__each recursive %}"),
            ("{% for m in '\\' if %}' ~ \" in \" %}", "{% for m in ( '\\' if %}' ~ \" in \" )|__each %}"),
            ("{% for m in f(x, y=1)\n  if m %}", "{% for m in ( f(x, y=1)\n  )|__each if m %}"),
            ("{% for m in x", "{% for m in ( x)|__each "),
            ("{% for m in %}{% for m %}{% for in if %}", "{% for m in %}{% for m %}{% for in if %}"),
        ] {
            assert_eq!(rewrite(source).ok().map(|out| out.source).as_deref(), Some(out));
        }
    }

    #[test]
    fn names_are_shown_in_macros_only_where_they_are_overlooked() {
        let within = |tag: &str| {
            let source = format!("{{% macro f() %}}{tag}{{% endmacro %}}{tag}");
            let out = rewrite(&source).ok().unwrap().source;
            let (_, inside) = out.split_once("%}").unwrap();
            let (inside, behind) = inside.split_once("{% endmacro %}").unwrap();
            assert_eq!(behind, rewrite(tag).ok().unwrap().source);
            inside.to_owned()
        };
        for (tag, out) in [
            ("{%- set n.x = y -%}", "{%- if n or y %}{% endif %}{% set n.x = y -%}"),
            ("{{ x[1:] }}", "{%+ if x %}{% endif %}{{ x[1:] }}"),
            ("{{- f(x.y, 'z', 1e5)[:n] }}", "{%- if f or x or n %}{% endif %}{{ f(x.y, 'z', 1e5)[:n] }}"),
            (
                "{% if not x[::-1] is none %}{% endif %}",
                "{% if x %}{% endif %}{% if not x[::-1] is none %}{% endif %}",
            ),
            ("{{ {'a': x} }}{{ x[{'a': 1}] }}", "{{ {'a': x} }}{{ x[{'a': 1}] }}"),
            ("{% set x = n.x %}{% set y, z = x[1] %}", "{% set x = n.x %}{% set y, z = x[1] %}"),
            ("{% set x = x ~ y.x %}", "{% if x or x or y %}{% endif %}{% set x = x ~ y.x %}"),
            ("{% with x = x %}{% endwith %}", "{% if x or x %}{% endif %}{% with x = x %}{% endwith %}"),
            (
                "{% filter indent(n) %}{% endfilter %}",
                "{% if indent or n %}{% endif %}{% filter indent(n)  %}{% with %}{% endwith %}{% endfilter %}",
            ),
        ] {
            assert_eq!(within(tag), out);
        }
    }

    #[test]
    fn what_looks_like_a_tag_is_left_as_it_is() {
        for source in [
            "{# {% generation %} #}{% raw +%}{% generation %}{% break %}{# {%+ endraw -%}{# {% generation",
            "{{ 'it\\'s {% generation %}' }}{% set y = '%} {% generation %}' %}{{ \"{#\" }}",
            "{{ {'a': {'b': 1}} ~ '}}' }}{% set x = {'a': '%}'} -%}{{ x",
            "{% generation x %}{% endgeneration %}{% raw",
        ] {
            let Rewritten { source: out, has_marks } =
                rewrite(source).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!((out.as_str(), has_marks), (source, false));
        }
    }
}
