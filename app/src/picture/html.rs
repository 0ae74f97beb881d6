//! A page of HTML around the SVG of a picture.

use gstore_core::html_head;

use super::Picture;
use super::colour::rules;
use super::scene::Scene;
use super::svg::{element, escaped};

const STYLE: &str = ":root{color-scheme:light dark}body{margin:2rem auto;max-width:60rem;padding:0 1rem;\
                     font:1rem/1.5 system-ui,sans-serif}svg{width:100%;height:auto}";

pub(super) fn page(picture: &Picture, scene: &Scene) -> String {
    let (light, dark) = (rules("", false), rules("", true));
    let body = "body{background:#fff;color:#1f2328}";
    let dim = "body{background:#0d1117;color:#e6edf3}";
    let style = format!("{STYLE}{body}{light}@media (prefers-color-scheme:dark){{{dim}{dark}}}");
    let mut out = html_head(&escaped(&picture.title), &style);
    element(&mut out, picture, scene, "");
    out += &format!("<p>{}</p>\n</body>\n</html>\n", escaped(&picture.about));
    out
}
