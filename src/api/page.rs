//! The page: one file, which the browser is told to run as it is and nothing else.

use std::sync::LazyLock;

use axum::http::HeaderValue;
use axum::response::Response;
use russh::keys::ssh_encoding::base64::{Base64, Encoding as _};
use sha2::{Digest as _, Sha256};

use super::answers::of_type;

const PAGE: &str = include_str!("page.html");

/// The policy: the script and the style of the page by their sums, requests to where it came from, nothing else.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let policy = format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        sum_of("script"),
        sum_of("style")
    );
    // It is ASCII.
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// `GET /`
pub fn page() -> Response {
    let mut response = of_type("text/html; charset=utf-8", PAGE);
    response.headers_mut().insert("content-security-policy", POLICY.clone());
    response
}

fn sum_of(element: &str) -> String {
    let (start, end) = (format!("<{element}>"), format!("</{element}>"));
    let inside = PAGE.split_once(&start).and_then(|(_, rest)| rest.split_once(&end)).map_or("", |(inside, _)| inside);
    format!("sha256-{}", Base64::encode_string(&Sha256::digest(inside.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn every_kind_of_error_has_its_french_words() {
        let (_, dictionary) = PAGE.split_once("const FRENCH_ERRORS = {\n").unwrap();
        let (dictionary, _) = dictionary.split_once("\n};\n").unwrap();
        let texts: std::collections::BTreeMap<String, [String; 2]> = dictionary
            .split("],\n")
            .map(|entry| {
                let (kind, texts) = entry.trim().split_once(": ").unwrap_or_else(|| panic!("{entry}"));
                let texts = format!("{}]", texts.trim_end_matches("],"));
                (kind.to_owned(), serde_json::from_str(&texts).unwrap_or_else(|error| panic!("{texts}: {error}")))
            })
            .collect();
        for kind in ErrorKind::ALL {
            let [cause, solution] = texts.get(kind.as_str()).unwrap_or_else(|| panic!("no French words for {kind}"));
            assert!(cause.ends_with('.') && solution.ends_with('.'), "{kind}");
        }
    }
}
