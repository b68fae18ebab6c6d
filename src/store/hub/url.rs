//! Addresses of the web, as far as redirects need them.
//!
//! In → URLs and the `Location` of a redirect; out → whether it stays on its host, and where it
//! leads. Text in, text out. A redirect is *relative* where it names no host: only such a one is
//! followed with credentials (`huggingface_hub`, `file_download.py`).

/// `scheme://host:port` of a URL, with the port that its scheme has by default.
pub fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host).to_ascii_lowercase();
    let scheme = scheme.to_ascii_lowercase();
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let port = match scheme.as_str() {
        _ if has_port => "",
        "http" => ":80",
        _ => ":443",
    };
    Some(format!("{scheme}://{host}{port}"))
}

/// Where a redirect leads.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    /// To the same host.
    Relative(String),
    /// To whatever host it names.
    Absolute(String),
}

/// What `location` means in an answer from `url`.
pub fn target(url: &str, location: &str) -> Option<Target> {
    if location.contains("://") {
        return Some(Target::Absolute(location.to_owned()));
    }
    let (scheme, rest) = url.split_once("://")?;
    if let Some(other) = location.strip_prefix("//") {
        return Some(Target::Absolute(format!("{scheme}://{other}")));
    }
    let host = rest.split(['/', '?', '#']).next()?;
    if location.starts_with('/') {
        return Some(Target::Relative(format!("{scheme}://{host}{location}")));
    }
    let path = rest[host.len()..].split(['?', '#']).next().unwrap_or_default();
    let folder = path.rfind('/').map_or("", |at| &path[..at]);
    Some(Target::Relative(format!("{scheme}://{host}{folder}/{location}")))
}

/// A path with everything encoded that may not stand in a URL as it is; `/` stays.
pub fn encoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                out.push(byte as char);
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// One part of a path: a revision may hold a slash.
pub fn encoded_part(text: &str) -> String {
    encoded(text).replace('/', "%2F")
}

/// The address that a `Link` header calls `next`.
pub fn next_page(link: &str) -> Option<&str> {
    link.split(',').find_map(|item| {
        let (address, relation) = item.split_once('>')?;
        let is_next = relation.split(';').any(|part| {
            part.trim().strip_prefix("rel=").is_some_and(|name| name.trim_matches('"') == "next")
        });
        is_next.then(|| address.trim().trim_start_matches('<'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_one_only_with_scheme_and_port() {
        let hub = origin("https://huggingface.co/datasets/x");
        assert_eq!(hub, origin("https://HuggingFace.co:443/y?z"));
        for other in ["http://huggingface.co/", "https://huggingface.co:444", "https://hf.co/"] {
            assert_ne!(hub, origin(other), "{other}");
        }
        assert_ne!(hub, origin("https://huggingface.co@evil.org/"));
        assert_eq!(origin("http://[::1]/x").as_deref(), Some("http://[::1]:80"));
    }

    #[test]
    fn a_redirect_is_relative_only_where_it_names_no_host() {
        let at = "https://h/datasets/a/resolve/main/x?y";
        let relative = |location| match target(at, location) {
            Some(Target::Relative(url)) => url,
            other => panic!("{other:?}"),
        };
        assert_eq!(relative("/api/x"), "https://h/api/x");
        assert_eq!(relative("z"), "https://h/datasets/a/resolve/main/z");
        for absolute in ["https://cdn/x", "//cdn/x", "http://h/datasets"] {
            assert!(matches!(target(at, absolute), Some(Target::Absolute(_))), "{absolute}");
        }
    }

    #[test]
    fn paths_are_encoded_and_links_are_read() {
        assert_eq!(encoded("a b/ü#?.parquet"), "a%20b/%C3%BC%23%3F.parquet");
        assert_eq!(encoded_part("refs/convert/parquet"), "refs%2Fconvert%2Fparquet");
        let link = r#"<https://h/a>; rel="prev", <https://h/b?cursor=1>; rel="next""#;
        assert_eq!(next_page(link), Some("https://h/b?cursor=1"));
        assert_eq!(next_page(r#"<https://h/a>; rel="prev""#), None);
    }
}
