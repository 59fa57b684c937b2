//! What of this process's memory outlives its use: nothing. Freed memory is zeros, used stack is overwritten, and no core
//! dump holds any of it.
//!
//! Zeroing at the allocator reaches what no `Drop` of ours can: buffers of hyper, tungstenite, rustls and tokio, the old
//! half of a growing vector, the places of a value that was moved. The packet path does not allocate, so it pays nothing.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::io;
use std::sync::atomic::{Ordering, compiler_fence};

/// An allocator that overwrites what it gets back before anybody else can have it.
#[derive(Debug)]
pub struct Zeroing<A>(pub A);

// SAFETY: every request goes to the inner allocator with the layout it came with, and its promises are passed on. What is
// written lies within a block that its owner has just given up.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Zeroing<A> {
    // SAFETY: the trait's contract, here and below, is the inner allocator's.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { self.0.alloc(layout) }
    }

    // SAFETY: as `alloc`.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    /// `realloc` is the trait's own: it allocates, copies and comes here, so that the old block is overwritten too.
    // SAFETY: as `alloc`.
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller gives up `layout.size()` bytes from `block` on, and nobody reads them any more.
        unsafe {
            block.write_bytes(0, layout.size());
            // The next line gives the pointer to code that the compiler cannot see into, so the zeros are not dead; the
            // fence says so for an allocator that is inlined.
            compiler_fence(Ordering::SeqCst);
            self.0.dealloc(block, layout);
        }
    }
}

/// Neither a file nor a program that collects dumps gets the memory of this process, whatever the service's limits say.
/// Tools of the same user, `perf` among them, may look at the process as before.
pub fn forbid_core_dumps() -> io::Result<()> {
    // 1 rather than 0: files are refused for being shorter than a page, and a core_pattern that names a program, which
    // pays no heed to 0, is refused by this value alone (`do_coredump` of the kernel). A service that was started with
    // 0 cannot raise it.
    let set = |max| {
        let limit = libc::rlimit { rlim_cur: max, rlim_max: max };
        // SAFETY: the kernel reads one rlimit, which outlives the call.
        unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const limit) == 0 }
    };
    if !set(1) && !set(0) {
        return Err(io::Error::last_os_error());
    }
    // If somebody raises the limit afterwards: of all kinds of memory none goes into a dump, keys and packets included.
    std::fs::write("/proc/self/coredump_filter", "0")
}

/// Overwrites the stack below the caller, where functions that have returned left copies of what they worked on.
#[inline(never)]
pub fn overwrite_stack() {
    let mut used = [0_u8; STACK_BYTES];
    // Written through a pointer that escapes, so that the writes happen.
    used.fill(0);
    std::hint::black_box(&mut used);
}

/// The deepest calls from where this is used: a TLS or DTLS handshake, some tens of KiB. Threads have 2 MiB.
const STACK_BYTES: usize = 256 * 1024;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::alloc::System;
    use std::cell::Cell;

    use super::*;

    /// Looks at what it is given back.
    struct Inspector(Cell<usize>);

    // SAFETY: as `System`.
    unsafe impl GlobalAlloc for Inspector {
        // SAFETY: as `System`.
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: the caller's promise.
            unsafe { System.alloc(layout) }
        }

        // SAFETY: as `System`.
        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            // SAFETY: the caller's promise; the block was written when it was allocated.
            unsafe {
                let bytes = std::slice::from_raw_parts(block, layout.size());
                assert!(bytes.iter().all(|&byte| byte == 0), "a block came back with what was in it");
                self.0.set(self.0.get() + bytes.len());
                System.dealloc(block, layout);
            }
        }
    }

    #[test]
    fn a_block_is_zeros_when_it_is_freed_and_when_it_grows_or_shrinks() {
        let allocator = Zeroing(Inspector(Cell::new(0)));
        let layout = Layout::from_size_align(100, 8).unwrap();
        // SAFETY: each block is used within its size and given up once.
        unsafe {
            let block = allocator.alloc(layout);
            block.write_bytes(7, 100);
            let larger = allocator.realloc(block, layout, 1000);
            assert_eq!(*larger.add(99), 7, "what it held is kept");
            larger.write_bytes(8, 1000);
            let layout = Layout::from_size_align(1000, 8).unwrap();
            let smaller = allocator.realloc(larger, layout, 10);
            assert_eq!(*smaller.add(9), 8);
            allocator.dealloc(smaller, Layout::from_size_align(10, 8).unwrap());
        }
        assert_eq!(allocator.0.0.get(), 100 + 1000 + 10);
    }
}
