# SPDX-License-Identifier: Apache-2.0
"""The parts of `tools/bench offload`: devices outside the VMM, against others that serve them.

The server is pinned to the first CPU, the client to the last; with --realtime nothing else runs on them
meanwhile. Servers that are compared run in turn, and
a figure is the median of the paired ratios: this swings less than the figures themselves, which a busy
machine moves by a factor of ten. Counts come first, because they do not swing.
"""
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time

import rest

TREE = rest.TREE
PEERS = None
DIR = None
REALTIME = False
SERVER, CLIENT = '0', str(os.cpu_count() - 1)
DISK = 1 << 30


def prepare(realtime):
    global DIR, REALTIME
    REALTIME = realtime
    DIR = tempfile.mkdtemp(prefix='polyvisor-bench-')
    return DIR


def peers():
    global PEERS
    if PEERS is None:
        p = subprocess.run([f'{TREE}/tools/lib/bench-peers'], capture_output=True, text=True)
        PEERS = p.stdout.strip() if p.returncode == 0 else ''
        if not PEERS:
            print(f'bench: {p.stderr.strip().splitlines()[-1:]}')
    return PEERS


def path(name):
    return os.path.join(DIR, name)


def disk_file():
    """A file without holes, so that nothing is allocated while it is measured."""
    name = path('disk')
    if not os.path.exists(name):
        with open(name, 'wb') as f:
            for _ in range(DISK >> 20):
                f.write(bytes(1 << 20))
    return name


def cpu_of(pid):
    """CPU time of a process, in seconds, with that of threads that have ended, as io_uring's workers do."""
    with open(f'/proc/{pid}/stat', encoding='utf-8') as f:
        return sum(int(w) for w in f.read().rpartition(')')[2].split()[11:13]) / os.sysconf('SC_CLK_TCK')


def on(cpu):
    return [*(['chrt', '--fifo', '1'] if REALTIME else []), 'taskset', '-c', cpu]


