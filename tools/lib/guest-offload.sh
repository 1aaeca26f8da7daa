# SPDX-License-Identifier: Apache-2.0
# Inside a chip host, after guest-suite.sh: Debian guests whose disk another process serves.

VU=/tmp/vu.sock

# serve: polyvisor-offload for the root disk, started again whenever it ends, unless it is to stay away.
serve() {
	while :; do
		while [ -e /tmp/away ]; do usleep 100000; done
		polyvisor-offload --device virtio-blk,path=/dev/vda --socket $VU </dev/null 2>/tmp/offload.log
	done
}

KILLS=20

# killer: a SIGKILL at a moment of the first second or so after it serves again, KILLS times.
killer() {
	local left=$KILLS
	while [ $left -gt 0 ]; do
		usleep $(($(hexdump -n 3 -e '1/4 "%u"' /dev/urandom) % 1200000))
		if [ -S $VU ] && grep -q 'test write\|test verify\|guest ready' $LOG 2>/dev/null && killall -9 polyvisor-offload 2>/dev/null; then
			echo >>/tmp/kills
			left=$((left - 1))
		fi
	done
}

# away: once the guest is at work its disk's process is killed, and comes back after 70 seconds.
away() {
	until grep -q 'test write' $LOG 2>/dev/null; do usleep 100000; done
	: >/tmp/away
	killall -9 polyvisor-offload
	sleep 70
	rm /tmp/away
	echo >>/tmp/kills
}

# offloaded NAME HARM KILLS ROUNDS DISK FLAG...: boots from a disk behind polyvisor-offload, writes and reads back
# ROUNDS times while HARM (a function; true: none) kills it KILLS times; DISK goes with --disk.
offloaded() {
	local name=$1 harm=$2 kills=$3 rounds=$4 disk=$5 serve harmer status=0 i=0 tests=''
	shift 5
	rm -f $LOG $VU /tmp/kills
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
	: >/tmp/kills
	$harm &
	harmer=$!
	vm "$ROOT pv.test=${tests#,} pv.exit=poweroff" --disk "vhost_user=on,vhost_socket=$VU$disk" "$@" || status=$?
	kill $serve $harmer 2>/dev/null
	killall polyvisor-offload
	if [ $status != 0 ]; then
		bad "$name" "polyvisor ended with $status"
	elif [ "$(grep -c 'test verify ok' $LOG)" != "$rounds" ]; then
		bad "$name" "not $rounds times 'test verify ok'"
	elif [ "$(wc -l </tmp/kills)" != "$kills" ]; then
		bad "$name" "$(wc -l </tmp/kills) kills instead of $kills"
	elif grep -q 'I/O error' $LOG; then
		bad "$name" "the guest saw an error"
	else
		ok "$name"
	fi
}

suite_offload() {
	offloaded "offload: boots from a disk behind polyvisor-offload, over PCI" true 0 1 ""
	offloaded "offload: boots from a disk behind polyvisor-offload, over MMIO" true 0 1 ",transport=mmio"
	offloaded "offload: the disk's process is killed $KILLS times, split rings" killer $KILLS 12 ""
	offloaded "offload: the disk's process is killed $KILLS times, packed rings" killer $KILLS 12 "" --machine packed=on
	# One chip's time is enough for it.
	[ "$(uname -m)" != x86_64 ] || offloaded "offload: the disk is away for 70 seconds" away 1 3 ""
}
