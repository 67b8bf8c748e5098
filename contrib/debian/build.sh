#!/bin/sh
# Makes a Debian package of a wharfd that is built already:
#   build.sh WHARFD DIRECTORY
# DIRECTORY is made; the package is left in it.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
WHARFD=$(realpath "$1")
mkdir -p "$2"
out=$(cd "$2" && pwd)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$top/Cargo.toml" | head -n 1)
# One time for all files: two builds of one commit are the same.
when=$(git -C "$top" log -1 --format=%ct 2>/dev/null) || when=$(stat -c %Y "$top/Cargo.toml")
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$when}
WHARF_TOP=$top
export WHARFD WHARF_TOP SOURCE_DATE_EPOCH
unset MAKEFLAGS MFLAGS MAKELEVEL
rm -rf "$out/source"
mkdir -p "$out/source/debian"
for file in control rules copyright; do
	cp "$top/contrib/debian/$file" "$out/source/debian/"
done
for file in postrm lintian-overrides; do
	cp "$top/contrib/debian/$file" "$out/source/debian/wharfd.$file"
done
cat >"$out/source/debian/changelog" <<END
wharf ($version-1) unstable; urgency=medium

  * Version $version; its changes stand in CHANGELOG.md.

 -- wharf developers <wharf@wharf.invalid>  $(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")
END
chmod +x "$out/source/debian/rules"
cd "$out/source"
dpkg-buildpackage --build=binary --no-check-builddeps --no-sign
rm -rf "$out/source"
