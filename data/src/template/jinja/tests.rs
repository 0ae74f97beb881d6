use super::*;
use minijinja::context;

#[test]
fn templates_without_end_and_huge_widths_are_errors() {
    let fails =
        |source: &str| ChatEnvironment::new(source).unwrap().render(context! { x => "a\nb" }).unwrap_err();
    let rounds = "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}";
    assert!(fails(rounds).contains("fuel"), "{}", fails(rounds));
    for wide in [
        "{{ x | indent(1000000000000) }}",
        "{{ x | indent(width=1000000000000) }}",
        "{{ x | list | batch(100000000000, 1) | list }}",
        "{{ x | list | slice(100000000000) | list }}",
        "{{ '%99999999999d' | format(1) }}",
        "{{ '{:99999999999}'.format(1) }}",
        "{{ 'a'.center(99999999999) }}",
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
        assert!(error.contains(says), "{source}: {error}");
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

/// Expected values are those of Jinja 3.1.
#[test]
fn what_is_no_number_is_the_default() {
    for (expression, expected) in [
        ("'12abc' | int ~ '' | int ~ ' 5 ' | int ~ '1_000' | int", "0051000"),
        ("'42.9' | int ~ -4.9 | int ~ true | int ~ '١' | int", "42-411"),
        ("[1] | int ~ {} | int ~ none | int ~ messages | d(none) | int(7)", "0007"),
        ("'x' | int(default=none) ~ 'x' | int('d') ~ 'nan' | int(1) ~ 'inf' | int(2)", "Noned12"),
        ("'ff' | int(0, 16) ~ '0x1f' | int(base=16) ~ '0b11' | int(base=0) ~ 'zz' | int(base=37)", "2553130"),
        ("12 | int(base=2) ~ 123456789012345678901 | int", "12123456789012345678901"),
        ("'x' | float ~ '' | float ~ ' 1_0.5 ' | float ~ 3 | float ~ true | float", "0.00.010.53.01.0"),
        ("[1] | float ~ none | float(2) ~ 'x' | float(default='d')", "0.02d"),
    ] {
        let source = format!("{{{{ {expression} }}}}");
        assert_eq!(render(&source), expected, "{expression}");
    }
    for (source, says) in [
        ("{{ nothing | int }}", "undefined"),
        ("{{ nothing | float }}", "undefined"),
        ("{{ '1e50' | int }}", "as large as 1e50"),
    ] {
        let error = ChatEnvironment::new(source).unwrap().render(context! {}).unwrap_err();
        assert!(error.contains(says), "{source}: {error}");
    }
}

/// Expected values are those of Python 3.
#[test]
fn widths_are_in_characters() {
    for (expression, expected) in [
        ("'{:*<5}|{:>3}'.format('é', 'ab')", "é****| ab"),
        ("'{0:^5}{0:.1}{a:3}'.format('éü', a='中')", " éü  é中  "),
        ("'%-4s|%3s|%.1s' | format('é', 'ü', 'üé')", "é   |  ü|ü"),
        ("'{:_>3} {} {}'.format('é', 7, [1])", "__é 7 [1]"),
    ] {
        assert_eq!(render(&format!("{{{{ {expression} }}}}")), expected, "{expression}");
    }
    // More letters than there are control characters.
    let letters: String = ('а'..='я').chain('А'..='Я').collect();
    assert_eq!(render(&format!("{{{{ '{{0:2}}'.format('{letters}') }}}}")), letters);
}

#[test]
fn texts_are_sequences_and_escaped_as_in_python() {
    let source = "{{ x is sequence }} {{ {} is sequence }} {{ [] is sequence }} {{ 1 is sequence }}";
    assert_eq!(render(source).to_lowercase(), "true true true false");
    let source = "{{ [1, 2][1:] is sequence }} {{ range(3) is sequence }} {{ none is sequence }}";
    assert_eq!(render(source), "True True False");
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

/// Expected values are those of transformers.
#[test]
fn what_is_set_in_a_block_stays_there() {
    for (source, expected) in [
        ("{% set y = 1 %}{% set z %}{{ y }}{% set y = 2 %}{{ y }}{% endset %}{{ z }}{{ y }}", "121"),
        ("{% set y = 'a' %}{% filter upper %}{{ y }}{% set y = 'b' %}{{ y }}{% endfilter %}{{ y }}", "ABa"),
        ("{% set y = 1 %}{% autoescape false %}{% set y = 2 %}{{ y }}{% endautoescape %}{{ y }}", "21"),
        (
            "{% set z | upper -%}\n a {%- endset -%}\n{{ z }}{%- set z %}\n b\n  {% endset %}\n{{ z }}",
            "A b\n",
        ),
        ("{% set n = namespace(a=1) %}{% set z %}{% set n.a = 2 %}{% endset %}{{ n.a }}{{ z }}", "2"),
        ("{% for i in [1] %}{% set z %}{{ loop.index }}{{ i }}{% endset %}{{ z }}{% endfor %}", "11"),
        ("{% set a, b = 1, 2 %}{% set z = '|' | trim(chars='=') %}{{ a }}{{ b }}{{ z }}", "12|"),
        ("{% set z | trim(chars='a') %}a=a{% endset %}{{ z }}", "="),
    ] {
        assert_eq!(render(source), expected, "{source}");
    }
}

/// Expected values are those of transformers.
#[test]
fn loops_are_those_of_jinja() {
    for (source, expected) in [
        (
            "{% for c in 'aé' %}{{ c }}{{ loop.last }}{{ loop.length }}{{ loop.revindex0 }}{% endfor %}",
            "aFalse21éTrue20",
        ),
        ("{% for c in 'ab' | reverse if c != 'b' %}{{ c }}{{ loop.last }}{% else %}-{% endfor %}", "aTrue"),
        (
            "{% for c in '' %}{{ c }}{% else %}-{% endfor %}{% for c in nothing %}{% else %}-{% endfor %}",
            "--",
        ),
        ("{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{{ loop.last }}{% endfor %}", "a1True"),
        ("{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "123"),
        (
            "{% for i in 1, 2 %}{{ i }}{% endfor %}{% for i in range(2) %}{{ loop.last }}{% endfor %}",
            "12FalseTrue",
        ),
        (
            "{% for i in [1, [2, [3]]] recursive %}{{ i if i is number else loop(i) }}{{ loop.depth }}{% endfor %}",
            "11223321",
        ),
        ("{% for i in ([1, 2] if x else []) if i > 1 recursive %}{{ i }}{% endfor %}", "2"),
    ] {
        assert_eq!(render(source), expected, "{source}");
    }
    let error = ChatEnvironment::new("{% for tool in x %}{% endfor %}").unwrap();
    let error = error.render(context! { x => () }).unwrap_err();
    assert!(error.starts_with("a loop over None, which tools and documents are here"), "{error}");
}

/// Expected values are those of transformers.
#[test]
fn macros_see_the_variables_around_them() {
    let set = "{% set n = namespace(x=1) %}{% set a = [1, 2, 3] %}";
    for (inside, expected) in [
        ("{% set n.x = 2 %}{% endmacro %}{{ f() }}{{ n.x }}", "2"),
        ("  {{ a[1:] }}{% endmacro %}{{ f() }}", "  [2, 3]"),
        ("{% for i in a[:1] %}{{ i }}{% endfor %}{% endmacro %}{{ f() }}", "1"),
        ("{% set n.x %}b{% endset %}{% endmacro %}{{ f() }}{{ n.x }}", "b"),
        ("{{ caller() }}{% endmacro %}{% call f() %}{% set n.x = a[2:] %}{% endcall %}{{ n.x }}", "[3]"),
        ("{% set a = [4] %}{{ a[:] }}{% endmacro %}{{ f() }}{{ a }}", "[4][1, 2, 3]"),
    ] {
        assert_eq!(render(&format!("{set}{{% macro f() %}}{inside}")), expected, "{inside}");
    }
}

/// Expected values are those of transformers.
#[test]
fn lines_of_raw_text_stay() {
    assert_eq!(render("a\n{% raw %}\n  {{ x }}\n  {% endraw %}\nb"), "a\n\n  {{ x }}\nb");
    assert_eq!(render("{%- raw -%}\n {% x %}{%- endraw +%}\nb"), "{% x %}\nb");
    assert_eq!(render("{%raw%}\n\n{%endraw%}"), "\n\n");
}

#[test]
fn none_is_not_iterable() {
    let source = "{{ none is iterable }} {{ nothing is iterable }} {{ x is iterable }} {{ 1 is iterable }}";
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
        (
            "['abc'.center(6), 'ab'.center(5), 'é'.center(4, '·'), 'abc'.center(2)]",
            r#"[" abc  ", "  ab ", "·é··", "abc"]"#,
        ),
        ("['é'.ljust(3), 'é'.rjust(3, '-'), 'a'.ljust(-1)]", r#"["é  ", "--é", "a"]"#),
        ("['5'.zfill(3), '-5'.zfill(4), '+'.zfill(3), '--5'.zfill(5)]", r#"["005", "-005", "+00", "-00-5"]"#),
        (
            "['a\tb\n\tc'.expandtabs(4), '\t'.expandtabs(tabsize=2), 'a\t'.expandtabs(0)]",
            r#"["a   b\n    c", "  ", "a"]"#,
        ),
        ("'\t'.expandtabs() | length", "8"),
        ("['aB'.swapcase(), 'Straße'.casefold(), 'Ab'.istitle()]", r#"["Ab", "strasse", true]"#),
        (
            "['٣'.isdecimal(), '²'.isdecimal(), '²'.isdigit(), '½'.isdigit(), ''.isdigit()]",
            "[true, false, true, false, false]",
        ),
        (
            "['½'.isnumeric(), 'a '.isprintable(), ''.isprintable(), 'a\n'.isprintable()]",
            "[true, true, true, false]",
        ),
        (
            "[[1, 2, 1].index(1), (1, 2, 1).index(1, 1), [1, 2].index(2, -1), ['a'].copy()]",
            r#"[0, 2, 1, ["a"]]"#,
        ),
        ("[(1, 2, 1).count(1), {'a': 1}.copy()]", r#"[2, {"a": 1}]"#),
        ("['a_1'.isidentifier(), '1a'.isidentifier(), ''.isidentifier()]", "[true, false, false]"),
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

/// Expected values are those of Jinja 3.1.
#[test]
fn functions_are_those_of_jinja() {
    for (source, expected) in [
        (
            "{{ dict([('b', 1), ['a', 2]]) }}{{ dict({'c': 3}.items(), a=4) }}",
            "{'b': 1, 'a': 2}{'c': 3, 'a': 4}",
        ),
        ("{{ dict(a=1) }}{{ dict({'a': 1}, a=2) }}{{ dict() }}{{ dict([]) }}", "{'a': 1}{'a': 2}{}{}"),
        ("{% set next = joiner('|') %}{% for i in [1, 2, 3] %}{{ next() }}{{ i }}{% endfor %}", "1|2|3"),
        ("{% set turn = cycler('a', 'b') %}{% for i in [1, 2, 3] %}{{ turn.next() }}{% endfor %}", "aba"),
    ] {
        assert_eq!(render(source), expected, "{source}");
    }
    let error = ChatEnvironment::new("{{ dict(['ab', [1]]) }}").unwrap().render(context! {}).unwrap_err();
    assert!(error.contains("pairs of a key and a value"), "{error}");
}

#[test]
fn what_python_has_and_a_template_has_not_is_refused_in_words() {
    let fails =
        |source: &str| ChatEnvironment::new(source).unwrap().render(context! { x => "a" }).unwrap_err();
    assert!(fails("{{ '%s' % x }}").contains("write text | format(value) for Python's text % value"));
    assert!(fails("{{ 'got %s' % 3 }}").contains("text | format(value)"));
    assert!(fails("{{ x.translate({}) }}").contains("translate"), "{}", fails("{{ x.translate({}) }}"));
    for method in ["split(''", "rsplit(''"] {
        assert!(fails(&format!("{{{{ x.{method}) }}}}")).contains("empty"));
    }
    assert!(fails("{{ x.index('b') }}").contains("does not occur"));
    for lacking in ["['b'].index('a')", "[1, 2].index(1, 1)", "[1, 2].index(2, 0, -1)"] {
        assert!(fails(&format!("{{{{ {lacking} }}}}")).contains("not in the list"), "{lacking}");
    }
    assert!(fails("{{ x.split('b', sep='b') }}").contains("given twice"));
    let filters = "bool center chain filesizeformat forceescape lines pprint random split striptags truncate \
                   urlencode urlize wordcount wordwrap xmlattr zip";
    for filter in filters.split_whitespace() {
        let says = fails(&format!("{{{{ x | {filter} }}}}"));
        assert!(says.contains(&format!("filter {filter} is unknown")), "{says}");
    }
    for test in ["endingwith('a')", "int", "safe", "startingwith('a')"] {
        assert!(fails(&format!("{{{{ x is {test} }}}}")).contains("is unknown"), "{test}");
    }
    assert!(fails("{{ debug() }}").contains("debug is unknown"));
    assert_eq!(render("{{ 7 % 4 }}"), "3");
}

#[test]
fn a_panic_of_the_library_is_an_error() {
    let env = ChatEnvironment::new("{% for i in [1] %}{{ loop.cycle() }}{% endfor %}").unwrap();
    assert_eq!(env.render(context! {}).unwrap_err(), "the template library gave up on the template");
}

#[test]
fn the_clock_stands_still() {
    // What `strftime` of Python 3 gives for that day.
    for (format, expected) in [
        ("%d %b %Y, %A %-m %H:%M %%", "26 Jul 2024, Friday 7 00:00 %"),
        ("%f %U %W %V %G %g %C %s %R %r", "000000 29 30 30 2024 24 20 1721952000 00:00 12:00:00 AM"),
        ("%c|%a %h %B|%D|%x|%F", "Fri Jul 26 00:00:00 2024|Fri Jul July|07/26/24|07/26/24|2024-07-26"),
        ("%e %y %S %I %p %T %X %u %w%n%t.", "26 24 00 12 AM 00:00:00 00:00:00 5 5\n\t."),
        ("%k|%l|%P|%z|%Z|%-H|%-I|%-j", " 0|12|am|||0|12|208"),
        ("%_m|%0k|%^a|%#p|%-a|%Ey|%Od", " 7|00|FRI|am|Fri|24|26"),
        ("%q %E 100% %", "%q %E 100% %"),
    ] {
        assert_eq!(render(&format!("{{{{ strftime_now('{format}') }}}}")), expected, "{format}");
    }
}

#[test]
fn errors_say_what_is_wrong_and_where() {
    for (source, says) in [
        ("a\n{{ 'x' + x.tool.name }}", "`x.tool` is undefined (line 2: 'x' + x.tool.name)"),
        ("{% set y = nothing[0] %}", "`nothing` is undefined (line 1: nothing[0])"),
        ("{% for m in [x] %}\n{{ m.index('b') }}{% endfor %}", "(line 2: m.index('b'))"),
        ("{% for m in 5 %}{% endfor %}", "(line 1: 5)"),
        ("{%- for m in none if m -%}{% endfor %}", "(line 1: none)"),
        ("\n{% for a, b in [1] %}{% endfor %}", "cannot unpack: value is not iterable (line 2: a, b)"),
        ("{% if x %}{{- x | nope('a') }}{% endif %}", "filter nope is unknown (line 1: x | nope('a'))"),
        ("{% set y = 'a' | round %}", "(line 1: set y = 'a' | round)"),
        ("{{ x.a\n.b }}", "`x.a` is undefined (line 1: x.a...)"),
        ("{{ raise_exception('nobody asks') }}", "nobody asks"),
    ] {
        let error = ChatEnvironment::new(source).unwrap().render(context! { x => "a" }).unwrap_err();
        assert!(error.contains(says), "{source}: {error}");
    }
    let error = ChatEnvironment::new("\n{{ 1 1 }}").err().unwrap();
    assert!(error.starts_with("syntax error: ") && error.ends_with("(line 2)"), "{error}");
}

#[test]
fn raised_messages_come_through() {
    let env = ChatEnvironment::new("{{ raise_exception('roles must alternate') }}").unwrap();
    assert_eq!(env.render(context! {}).unwrap_err(), "roles must alternate");
    assert!(ChatEnvironment::new("{% if %}").is_err());
}
