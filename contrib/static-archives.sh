#!/bin/sh
# Copies the archives of C libraries for a static wharfd below DIR, without the
# tables by which C code is unwound: 0.4 MB of OpenSSL's, 0.08 of glibc's. A panic
# of ours ends before it comes to C, which calls us only to start a thread, and
# for what a TLS connection reads and writes.
#
#   sh contrib/static-archives.sh DIR c [ssl crypto]      prints where they are
#
# That is a directory named after their bytes: a library that was updated has
# another name, by which cargo sees that it has to be linked anew.
set -eu
place=$1
shift
files=
for library; do
	files="$files $(${CC:-cc} -print-file-name="lib$library.a")"
done
# shellcheck disable=SC2086 # a list of words
place=$place/$(cat $files | cksum | cut -d ' ' -f 1)
for file in $files; do
	to=$place/${file##*/}
	[ ! -e "$to" ] || continue
	mkdir -p "$place"
	objcopy -R .eh_frame -R .rela.eh_frame "$file" "$to.new"
	mv "$to.new" "$to"
done
echo "$place"
