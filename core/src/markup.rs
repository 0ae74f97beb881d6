//! Escaping of texts and names from outside for terminals, Markdown and HTML: markup and hidden characters are
//! shown as text.

use crate::words::one_line;

/// Line breaks, other control characters and characters that hide or reorder others as escapes, so that a
/// text stays on its line, reads as it is, and cannot drive a terminal.
pub fn visible(text: &str) -> String {
    if !text.chars().any(is_hidden) {
        return text.to_string();
    }
    text.chars()
        .flat_map(|c| match is_hidden(c) {
            true => c.escape_default().collect::<Vec<_>>(),
            false => vec![c],
        })
        .collect()
}

/// Whether a character controls, reorders or hides text. Joiners are left as they are:
/// scripts and emoji need them.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn html_escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A text of others as an element or an attribute of HTML: lines stay lines.
pub fn html_text(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(|line| visible(line.trim_end_matches('\r'))).collect();
    html_escaped(&lines.join("\n"))
}

/// A page of HTML that stands alone, up to what its body holds; the title is escaped already.
pub fn html_head(title: &str, style: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>{style}</style>\n</head>\n<body>\n"
    )
}

/// A text of others in a line of Markdown, where HTML would be HTML.
pub fn markdown_text(text: &str) -> String {
    visible(text).replace('&', "&amp;").replace('<', "&lt;")
}

/// The same of a text of several lines, which becomes one.
pub fn markdown_line(text: &str) -> String {
    markdown_text(&one_line(text))
}

/// A text of others in a cell of a table.
pub fn markdown_cell(text: &str) -> String {
    markdown_text(text).replace('\\', "\\\\").replace('|', "\\|")
}

/// A name of others as code in a line of Markdown, where HTML is none.
pub fn markdown_code(text: &str) -> String {
    let text = visible(text);
    match text.split(|c: char| c != '`').map(str::len).max() {
        None | Some(0) => format!("`{text}`"),
        Some(most) => {
            let ticks = "`".repeat(most + 1);
            format!("{ticks} {text} {ticks}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_is_shown() {
        assert_eq!(visible("a\u{1b}[31m"), "a\\u{1b}[31m");
        assert_eq!(visible("a\u{202e}gpj.exe\u{200b}\u{2066}"), "a\\u{202e}gpj.exe\\u{200b}\\u{2066}");
        assert_eq!(visible("👩\u{200d}🚀 é نا"), "👩\u{200d}🚀 é نا");
    }

    #[test]
    fn markup_is_shown_as_it_is() {
        assert_eq!(html_escaped("<a b=\"&lt;\">"), "&lt;a b=&quot;&amp;lt;&quot;&gt;");
        assert_eq!(html_text("<b>\r\n\u{1b}"), "&lt;b&gt;\n\\u{1b}");
        assert_eq!(markdown_text("<b> &lt;\u{202e}"), "&lt;b> &amp;lt;\\u{202e}");
        assert_eq!(markdown_cell("a|b\\|<i>\u{1b}"), "a\\|b\\\\\\|&lt;i>\\\\u{1b}");
    }

    #[test]
    fn code_ends_where_its_text_does() {
        assert_eq!(markdown_code("<b>\u{1b}"), "`<b>\\u{1b}`");
        assert_eq!(markdown_code("a`<b>``"), "``` a`<b>`` ```");
    }
}
