//! The modifiers of a field, understood together.

use super::encode::Wide;
use super::refuse::{Fault, ReasonKind as R, fault};
use rsigma_parser::Modifier;

/// How a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Equals,
    Contains,
    StartsWith,
    EndsWith,
    Regex,
    Cidr,
    Exists,
    FieldRef,
    Number(Comparison),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Gt,
    Gte,
    Lt,
    Lte,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base64 {
    Whole,
    Offset,
}

/// The modifiers of a field, in their order, understood.
#[derive(Debug)]
pub(super) struct Chain {
    pub op: Op,
    /// What follows `fieldref`.
    pub reference: Op,
    pub all: bool,
    pub cased: bool,
    pub neq: bool,
    pub expand: bool,
    pub windash: bool,
    pub wide: Option<Wide>,
    pub base64: Option<Base64>,
    pub flags: String,
}

impl Chain {
    pub fn new(modifiers: &[Modifier]) -> Result<Self, Fault> {
        let mut chain = Self {
            op: Op::Equals,
            reference: Op::Equals,
            all: false,
            cased: false,
            neq: false,
            expand: false,
            windash: false,
            wide: None,
            base64: None,
            flags: String::new(),
        };
        modifiers.iter().try_for_each(|modifier| chain.add(*modifier))?;
        chain.check()?;
        Ok(chain)
    }

    fn add(&mut self, modifier: Modifier) -> Result<(), Fault> {
        match modifier {
            Modifier::Contains => self.op(Op::Contains),
            Modifier::StartsWith => self.op(Op::StartsWith),
            Modifier::EndsWith => self.op(Op::EndsWith),
            Modifier::Re => self.op(Op::Regex),
            Modifier::Cidr => self.op(Op::Cidr),
            Modifier::Exists => self.op(Op::Exists),
            Modifier::FieldRef => self.op(Op::FieldRef),
            Modifier::Gt => self.op(Op::Number(Comparison::Gt)),
            Modifier::Gte => self.op(Op::Number(Comparison::Gte)),
            Modifier::Lt => self.op(Op::Number(Comparison::Lt)),
            Modifier::Lte => self.op(Op::Number(Comparison::Lte)),
            Modifier::All => flag(&mut self.all, "all"),
            Modifier::Cased => flag(&mut self.cased, "cased"),
            Modifier::Neq => flag(&mut self.neq, "neq"),
            Modifier::Expand => flag(&mut self.expand, "expand"),
            // It commutes with what compares, and most rules have it last.
            Modifier::WindAsh => flag(&mut self.windash, "windash"),
            Modifier::Wide => self.wide(Wide::Le),
            Modifier::Utf16be => self.wide(Wide::Be),
            Modifier::Utf16 => self.wide(Wide::Bom),
            Modifier::Base64 => self.base64(Base64::Whole),
            Modifier::Base64Offset => self.base64(Base64::Offset),
            Modifier::IgnoreCase => self.flag('i'),
            Modifier::Multiline => self.flag('m'),
            Modifier::DotAll => self.flag('s'),
            Modifier::Minute | Modifier::Hour | Modifier::Day | Modifier::Week | Modifier::Month | Modifier::Year => {
                fault(
                    R::UnsupportedModifier,
                    "parts of a date are not taken from fields: use `sceau.hour` (0 to 23) and `sceau.weekday` (monday…) \
                     of the event's time in the zone of the settings",
                )
            }
        }
    }

    fn op(&mut self, op: Op) -> Result<(), Fault> {
        if self.op == Op::FieldRef && self.reference == Op::Equals && op.is_part() {
            self.reference = op;
        } else if self.op == Op::Equals {
            self.op = op;
        } else {
            return fault(R::UnsupportedModifier, "two modifiers that compare in different ways");
        }
        Ok(())
    }

    /// What changes the value must come before what compares it.
    fn early(&self, name: &str) -> Result<(), Fault> {
        match self.op {
            Op::Equals => Ok(()),
            _ => fault(R::UnsupportedModifier, format!("`|{name}` after a modifier that compares: put it first")),
        }
    }

    fn wide(&mut self, wide: Wide) -> Result<(), Fault> {
        self.early("utf16")?;
        if self.base64.is_some() || self.wide.replace(wide).is_some() {
            return fault(R::UnsupportedModifier, "UTF-16 must come once, before Base64");
        }
        Ok(())
    }

    fn base64(&mut self, base64: Base64) -> Result<(), Fault> {
        self.early("base64")?;
        match self.base64.replace(base64) {
            None => Ok(()),
            Some(_) => fault(R::UnsupportedModifier, "Base64 twice"),
        }
    }

    fn flag(&mut self, letter: char) -> Result<(), Fault> {
        if self.op != Op::Regex {
            return fault(R::UnsupportedModifier, format!("`|{letter}` must follow `|re`"));
        }
        self.flags.push(letter);
        Ok(())
    }

    /// What can't go together.
    fn check(&self) -> Result<(), Fault> {
        let no = |why: &str| fault(R::UnsupportedModifier, why);
        if self.wide.is_some() && self.base64.is_none() {
            return no("UTF-16 without Base64: no text holds such bytes");
        }
        if self.base64 == Some(Base64::Offset) && self.op != Op::Contains {
            return no("`|base64offset` finds a part of a value: put `|contains` after it");
        }
        if self.windash && (self.base64.is_some() || self.expand) {
            return no("`|windash` together with Base64 or `|expand`");
        }
        if (self.windash || self.base64.is_some()) && !(self.op == Op::Equals || self.op.is_part()) {
            return no("`|windash` and Base64 need text that is compared, not a pattern, a network or a number");
        }
        if self.cased && !(matches!(self.op, Op::Equals | Op::Regex | Op::FieldRef) || self.op.is_part()) {
            return no("`|cased` needs text that is compared");
        }
        if self.op == Op::Exists && (self.all || self.neq || self.expand) {
            return no("`|exists` stands alone");
        }
        if self.expand && matches!(self.op, Op::FieldRef) {
            return no("`|fieldref` with `|expand`");
        }
        if self.all && matches!(self.op, Op::Number(_)) {
            return no("`|all` with a comparison of numbers: one of them is enough");
        }
        Ok(())
    }
}

impl Op {
    pub const fn is_part(self) -> bool {
        matches!(self, Self::Contains | Self::StartsWith | Self::EndsWith)
    }
}

fn flag(set: &mut bool, name: &str) -> Result<(), Fault> {
    match std::mem::replace(set, true) {
        false => Ok(()),
        true => fault(R::UnsupportedModifier, format!("`|{name}` twice")),
    }
}
