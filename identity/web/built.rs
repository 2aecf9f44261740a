//! What `make web` builds. Debug builds read it from disk at each request, and are content without it; a release build has it inside, and there
//! is none without it.

use rust_embed::RustEmbed;

/// The pages.
#[derive(RustEmbed)]
#[folder = "dist"]
#[allow_missing = true]
pub struct Pages;

/// What shows the documents of the HTTP interfaces.
#[derive(RustEmbed)]
#[folder = "docs/dist"]
#[allow_missing = true]
pub struct Docs;

/// Missing here? Run `make web` first.
#[cfg(not(debug_assertions))]
const _: [&[u8]; 2] = [include_bytes!("dist/index.html"), include_bytes!("docs/dist/index.html")];

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    /// `make test` runs this in a release build as well.
    #[test]
    fn a_release_has_whatever_its_pages_name() {
        let index = Pages::get("index.html").unwrap().data;
        let page = std::str::from_utf8(&index).unwrap();
        let named: Vec<_> = page.split('"').filter_map(|text| text.strip_prefix('/')).filter(|path| path.starts_with("assets/")).collect();
        assert!(named.len() >= 2, "a script and its styles: {named:?}");
        for path in named {
            assert!(!Pages::get(path).unwrap().data.is_empty(), "{path}");
        }
        // Five languages, of which a page names none: scripts fetch them.
        assert!(Pages::iter().filter(|path| path.starts_with("assets/")).count() > 5);
        for data in [index, Docs::get("index.html").unwrap().data] {
            assert_eq!(matches!(data, Cow::Borrowed(_)), cfg!(not(debug_assertions)), "inside the program, or read from disk");
        }
    }
}
