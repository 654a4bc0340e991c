//! From the tokens of a JSON object to the columns and pairs of a record.

use crate::builder::Builder;
use crate::field::{Target, alias, ecs};
use crate::json::{Kind, Token};
use std::borrow::Cow;

/// Places every scalar of an object: ECS names at any depth, dotted or nested; aliases at the top.
/// `keep` turns a text of the tokens into one of the record. `known` are the targets of the first keys, as [`target`]
/// gives them, as far as they are known.
pub(crate) fn place_object<'t, 'a, 'z, F>(
    text: &'t str,
    tokens: &[Token],
    known: &[Option<Target>],
    builder: &mut Builder<'a, 'z>,
    keep: F,
) where
    F: Fn(Cow<'t, str>) -> Cow<'a, str>,
{
    let mut walk = Walk { text, tokens: tokens.iter(), known: known.iter(), builder, keep };
    // The first token opens the object.
    walk.tokens.next();
    walk.members(None);
}

/// Where the value of an outermost key belongs.
#[inline]
pub(crate) fn target(key: &str) -> Option<Target> {
    ecs(key).or_else(|| alias(key))
}

/// No column's name is longer than this, in bytes.
const LONGEST: usize = 64;

struct Walk<'t, 'a, 'k, 'b, 'z, F> {
    text: &'t str,
    tokens: std::slice::Iter<'k, Token>,
    known: std::slice::Iter<'k, Option<Target>>,
    builder: &'b mut Builder<'a, 'z>,
    keep: F,
}

impl<'t, 'a, F: Fn(Cow<'t, str>) -> Cow<'a, str>> Walk<'t, 'a, '_, '_, '_, F> {
    /// Places an object's members, up to its end. The scanner limits the depth.
    fn members(&mut self, prefix: Option<&str>) {
        while let Some(token) = self.tokens.next() {
            if token.kind != Kind::Key {
                return;
            }
            let key = token.value(self.text);
            let Some(value) = self.tokens.next() else { return };
            match prefix {
                None => {
                    let target = self.known.next().copied().unwrap_or_else(|| target(&key));
                    if !self.container(*value, &key, target) {
                        let key = (self.keep)(key);
                        self.scalar(*value, target, key);
                    }
                }
                Some(prefix) => {
                    if self.is_idle(prefix.len() + 1 + key.len()) {
                        self.skip(*value);
                        continue;
                    }
                    let path = [prefix, ".", &key].concat();
                    let target = ecs(&path);
                    if !self.container(*value, &path, target) {
                        self.scalar(*value, target, Cow::Owned(path));
                    }
                }
            }
        }
    }

    fn elements(&mut self, path: &str, target: Option<Target>) {
        while let Some(token) = self.tokens.next() {
            if token.kind == Kind::ArrayEnd {
                return;
            }
            if self.is_idle(path.len()) {
                self.skip(*token);
                continue;
            }
            if !self.container(*token, path, target) {
                self.scalar(*token, target, Cow::Owned(path.to_owned()));
            }
        }
    }

    /// Whether what has a name of so many bytes is placed nowhere: it can't be a column's, and no further field is kept.
    /// Names are made at each level of the event, so going on in vain costs more than the event.
    fn is_idle(&self, name: usize) -> bool {
        name > LONGEST && self.builder.is_cut()
    }

    /// Passes over a value.
    fn skip(&mut self, value: Token) {
        let mut next = Some(value);
        let mut depth = 0_usize;
        while let Some(token) = next {
            match token.kind {
                Kind::ObjectStart | Kind::ArrayStart => depth += 1,
                Kind::ObjectEnd | Kind::ArrayEnd => depth = depth.saturating_sub(1),
                _ => {}
            }
            next = if depth == 0 { None } else { self.tokens.next().copied() };
        }
    }

    /// Places the inside of an object or array; false if the token opens none.
    fn container(&mut self, token: Token, path: &str, target: Option<Target>) -> bool {
        match token.kind {
            Kind::ObjectStart => self.members(Some(path)),
            Kind::ArrayStart => self.elements(path, target),
            _ => return false,
        }
        true
    }

    fn scalar(&mut self, token: Token, target: Option<Target>, name: Cow<'a, str>) {
        if token.kind != Kind::Null {
            let value = (self.keep)(token.value(self.text));
            self.builder.place(target, name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Keyword, Number};

    #[test]
    fn no_column_has_a_longer_name() {
        let names = Keyword::ALL.iter().map(|keyword| keyword.name()).chain(Number::ALL.iter().map(|n| n.name()));
        assert!(names.map(str::len).max().is_some_and(|longest| longest <= LONGEST));
    }
}
