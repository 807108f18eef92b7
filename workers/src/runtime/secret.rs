//! Reads secrets from where the configuration says they are. They never reach a log: [`Secret`] has no text form.

use std::{fmt, io::Read as _};

use candles_core::config::SecretRef;

/// Longest secret, in bytes.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// A secret text. Its `Debug` is blank.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text, for the place that proves it and no other.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable is not set, or not text.
    #[error("environment variable {0} is not set; it should hold the secret")]
    NoVariable(String),
    /// The file cannot be read.
    #[error("cannot read the secret from {place}")]
    Unreadable {
        /// Which file.
        place: String,
        /// Why.
        source: std::io::Error,
    },
    /// Nothing in it, or characters that no header or login can carry.
    #[error("the secret in {0} is empty, or holds control characters")]
    Malformed(String),
}

/// Reads a secret now; white space at the end of a file is not part of it.
pub fn read(place: &SecretRef) -> Result<Secret, SecretError> {
    let text = match place {
        SecretRef::Env(name) => std::env::var(name).map_err(|_| SecretError::NoVariable(name.clone()))?,
        SecretRef::File(path) => {
            let mut text = String::new();
            std::fs::File::open(path)
                .and_then(|file| file.take(SECRET_BYTES_MAX).read_to_string(&mut text))
                .map_err(|source| SecretError::Unreadable { place: place.to_string(), source })?;
            text.truncate(text.trim_end().len());
            text
        }
    };
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(SecretError::Malformed(place.to_string()));
    }
    Ok(Secret(text))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_loses_its_last_newline_and_a_secret_never_shows() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "hunter2").unwrap();
        let secret = read(&SecretRef::File(file.path().to_owned())).unwrap();
        assert_eq!(secret.expose(), "hunter2");
        assert!(!format!("{secret:?}").contains("hunter2"));
    }

    #[test]
    fn errors_name_the_place() {
        let error = read(&SecretRef::Env("CANDLES_TEST_NOT_SET".to_owned())).unwrap_err();
        assert!(error.to_string().contains("CANDLES_TEST_NOT_SET"), "{error}");
        let error = read(&SecretRef::File("/nonexistent/token".into())).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/token"), "{error}");
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"a\nb").unwrap();
        assert!(matches!(read(&SecretRef::File(file.path().to_owned())), Err(SecretError::Malformed(_))));
    }
}
