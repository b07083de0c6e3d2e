//! What a file is by its first bytes, so that one that holds no weights is named for what it is.

use gfm_pipe_api::foreign::git_lfs;

use crate::Refused;

/// Bytes that are enough to tell.
pub(crate) const HEAD: usize = 512;

/// The start of every file that `torch.save` wrote before PyTorch 1.6: a pickle of a magic number.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
const ZIP: &[u8] = b"PK\x03\x04";
/// Every file with this ending has it.
const PARQUET: &[u8] = b"PAR1";

/// How a file becomes one that can be read.
fn save_again(file: &str) -> String {
    format!(
        "save it again in PyTorch: torch.save(torch.load(\"{file}\", map_location=\"cpu\", weights_only=True), \"{file}\")"
    )
}

pub(crate) fn big_endian(file: &str) -> Refused {
    Refused::new("its values are big-endian: it was saved on a machine with the other byte order")
        .hint(save_again(file))
}

/// Files that cannot be weights of any kind.
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

/// What a file is that should be a PyTorch archive and is none.
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
    // A protocol of 2 or more says so in its first two bytes.
    if head[0] == 0x80 && head.get(1).is_some_and(|version| *version < 8) {
        return Some(
            Refused::new("it is a bare pickle, not an archive of torch.save")
                .hint("save a dictionary of tensors with torch.save"),
        );
    }
    None
}

/// What a file is that should be safetensors and is none.
pub(crate) fn not_safetensors(bytes: &[u8]) -> Option<Refused> {
    if let Some(refused) = no_weights(&bytes[..bytes.len().min(HEAD)]) {
        return Some(refused);
    }
    (bytes.starts_with(ZIP) || bytes.starts_with(LEGACY))
        .then(|| Refused::new("it is a PyTorch file").hint("let its name end with .pth or .bin"))
}

/// The length of a header in eight bytes, then the header: a JSON object.
fn is_safetensors(head: &[u8]) -> bool {
    let length = head.first_chunk::<8>().map(|n| u64::from_le_bytes(*n));
    length.is_some_and(|n| n < 1 << 32) && head.get(8) == Some(&b'{')
}
