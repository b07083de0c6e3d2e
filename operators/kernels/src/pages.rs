//! Pages of memory: large ones for large buffers, and those that are free.

/// For smaller buffers, in bytes, a call is not worth its cost.
#[cfg(target_os = "linux")]
const LARGE: usize = 8 << 20;

/// Asks the system to back a buffer, including its spare capacity, with large pages from now on.
/// This affects only speed: states are read in random order, and with pages of 4 KiB the processor
/// has to look up another page for nearly every row.
pub fn ask_for_large<T>(buffer: &Vec<T>) {
    #[cfg(target_os = "linux")]
    {
        let bytes = buffer.capacity() * size_of::<T>();
        if bytes < LARGE {
            return;
        }
        // The advice must cover whole pages, so it covers those that lie entirely inside. 64 KiB is
        // a multiple of every page size in use.
        let page = 1 << 16;
        let start = (buffer.as_ptr() as usize).next_multiple_of(page);
        let end = (buffer.as_ptr() as usize + bytes) / page * page;
        // SAFETY: the range lies inside memory that this buffer owns, and the advice changes
        // neither its content nor its permissions. An error (a system without large pages) does no
        // harm.
        unsafe {
            libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_HUGEPAGE);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = buffer;
}

/// Returns freed memory to the system, in whole pages. Otherwise the C library keeps it, between
/// blocks that are still in use.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the call takes no memory from its owner, and may be made by any thread at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}
