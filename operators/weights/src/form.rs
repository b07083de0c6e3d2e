//! Recognises the format of a file by its first bytes, for errors about files that are not weights.

use gfm_pipe_api::foreign::git_lfs;

use crate::Refused;

/// Number of bytes that are needed to recognise a format.
pub(crate) const HEAD: usize = 512;

/// The start of every file that `torch.save` wrote before PyTorch 1.6: a pickle of a magic number.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
const ZIP: &[u8] = b"PK\x03\x04";
/// The start of every Parquet file.
const PARQUET: &[u8] = b"PAR1";

/// A hint how to save a file so that it can be read.
fn save_again(file: &str) -> String {
    format!(
        "save it again in PyTorch: torch.save(torch.load(\"{file}\", map_location=\"cpu\", weights_only=True), \"{file}\")"
    )
}

pub(crate) fn big_endian(file: &str) -> Refused {
    Refused::new("its values are big-endian: it was saved on a machine with the other byte order")
        .hint(save_again(file))
}

/// The error for a file that cannot be weights of any kind.
fn no_weights(head: &[u8]) -> Option<Refused> {
    if head.is_empty() {
        return Some(
            Refused::new("it is empty").hint("a download that was cut off leaves such a file"),
        );
    }
    if let Some(pointer) = git_lfs(head) {
        return Some(Refused::new(pointer.problem).hint(pointer.hint));
    }
    let text = String::from_utf8_lossy(&head[..head.len().min(64)]).to_ascii_lowercase();
    let page = ["<!doctype", "<html", "<?xml"];
    page.iter()
        .any(|start| text.trim_start().starts_with(start))
        .then(|| {
            Refused::new("it is a web page, not a file of weights")
                .hint("the download went to a page about the file: take the link that downloads it")
        })
}

/// The error for a file that should be a PyTorch archive, but is not one.
pub(crate) fn not_an_archive(head: &[u8], file: &str) -> Option<Refused> {
    if head.starts_with(ZIP) {
        return None;
    }
    if let Some(refused) = no_weights(head) {
        return Some(refused);
    }
    if head.starts_with(LEGACY) {
        return Some(
            Refused::new("it is in the format that PyTorch wrote before 1.6, which is not read")
                .hint(save_again(file)),
        );
    }
    if head.get(257..262) == Some(b"ustar") {
        return Some(
            Refused::new("it is a tar archive, as PyTorch wrote them before 0.1.10")
                .hint(save_again(file)),
        );
    }
    if head.starts_with(PARQUET) {
        return Some(Refused::new("it is a Parquet file").hint("let its name end with .parquet"));
    }
    if is_safetensors(head) {
        return Some(
            Refused::new("it is a safetensors file").hint("let its name end with .safetensors"),
        );
    }
    // Pickles of protocol 2 or later begin with these two bytes.
    if head[0] == 0x80 && head.get(1).is_some_and(|version| *version < 8) {
        return Some(
            Refused::new("it is a bare pickle, not an archive of torch.save")
                .hint("save a dictionary of tensors with torch.save"),
        );
    }
    None
}

/// The error for a file that should be safetensors, but is not.
pub(crate) fn not_safetensors(bytes: &[u8]) -> Option<Refused> {
    if let Some(refused) = no_weights(&bytes[..bytes.len().min(HEAD)]) {
        return Some(refused);
    }
    (bytes.starts_with(ZIP) || bytes.starts_with(LEGACY))
        .then(|| Refused::new("it is a PyTorch file").hint("let its name end with .pth or .bin"))
}

/// Whether a file begins like safetensors: eight bytes with the length of a header, then the
/// header, a JSON object.
fn is_safetensors(head: &[u8]) -> bool {
    let length = head.first_chunk::<8>().map(|n| u64::from_le_bytes(*n));
    length.is_some_and(|n| n < 1 << 32) && head.get(8) == Some(&b'{')
}
