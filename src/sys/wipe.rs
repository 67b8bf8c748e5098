//! Memory that is given back holds nothing of what was in it: passwords and keys
//! lie in lines, packets, texts of files and in copies of them, one as short-lived
//! as the other.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;

/// The system's allocator for programs that hold secrets: what is given back is
/// overwritten.
pub struct Wiping;

/// Larger blocks hold contents of files.
const MOST: usize = 64 << 10;

fn wipe(block: *mut u8, layout: Layout) {
    if layout.size() <= MOST {
        // SAFETY: who gives a block back has it to the end, and nobody else has.
        unsafe { block.write_bytes(0, layout.size()) };
        // Or the compiler leaves out what nobody will read.
        black_box(block);
    }
}

// SAFETY: every call is passed on to `System` with the layout that the block was
// asked for with; what is written lies within it, before it is given back.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the rules of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        wipe(block, layout);
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.size() > MOST {
            // SAFETY: as above.
            return unsafe { System.realloc(block, layout, size) };
        }
        // A block that moves would leave its bytes behind.
        // SAFETY: the caller promises that size and alignment make a layout; both
        // blocks are as long as what is copied, and are not the same.
        unsafe {
            let new = System.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                block.copy_to_nonoverlapping(new, layout.size().min(size));
                self.dealloc(block, layout);
            }
            new
        }
    }
}
