# SPDX-License-Identifier: Apache-2.0
# What every tool here shares: messages, the cache folder, locks, and the one table that says
# how a chip is called by Debian, by GNU and by QEMU. Sourced, never run.
#
# Rules the tools keep: one clear line on an error, naming what is missing; progress on anything
# longer than two seconds; a file appears in the cache only when it is whole (made beside its place,
# then renamed); two runs at once wait for each other instead of breaking each other's files.

PV_TREE=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
PV_CACHE=${POLYVISOR_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/polyvisor}
PV_MIRROR=${POLYVISOR_MIRROR:-http://deb.debian.org/debian}
PV_CHIPS="x86_64 arm64 riscv64"
PV_TOOL=${0##*/}

# Debian keeps some of its programs (mke2fs, debugfs, depmod) out of a user's PATH.
PATH=$PATH:/usr/sbin:/sbin

say() { printf '%s\n' "$*" >&2; }
die() {
	printf '%s: %s\n' "$PV_TOOL" "$*" >&2
	exit 1
}
usage_error() {
	printf '%s: %s (--help tells more)\n' "$PV_TOOL" "$*" >&2
	exit 2
}

# progress TEXT: one line with the seconds since the tool started; POLYVISOR_QUIET=1 mutes it.
progress() {
	[ -n "${POLYVISOR_QUIET:-}" ] || printf '%s: [%3ds] %s\n' "$PV_TOOL" "$SECONDS" "$*" >&2
}

# show_help FILE: prints the comment block that opens a tool, which is its documentation.
show_help() {
	sed -n '3,/^$/{s/^# \{0,1\}//p}' "$1"
	exit 0
}

# need GROUP COMMAND...: dies, naming the command and the group of packages that has it.
need() {
	local group=$1 cmd
	shift
	for cmd in "$@"; do
		command -v "$cmd" >/dev/null ||
			die "$cmd is missing; install it with: tools/setup $group"
	done
}

# flag_value FLAG COUNT-OF-ARGUMENTS-LEFT: dies when a flag that takes a value has none.
flag_value() { [ "$2" -ge 2 ] || usage_error "$1 needs a value"; }

native_chip() {
	case $(uname -m) in
	x86_64) echo x86_64 ;;
	aarch64) echo arm64 ;;
	riscv64) echo riscv64 ;;
	*) die "this machine's chip, $(uname -m), is none of: $PV_CHIPS" ;;
	esac
}

# set_chip NAME: fills CHIP, DEB_ARCH, TRIPLET, QEMU, KERNEL_META (Debian's kernel that is host and
# guest of that chip; QEMU because it is also the emulator's name, UNAME what the chip calls itself).
set_chip() {
	CHIP=$1
	case $1 in
	x86_64)
		DEB_ARCH=amd64 TRIPLET=x86_64-linux-gnu QEMU=qemu-system-x86_64 UNAME=x86_64
		KERNEL_META=linux-image-cloud-amd64
		;;
	arm64)
		DEB_ARCH=arm64 TRIPLET=aarch64-linux-gnu QEMU=qemu-system-aarch64 UNAME=aarch64
		KERNEL_META=linux-image-cloud-arm64
		;;
	riscv64)
		DEB_ARCH=riscv64 TRIPLET=riscv64-linux-gnu QEMU=qemu-system-riscv64 UNAME=riscv64
		KERNEL_META=linux-image-riscv64
		;;
	*) usage_error "unknown chip '$1'; the chips are: $PV_CHIPS" ;;
	esac
}

# lock NAME: waits for, and holds until unlock or the end of this process, the cache's lock of that
# name. What is started meanwhile in the background would hold it too: unlock before.
declare -A PV_LOCKS=()
lock() {
	local fd
	[ -z "${PV_LOCKS[$1]:-}" ] || return 0
	mkdir -p "$PV_CACHE/lock" 2>/dev/null || die "cannot create $PV_CACHE (set POLYVISOR_CACHE)"
	exec {fd}>"$PV_CACHE/lock/$1"
	PV_LOCKS[$1]=$fd
	flock -n "$fd" && return
	progress "waiting for another run that holds $PV_CACHE/lock/$1"
	flock "$fd"
}
unlock() {
	local fd=${PV_LOCKS[$1]:-}
	[ -z "$fd" ] || exec {fd}>&-
	unset "PV_LOCKS[$1]"
}

# fingerprint TEXT...: a short name for a set of inputs, to key a cache entry by.
fingerprint() { printf '%s\n' "$@" | sha256sum | cut -c1-12; }

# human_mb BYTES
human_mb() { echo "$((($1 + 500000) / 1000000)) MB"; }
