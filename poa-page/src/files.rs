//! The files of a page as they are served.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::answer::{self, Answer};
use crate::asset::Asset;

/// Serves the files of a page.
#[derive(Clone, Debug)]
pub struct Files(Vec<File>);

#[derive(Clone, Debug)]
struct File {
    path: Cow<'static, str>,
    content_type: &'static str,
    content: Bytes,
    tag: HeaderValue,
}

impl Files {
    /// These files. In texts, each `{{name}}` of `values` is replaced by its value, as it is: the caller escapes it.
    #[must_use]
    pub fn new(assets: impl IntoIterator<Item = Asset>, values: &[(&str, &str)]) -> Self {
        Self(assets.into_iter().map(|asset| File::new(asset, values)).collect())
    }

    /// The answer to GET or HEAD of this path: the file, or that the browser's copy of it is current. `None` when no file is there.
    #[must_use]
    pub fn get(&self, path: &str, headers: &HeaderMap) -> Option<Answer> {
        let file = self.0.iter().find(|file| file.path == path)?;
        let is_current = headers.get(IF_NONE_MATCH).is_some_and(|known| known == file.tag);
        let mut answer = if is_current {
            answer::empty(StatusCode::NOT_MODIFIED)
        } else {
            answer::content(file.content_type, file.content.clone())
        };
        let headers = answer.headers_mut();
        headers.insert(ETAG, file.tag.clone());
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        Some(answer)
    }
}

impl File {
    fn new(asset: Asset, values: &[(&str, &str)]) -> Self {
        let (path, content_type, content) = asset.into_parts();
        let content = filled(content, values);
        let tag = tag(&content);
        Self { path, content_type, content, tag }
    }
}

fn filled(content: &'static [u8], values: &[(&str, &str)]) -> Bytes {
    let Ok(text) = std::str::from_utf8(content) else { return Bytes::from_static(content) };
    let mut text = Cow::Borrowed(text);
    for (name, value) in values {
        let place = format!("{{{{{name}}}}}");
        if text.contains(&place) {
            text = Cow::Owned(text.replace(&place, value));
        }
    }
    match text {
        Cow::Borrowed(_) => Bytes::from_static(content),
        Cow::Owned(text) => text.into(),
    }
}

/// A hash that identifies this content. It need not be the same in another build.
fn tag(content: &[u8]) -> HeaderValue {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    let tag = format!("\"{:016x}\"", hasher.finish());
    HeaderValue::try_from(tag).unwrap_or(HeaderValue::from_static("\"\""))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn files() -> Files {
        let own = Asset::html("/lab/", b"<meta content='{{feed}}'>{{other}}");
        let shared = crate::shared("/lab/");
        Files::new(shared.into_iter().chain([own]), &[("feed", "monitor")])
    }

    async fn text(answer: Answer) -> String {
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[test]
    fn shared_files_are_where_the_page_is() {
        for name in ["base.css", "feed.js", "sign-in.js", "icon.svg"] {
            assert!(files().get(&format!("/lab/{name}"), &HeaderMap::new()).is_some(), "{name}");
        }
        assert!(files().get("/base.css", &HeaderMap::new()).is_none());
    }

    #[test]
    fn a_copy_that_is_current_is_not_sent_again() {
        let first = files().get("/lab/", &HeaderMap::new()).unwrap();
        assert_eq!(first.headers()[CACHE_CONTROL], "no-cache");
        assert!(first.headers().contains_key("content-security-policy"));
        let tag = first.headers()[ETAG].clone();
        let known = HeaderMap::from_iter([(IF_NONE_MATCH, tag.clone())]);
        let second = files().get("/lab/", &known).unwrap();
        assert_eq!((second.status(), &second.headers()[ETAG]), (StatusCode::NOT_MODIFIED, &tag));
        let other = files().get("/lab/base.css", &known).unwrap();
        assert_eq!(other.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn places_are_filled() {
        let page = files().get("/lab/", &HeaderMap::new()).unwrap();
        assert_eq!(text(page).await, "<meta content='monitor'>{{other}}");
    }
}
