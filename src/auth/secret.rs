//! The text of a key: `vos_<8 id>_<32 secret>_<6 checksum>`, letters and digits only, because the parsers of
//! `OTEL_EXPORTER_OTLP_HEADERS` in the SDKs damage `+ ; , = %`.

use rand::Rng;
use rand::distr::Alphanumeric;

const ID_LETTERS: usize = 8;
const SECRET_LETTERS: usize = 32;
const CHECKSUM_LETTERS: usize = 6;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A new key from the thread's cryptographic generator, and its id.
pub fn generate() -> (String, String) {
    let id = letters(ID_LETTERS);
    (generate_for(&id), id)
}

/// A key with another secret under an id that exists.
pub fn generate_for(id: &str) -> String {
    let body = format!("vos_{id}_{}", letters(SECRET_LETTERS));
    format!("{body}_{}", checksum(&body))
}

fn letters(count: usize) -> String {
    rand::rng().sample_iter(Alphanumeric).map(char::from).take(count).collect()
}

/// The id in a key, when the key is complete. A key that was cut or mistyped is told by its checksum, without the store.
pub fn id_of(key: &str) -> Option<&str> {
    let (body, check) = key.rsplit_once('_')?;
    let (id, secret) = body.strip_prefix("vos_")?.split_once('_')?;
    let plain = |part: &str, letters| part.len() == letters && part.bytes().all(|b| b.is_ascii_alphanumeric());
    let complete = plain(id, ID_LETTERS) && plain(secret, SECRET_LETTERS) && check == checksum(body);
    complete.then_some(id)
}

fn checksum(body: &str) -> String {
    let mut rest = crc32fast::hash(body.as_bytes()) as usize;
    let mut letters = [b'0'; CHECKSUM_LETTERS];
    for letter in letters.iter_mut().rev() {
        *letter = ALPHABET[rest % ALPHABET.len()];
        rest /= ALPHABET.len();
    }
    letters.iter().map(|b| char::from(*b)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_is_complete_and_plain() {
        let (key, id) = generate();
        assert_eq!(key.len(), 4 + 8 + 1 + 32 + 1 + 6);
        assert!(key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
        assert_eq!(id_of(&key), Some(id.as_str()));
        assert_ne!(generate().0, key);
        let rotated = generate_for(&id);
        assert_eq!((id_of(&rotated), rotated == key), (Some(id.as_str()), false));
    }

    #[test]
    fn a_damaged_key_is_told_by_its_checksum() {
        let (key, _) = generate();
        for at in 0..key.len() {
            let mut damaged = key.clone().into_bytes();
            damaged[at] = if damaged[at] == b'x' { b'y' } else { b'x' };
            assert_eq!(id_of(&String::from_utf8(damaged).unwrap()), None, "position {at}");
            assert_eq!(id_of(&key[..at]), None, "cut at {at}");
        }
        assert_eq!(id_of(""), None);
        assert_eq!(id_of("vos___"), None);
    }
}
