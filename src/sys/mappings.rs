//! Pages of files that the process has mapped and does not need to keep so.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::ops::Range;

/// The process's own mappings (`/proc/self/smaps`, proc_pid_smaps(5)).
pub struct Mappings(Option<File>);

impl Mappings {
    /// Opens their list, which has to come before root is given up and before
    /// Landlock: both close it. Without /proc there is none.
    pub fn open() -> Self {
        Mappings(File::open("/proc/self/smaps").ok())
    }

    /// Has the kernel unmap what is mapped of programs and libraries: most of it
    /// only the start has run. The page cache keeps it, as long as there is
    /// room, and what is needed again comes back from there at its first use.
    pub fn release(&self) {
        let Some(mut list) = self.0.as_ref() else {
            return;
        };
        if list.rewind().is_err() {
            return;
        }
        // Gathered first: what reads the list is not needed afterwards either.
        let ranges: Vec<_> = unchanged(BufReader::new(list)).collect();
        for range in ranges {
            // SAFETY: nobody can write to such pages and nobody has, so that the
            // file has the same bytes.
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
fn unchanged(list: impl BufRead) -> impl Iterator<Item = Range<usize>> {
    let mut of_file = None;
    list.lines().map_while(Result::ok).filter_map(move |line| {
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
    })
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
        let ranges: Vec<_> = unchanged(list.as_bytes()).collect();
        assert_eq!(ranges, [0x1000..0x3000, 0x8000..0xb000]);
    }
}
