//! A verification's result as the API gives it, in sentences.

use std::fmt::Write as _;

use serde::Deserialize;

use crate::output::{grouped, printable};

/// The result: what holds, how far, and what does not.
#[derive(Clone, Debug, Deserialize)]
pub struct Verdict {
    origin: String,
    head: Head,
    #[serde(default)]
    pruned: u64,
    consistent: bool,
    macs: Reach,
    sealed: Reach,
    anchored: Reach,
    faults: Vec<Fault>,
    #[serde(default)]
    more_faults: u64,
    #[serde(default)]
    notes: Vec<String>,
}

/// The head that the log claims.
#[derive(Clone, Debug, Deserialize)]
struct Head {
    size: u64,
}

/// How far a guard reaches.
#[derive(Clone, Debug, Deserialize)]
struct Reach {
    up_to: Option<u64>,
    key: Option<String>,
    younger: u64,
    unproven: Option<String>,
}

/// One fault.
#[derive(Clone, Debug, Deserialize)]
struct Fault {
    kind: String,
    first: Option<u64>,
    last: Option<u64>,
    detail: String,
}

impl Reach {
    fn sentence(&self, holds: &str, by: &str, nothing: &str) -> String {
        let mut text = match self.up_to {
            Some(up_to) => format!("{holds} to entry {up_to}"),
            None => nothing.to_owned(),
        };
        if let (Some(_), Some(key)) = (self.up_to, &self.key) {
            // Writing into a String can't fail.
            let _ = write!(text, " {by} {key}");
        }
        if self.up_to.is_some() {
            match self.younger {
                0 => text.push_str(", the newest"),
                younger => {
                    let _ = write!(text, "; {} younger not covered", grouped(younger));
                }
            }
        }
        text.push('.');
        if let Some(why) = &self.unproven {
            let _ = write!(text, " Unproven: {}.", why.trim_end_matches('.'));
        }
        text
    }
}

impl Verdict {
    /// Whether nothing is wrong, as far as the guards reach that were given.
    pub fn ok(&self) -> bool {
        self.faults.is_empty() && self.more_faults == 0 && self.consistent
    }

    /// The result in lines for people.
    pub fn lines(&self) -> Vec<String> {
        let (size, origin) = (grouped(self.head.size), &self.origin);
        let mut lines = vec![if self.consistent {
            format!("consistent: all {size} entries of {origin} lead to its head.")
        } else {
            format!("NOT consistent: the {size} entries of {origin} do not all lead to its heads.")
        }];
        match self.pruned {
            0 => {}
            1 => lines.push("entry 0 was deleted by retention; its hash is still checked.".to_owned()),
            count => lines.push(format!(
                "entries 0 to {} were deleted by retention; their hashes are still checked.",
                count.saturating_sub(1)
            )),
        }
        lines.push(self.macs.sentence("MACs hold", "under", "no MACs hold"));
        lines.push(self.sealed.sentence("sealed", "under", "nothing is sealed"));
        lines.push(self.anchored.sentence("anchored", "by", "nothing is anchored"));
        lines.extend(self.notes.iter().map(|note| format!("note: {}.", note.trim_end_matches('.'))));
        lines.extend(
            self.faults.iter().map(|fault| format!("fault: {} {}: {}", fault.kind, fault.place(), fault.detail)),
        );
        if self.more_faults > 0 {
            lines.push(format!("fault: and {} more of these kinds", grouped(self.more_faults)));
        }
        lines.push(match self.faults.len() as u64 + self.more_faults {
            0 if self.consistent => "no fault was found, as far as these guards reach.".to_owned(),
            1 => "1 fault was found.".to_owned(),
            count => format!("{} faults were found.", grouped(count)),
        });
        lines.iter().map(|line| printable(line)).collect()
    }
}

impl Fault {
    fn place(&self) -> String {
        match (self.first, self.last) {
            (Some(first), Some(last)) if first != last => format!("at {first} to {last}"),
            (Some(first), _) => format!("at {first}"),
            _ => "of the log as a whole".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_say_what_is_unproven() {
        let reach = r#"{"up_to":8,"key":"K","younger":1,"unproven":"no key was pinned"}"#;
        let none = r#"{"up_to":null,"key":null,"younger":10,"unproven":"no outside checkpoint was given"}"#;
        let fault = r#"{"kind":"entry_changed","first":7,"last":7,"detail":"d"}"#;
        let text = |faults: &str, consistent: bool| {
            let text = format!(
                r#"{{"origin":"o","head":{{"size":10,"root":"r"}},"consistent":{consistent},"macs":{reach},"sealed":{reach},
                "anchored":{none},"faults":[{faults}],"more_faults":0,"notes":[]}}"#
            );
            serde_json::from_str::<Verdict>(&text).unwrap()
        };
        let good = text("", true);
        assert!(good.ok());
        assert_eq!(
            good.lines(),
            [
                "consistent: all 10 entries of o lead to its head.",
                "MACs hold to entry 8 under K; 1 younger not covered. Unproven: no key was pinned.",
                "sealed to entry 8 under K; 1 younger not covered. Unproven: no key was pinned.",
                "nothing is anchored. Unproven: no outside checkpoint was given.",
                "no fault was found, as far as these guards reach.",
            ]
        );
        let pruned = Verdict { pruned: 512, ..good };
        assert!(pruned.lines()[1].starts_with("entries 0 to 511 were deleted by retention"), "{:?}", pruned.lines());
        let bad = text(fault, false);
        assert!(!bad.ok());
        assert!(bad.lines().contains(&"fault: entry_changed at 7: d".to_owned()), "{:?}", bad.lines());
    }
}
