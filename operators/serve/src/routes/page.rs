//! The page for people.

use std::fmt::Write;
use std::sync::LazyLock;

use axum::http::header;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// All of the page: it needs no other file.
pub(crate) const PAGE: &str = include_str!("../page.html");

/// What the page may do: run the styles and scripts that stand in it, and talk to this server.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let policy = policy(PAGE);
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// `GET /`.
pub(crate) async fn page() -> Response {
    let headers: [(HeaderName, HeaderValue); 3] = [
        (header::CONTENT_SECURITY_POLICY, POLICY.clone()),
        (
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        ),
        // Asked for anew each time: a new version of the program has a new page.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, Html(PAGE)).into_response()
}

/// `GET /favicon.ico`: browsers ask for it unasked, and without the token.
pub(crate) async fn icon() -> Response {
    let cached = (
        header::CACHE_CONTROL,
        HeaderValue::from_static("max-age=86400"),
    );
    (StatusCode::NO_CONTENT, [cached]).into_response()
}

/// The policy that allows the styles and scripts of this page and nothing else. They are named by
/// their digests, so that text that someone smuggles into the page does not run.
pub(crate) fn policy(page: &str) -> String {
    let mut policy = "default-src 'none'; connect-src 'self'; img-src 'self' data:; base-uri \
                      'none'; form-action 'none'; frame-ancestors 'none'"
        .to_owned();
    for (element, directive) in [("style", "style-src"), ("script", "script-src")] {
        let digests = inline(page, element).map(|content| STANDARD.encode(Sha256::digest(content)));
        let mut any = false;
        for digest in digests {
            if !any {
                let _ = write!(policy, "; {directive}");
            }
            any = true;
            let _ = write!(policy, " 'sha256-{digest}'");
        }
    }
    policy
}

/// What stands in the elements of this name.
fn inline<'a>(page: &'a str, element: &str) -> impl Iterator<Item = &'a str> {
    let (open, close) = (format!("<{element}"), format!("</{element}>"));
    let mut rest = page;
    std::iter::from_fn(move || {
        loop {
            rest = &rest[rest.find(&open)? + open.len()..];
            // Not the beginning of a longer name.
            if rest.starts_with(['>', ' ', '\n']) {
                break;
            }
        }
        let (_, content) = rest.split_once('>')?;
        let (content, after) = content.split_once(close.as_str())?;
        rest = after;
        Some(content)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_names_what_stands_in_the_page() {
        let page =
            "<style>a</style><styles>x</styles><script>1</script><script type=module>2</script>";
        let found: Vec<_> = inline(page, "script").collect();
        assert_eq!(found, ["1", "2"]);
        let policy = policy(page);
        // echo -n a | openssl dgst -sha256 -binary | base64
        let style = "style-src 'sha256-ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs='";
        assert!(policy.contains(style), "{policy}");
        assert_eq!(policy.matches("'sha256-").count(), 3, "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }

    #[test]
    fn the_page_keeps_to_its_policy() {
        for forbidden in [
            " style=",
            " onclick=",
            " onload=",
            " onsubmit=",
            " oninput=",
            "//cdn",
            "src=\"http",
        ] {
            assert!(!PAGE.contains(forbidden), "the policy forbids {forbidden}");
        }
        assert!(inline(PAGE, "script").count() <= 4);
    }
}
