//! What came in together is stored as one piece: headers and bodies of all deliveries of one commit, packed as one LZ4
//! block behind its length. Webhooks of a platform say much the same over and over, so they pack far better together
//! than each alone, and one large row costs the database less than many small ones.

use bytes::Bytes;

/// LZ4 makes nothing more than so many times smaller; a length that claims more is damaged.
const RATIO_MAX: usize = 255;

/// Headers, in their stored form, and body of one delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) headers: String,
    pub(super) body: Bytes,
}

/// Packs them in this order: of each the lengths of its headers and its body (32 bits, little endian), then both.
pub(super) fn pack<'c>(contents: impl Iterator<Item = &'c Content>) -> Vec<u8> {
    let mut plain = Vec::new();
    for content in contents {
        plain.extend_from_slice(&length(content.headers.len()));
        plain.extend_from_slice(&length(content.body.len()));
        plain.extend_from_slice(content.headers.as_bytes());
        plain.extend_from_slice(&content.body);
    }
    lz4_flex::block::compress_prepend_size(&plain)
}

/// What was packed. The bodies share one piece of memory.
///
/// # Errors
/// In words, if it is damaged.
pub(super) fn unpack(packed: &[u8]) -> Result<Vec<Content>, String> {
    let claimed = packed.first_chunk().map_or(0, |length| u32::from_le_bytes(*length)) as usize;
    if claimed / RATIO_MAX > packed.len() {
        return Err("its length is damaged".to_owned());
    }
    let plain = lz4_flex::block::decompress_size_prepended(packed).map_err(|e| e.to_string())?;
    let mut plain = Bytes::from(plain);
    let mut contents = Vec::new();
    while !plain.is_empty() {
        let (headers, body) = (taken_length(&mut plain)?, taken_length(&mut plain)?);
        let headers = String::from_utf8(taken(&mut plain, headers)?.into()).map_err(|e| e.to_string())?;
        let body = taken(&mut plain, body)?;
        contents.push(Content { headers, body });
    }
    Ok(contents)
}

/// Bodies are far below 4 GiB; settings refuse more.
fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes()
}

fn taken_length(from: &mut Bytes) -> Result<usize, String> {
    let bytes = taken(from, 4)?;
    let bytes = bytes.first_chunk().ok_or("it breaks off")?;
    Ok(u32::from_le_bytes(*bytes) as usize)
}

fn taken(from: &mut Bytes, bytes: usize) -> Result<Bytes, String> {
    if bytes > from.len() {
        return Err("it breaks off".to_owned());
    }
    Ok(from.split_to(bytes))
}
