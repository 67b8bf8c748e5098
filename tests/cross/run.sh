#!/bin/sh
# make cross-check: builds the small wharfd, static, for other processors and
# holds a session with each under qemu-user.
#
#   sh tests/cross/run.sh [TARGET...]      aarch64 armv7 riscv64 x86_64 musl
#
# LEAN=yes builds lean-static as well, and holds sessions under TLS and SSH.
#
# The first three are what it builds unless told. x86_64 and musl (x86-64 with
# musl for its C library) run as they are: they show what a standard library
# compiled for size, without backtraces, makes of the binary.
#
# The standard library of these is compiled from source (nothing else is to be
# had where rustup's servers are not), by Debian's own rustc, whose sources
# are a package. That rustc can't be installed beside rustup's: it is unpacked
# under target/cross and used from there. Compilers (as linkers), C libraries
# and qemu come from Debian as usual.
set -eu
cd "$(dirname "$0")/../.."
here=$(pwd)
place=$here/target/cross
[ $# -gt 0 ] || set -- aarch64 armv7 riscv64

triple() {
	case $1 in
	aarch64) echo aarch64-unknown-linux-gnu ;;
	armv7) echo armv7-unknown-linux-gnueabihf ;;
	riscv64) echo riscv64gc-unknown-linux-gnu ;;
	x86_64) echo x86_64-unknown-linux-gnu ;;
	musl) echo x86_64-unknown-linux-musl ;;
	*) echo "cross-check: $1 is none of aarch64 armv7 riscv64 x86_64 musl" >&2 && exit 2 ;;
	esac
}
gnu() {
	case $1 in
	armv7) echo arm-linux-gnueabihf ;;
	musl) echo musl ;;
	*) echo "$1-linux-gnu" ;;
	esac
}
compiler() {
	case $1 in
	x86_64) echo gcc libc6-dev ;;
	musl) echo musl-tools ;;
	*) echo "gcc-$(gnu "$1")" ;;
	esac
}
debian() {
	case $1 in
	aarch64) echo arm64 ;;
	armv7) echo armhf ;;
	*) echo "$1" ;;
	esac
}
emulator() {
	case $1 in
	armv7) echo qemu-arm ;;
	x86_64 | musl) echo - ;;
	*) echo "qemu-$1" ;;
	esac
}

lean=
[ "${LEAN-}" != yes ] || lean='lean-static'

packages=
for target; do
	triple "$target" >/dev/null
	command -v "$(gnu "$target")-gcc" >/dev/null || packages="$packages $(compiler "$target")"
	[ "$(emulator "$target")" = - ] || [ -e "/usr/$(gnu "$target")/lib/libc.a" ] || packages="$packages libc6-dev-$(debian "$target")-cross"
done
command -v qemu-aarch64 >/dev/null || packages="$packages qemu-user"
command -v python3 >/dev/null || packages="$packages python3"
command -v sftp >/dev/null || packages="$packages openssh-client"
if [ -n "$packages" ]; then
	sudo=
	[ "$(id -u)" = 0 ] || sudo=sudo
	$sudo apt-get update
	# shellcheck disable=SC2086 # a list of words
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $packages
fi

