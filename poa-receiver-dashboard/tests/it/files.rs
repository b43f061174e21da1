//! The files of the page.

use std::path::Path;

use aws_lc_rs::digest;

use crate::support::Subject;

#[tokio::test]
async fn everything_the_page_names_is_served() {
    let subject = Subject::new().await;
    let (status, page) = subject.ask("GET /", &[]).await;
    assert_eq!(status, 200);
    let named = page.split(['"']).filter(|text| {
        [".js", ".css", ".svg"].iter().any(|end| text.ends_with(end)) && !text.contains(' ')
    });
    let named: Vec<_> = named.collect();
    assert!(named.len() >= 5, "{named:?}");
    for file in named {
        assert_eq!(subject.ask(&format!("GET /{file}"), &[]).await.0, 200, "{file}");
    }
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("page")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let path = if name == "index.html" { String::new() } else { name };
        assert_eq!(subject.ask(&format!("GET /{path}"), &[]).await.0, 200, "{path}");
    }
}

#[tokio::test]
async fn a_browser_is_told_to_be_careful_and_may_keep_files() {
    let subject = Subject::new().await;
    let (_, page) = subject.ask("GET /", &[]).await;
    let policy =
        page.lines().find_map(|line| line.strip_prefix("content-security-policy: ")).unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{policy}");
    assert!(!policy.contains("unsafe"));
    for header in ["x-content-type-options: nosniff", "referrer-policy: no-referrer"] {
        assert!(page.contains(header), "{header}");
    }
    let (_, script) = subject.ask("GET /main.js", &[]).await;
    let tag = script.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    let (status, answer) = subject.ask("GET /main.js", &[("if-none-match", tag)]).await;
    assert_eq!(status, 304);
    assert!(answer.ends_with("\r\n\r\n"), "no content: {answer}");
    assert_eq!(subject.ask("GET /main.js", &[("if-none-match", "\"old\"")]).await.0, 200);
    let (status, answer) = subject.ask("HEAD /", &[]).await;
    assert_eq!(status, 200);
    assert!(answer.ends_with("\r\n\r\n"), "no content: {answer}");
}

#[test]
fn what_others_wrote_is_unchanged() {
    let vendor = Path::new(env!("CARGO_MANIFEST_DIR")).join("vendor");
    let readme = std::fs::read_to_string(vendor.join("README.md")).unwrap();
    let mut sums = 0;
    for line in readme.lines() {
        let Some((sum, file)) = line.split_once("  ").filter(|(sum, _)| sum.len() == 64) else {
            continue;
        };
        let hash = digest::digest(&digest::SHA256, &std::fs::read(vendor.join(file)).unwrap());
        let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, sum, "{file}");
        sums += 1;
    }
    assert_eq!(sums, 2);
}
