# SPDX-License-Identifier: Apache-2.0
# Inside a chip host, after guest-suite.sh: Debian guests whose disk another process serves.

VU=/tmp/vu.sock

# serve: polyvisor-offload for the root disk, started again whenever it ends.
serve() {
	while :; do polyvisor-offload --device virtio-blk,path=/dev/vda --socket $VU </dev/null 2>/tmp/offload.log; done
}

# killer: a SIGKILL every two seconds, counted.
killer() {
	: >/tmp/kills
	while :; do
		sleep 2
		killall -9 polyvisor-offload 2>/dev/null && echo >>/tmp/kills
	done
}

# offloaded NAME KILL FLAG...: boots from a disk behind polyvisor-offload, writes and reads back; KILL is yes or no.
offloaded() {
	local name=$1 kill=$2 serve killer='' status=0 i=0
	shift 2
	rm -f $LOG $VU
	serve &
	serve=$!
	until [ -S $VU ] || [ $i = 100 ]; do usleep 100000; i=$((i + 1)); done
	if [ "$kill" = yes ]; then
		killer &
		killer=$!
	fi
	vm "$ROOT pv.test=write,verify,write,verify pv.exit=poweroff" --disk "vhost_user=on,vhost_socket=$VU$1" || status=$?
	kill $serve $killer
	killall polyvisor-offload
	if [ $status != 0 ]; then
		bad "$name" "polyvisor ended with $status"
	elif [ "$(grep -c 'test verify ok' $LOG)" != 2 ]; then
		bad "$name" "not twice 'test verify ok'"
	elif [ "$kill" = yes ] && [ ! -s /tmp/kills ]; then
		bad "$name" "nothing was killed"
	else
		ok "$name"
	fi
}

suite_offload() {
	offloaded "offload: boots from a disk behind polyvisor-offload, over PCI" no ""
	offloaded "offload: boots from a disk behind polyvisor-offload, over MMIO" no ",transport=mmio"
	offloaded "offload: the disk's process is killed every two seconds" yes ""
}
