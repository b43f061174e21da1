use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;

/// The content of a Basic `Authorization` header (RFC 7617).
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Basic {
    text: String,
    colon: usize,
}

impl Basic {
    /// Reads the header; the scheme is case-insensitive. Bytes that are not UTF-8 are read as Latin-1, which RFC 7617 permits and
    /// clients such as Python's requests and OkHttp send.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let header = headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, encoded) = header.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?)
            .unwrap_or_else(|latin| latin.as_bytes().iter().copied().map(char::from).collect());
        let colon = text.find(':')?;
        Some(Self { text, colon })
    }

    pub(super) fn user(&self) -> &str {
        &self.text[..self.colon]
    }

    /// Everything after the first colon.
    pub(super) fn password(&self) -> &str {
        &self.text[self.colon + 1..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &str) -> Option<(String, String)> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, header.parse().unwrap());
        let basic = Basic::read(&headers)?;
        Some((basic.user().to_owned(), basic.password().to_owned()))
    }

    fn pair(user: &str, password: &str) -> Option<(String, String)> {
        Some((user.to_owned(), password.to_owned()))
    }

    #[test]
    fn splits_at_the_first_colon() {
        assert_eq!(read("Basic Y2Fyb2w6d2l0aDpjb2xvbjpwdw=="), pair("carol", "with:colon:pw"));
        assert_eq!(read("bAsIc  Ong= "), pair("", "x"));
        assert_eq!(read("Basic am9zw6k6Y29udHJhc2XDsWEx"), pair("josé", "contraseña1"));
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_latin_1() {
        let latin = format!("Basic {}", STANDARD.encode(b"j\xf6rg:passw\xf6rt"));
        assert_eq!(read(&latin), pair("jörg", "passwört"));
    }

    #[test]
    fn other_headers_have_no_credentials() {
        for header in ["", "Basic", "Basic ", "Basic !!!notbase64", "Basic YWxpY2U=", "Bearer YTpi"]
        {
            assert_eq!(read(header), None, "{header}");
        }
        assert!(Basic::read(&HeaderMap::new()).is_none());
    }
}
