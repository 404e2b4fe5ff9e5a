//! `conntracker report`, looked at in a real browser.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use vendor_tests::files::on;
use vendor_tests::program::run;
use vendor_tests::temp::Folder;
use vendor_tests::week;

/// The width of a desktop's window and of a telephone's. A window of Chromium is not narrower than 500 dots, so that the
/// latter is that of a frame in it.
const DESKTOP: u32 = 1280;
const PHONE: u32 = 375;

fn chromium() -> Option<PathBuf> {
    let paths = ["/usr/bin/chromium", "/usr/bin/google-chrome"].map(PathBuf::from);
    let found = paths.into_iter().find(|path| path.exists());
    if found.is_none() {
        vendor_tests::skipped!("chromium is not there");
    }
    found
}

/// A report of three days, compared with the one before them.
fn report(folder: &Folder, more: &[&str]) -> String {
    let days = week::files(folder, 1..=4);
    let page = folder.join("report.html");
    let mut args = vec!["report", "-o", week::text(&page)];
    args.extend(more);
    args.extend(days[1..].iter().map(|path| week::text(path)));
    args.push("--against");
    args.extend(days[..1].iter().map(|path| week::text(path)));
    run(vendor_tests::program::conntracker(), args);
    fs::read_to_string(page).expect("a page")
}

/// Has the browser open a page, with further options, and checks that its console stays empty.
fn open(browser: &Path, folder: &Folder, page: &Path, options: &[&str]) -> Output {
    let output = Command::new(browser)
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--enable-logging=stderr",
            "--virtual-time-budget=20000",
        ])
        .arg(format!(
            "--user-data-dir={}",
            folder.join("browser").display()
        ))
        .args(options)
        .arg(format!("file://{}", page.display()))
        .env("HOME", folder.path())
        .output()
        .expect("the browser starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let console: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("CONSOLE"))
        .collect();
    assert!(console.is_empty(), "{console:?}");
    output
}

/// What a script finds out in a copy of the page, which may have scripts of others: it calls `tell` with it.
fn told(browser: &Path, folder: &Folder, page: &str, script: &str, options: &[&str]) -> Value {
    let begin = page
        .find("<meta http-equiv=Content-Security-Policy")
        .expect("a policy");
    let end = begin + page[begin..].find('>').expect("its end") + 1;
    let tell = "const tell = (what) => { const pre = document.createElement('pre'); pre.id = 'told'; \
                pre.textContent = JSON.stringify(what); document.body.append(pre); };";
    let copy = format!(
        "{}{}<script>{tell}{script}</script>",
        &page[..begin],
        &page[end..]
            .trim_end()
            .trim_end_matches("</html>")
            .trim_end()
            .trim_end_matches("</body>")
    );
    let path = folder.join("copy.html");
    fs::write(&path, copy).expect("a copy");
    let output = open(browser, folder, &path, &[options, &["--dump-dom"]].concat());
    let document = String::from_utf8_lossy(&output.stdout);
    let (_, told) = document.rsplit_once("<pre id=\"told\">").expect("it tells");
    let (told, _) = told.split_once("</pre>").expect("its end");
    let told = told
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&");
    serde_json::from_str(&told).expect("JSON")
}

#[test]
fn a_browser_shows_it_as_it_is_meant() {
    let Some(browser) = chromium() else { return };
    let folder = Folder::new();
    let page = report(&folder, &[]);
    assert!(!page.contains("://"), "nothing is fetched from anywhere");
    let path = folder.join("report.html");
    // The page with its policy: style and script have the digests that this names, else the console has errors.
    let output = open(&browser, &folder, &path, &["--dump-dom"]);
    let document = String::from_utf8_lossy(&output.stdout);
    assert!(document.contains("class=\"tools\""), "the script ran");
    for (name, width) in [("desktop", DESKTOP), ("narrow", 500)] {
        let picture = folder.join(&format!("{name}.png"));
        let size = format!("--window-size={width},2000");
        let screenshot = format!("--screenshot={}", picture.display());
        open(&browser, &folder, &path, &[&size, &screenshot]);
        let bytes = fs::read(picture).expect("a picture");
        // The width in the header of PNG (section 11.2.2); a page of one colour would take a few kilobytes.
        assert_eq!(bytes[16..20], width.to_be_bytes(), "{name}");
        assert!(bytes.len() > 60_000, "{name}: {} bytes", bytes.len());
    }
    let printed = folder.join("report.pdf");
    let pdf = format!("--print-to-pdf={}", printed.display());
    open(&browser, &folder, &path, &[&pdf, "--no-pdf-header-footer"]);
    let printed = fs::read(printed).expect("a document");
    assert!(printed.starts_with(b"%PDF-"));
    let pages = printed
        .windows(11)
        .filter(|part| part == b"/Type /Page")
        .count();
    assert!(pages >= 3, "{pages} pages");
}

