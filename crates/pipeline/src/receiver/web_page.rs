//! Requests that come from a web page, at a receiver without tokens.
//!
//! Such a receiver listens on loopback, and takes whoever reaches it for a user of this machine. A browser reaches it, too, and what a
//! page makes a browser send is the page's, not the user's. A browser says so: it adds `Origin` or `Sec-Fetch-Site`, which pages
//! cannot take away. To read answers a page must be of the same origin, so its host name must lead to this machine (DNS
//! rebinding): then the name is in `Host`.
//!
//! With tokens none of this is needed. A browser adds no bearer token by itself, so a page must know one.

use std::net::{IpAddr, SocketAddr};

use hyper::Uri;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::Authority;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// So much of a header is told back.
const SHOWN_CHARACTERS: usize = 100;

/// Why a request may be a web page's; none if it is not. `listening` is the receiver's own address.
pub(super) fn fault(uri: &Uri, headers: &HeaderMap, listening: SocketAddr) -> Option<String> {
    let shown = |value: &HeaderValue| {
        String::from_utf8_lossy(value.as_bytes()).chars().take(SHOWN_CHARACTERS).collect::<String>()
    };
    if let Some(origin) = headers.get(header::ORIGIN) {
        return Some(format!("a web page sent this request: it has the header Origin {:?}. {ADVICE}", shown(origin)));
    }
    // "none": the user typed the address.
    if let Some(site) = headers.get_all(SEC_FETCH_SITE).iter().find(|site| site.as_bytes() != b"none") {
        return Some(format!(
            "a web page sent this request: it has the header Sec-Fetch-Site {:?}. {ADVICE}",
            shown(site)
        ));
    }
    if !listening.ip().to_canonical().is_loopback() {
        // Whoever allowed this allowed every name under which the receiver can be reached.
        return None;
    }
    let wrong = headers.get_all(header::HOST).iter().find(|host| !host.to_str().is_ok_and(is_loopback));
    let wrong = wrong
        .map(shown)
        .or_else(|| uri.authority().map(Authority::as_str).filter(|host| !is_loopback(host)).map(str::to_owned));
    wrong.map(|host| {
        format!(
            "the request names the host {host:?}, but a receiver without tokens on {listening} accepts only \
             {listening}, localhost and other loopback addresses. {ADVICE}"
        )
    })
}

const ADVICE: &str = "To allow such requests, configure a tokens file with --tokens";

/// Whether a host, perhaps with a port, can only be this machine: such names are not asked of any name server.
fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    if host.contains('@') {
        return false;
    }
    let name = authority.host();
    let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    if let Ok(address) = literal.parse::<IpAddr>() {
        return address.to_canonical().is_loopback();
    }
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(listening: &str, uri: &str, headers: &[(&'static str, &str)]) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        fault(&uri.parse().unwrap(), &map, listening.parse().unwrap())
    }

    #[test]
    fn what_a_browser_adds_for_a_page_gives_the_page_away() {
        for (headers, wants) in [
            (&[("origin", "https://evil.example")][..], "Origin \"https://evil.example\""),
            // Of a file, a sandbox, or a redirect.
            (&[("origin", "null")], "Origin \"null\""),
            (&[("origin", "http://127.0.0.1:9201")], "Origin"),
            (&[("sec-fetch-site", "cross-site")], "Sec-Fetch-Site \"cross-site\""),
            (&[("sec-fetch-site", "same-site")], "Sec-Fetch-Site"),
            (&[("sec-fetch-site", "same-origin")], "Sec-Fetch-Site"),
            (&[("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")], "Sec-Fetch-Site"),
        ] {
            for listening in ["127.0.0.1:9201", "0.0.0.0:9201"] {
                let headers = [&[("host", "127.0.0.1:9201")], headers].concat();
                let fault = check(listening, "/-/flush", &headers).unwrap();
                assert!(fault.contains(wants) && fault.contains("--tokens"), "{fault}");
            }
        }
        assert_eq!(check("127.0.0.1:9201", "/metrics", &[("host", "localhost"), ("sec-fetch-site", "none")]), None);
    }

    #[test]
    fn only_names_of_this_machine_are_answered_to() {
        let of_host = |host: &str| check("127.0.0.1:9201", "/receive", &[("host", host)]);
        for good in [
            "127.0.0.1:9201",
            "127.0.0.1",
            "127.255.0.9:1",
            "localhost:9201",
            "LOCALHOST",
            "localhost.",
            "a.b.localhost:80",
            "[::1]:9201",
            "[::1]",
            "[::ffff:127.0.0.1]:9201",
        ] {
            assert_eq!(of_host(good), None, "{good}");
        }
        for bad in [
            "evil.example",
            "evil.example:9201",
            "localhost.evil.example",
            "evillocalhost",
            "127.0.0.1.evil.example",
            "0.0.0.0:9201",
            "192.0.2.1:9201",
            "[::]:9201",
            "[2001:db8::1]",
            "localhost@evil.example",
            "evil@localhost",
            "",
            "::1",
            "127.0.0.1:9201 x",
        ] {
            let fault = of_host(bad).unwrap_or_else(|| panic!("{bad} is taken"));
            assert!(fault.contains(&format!("{bad:?}")) && fault.contains("127.0.0.1:9201"), "{fault}");
        }
        // Without any, as no browser sends it; two, of which one is bad; and a name in the request's first line.
        assert_eq!(check("[::1]:9201", "/receive", &[]), None);
        assert!(check("[::1]:9201", "/receive", &[("host", "localhost"), ("host", "evil.example")]).is_some());
        assert!(check("[::1]:9201", "http://evil.example/receive", &[("host", "localhost")]).is_some());
        // Where others may reach it, it has more names than can be known.
        assert_eq!(check("192.0.2.1:9201", "/receive", &[("host", "promarchive.example:9201")]), None);
    }
}
