use crate::meter::Frames;

fn frame(kind: Option<u8>, body: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = kind.into_iter().collect();
    bytes.extend((body.len() as u32 + 4).to_be_bytes());
    bytes.extend(body);
    bytes
}

#[test]
fn frames_are_told_however_they_come() {
    let mut stream = frame(None, b"\0\x03\0\0user\0someone\0\0");
    for (kind, body) in [(b'B', &b"EEE"[..]), (b'E', b"\0\0\0\0\0"), (b'S', b""), (b'X', b"")] {
        stream.extend(frame(Some(kind), body));
    }
    for piece in 1..stream.len() {
        let (mut frames, mut kinds) = (Frames::of_client(), Vec::new());
        for bytes in stream.chunks(piece) {
            frames.take(bytes, |kind| kinds.push(kind));
        }
        assert_eq!(kinds, b"BESX", "in pieces of {piece}");
    }
}
