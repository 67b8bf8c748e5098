//! Pages of files that the process has mapped and does not need to keep so.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::ops::Range;

/// What the program's loader has mapped: the program itself and its libraries.
pub struct Mappings {
    /// The process's own mappings (`/proc/self/smaps`, proc_pid_smaps(5)).
    list: Option<File>,
    /// Those that stay where they are until the end.
    loaded: Vec<Range<usize>>,
}

impl Mappings {
    /// Reads the list of mappings. To be called while there is one thread, and
    /// before root is given up or Landlock is on, which close the list. Without
    /// it, in a chroot or in small kernels, there is nothing to release.
    pub fn open() -> Self {
        let list = File::open("/proc/self/smaps").ok();
        let loaded = list.as_ref().map_or_else(Vec::new, unchanged);
        Mappings { list, loaded }
    }

    /// Has the kernel unmap what is mapped of programs and libraries: most of it
    /// only the start has run. The page cache keeps it, as long as there is
    /// room, and what is needed again comes back from there at its first use.
    pub fn release(&self) {
        // All of them first: what reads the list is not needed afterwards either.
        for range in self.list.as_ref().map_or_else(Vec::new, unchanged) {
            // Other threads may have unmapped whatever has come later, and put
            // something of their own there since the list was read.
            if !self.loaded.contains(&range) {
                continue;
            }
            // SAFETY: the loader's mappings stay until the program ends. Nobody
            // can write to these and nobody has, so that what is read again from
            // the file are the same bytes.
            unsafe {
                libc::madvise(
                    std::ptr::without_provenance_mut(range.start),
                    range.len(),
                    libc::MADV_DONTNEED,
                );
            }
        }
    }
}

/// The mappings of files that hold what the file holds: closed to writing, and
/// without a page that is the process's own. Relocations make such pages, and so
/// do a debugger's breakpoints.
fn unchanged(mut list: impl Read + Seek) -> Vec<Range<usize>> {
    if list.rewind().is_err() {
        return Vec::new();
    }
    let mut of_file = None;
    let lines = BufReader::new(list).lines().map_while(Result::ok);
    let ranges = lines.filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        match (words.next()?, words.next()?) {
            ("Anonymous:" | "Swap:", "0") => None,
            ("Anonymous:" | "Swap:", _) => {
                of_file = None;
                None
            }
            ("VmFlags:", _) => of_file.take(),
            (range, permissions) => {
                let (start, end) = range.split_once('-')?;
                let number = |digits| usize::from_str_radix(digits, 16).ok();
                let range = number(start)?..number(end)?;
                // After them: offset, device, and the file's number, 0 for none.
                let private = matches!(permissions, "r-xp" | "r--p");
                of_file = (private && words.nth(2)? != "0").then_some(range);
                None
            }
        }
    });
    ranges.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_with_pages_of_their_own_are_kept() {
        let list = "\
1000-3000 r-xp 00001000 08:01 77 /bin/program with spaces
Rss: 8 kB
Anonymous: 0 kB
Swap: 0 kB
VmFlags: rd ex mr mw me
3000-4000 r--p 00003000 08:01 77 /bin/relocated
Anonymous: 4 kB
Swap: 0 kB
VmFlags: rd mr mw me
4000-5000 r--p 00003000 08:01 77 /bin/relocated and swapped
Anonymous: 0 kB
Swap: 4 kB
VmFlags: rd mr mw me
5000-6000 rw-p 00004000 08:01 77 /bin/data
Anonymous: 0 kB
Swap: 0 kB
VmFlags: rd wr mr mw me
6000-7000 r--p 00000000 00:00 0
Anonymous: 0 kB
Swap: 0 kB
VmFlags: rd mr mw me
7000-8000 r--s 00000000 08:01 78 /shared
Anonymous: 0 kB
Swap: 0 kB
VmFlags: rd mr me
8000-b000 r--p 00000000 08:01 78 /library
Anonymous: 0 kB
Swap: 0 kB
VmFlags: rd mr mw me
";
        assert_eq!(
            unchanged(std::io::Cursor::new(list)),
            [0x1000..0x3000, 0x8000..0xb000]
        );
    }
}