class Server:
    """A process that serves a disk or a network at .socket."""

    def __init__(self, name, argv):
        self.name, self.socket, self.api = name, path('vu.sock'), path('api.sock')
        for s in (self.socket, self.api):
            if os.path.exists(s):
                os.unlink(s)
        argv = [w.replace('SOCKET', self.socket).replace('API', self.api) for w in argv]
        self.log = open(path('server.log'), 'w', encoding='utf-8')
        self.process = subprocess.Popen([*on(SERVER), *argv], stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log)
        end = time.time() + 20
        while not os.path.exists(self.socket):
            if time.time() > end or self.process.poll() is not None:
                raise SystemExit(f'bench: {name} does not serve: {open(path("server.log")).read()[-300:]}')
            time.sleep(0.02)
        time.sleep(0.1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.log.close()

    def cpu(self):
        return cpu_of(self.process.pid)

    def counts(self):
        """Of polyvisor-offload: sums over all queues."""
        with rest.Client(self.api) as c:
            text = c.call('GET', '/metrics')[2].decode()
        total = {}
        for name, value in re.findall(r'^polyvisor_offload_(\w+?)(?:_total)?\{[^}]*\} ([\d.e+-]+)$', text, re.M):
            total[name] = total.get(name, 0) + float(value)
        return total


def ours(kind, poll):
    what = f'backend=null,size={DISK}' if kind == 'null' else f'path={disk_file()}'
    return (f'poll={poll}', [f'{TREE}/build/{rest.native_chip()}/polyvisor-offload', '--api-socket', 'path=API',
                             '--device', f'virtio-blk,{what},unsealed=on,poll={poll}', '--socket', 'SOCKET'])


def daemon(kind, version):
    node = f'driver=null-co,node-name=n0,size={DISK},read-zeroes=on' if kind == 'null' else \
        f'driver=file,node-name=n0,filename={disk_file()},aio=io_uring,locking=off'
    return (f'q-s-d {version}', [f'{peers()}/qsd-{version}/usr/bin/qemu-storage-daemon', '--blockdev', node,
                                 '--export', 'type=vhost-user-blk,id=e0,node-name=n0,addr.type=unix,'
                                 'addr.path=SOCKET,writable=on,num-queues=1'])


def fio(server, rw, size, depth, seconds):
    """I/Os per second, mean latency in µs, I/Os."""
    p = subprocess.run([*on(CLIENT), f'{peers()}/fio', '--name=v', '--ioengine=libblkio',
                        '--libblkio_driver=virtio-blk-vhost-user', f'--libblkio_path={server.socket}',
                        '--libblkio_wait_mode=block', '--thread', f'--rw={rw}', f'--bs={size}',
                        f'--iodepth={depth}', '--time_based', f'--runtime={seconds}', f'--size={DISK}',
                        '--output-format=json'], capture_output=True, text=True, timeout=seconds + 60)
    try:
        job = json.loads(p.stdout[p.stdout.index('{'):])['jobs'][0]
        side = job['read' if 'read' in rw else 'write']
    except (ValueError, KeyError, IndexError):
        raise SystemExit(f'bench: fio against {server.name}: {p.stderr[-300:]} {p.stdout[-300:]}') from None
    if not side['total_ios']:
        raise SystemExit(f'bench: fio against {server.name} did nothing')
    return side['iops'], side['lat_ns']['mean'] / 1e3, side['total_ios']


def bench_counts(o):
    """Kicks, interrupts, system calls and CPU time per I/O at depth 32."""
    rows = []
    if not peers():
        return [{'what': 'counts', 'skipped': 'no fio with libblkio'}]
    for kind in ('null', 'file'):
        for poll in (0, 25):
            with Server(*ours(kind, poll)) as s:
                fio(s, 'randread', '4k', 32, 1)
                before, cpu = s.counts(), s.cpu()
                perf = subprocess.Popen(['perf', 'stat', '-x,', '-e', 'raw_syscalls:sys_enter', '-p',
                                         str(s.process.pid)], stderr=subprocess.PIPE, text=True)
                time.sleep(0.5)
                n = fio(s, 'randread', '4k', 32, o.seconds)[2]
                time.sleep(0.1)
                after, cpu = s.counts(), s.cpu() - cpu
                perf.send_signal(signal.SIGINT)
                said = re.search(r'^(\d+),', perf.communicate()[1], re.M)
            per = {k: round((after.get(k, 0) - before.get(k, 0)) / n, 4) for k in ('kicks', 'interrupts')}
            rows.append({'what': f'{kind}, 4 KiB reads, depth 32, poll={poll}', **per,
                         'syscalls': round(int(said[1]) / n, 4) if said else None,
                         'cpu_ns': round(cpu * 1e9 / n), 'ios': n,
                         **({'goal': 'each count <= 0.1'} if poll else {})})
    return rows


LOADS = [('randread', '4k', 1), ('randwrite', '4k', 1), ('randread', '4k', 32), ('randwrite', '4k', 32),
         ('read', '128k', 32)]


def bench_block(o):
    """Ours with poll=0 and poll=25 and both of QEMU's daemons in turn."""
    rows = []
    if not peers():
        return [{'what': 'block', 'skipped': 'no fio with libblkio'}]
    for kind in ('null', 'file'):
        for rw, size, depth in LOADS:
            if o.load and o.load not in f'{kind} {rw} {size} {depth}':
                continue
            servers = [ours(kind, 0), ours(kind, 25), daemon(kind, '7'), daemon(kind, '10')]
            seen = {name: [] for name, _ in servers}
            for _ in range(o.pairs):
                for server in servers:
                    with Server(*server) as s:
                        before = s.cpu()
                        got = fio(s, rw, size, depth, o.seconds)
                        seen[server[0]].append((*got, (s.cpu() - before) * 1e9 / got[2]))
            rows += block_rows(f'{kind}, {rw} {size}, depth {depth}', depth, seen, o.pairs)
    return rows


def block_rows(what, depth, seen, n):
    """I/Os per second over the faster daemon's, at depth 1 the latency over the lower one."""
    at, best = (1, min) if depth == 1 else (0, max)
    unit = 'us' if depth == 1 else 'iops'
    rows = []
    for poll in ('poll=0', 'poll=25'):
        ratios = [mine[at] / best(a[at], b[at])
                  for mine, a, b in zip(seen[poll], seen['q-s-d 7'], seen['q-s-d 10'])]
        mid = {name: round(statistics.median(x[at] for x in seen[name]), 1) for name in seen}
        cpu = {name: round(statistics.median(x[3] for x in seen[name])) for name in seen}
        rows.append({'what': f'{what}, {poll}', 'ratio': round(statistics.median(ratios), 3),
                     'goal': '<= 0.8' if depth == 1 else '>= 1.5' if '4k' in what else None,
                     f'ours_{unit}': mid[poll], f'qsd7_{unit}': mid['q-s-d 7'],
                     f'qsd10_{unit}': mid['q-s-d 10'], 'cpu_ns': cpu[poll], 'qsd7_cpu_ns': cpu['q-s-d 7'],
                     'qsd10_cpu_ns': cpu['q-s-d 10'], 'rounds': n})
    return [{k: v for k, v in r.items() if v is not None} for r in rows]


# ---- networks ----

def testpmd(name, cpu, vdev, *args):
    return [*on(cpu), 'dpdk-testpmd', '--lcores', f'0@{cpu},1@{cpu}', '--no-huge', '-m', '256', '--no-pci',
            f'--file-prefix={name}{os.getpid()}', '--vdev', vdev, '--', '--total-num-mbufs=16384', '--auto-start',
            '--stats-period', '1', '--no-mlockall', *args]


def packets(server, packed, size, seconds):
    """Per second, as sent by DPDK's virtio-user."""
    vdev = f'net_virtio_user0,path={server.socket},queues=1,queue_size=256'
    vdev += ',packed_vq=1,in_order=1,mrg_rxbuf=0' if packed else ''
    p = subprocess.Popen(testpmd('fe', CLIENT, vdev, '--forward-mode=txonly', f'--txpkts={size}'),
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    time.sleep(seconds + 3)
    p.terminate()
    try:
        out = p.communicate(timeout=20)[0]
    except subprocess.TimeoutExpired:
        p.kill()
        out = p.communicate()[0]
    rates = [int(x) for x in re.findall(r'Tx-pps:\s+(\d+)', out)]
    rates = [r for r in rates if r][1:]
    return statistics.median(rates) if rates else 0


def net_ours(poll):
    return (f'poll={poll}', [f'{TREE}/build/{rest.native_chip()}/polyvisor-offload', '--api-socket', 'path=API',
                             '--device', f'virtio-net,backend=null,unsealed=on,poll={poll}', '--socket', 'SOCKET'])


def net_dpdk():
    return ('dpdk', testpmd('be', SERVER, 'net_vhost0,iface=SOCKET,queues=1', '--forward-mode=rxonly'))


def bench_net(o):
    """DPDK's virtio-user sends; a sink of ours takes, or DPDK's vhost PMD with testpmd's rxonly."""
    rows = []
    if not shutil.which('dpdk-testpmd'):
        return [{'what': 'net', 'skipped': 'dpdk-testpmd is not installed: tools/setup bench'}]
    for packed in (False, True):
        for size in (64, 1500):
            servers = [net_ours(100), net_ours(0), net_dpdk()]
            seen = {name: [] for name, _ in servers}
            for _ in range(o.pairs):
                for server in servers:
                    with Server(*server) as s:
                        if server[0] == 'dpdk':
                            time.sleep(2)
                        seen[server[0]].append(packets(s, packed, size, o.seconds))
            mid = {name: round(statistics.median(v) / 1e6, 2) for name, v in seen.items()}
            for poll in ('poll=100', 'poll=0'):
                ratios = [a / b for a, b in zip(seen[poll], seen['dpdk']) if b]
                rows.append({'what': f'{"packed" if packed else "split"}, {size} bytes, {poll}',
                             'ratio': round(statistics.median(ratios), 3) if ratios else None,
                             **({'goal': '>= 0.9'} if poll == 'poll=100' else {}),
                             'ours_mpps': mid[poll], 'dpdk_mpps': mid['dpdk'], 'rounds': o.pairs})
    rows.append(net_idle())
    return rows


def net_idle():
    """CPU time of an idle network that may poll, its front-end there."""
    with Server(*net_ours(100)) as s:
        vdev = f'net_virtio_user0,path={s.socket},queues=1,queue_size=256'
        p = subprocess.Popen(testpmd('fe', CLIENT, vdev, '--forward-mode=rxonly'), stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(4)
        before = s.cpu()
        time.sleep(3)
        used = s.cpu() - before
        p.kill()
        p.wait()
    return {'what': 'idle, poll=100, CPU s in 3 s', 'value': round(used, 2), 'goal': '0'}


# ---- the VMM ----

def vmm_run(device, count):
    """System calls of the VMM while its guest does so much, and CPU time of all but its vCPU."""
    kind, more = ('blk', 'backend=ram,size=1M') if device == 'blk' else ('net', 'backend=null')
    server = ('poll=0', [f'{TREE}/build/{rest.native_chip()}/polyvisor-offload', '--device',
                         f'virtio-{kind},{more}', '--socket', 'SOCKET'])
    with Server(*server) as s:
        trace = path('trace')
        flag = '--disk' if device == 'blk' else '--net'
        argv = [f'{TREE}/build/{rest.native_chip()}/polyvisor', '--kernel', rest.guest(rest.native_chip(), 'load'),
                '--memory', 'size=64M,shared=on', '--serial', f'file={path("out")}', '--device', 'test-exit',
                '--cmdline', f'transport=pci load.count={count} load.depth=32 load.quiet=yes', flag,
                f'vhost_user=on,vhost_socket={s.socket}']
        before = s.cpu()
        p = subprocess.run(['strace', '-f', '-c', '-U', 'name,calls', '-o', trace, *argv], stdin=subprocess.DEVNULL,
                           capture_output=True, text=True, timeout=900)
        cpu = s.cpu() - before
        if p.returncode != 33:
            raise SystemExit(f'bench: the guest ended with {p.returncode}: {p.stderr[-300:]}')
        with open(trace, encoding='utf-8') as f:
            calls = {m[1]: int(m[2]) for m in re.finditer(r'^\s*(\w+)\s+(\d+)\s*$', f.read(), re.M)}
    calls.pop('total', None)
    return sum(calls.values()), calls, cpu


def bench_vmm(o):
    rows = []
    if subprocess.run([f'{TREE}/build/{rest.native_chip()}/polyvisor', '--probe-kvm'],
                      capture_output=True).returncode:
        return [{'what': 'the VMM', 'skipped': '/dev/kvm runs no guest here'}]
    for device, what in (('blk', '4 KiB I/Os'), ('net', 'packets')):
        few, few_calls, cpu0 = vmm_run(device, 32)
        many, many_calls, cpu1 = vmm_run(device, o.ios)
        extra = {k: n - few_calls.get(k, 0) for k, n in many_calls.items() if n != few_calls.get(k, 0)}
        # A start itself differs by a few, in which of its threads was first.
        rows.append({'what': f'the VMM\'s system calls, {o.ios} {what} minus 32', 'value': many - few,
                     'per_io': round((many - few) / o.ios, 6), 'goal': '0', 'by_call': extra, 'offload_cpu_ns_per_io': round((cpu1 - cpu0) * 1e9 / o.ios), 'poll': 0})
    return rows


# ---- many devices ----

def bench_devices(o):
    rows = []
    chip, base = rest.native_chip(), None
    for n in (1, 8, 64, 256):
        argv = [f'{TREE}/build/{chip}/polyvisor-offload']
        for i in range(n):
            argv += ['--device', f'virtio-blk,backend=null,size={DISK},unsealed=on', '--socket',
                     'SOCKET' if i == n - 1 else path(f'many{i}.sock')]
        with Server(f'{n} devices', argv) as s:
            time.sleep(0.5)
            with open(f'/proc/{s.process.pid}/status', encoding='utf-8') as f:
                rss = int(re.search(r'VmRSS:\s+(\d+)', f.read())[1])
            before = s.cpu()
            time.sleep(2)
            idle = s.cpu() - before
            base = base or rss
            row = {'what': f'{n} devices, null, poll=0', 'rss_kib': rss,
                   'kib_per_device': round((rss - base) / (n - 1), 1) if n > 1 else None,
                   'idle_cpu_s': round(idle, 2)}
            if peers():
                lat = [fio(s, 'randread', '4k', 1, 1)[1] for _ in range(min(o.pairs, 5))]
                row['depth_1_us'] = round(statistics.median(lat), 1)
            rows.append({k: v for k, v in row.items() if v is not None})
    return rows


PARTS = {'vmm': bench_vmm, 'counts': bench_counts, 'block': bench_block, 'net': bench_net,
         'devices': bench_devices}