#[test]
fn tables_are_sorted_filtered_and_folded() {
    let Some(browser) = chromium() else { return };
    let folder = Folder::new();
    let page = report(&folder, &[]);
    let script = r##"
        const table = document.querySelector("#services table");
        const column = (at) => Array.from(table.tBodies[0].rows, (row) => row.cells[at].textContent);
        const numbers = () => column(5).map((text) => Number(text.replaceAll(",", "")));
        const press = (at) => table.tHead.rows[0].cells[at].querySelector("button").click();
        const found = {};
        press(5); found.down = numbers();
        press(5); found.up = numbers();
        found.sort = table.tHead.rows[0].cells[5].getAttribute("aria-sort");
        const input = document.querySelector("#services input");
        input.value = "DOMAIN udp"; input.dispatchEvent(new Event("input"));
        const rows = Array.from(table.tBodies[0].rows).filter((row) => !row.hidden);
        found.filtered = rows.map((row) => row.textContent.toLowerCase());
        found.said = document.querySelector("#services output").textContent;
        input.value = ""; input.dispatchEvent(new Event("input"));
        document.querySelector("#services .tools button").click();
        found.folded = document.querySelectorAll("#services details:not([open])").length;
        found.all = table.tBodies[0].rows.length;
        tell(found);
    "##;
    let found = told(&browser, &folder, &page, script, &[]);
    let numbers = |name: &str| -> Vec<u64> {
        let list = found[name].as_array().expect("a list").iter();
        list.map(|one| one.as_u64().expect("a number")).collect()
    };
    let (down, up) = (numbers("down"), numbers("up"));
    assert!(
        down.len() > 5 && down.is_sorted_by(|a, b| a >= b),
        "{down:?}"
    );
    assert!(up.is_sorted(), "{up:?}");
    assert_eq!(found["sort"], "ascending");
    let filtered = found["filtered"].as_array().expect("a list");
    assert!(
        !filtered.is_empty() && filtered.len() < down.len(),
        "{filtered:?}"
    );
    for row in filtered {
        let row = row.as_str().expect("text");
        assert!(row.contains("domain") && row.contains("udp"), "{row}");
    }
    assert_eq!(
        found["said"],
        format!("{} of {} lines", filtered.len(), down.len())
    );
    assert_eq!(found["folded"], 0);
}

#[test]
fn axe_finds_nothing_that_keeps_people_out() {
    let Some(browser) = chromium() else { return };
    let axe = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/axe/axe_playwright_python/axe.min.js");
    let Ok(axe) = fs::read_to_string(axe) else {
        vendor_tests::skipped!("axe is not there");
        return;
    };
    let folder = Folder::new();
    let page = report(&folder, &[]);
    // Folded text has to be legible as well.
    let script = format!(
        "document.querySelectorAll('details').forEach((one) => {{ one.open = true; }});\n{axe}\n\
         axe.run(document).then((found) => tell({{ passed: found.passes.length, wrong: found.violations.map((one) => \
         [one.id, one.help, one.nodes.slice(0, 3).map((node) => node.html + node.failureSummary)]) }}), (error) => tell(String(error)));"
    );
    for (scheme, name) in [("1", "light"), ("0", "dark")] {
        let scheme = format!("--blink-settings=preferredColorScheme={scheme}");
        let size = format!("--window-size={DESKTOP},2000");
        let found = told(&browser, &folder, &page, &script, &[&scheme, &size]);
        assert_eq!(found["wrong"], serde_json::json!([]), "{name}: {found:#}");
        assert!(found["passed"].as_u64() > Some(20), "{name}: {found:#}");
    }
}

#[test]
fn a_telephone_shows_all_of_it_without_moving_sideways() {
    let Some(browser) = chromium() else { return };
    let folder = Folder::new();
    report(&folder, &[]);
    // What is wider than the page has a frame of its own to be moved in.
    let frame = format!(
        "<!doctype html><title>frame</title><meta http-equiv=Content-Security-Policy><iframe src=report.html \
         style='width:{PHONE}px;height:2000px;border:0'></iframe>"
    );
    let script = "addEventListener('load', () => { const inner = document.querySelector('iframe').contentDocument; \
                  const root = inner.scrollingElement; tell({ shown: root.clientWidth, whole: root.scrollWidth, \
                  text: inner.querySelectorAll('section').length }); });";
    let found = told(
        &browser,
        &folder,
        &frame,
        script,
        &["--allow-file-access-from-files"],
    );
    assert_eq!(found["shown"], PHONE);
    assert_eq!(found["whole"], PHONE, "{found}");
    assert_eq!(found["text"], 8);
}

#[test]
fn a_strict_parser_finds_no_error_in_it() {
    let folder = Folder::new();
    report(&folder, &[]);
    let script = "import html5lib, sys; html5lib.HTMLParser(strict=True).parse(open(sys.argv[1], encoding='utf-8').read())";
    let page = folder.join("report.html");
    run("/usr/bin/python3", ["-c", script, week::text(&page)]);
}

#[test]
fn what_is_missing_is_said_and_in_the_exit_status() {
    let folder = Folder::new();
    let day = week::capture(1, &week::day(1))
        .replace("\"verdict\":\"complete\"", "\"verdict\":\"incomplete\"");
    let file = folder.join("day.json");
    fs::write(&file, day).expect("a file");
    for (format, sign) in [
        ("html", "<strong>Incomplete</strong>"),
        ("markdown", "**Incomplete.**"),
    ] {
        let outcome = on(&format!("report --format {format}"), &[&file]);
        assert_eq!(outcome.code, Some(3), "{}", outcome.stderr);
        assert!(outcome.text().contains(sign), "{format}");
    }
}
