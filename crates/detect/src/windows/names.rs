//! Texts that are kept once, however many groups and records have them.

use ahash::RandomState;
use hashbrown::HashTable;

use super::limits::{HEAP_COST, PLACE_COST};

/// A text's number. It means nothing outside and differs after a restart: never put it out, never sort by it.
pub(crate) type Id = u32;

/// No text.
pub(crate) const NONE: Id = 0;

#[derive(Debug)]
struct Name {
    text: Box<str>,
    uses: u32,
}

/// The texts. Each is kept as long as somebody holds it: what [`Self::hold`] gives must be given back to [`Self::drop`].
#[derive(Debug)]
pub(crate) struct Names {
    table: HashTable<Id>,
    names: Vec<Name>,
    free: Vec<Id>,
    /// Its keys are random so that nobody can choose texts that collide. Nothing depends on the order of the table.
    hasher: RandomState,
    bytes: usize,
}

impl Names {
    pub fn new() -> Self {
        let none = Name { text: Box::default(), uses: 1 };
        Self { table: HashTable::new(), names: vec![none], free: Vec::new(), hasher: RandomState::new(), bytes: 0 }
    }

    /// What all texts take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn text(&self, id: Id) -> &str {
        self.names.get(id as usize).map_or("", |name| &name.text)
    }

    /// The number of a text, held once more.
    pub fn hold(&mut self, text: &str) -> Id {
        let hash = self.hasher.hash_one(text);
        let names = &mut self.names;
        if let Some(&id) = self.table.find(hash, |&id| &*names[id as usize].text == text) {
            names[id as usize].uses += 1;
            return id;
        }
        self.bytes += cost(text);
        let name = Name { text: text.into(), uses: 1 };
        let id = match self.free.pop() {
            Some(id) => {
                names[id as usize] = name;
                id
            }
            None => {
                names.push(name);
                (names.len() - 1) as Id
            }
        };
        let hasher = &self.hasher;
        self.table.insert_unique(hash, id, |&id| hasher.hash_one(&*names[id as usize].text));
        id
    }

    /// Holds a text once more that is held already.
    pub fn share(&mut self, id: Id) -> Id {
        if id != NONE {
            self.names[id as usize].uses += 1;
        }
        id
    }

    /// Gives back what was held once.
    pub fn drop(&mut self, id: Id) {
        if id == NONE {
            return;
        }
        let name = &mut self.names[id as usize];
        name.uses -= 1;
        if name.uses > 0 {
            return;
        }
        let text = std::mem::take(&mut name.text);
        self.bytes -= cost(&text);
        if let Ok(found) = self.table.find_entry(self.hasher.hash_one(&*text), |&other| other == id) {
            found.remove();
        }
        self.free.push(id);
    }
}

fn cost(text: &str) -> usize {
    size_of::<Name>() + PLACE_COST + HEAP_COST + text.len().next_multiple_of(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_goes_with_its_last_holder() {
        let mut names = Names::new();
        let a = names.hold("10.0.0.1");
        let b = names.hold("10.0.0.2");
        assert_ne!(a, b);
        assert_eq!(names.hold("10.0.0.1"), a);
        assert_eq!((names.text(a), names.text(b), names.text(NONE)), ("10.0.0.1", "10.0.0.2", ""));
        let both = names.bytes();
        names.drop(a);
        assert_eq!(names.bytes(), both);
        names.drop(a);
        assert!(names.bytes() < both);
        assert_eq!(names.hold("another"), a);
        names.drop(b);
        names.drop(a);
        assert_eq!(names.bytes(), 0);
    }
}
