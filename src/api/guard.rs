//! Who may ask.
//!
//! Guarantees: a web page of another origin is refused, and so is one whose own name was made to lead here (rebinding), because
//! the name in `Host` is then one that a foreigner chose; where there is a token, nothing but the open routes answers without
//! it; the comparison takes the same time wherever two tokens differ.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, Method, StatusCode, Uri, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::problem::Problem;
use crate::blocking;
use crate::config::Settings;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::secret::aside;

/// Ends of names that nobody can have in the public name system.
const OWN_ENDS: [&str; 3] = [".local", ".internal", ".home.arpa"];

/// A token of fewer bytes than this may be guessed.
const SHORT: usize = 16;

/// Decides.
#[derive(Debug)]
pub struct Guard {
    /// SHA-256 of the token.
    token: Option<[u8; 32]>,
    hosts: Vec<String>,
    /// What answers without the token.
    open: Vec<&'static str>,
}

impl Guard {
    /// By the settings. Fails with `Usage` where others could connect and there is no token, or it cannot be read.
    pub async fn of(settings: &Settings) -> Result<Self> {
        let token = match settings.api_token.clone() {
            Some(secret) => Some(blocking::run(move || digest_of(&secret)).await?),
            None if settings.api_addr.is_local() => None,
            None => {
                let message = format!("others can connect to {}, and there is no token", settings.api_addr);
                let solution = "Set NAS_API_TOKEN or NAS_API_TOKEN_FILE to a long random text (`openssl rand -hex 32`), or \
                    listen on 127.0.0.1 or a unix: socket.";
                return Err(NasSyncError::new(ErrorKind::Usage, message).with_solution(solution));
            }
        };
        Ok(Self { token, hosts: settings.api_hosts.clone(), open: Vec::new() })
    }

    /// With routes that need no token.
    pub fn with_open(self, open: Vec<&'static str>) -> Self {
        Self { open, ..self }
    }

    fn judge(&self, request: &Request) -> Result<(), Problem> {
        let host = host(request)?;
        if let Some(host) = &host
            && !self.is_own(name_of(host))
        {
            let message = format!("{} is not a name of this service", crate::text::escape_start(host, 100));
            return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, ErrorKind::NotAllowed, message)
                .with_solution("Ask by IP address or as localhost, or add the name to NAS_API_HOSTS."));
        }
        if is_foreign(request, host.as_deref()) {
            let message = "the request comes from a web page of another origin";
            return Err(Problem::new(StatusCode::FORBIDDEN, ErrorKind::NotAllowed, message));
        }
        if self.open.contains(&request.uri().path()) || self.is_shown(request.headers()) {
            return Ok(());
        }
        let message = "the token is missing or wrong";
        Err(Problem::new(StatusCode::UNAUTHORIZED, ErrorKind::NotAllowed, message))
    }

    /// Whether a name is one that only this machine, or its owner's network, can have. Without a token that is less: in a
    /// network of many, somebody else may take such a name.
    fn is_own(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
        let is_local = bare.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost");
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let is_private =
            || !name.is_empty() && name.chars().all(is_word) || OWN_ENDS.iter().any(|end| name.ends_with(end));
        is_local || self.hosts.contains(&name) || self.token.is_some() && is_private()
    }

    fn is_shown(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let shown = headers.get(AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.as_bytes().split_at_checked("Bearer ".len())?;
            scheme.eq_ignore_ascii_case(b"Bearer ").then(|| Sha256::digest(token.trim_ascii()))
        });
        shown.is_some_and(|shown| bool::from(shown.as_slice().ct_eq(token)))
    }
}

