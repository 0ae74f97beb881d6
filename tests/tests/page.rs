//! Promise: the page works in a browser, without network access and without an error on its console.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::served::{place, token};

/// What the test needs of this machine.
struct Browser {
    folder: PathBuf,
    chromium: String,
}

/// A browser and what drives it, or `None` after saying that the test is skipped.
fn browser() -> Option<Browser> {
    let runs = |program: &str, args: &[&str], folder: &Path| {
        let output = Command::new(program).args(args).current_dir(folder).output();
        output.is_ok_and(|output| output.status.success())
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/page");
    let known = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = |name: &str| std::env::split_paths(&path).map(|f| f.join(name)).find(|file| file.exists());
    let chromium = std::env::var("GSTORE_CHROMIUM").ok();
    let chromium = chromium
        .or_else(|| known.iter().find_map(|name| Some(on_path(name)?.to_string_lossy().into_owned())));
    let driver = ["--input-type=module", "-e", "import 'playwright-core'"];
    let missing = match &chromium {
        None => "a Chromium (Debian: chromium-headless-shell, or GSTORE_CHROMIUM)",
        Some(_) if runs("node", &driver, &folder) => "",
        Some(_) if runs("npm", &["ci"], &folder) && runs("node", &driver, &folder) => "",
        Some(_) => "Node 20 with `npm ci` done in tests/clients/page",
    };
    if let (Some(chromium), "") = (chromium, missing) {
        return Some(Browser { folder, chromium });
    }
    let known = ["CI", "GSTORE_NO_BROWSER"].map(|name| std::env::var_os(name).is_some());
    assert_ne!(known, [true, false], "the page is not tested: {missing} is missing");
    eprintln!("skipped: {missing} is missing");
    None
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_page_works_in_a_browser() {
    let Some(browser) = browser() else { return };
    let place = place();
    let token = token(&place, "page");
    let log = fs_err::File::create(place.path("serve.log")).expect("a log").into_parts().0;
    let server = place
        .gstore(&["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::from(log))
        .spawn()
        .expect("gstore runs");
    let mut server = Killed(server);
    let printed = BufReader::new(server.0.stdout.take().expect("piped")).lines();
    let page =
        printed.map_while(Result::ok).find(|line| line.starts_with("http://")).expect("the page's address");
    let pictures = match std::env::var_os("GSTORE_PICTURES") {
        Some(folder) => PathBuf::from(folder),
        None => place.path(""),
    };
    let output = Command::new("node")
        .arg("page.mjs")
        .args([&browser.chromium, &page, &token])
        .arg(pictures)
        .current_dir(&browser.folder)
        .output()
        .expect("node runs");
    let log = fs_err::read_to_string(place.path("serve.log")).unwrap_or_default();
    let (printed, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && printed.contains("all checked"), "{printed}\n{said}\n{log}");
}
