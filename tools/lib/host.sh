# SPDX-License-Identifier: Apache-2.0
# What an emulated host is made of. Sourced after kernel.sh.
#
# Its initramfs is four pieces joined: a base and the guest's files, both kept in the cache per kernel
# version, the chip's own programs out of build/CHIP/root, and what this one run is to do.

# host_base: sets HOST_BASE to the piece with busybox, modules and init.
host_base() {
	local dir key
	key=$(fingerprint "$KERNEL_DIR" "$BUSYBOX" "$(cat "$PV_TREE/tools/host/init")")
	HOST_BASE=$PV_CACHE/host/$CHIP-$key.cpio
	[ ! -e "$HOST_BASE" ] || return 0
	need "host-$CHIP" cpio
	lock "host-$CHIP"
	dir=$HOST_BASE.dir
	rm -rf "$dir"
	mkdir -p "$dir/bin" "$dir/etc" "$dir/run" "$dir/usr/bin"
	cp "$BUSYBOX" "$dir/bin/busybox"
	ln -s busybox "$dir/bin/sh"
	cp "$PV_TREE/tools/host/init" "$dir/init"
	chmod 755 "$dir/init"
	cp -a "$KERNEL_DIR/modules/lib" "$dir/lib"
	echo 'root:x:0:0:root:/root:/bin/sh' >"$dir/etc/passwd"
	echo 'root:x:0:' >"$dir/etc/group"
	echo "127.0.0.1 localhost" >"$dir/etc/hosts"
	pack_cpio "$dir" "$HOST_BASE"
	rm -rf "$dir"
	unlock "host-$CHIP"
}

# host_programs: sets HOST_PROGRAMS to the piece with what tools/build installed, if it did.
host_programs() {
	local root=$PV_TREE/build/$CHIP/root
	HOST_PROGRAMS=$RUN/programs.cpio
	: >"$HOST_PROGRAMS"
	[ ! -d "$root" ] || pack_cpio "$root" "$HOST_PROGRAMS"
}

# host_share DIR: serves DIR to the emulated host; sets SHARE_PID and SHARE_ARGS.
host_share() {
	local ticks=0
	native_tools share
	"${TOOLS_RUN[@]}" "$TOOLS_DIR/usr/libexec/virtiofsd" --socket-path="$RUN/share.sock" \
		--shared-dir="$1" --sandbox=none --cache=auto --inode-file-handles=never \
		</dev/null >"$RUN/share.log" 2>&1 &
	SHARE_PID=$!
	while [ ! -S "$RUN/share.sock" ]; do
		kill -0 "$SHARE_PID" 2>/dev/null && [ $ticks -lt 100 ] ||
			die "cannot share $1: $(tail -n1 "$RUN/share.log")"
		sleep 0.05
		ticks=$((ticks + 1))
	done
	SHARE_ARGS=(-chardev "socket,id=share,path=$RUN/share.sock"
		-device vhost-user-fs-pci,chardev=share,tag=share)
}

# qemu_machine SMP MEMORY CPU AIA: sets QEMU_ARGS to a machine of the chip that has virtualization.
qemu_machine() {
	local cpu=$3
	case $CHIP in
	x86_64)
		QEMU_ARGS=(-M q35 -cpu "${cpu:-EPYC,+svm}")
		# A busy machine must not make the host doubt its clock: its guests would lose kvmclock.
		CONSOLE="ttyS0 tsc=reliable"
		;;
	arm64)
		QEMU_ARGS=(-M virt,virtualization=on,gic-version=3 -cpu "${cpu:-cortex-a72}")
		CONSOLE=ttyAMA0
		;;
	riscv64)
		QEMU_ARGS=(-M "virt$4" -cpu "${cpu:-rv64,h=true}")
		CONSOLE=ttyS0
		;;
	esac
	QEMU_ARGS+=(-nodefaults -no-user-config -display none -monitor none -no-reboot
		-smp "$1" -m "$2" -object "memory-backend-memfd,id=ram,size=$2,share=on" -machine memory-backend=ram)
}
