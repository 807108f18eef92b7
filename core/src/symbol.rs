//! Text in, a [`Symbol`] out that is safe as a record key, a tag value and a label.
//! Never a name of the exchange's choosing with control characters, spaces or separators in it.

use std::{borrow::Borrow, fmt, sync::Arc};

/// Longest symbol accepted, in bytes. The longest of 293 listed Bitfinex pairs has 16.
pub const SYMBOL_BYTES_MAX: usize = 32;

/// A market of an exchange, as the exchange writes it: `tBTCUSD`, `tAVAX:USD`.
///
/// 1 to [`SYMBOL_BYTES_MAX`] bytes of ASCII letters, digits and `: . _ / -`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(Arc<str>);

/// Why a text is no symbol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SymbolError {
    /// Empty or longer than [`SYMBOL_BYTES_MAX`].
    #[error("symbol has {0} bytes; allowed are 1 to {SYMBOL_BYTES_MAX}")]
    Length(usize),
    /// A byte outside the allowed set.
    #[error("symbol {0:?} holds {1:?}; allowed are ASCII letters, digits and : . _ / -")]
    Character(String, char),
    /// Not in the grammar of Bitfinex trading pairs.
    #[error(
        "symbol {0:?} is not a Bitfinex trading pair; write t and two currencies in capitals, \
         with a colon if one has more than three letters, as in tBTCUSD or tAVAX:USD"
    )]
    NotBitfinexPair(String),
}

impl Symbol {
    /// Checks the length and the character set that every part of the pipeline can carry.
    pub fn new(text: &str) -> Result<Self, SymbolError> {
        if text.is_empty() || text.len() > SYMBOL_BYTES_MAX {
            return Err(SymbolError::Length(text.len()));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '.' | '_' | '/' | '-');
        match text.chars().find(|&c| !allowed(c)) {
            Some(c) => Err(SymbolError::Character(text.to_owned(), c)),
            None => Ok(Self(text.into())),
        }
    }

    /// As [`Symbol::new`], and within the grammar of Bitfinex trading pairs: all 293 listed pairs match
    /// `t([A-Z0-9]{6}|[A-Z0-9]+:[A-Z0-9]+)`.
    pub fn bitfinex_pair(text: &str) -> Result<Self, SymbolError> {
        let currency =
            |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        let well_formed = text.strip_prefix('t').is_some_and(|pair| match pair.split_once(':') {
            Some((base, quote)) => currency(base) && currency(quote),
            None => pair.len() == 6 && currency(pair),
        });
        let symbol = Self::new(text)?;
        if well_formed { Ok(symbol) } else { Err(SymbolError::NotBitfinexPair(text.to_owned())) }
    }

    /// The text as the exchange writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for Symbol {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_pairs_that_bitfinex_lists() {
        for text in ["tBTCUSD", "tAVAX:USD", "tTESTBTC:TESTUSD", "tBTCF0:USTF0", "t1INCH:USD"] {
            assert_eq!(Symbol::bitfinex_pair(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn rejects_what_is_no_pair() {
        for text in ["BTCUSD", "tBTCUS", "tbtcusd", "fUSD", "tBTC:", "t:USD", "tA:B:C", "tBTCUSDX"] {
            let error = Symbol::bitfinex_pair(text).unwrap_err();
            assert!(matches!(error, SymbolError::NotBitfinexPair(_)), "{text}: {error}");
        }
    }

    #[test]
    fn rejects_text_that_could_leave_its_place() {
        for text in ["t\nUSD", "a b", "a,b=c", "$(VAR)", "é", "t\"x", "a\\"] {
            assert!(matches!(Symbol::new(text), Err(SymbolError::Character(..))), "{text}");
        }
        assert_eq!(Symbol::new(""), Err(SymbolError::Length(0)));
        assert_eq!(Symbol::new(&"x".repeat(33)), Err(SymbolError::Length(33)));
    }
}
