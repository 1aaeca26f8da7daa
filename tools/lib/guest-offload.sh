# SPDX-License-Identifier: Apache-2.0
# Inside a chip host, after guest-suite.sh: Debian guests whose disk another process serves.

VU=/tmp/vu.sock

# serve: polyvisor-offload for the root disk, started again whenever it ends.
serve() {
	while :; do polyvisor-offload --device virtio-blk,path=/dev/vda --socket $VU </dev/null 2>/tmp/offload.log; done
}

KILLS=20

# killer: a SIGKILL at a moment of the first second or so after it serves again, KILLS times.
killer() {
	local left=$KILLS
	: >/tmp/kills
	while [ $left -gt 0 ]; do
		usleep $(($(hexdump -n 3 -e '1/4 "%u"' /dev/urandom) % 1200000))
		if [ -S $VU ] && grep -q 'test write\|test verify\|guest ready' $LOG 2>/dev/null && killall -9 polyvisor-offload 2>/dev/null; then
			echo >>/tmp/kills
			left=$((left - 1))
		fi
	done
}

# offloaded NAME KILL ROUNDS DISK FLAG...: boots from a disk behind polyvisor-offload, writes and reads back ROUNDS
# times; KILL is yes or no; DISK goes with --disk.
offloaded() {
	local name=$1 kill=$2 rounds=$3 disk=$4 serve killer='' status=0 i=0 tests=''
	shift 4
	rm -f $LOG $VU
	while [ $i -lt "$rounds" ]; do
		tests="$tests,write,verify"
		i=$((i + 1))
	done
	serve &
	serve=$!
	i=0
	until [ -S $VU ] || [ $i = 100 ]; do
		usleep 100000
		i=$((i + 1))
	done
	if [ "$kill" = yes ]; then
		killer &
		killer=$!
	fi
	vm "$ROOT pv.test=${tests#,} pv.exit=poweroff" --disk "vhost_user=on,vhost_socket=$VU$disk" "$@" || status=$?
	kill $serve $killer 2>/dev/null
	killall polyvisor-offload
	if [ $status != 0 ]; then
		bad "$name" "polyvisor ended with $status"
	elif [ "$(grep -c 'test verify ok' $LOG)" != "$rounds" ]; then
		bad "$name" "not $rounds times 'test verify ok'"
	elif [ "$kill" = yes ] && [ "$(wc -l </tmp/kills)" != $KILLS ]; then
		bad "$name" "$(wc -l </tmp/kills) kills instead of $KILLS"
	else
		ok "$name"
	fi
}

suite_offload() {
	offloaded "offload: boots from a disk behind polyvisor-offload, over PCI" no 1 ""
	offloaded "offload: boots from a disk behind polyvisor-offload, over MMIO" no 1 ",transport=mmio"
	offloaded "offload: the disk's process is killed $KILLS times, split rings" yes 12 ""
	offloaded "offload: the disk's process is killed $KILLS times, packed rings" yes 12 "" --machine packed=on
}
