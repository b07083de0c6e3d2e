//! Files that are not what their names say: what they are, and how to get the right one.

/// A file that is not what its name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistaken {
    /// What it really is: lower case, no full stop.
    pub problem: String,
    /// What to do next.
    pub hint: &'static str,
}

/// The bytes that a Git LFS pointer starts with.
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Recognises, by a file's first bytes, the pointer that Git leaves in place of a large file until
/// `git lfs pull` is run.
pub fn git_lfs(head: &[u8]) -> Option<Mistaken> {
    if !head.starts_with(LFS) {
        return None;
    }
    let text = String::from_utf8_lossy(&head[..head.len().min(1024)]);
    let size = text.lines().find_map(|l| l.strip_prefix("size "));
    let size = size.and_then(|n| n.trim().parse::<u64>().ok());
    let of = size.map_or_else(String::new, |n| format!(" to a file of {n} bytes"));
    Some(Mistaken {
        problem: format!("it is a Git LFS pointer{of}, not the file itself"),
        hint: "run `git lfs pull` in the repository it comes from, or download the file itself",
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_pointer_is_named_with_the_size_of_its_file() {
        let pointer =
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 438007537\n";
        assert_eq!(
            git_lfs(pointer).unwrap().problem,
            "it is a Git LFS pointer to a file of 438007537 bytes, not the file itself"
        );
        assert_eq!(
            git_lfs(&pointer[..45]).unwrap().problem,
            "it is a Git LFS pointer, not the file itself"
        );
        assert_eq!(git_lfs(b"version 2"), None);
        assert_eq!(git_lfs(b""), None);
    }
}
