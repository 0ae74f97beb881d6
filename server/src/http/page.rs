//! Web page of the server: files that are in the binary, so that nothing is fetched from elsewhere.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use super::reply;

pub(super) struct PageAsset {
    /// Where it is asked for.
    pub(super) path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

macro_rules! file {
    ($path:literal, $name:literal, $ty:expr) => {
        PageAsset { path: $path, content_type: $ty, bytes: include_bytes!(concat!("../../page/", $name)) }
    };
}

pub(super) static FILES: &[PageAsset] = &[
    file!("/", "index.html", HTML),
    file!("/style.css", "style.css", STYLE),
    file!("/app.js", "app.js", SCRIPT),
    file!("/client.js", "client.js", SCRIPT),
    file!("/dom.js", "dom.js", SCRIPT),
    file!("/store.js", "store.js", SCRIPT),
    file!("/query.js", "query.js", SCRIPT),
    file!("/editor.js", "editor.js", SCRIPT),
    file!("/grid.js", "grid.js", SCRIPT),
    file!("/why.js", "why.js", SCRIPT),
    file!("/charts.js", "charts.js", SCRIPT),
    file!("/compare.js", "compare.js", SCRIPT),
    file!("/icon.svg", "icon.svg", "image/svg+xml"),
    file!("/vendor/uPlot.iife.min.js", "vendor/uPlot.iife.min.js", SCRIPT),
    file!("/vendor/uPlot.min.css", "vendor/uPlot.min.css", STYLE),
    file!("/vendor/uPlot-LICENSE", "vendor/uPlot-LICENSE", "text/plain; charset=utf-8"),
];

impl PageAsset {
    /// The file; a browser asks whether it has changed each time, because the server may be another one.
    pub(super) fn response(&self) -> Response {
        let mut response = reply::body_of_type(StatusCode::OK, self.content_type, self.bytes.into());
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }
}

#[cfg(test)]
mod tests {
    use gstore_core::sha256_hex;
    use gstore_query::influence::Function;

    use super::*;

    #[test]
    fn the_editor_completes_every_table_function_and_option() {
        let editor = include_str!("../../page/editor.js");
        let list = |name: &str| -> Vec<&'static str> {
            let (_, rest) = editor.split_once(&format!("const {name} = ")).unwrap();
            let (list, _) = rest.split_once(';').unwrap();
            list.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect()
        };
        let (functions, options) = (list("FUNCTIONS"), list("OPTIONS"));
        for function in gstore_sql::table_functions().map(|function| function.name) {
            assert!(functions.contains(&function), "editor.js lacks the function {function}");
        }
        let of_sql = Function::ALL.into_iter().filter(|function| *function != Function::Question);
        let named = of_sql.flat_map(Function::options).filter(|o| !["pool", "target"].contains(&o.name));
        for option in named {
            assert!(options.contains(&option.name), "editor.js lacks the option {}", option.name);
        }
    }

    #[test]
    fn the_page_is_small_and_names_no_other_site() {
        let bytes: usize = FILES.iter().map(|file| file.bytes.len()).sum();
        assert!(bytes < 300_000, "{bytes} bytes");
        for file in FILES.iter().filter(|file| !file.path.starts_with("/vendor/")) {
            let text = std::str::from_utf8(file.bytes).unwrap();
            let named = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!named.contains("http://") && !named.contains("https://"), "{}", file.path);
            // The policy lets neither run.
            let inline = ["onclick=", "style=", "eval(", "innerHTML"];
            assert!(!inline.iter().any(|bad| text.contains(bad)), "{}", file.path);
        }
    }

    #[test]
    fn the_library_is_the_one_of_the_registry() {
        for (name, digest) in [
            ("/vendor/uPlot.iife.min.js", "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"),
            ("/vendor/uPlot.min.css", "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04"),
        ] {
            let file = FILES.iter().find(|file| file.path == name).unwrap();
            assert_eq!(sha256_hex(file.bytes), digest, "{name} of uplot 1.6.32");
        }
    }
}
