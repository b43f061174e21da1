//! `{"type": entity, "body": body}`, as agents wrap every metric.

use bytes::Bytes;

/// Wraps a `body` that is MessagePack already.
pub(crate) fn wrap(entity: &str, body: &[u8]) -> Bytes {
    let mut data = Vec::with_capacity(body.len() + entity.len() + 16);
    data.push(0x82);
    push_text(&mut data, "type");
    push_text(&mut data, entity);
    push_text(&mut data, "body");
    data.extend_from_slice(body);
    data.into()
}

/// The body of a `history`, from the bodies of its blocks.
pub(crate) fn history<'b>(blocks: impl ExactSizeIterator<Item = &'b Bytes>) -> Vec<u8> {
    let mut body = vec![0x81];
    push_text(&mut body, "history");
    // An array of up to 65,535.
    body.push(0xdc);
    body.extend(u16::try_from(blocks.len()).unwrap_or(u16::MAX).to_be_bytes());
    blocks.take(usize::from(u16::MAX)).for_each(|block| body.extend_from_slice(block));
    body
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    rmp_serde::encode::write(bytes, text).expect("a string can always be appended");
}
