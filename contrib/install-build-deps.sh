#!/bin/sh
# Installs what a build needs besides Rust, on Debian: a C compiler (Rust's
# linker) and OpenSSL's headers, which FTPS and SFTP are built on. With arguments
# it installs these programs instead, each from the package of its name.
set -eu
missing=
if [ $# = 0 ]; then
	command -v cc >/dev/null 2>&1 || missing="$missing gcc libc6-dev"
	command -v pkg-config >/dev/null 2>&1 || missing="$missing pkg-config"
	pkg-config --exists openssl 2>/dev/null || missing="$missing libssl-dev"
fi
for program; do
	command -v "$program" >/dev/null 2>&1 || missing="$missing $program"
done
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1; then
	echo "this needs$missing, or what your system calls them; 'make small' builds without OpenSSL" >&2
	exit 1
fi
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
$sudo apt-get update
# shellcheck disable=SC2086 # a list of words
exec $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
