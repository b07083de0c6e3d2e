//! Large pages for large buffers: states are read in no order, and with pages of 4 KiB the
//! processor looks up another one for nearly every row.

/// Buffers smaller than this are not worth a call.
#[cfg(target_os = "linux")]
const LARGE: usize = 8 << 20;

/// Asks the system to back a buffer, its spare capacity included, with large pages from now on. A
/// wish: nothing depends on it but time.
pub fn ask_for_large<T>(buffer: &Vec<T>) {
    #[cfg(target_os = "linux")]
    {
        let bytes = buffer.capacity() * size_of::<T>();
        if bytes < LARGE {
            return;
        }
        // The advice is for whole pages: those that lie wholly inside. 64 KiB is a multiple of
        // every page size in use.
        let page = 1 << 16;
        let start = (buffer.as_ptr() as usize).next_multiple_of(page);
        let end = (buffer.as_ptr() as usize + bytes) / page * page;
        // SAFETY: the range lies inside memory this buffer owns, and this advice changes neither
        // its content nor who may use it. An error (a system without large pages) is no matter.
        unsafe {
            libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_HUGEPAGE);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = buffer;
}