/// Lets a request through, or answers why not.
pub async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.judge(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn digest_of(secret: &crate::secret::Secret) -> Result<[u8; 32]> {
    let text = secret.text().map_err(|error| {
        NasSyncError::new(ErrorKind::Usage, format!("the token of the API cannot be read: {error}")).with_source(error)
    })?;
    let token = text.trim();
    if token.is_empty() {
        return Err(NasSyncError::new(ErrorKind::Usage, "the token of the API is empty"));
    }
    if token.len() < SHORT {
        tracing::warn!("NAS_API_TOKEN is short enough to be guessed: `openssl rand -hex 32` makes one that is not");
    }
    Ok(aside(|| Sha256::digest(token.as_bytes()).into()))
}

/// The host that a request names, with its port. Only HTTP/1.0 may leave it away, and no browser speaks that.
fn host(request: &Request) -> Result<Option<String>, Problem> {
    if let Some(authority) = request.uri().authority() {
        return Ok(Some(authority.as_str().to_owned()));
    }
    let mut named = request.headers().get_all(HOST).iter();
    match (named.next(), named.next()) {
        (None, _) if request.version() == Version::HTTP_10 => Ok(None),
        (Some(host), None) if host.to_str().is_ok() => Ok(host.to_str().ok().map(ToOwned::to_owned)),
        _ => Err(Problem::usage("a request names one Host")),
    }
}

/// Without the port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// Whether a web page of another origin asks. To follow a link to the page is allowed.
fn is_foreign(request: &Request, host: Option<&str>) -> bool {
    let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(origin) = request.headers().get(ORIGIN) {
        let own = origin.to_str().ok().zip(host).is_some_and(|(origin, host)| is_same(origin, host));
        if !own {
            return true;
        }
    }
    match header("sec-fetch-site") {
        None | Some("same-origin" | "none") => false,
        Some(_) => {
            let follows_a_link = header("sec-fetch-mode") == Some("navigate")
                && header("sec-fetch-dest") == Some("document")
                && *request.method() == Method::GET
                && request.uri().path() == "/";
            !follows_a_link
        }
    }
}

/// Whether an origin is that of this host. A proxy may have taken TLS off, so the scheme says nothing.
fn is_same(origin: &str, host: &str) -> bool {
    let Ok(uri) = origin.parse::<Uri>() else { return false };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return false };
    let port = if scheme == "https" { ":443" } else { ":80" };
    let bare = |text: &str| text.strip_suffix(port).unwrap_or(text).to_ascii_lowercase();
    matches!(scheme, "http" | "https") && bare(authority.as_str()) == bare(host)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn guard(token: Option<&str>) -> Guard {
        let token = token.map(|token| Sha256::digest(token.as_bytes()).into());
        Guard { token, hosts: vec!["docs.example.org".to_owned()], open: vec!["/", "/health"] }
    }

    fn judged(guard: &Guard, path: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let judged = guard.judge(&request.body(Body::empty()).unwrap());
        judged.err().map_or(200, |problem| problem.into_response().status().as_u16())
    }

    #[test]
    fn a_name_that_a_foreigner_can_have_is_refused() {
        for (host, without_token, with_token) in [
            ("localhost:8730", 200, 200),
            ("LOCALHOST", 200, 200),
            ("page.localhost", 200, 200),
            ("127.0.0.1:8730", 200, 200),
            ("[::1]:8730", 200, 200),
            ("[::1]", 200, 200),
            ("192.168.1.7", 200, 200),
            ("docs.example.org:443", 200, 200),
            ("nas-sync:8730", 421, 200),
            ("nas-sync.team.svc.cluster.local", 421, 200),
            ("evil.example", 421, 421),
            ("evil.example:8730", 421, 421),
            ("localhost.evil.example", 421, 421),
            ("127.0.0.1.evil.example", 421, 421),
            ("", 421, 421),
            ("::1:x", 421, 421),
        ] {
            assert_eq!(judged(&guard(None), "/x", &[("host", host)]), without_token, "{host}");
            let headers = [("host", host), ("authorization", "Bearer t")];
            assert_eq!(judged(&guard(Some("t")), "/x", &headers), with_token, "{host}");
        }
        assert_eq!(judged(&guard(None), "/x", &[]), 400);
        assert_eq!(judged(&guard(None), "/x", &[("host", "localhost"), ("host", "evil.example")]), 400);
        assert_eq!(judged(&guard(None), "http://evil.example/x", &[("host", "localhost")]), 421);
    }

    #[test]
    fn a_page_of_another_origin_is_refused() {
        let judged = |path: &str, headers: &[(&str, &str)]| {
            judged(&guard(None), path, &[&[("host", "localhost:8730")], headers].concat())
        };
        for (origin, status) in [
            ("http://localhost:8730", 200),
            ("https://LOCALHOST:8730", 200),
            ("http://localhost", 403),
            ("http://localhost:8731", 403),
            ("http://evil.example", 403),
            ("null", 403),
            ("", 403),
            ("file://", 403),
        ] {
            assert_eq!(judged("/x", &[("origin", origin)]), status, "{origin}");
        }
        for (site, status) in [("same-origin", 200), ("none", 200), ("same-site", 403), ("cross-site", 403)] {
            assert_eq!(judged("/x", &[("sec-fetch-site", site)]), status, "{site}");
        }
        let link = |dest: &'static str| {
            [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", dest)]
        };
        assert_eq!(judged("/", &link("document")), 200);
        assert_eq!(judged("/", &link("iframe")), 403);
        assert_eq!(judged("/sync/status", &link("document")), 403);
        assert!(is_same("https://docs.example.org", "docs.example.org:443"));
        assert!(!is_same("http://docs.example.org", "docs.example.org:443"));
    }

    #[test]
    fn where_there_is_a_token_it_is_shown() {
        let judged = |path: &str, shown: &str| {
            judged(&guard(Some("sesame")), path, &[("host", "localhost"), ("authorization", shown)])
        };
        for shown in ["Bearer sesame", "bearer  sesame", "BEARER sesame "] {
            assert_eq!(judged("/x", shown), 200, "{shown}");
        }
        for shown in
            ["", "sesame", "Bearer", "Bearer ", "Bearer sesam", "Bearer sesame2", "Basic sesame", "Bearersesame"]
        {
            assert_eq!(judged("/x", shown), 401, "{shown}");
        }
        assert_eq!(judged("/health", ""), 200);
        assert_eq!(judged("/health/", ""), 401);
    }
}