rust=$place/debian/usr
if [ ! -e "$place/unpacked" ]; then
	rm -rf "$place/debs" "$place/debian"
	mkdir -p "$place/debs" "$place/debian"
	libstd=$(apt-cache depends libstd-rust-web-dev | sed -n 's/.*Depends: \(libstd-rust-web-[0-9]\)/\1/p')
	llvm=$(apt-cache depends "$libstd" | sed -n 's/.*Depends: \(libllvm[0-9]\)/\1/p')
	# What libLLVM itself needs is seldom on a server.
	(cd "$place/debs" && apt-get download rustc-web libstd-rust-web-dev rust-web-src "$libstd" \
		"$llvm" libz3-4 libedit2 libxml2 libicu72)
	for package in "$place"/debs/*.deb; do
		dpkg-deb -x "$package" "$place/debian"
	done
	rm -rf "$place/debs"
	touch "$place/unpacked"
fi
# A script, since rustup's own libraries must not see that path.
cat >"$place/rustc" <<END
#!/bin/sh
LD_LIBRARY_PATH=$rust/lib/x86_64-linux-gnu exec $rust/bin/rustc --sysroot $rust "\$@"
END
chmod +x "$place/rustc"

for target; do
	triple=$(triple "$target")
	extra=
	if [ "$target" = musl ]; then
		# GCC's unwinder serves musl, too, under the name that Rust looks for,
		# with what it wants of glibc.
		mkdir -p "$place/unwind"
		rm -f "$place/unwind/libunwind.a"
		cp "$(gcc -print-file-name=libgcc_eh.a)" "$place/unwind/libunwind.a"
		musl-gcc -Os -c -o "$place/unwind/unwind.o" tests/cross/unwind.c
		ar r "$place/unwind/libunwind.a" "$place/unwind/unwind.o"
		extra="-C link-self-contained=no -L native=$place/unwind"
		extra="$extra -C link-arg=-specs=$here/tests/cross/musl.specs"
	fi
	# musl-gcc would add specs of its own.
	[ "$target" = musl ] && gcc=gcc || gcc=$(gnu "$target")-gcc
	linker=CARGO_TARGET_$(echo "$triple" | tr a-z- A-Z_)_LINKER
	for build in small-static $lean; do
		env "$linker=$gcc" RUSTC="$place/rustc" "${MAKE:-make}" "$build" \
			STD=source TARGET="$triple" EXTRA_FLAGS="$extra" SMALL_STATIC_DIR="target/cross/$target"
		case $build in
		small-static) program=$place/$target/$triple/release/wharfd ;;
		*) program=$here/target/$build/$triple/release/wharfd ;;
		esac
		if LC_ALL=C readelf -l "$program" | grep -q INTERP; then
			echo "cross-check: $target: not static" >&2 && exit 1
		fi
		printf '%-10s %8d bytes, %s\n' "$target" "$(stat -c %s "$program")" "$build"
		python3 tests/cross/session.py "$(emulator "$target")" "$program"
	done

	# The subsystem alone, driven by OpenSSH's client over a pipe.
	env "$linker=$gcc" RUSTC="$place/rustc" "${MAKE:-make}" sftp-server ONE_FILE=yes \
		STD=source TARGET="$triple" EXTRA_FLAGS="$extra"
	program=$here/target/sftp-server/$triple/subsystem/sftp-server
	run=$(emulator "$target")
	[ "$run" != - ] || run=
	head -c 3000000 /dev/urandom >"$place/sent"
	rm -f "$place/back"
	printf 'put %s %s\nget %s %s\nrm %s\n' "$place/sent" "$place/there" "$place/there" "$place/back" \
		"$place/there" | sftp -q -b - -D "${run:+$run }$program" >/dev/null
	cmp "$place/sent" "$place/back"
	printf '%-10s %8d bytes, %8d in xz, sftp-server\n' "$target" "$(stat -c %s "$program")" \
		"$(xz -9e <"$program" | wc -c)"

	# With the standard library that was built last, for the program.
	built=$place/$target/$triple/release/deps
	library=
	for crate in std core alloc panic_unwind compiler_builtins; do
		# shellcheck disable=SC2012 # names that cargo has made
		library="$library --extern noprelude:$crate=$(ls -t "$built/lib$crate-"*.rlib | head -n 1)"
	done
	# shellcheck disable=SC2086 # lists of words
	RUSTC_BOOTSTRAP=1 "$place/rustc" --edition 2024 --target "$triple" -Z unstable-options \
		$library -L "dependency=$built" -C opt-level=z -C lto=fat -C codegen-units=1 \
		-C "linker=$gcc" -C target-feature=+crt-static $extra -o "$place/panic" tests/cross/panic.rs
	# shellcheck disable=SC2086
	$run "$place/panic" 2>/dev/null | tail -n 1 | grep -qx 'the server goes on' || {
		echo "cross-check: $target: a panic ends the whole program" >&2 && exit 1
	}
done
echo "cross-check: all well"
