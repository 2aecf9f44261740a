//! What a session needs of the device it is on, and what its app adapts to: in the words that devices say of themselves (`capabilities`). Sealed with the
//! content; matched by devices, never by a service.

use crate::refusal::Input;
use serde::{Deserialize, Serialize};

/// Most needs, and most things to adapt to.
const MOST: usize = 16;
/// Longest word, in bytes.
const LONGEST: usize = 64;

/// What a session needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Needs {
    /// Without one of each of these it cannot go on.
    pub needs: Vec<Vec<String>>,
    /// Without these it goes on, and the app there adapts.
    pub adapts: Vec<String>,
}

/// How a session fits a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fit {
    /// What the device would need one of, and has none of: with any, the session cannot go there.
    pub lacks: Vec<Vec<String>>,
    /// What the app has to adapt to there.
    pub adapt: Vec<String>,
}

impl Fit {
    /// Whether the session can go on there.
    pub fn takes(&self) -> bool {
        self.lacks.is_empty()
    }
}

impl Needs {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.needs.is_empty() && self.adapts.is_empty()
    }

    /// Refuses what is too much, and words that are no words: 1 to 64 bytes of printable ASCII, without spaces, the same everywhere.
    pub fn check(&self) -> Result<(), Input> {
        let few = self.needs.len() <= MOST && self.adapts.len() <= MOST && self.needs.iter().all(|any| (1..=MOST).contains(&any.len()));
        let is_word = |word: &String| (1..=LONGEST).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_graphic());
        if few && self.needs.iter().flatten().chain(&self.adapts).all(is_word) { Ok(()) } else { Err(Input::Invalid) }
    }

    /// Held against what a device says of itself.
    pub fn fit(&self, capabilities: &[String]) -> Fit {
        Fit {
            lacks: self.needs.iter().filter(|any| !any.iter().any(|one| capabilities.contains(one))).cloned().collect(),
            adapt: self.adapts.iter().filter(|one| !capabilities.contains(one)).cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn one_of_each_need_and_the_rest_is_adapted_to() {
        let needs = Needs { needs: vec![words("codec:av1 codec:h264"), words("screen")], adapts: words("keyboard hdr") };
        assert_eq!(needs.fit(&words("codec:h264 screen hdr")), Fit { lacks: vec![], adapt: words("keyboard") });
        assert!(needs.fit(&words("codec:av1 codec:h264 screen keyboard hdr touch")).adapt.is_empty());
        let watch = needs.fit(&words("screen"));
        assert_eq!((watch.takes(), watch.lacks), (false, vec![words("codec:av1 codec:h264")]));
        assert!(Needs::default().fit(&[]).takes() && Needs::default().is_empty());
    }

    #[test]
    fn what_is_no_word_or_too_much_is_refused() {
        let with = |needs: Vec<Vec<String>>, adapts: Vec<String>| Needs { needs, adapts }.check();
        assert_eq!(with(vec![words("screen")], words("hdr")), Ok(()));
        assert_eq!(with(vec![vec![]], vec![]), Err(Input::Invalid));
        assert_eq!(with(vec![words("x"); 17], vec![]), Err(Input::Invalid));
        assert_eq!(with(vec![], vec!["x".into(); 17]), Err(Input::Invalid));
        for word in ["", "a b", "é", "x\u{202e}", &"x".repeat(65)] {
            assert_eq!(with(vec![vec![word.into()]], vec![]), Err(Input::Invalid), "{word:?}");
            assert_eq!(with(vec![], vec![word.into()]), Err(Input::Invalid), "{word:?}");
        }
    }
}
