//! A page of HTML around the SVG of a picture.

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
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n\
         <style>{STYLE}{body}{light}@media (prefers-color-scheme:dark){{{dim}{dark}}}</style>\n</head>\n<body>\n",
        escaped(&picture.title)
    );
    element(&mut out, picture, scene, "");
    out += &format!("<p>{}</p>\n</body>\n</html>\n", escaped(&picture.about));
    out
}
