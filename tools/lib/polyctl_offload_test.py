# SPDX-License-Identifier: Apache-2.0
"""usage: polyctl_offload_test.py POLYVISOR POLYVISOR_OFFLOAD POLYCTL CHIP

polyctl offload, every verb, against a polyvisor-offload, with a bare-metal guest that loads one of
its disks where /dev/kvm gives a virtual machine. Prints "ok NAME", "not ok NAME: WHY", "skip NAME: WHY".
"""
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

POLYVISOR, OFFLOAD, POLYCTL = map(os.path.abspath, sys.argv[1:4])
CHIP = sys.argv[4]
TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DIR = tempfile.mkdtemp(prefix='polyctl-offload-')
SOCKET = os.path.join(DIR, 'control.sock')
ENV = dict(os.environ, POLYVISOR_OFFLOAD_SOCKET=SOCKET, LC_ALL='C.UTF-8')
MIB = 1 << 20
FAILED = []
SERVERS = []


class Wrong(Exception):
    """What a test expected and did not see."""


def case(name):
    """A test: a function that raises Wrong; its name is printed with what came of it."""
    def run(f):
        try:
            f()
            print(f'ok {name}', flush=True)
        except (Wrong, OSError, ValueError, KeyError, IndexError, subprocess.TimeoutExpired) as e:
            print(f'not ok {name}: {type(e).__name__}: {e}', flush=True)
            FAILED.append(name)
        return f
    return run


def expect(what, why):
    if not what:
        raise Wrong(why)


def offload(*words, status=0, timeout=30, **kw):
    """Runs polyctl offload; what it printed, or with another status its one line on stderr."""
    p = subprocess.run([POLYCTL, 'offload', *words], env=ENV, capture_output=True, text=True, cwd=DIR,
                       timeout=timeout, stdin=subprocess.DEVNULL, **kw)
    expect(p.returncode == status, f'{words}: status {p.returncode}, said {p.stderr or p.stdout!r}')
    if status == 0:
        return p.stdout
    lines = p.stderr.splitlines()
    expect(len(lines) == 1 and lines[0].startswith('polyctl: '), f'{words}: not one line: {lines}')
    return lines[0]


def inspect(device):
    return json.loads(offload('inspect', device, '--json'))


def totals(*words):
    """By id."""
    return {d['id']: d for d in json.loads(offload('top', '--once', '--total', '--json', *words))}


def start(socket, *words):
    p = subprocess.Popen([OFFLOAD, '--api-socket', f'path={socket}', *words], cwd='/', env=ENV,
                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    SERVERS.append(p)
    for _ in range(2000):
        if subprocess.run([POLYCTL, 'offload', 'ping', '--socket', socket], capture_output=True,
                          check=False).returncode == 0:
            return p
        time.sleep(0.01)
    raise Wrong(f'{socket}: nobody answers')


def guest(name):
    found = glob.glob(f'{TREE}/build/{CHIP}/root/usr/**/guest-tests/{name}', recursive=True)
    return found[0] if found else None


def load(socket, count):
    """A guest that does count requests on the disk behind socket; returns when it has ended."""
    p = subprocess.run([POLYVISOR, '--kernel', guest('load'), '--memory', 'size=64M', '--cmdline',
                        f'load.count={count} load.depth=8', '--disk',
                        f'vhost_user=on,vhost_socket={socket}'],
                       stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    expect(p.returncode == 0 and 'PASS' in p.stdout, f'the guest: status {p.returncode}: {p.stdout}{p.stderr}')


def life():
    server = start(SOCKET)

    @case('ping, and an empty list')
    def _():
        said = offload('ping')
        expect('polyvisor-offload' in said and str(server.pid) in said, said)
        expect(len(offload('list').splitlines()) == 1, offload('list'))

    @case('add: keys as words and as --device has them, files seen from here')
    def _():
        with open(f'{DIR}/disk.raw', 'wb') as f:
            f.truncate(4 * MIB)
        expect(offload('add', 'virtio-blk', 'path=disk.raw', 'socket=disk.sock') == '_disk0\n', 'the id')
        expect(offload('add', 'virtio-blk,backend=null,size=1G,queues=4', 'socket=null.sock',
                       'id=nothing') == 'nothing\n', 'the id')
        expect(offload('add', 'virtio-net', 'backend=null', 'queues=2', 'socket=net.sock') == '_net0\n',
               'the id')
        disk = inspect('_disk0')
        expect(disk['config']['path'] == f'{DIR}/disk.raw', disk)
        expect(disk['socket'] == f'{DIR}/disk.sock' and os.path.exists(disk['socket']), disk)
        expect(len(inspect('nothing')['queues']) == 4, 'queues')
        expect(offload('list', '--ids').split() == ['_disk0', 'nothing', '_net0'], 'ids')
        expect('disk.raw' in offload('list'), offload('list'))

    @case('add: what is refused is one line')
    def _():
        expect('socket' in offload('add', 'virtio-blk', 'path=disk.raw', status=1), 'no socket')
        expect('locked' in offload('add', 'virtio-blk', 'path=disk.raw', 'socket=x', status=1), 'a lock')
        expect('two devices' in offload('add', 'virtio-blk', 'backend=ram', 'size=1M', 'socket=disk.sock',
                                        status=1), 'a socket twice')
        expect('virtio-blk' in offload('add', 'virtio-fs', 'socket=x', status=1), 'a type')
        offload('add', status=2)
        offload('add', 'virtio-blk', 'colour=red', status=2)
        offload('add', 'virtio-blk', 'poll=101', status=2)
        expect(not os.path.exists(f'{DIR}/x'), 'a socket is left behind')

    @case('add: a descriptor of polyctl goes along')
    def _():
        with open(f'{DIR}/held.raw', 'w+b') as f:
            f.truncate(MIB)
            os.unlink(f.name)
            offload('add', 'virtio-blk', '--fd', str(f.fileno()), 'socket=held.sock', 'id=held',
                    pass_fds=[f.fileno()])
        expect(inspect('held')['size'] == MIB, 'its size')
        offload('remove', 'held')

    @case('resize: a file grows; to the size that it has')
    def _():
        offload('resize', '_disk0', '6M')
        expect(os.path.getsize(f'{DIR}/disk.raw') == 6 * MIB, 'the file')
        os.truncate(f'{DIR}/disk.raw', 8 * MIB)
        offload('resize', '_disk0')
        expect(inspect('_disk0')['size'] == 8 * MIB, 'the disk')
        expect('multiple of 512' in offload('resize', '_disk0', '1000', status=1), 'half a sector')
        expect('no disk' in offload('resize', '_net0', '1G', status=1), 'a network')
        expect('no device' in offload('resize', '_disk7', '1G', status=1), 'nobody')
        offload('resize', status=2)

    @case('remove: it and its socket are gone')
    def _():
        offload('remove', 'nothing')
        expect(not os.path.exists(f'{DIR}/null.sock'), 'its socket')
        expect('no device' in offload('remove', 'nothing', status=1), 'twice')

    @case('top: a table, and JSON')
    def _():
        lines = offload('top', '--once', '--total').splitlines()
        expect(lines[0].split() == ['DEVICE', 'Q', 'IO', 'READ', 'WRITTEN', 'p50', 'p99', 'p99.9', 'KICK/IO',
                                    'IRQ/IO', 'CPU/IO', 'CPU%', 'POLL%', 'HEALTH', 'SINCE'], lines[0])
        expect(lines[1].split()[0] == '_disk0', lines)
        expect(totals()['_net0']['health'] == 'waiting', 'health')

    @case('metrics and openapi')
    def _():
        expect('polyvisor_offload_requests_total{device="_disk0",queue="0"}' in offload('metrics'), 'metrics')
        expect('/api/v1/devices/{id}' in json.loads(offload('openapi'))['paths'], 'openapi')


def guests():
    @case('a guest: all that it did is counted')
    def _():
        load(f'{DIR}/disk.sock', 1000)
        disk = totals()['_disk0']
        expect(disk['requests'] == 1000, disk)
        expect(disk['read_bytes'] + disk['written_bytes'] == 1000 * 4096, disk)
        expect(disk['errors'] == 0 and disk['in_flight'] == 0, disk)
        expect(0 < disk['kicks_per_io'] <= 2 and disk['interrupts_per_io'] <= 1, disk)
        expect(0 < disk['p50_ns'] <= disk['p99_ns'] <= disk['p999_ns'], disk)
        expect(disk['cpu_ns_per_io'] > 0, disk)
        expect(inspect('_disk0')['front_end']['connections'] == 1, 'connections')


    @case('a guest: it sees the new size of its disk')
    def _():
        p = subprocess.Popen([POLYVISOR, '--kernel', guest('blk-resize'), '--memory', 'size=64M', '--disk',
                              f'vhost_user=on,vhost_socket={DIR}/disk.sock'], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            said = p.stdout.readline()
            while said.split() and 'sectors' not in said:
                said += p.stdout.readline()
            offload('resize', '_disk0', '9M')
            said += p.communicate(timeout=60)[0]
        finally:
            p.kill()
            p.wait()
        expect(f'{9 * MIB // 512} sectors now' in said and 'PASS' in said, said)


def several():
    """Two processes, one of which ends under the eyes of top."""
    other = f'{DIR}/other.sock'
    server = start(other, '--device', 'virtio-blk,backend=ram,size=1M,id=far', '--socket', f'{DIR}/far.sock')

    @case('top: several processes, and one that goes away')
    def _():
        expect(set(totals('--socket', SOCKET, '--socket', other)) == {'_disk0', '_net0', 'far'}, 'both')
        p = subprocess.Popen([POLYCTL, 'offload', 'top', '--json', '--socket', SOCKET, '--socket', other],
                             stdout=subprocess.PIPE, text=True, env=ENV)
        try:
            ids = [{d['id'] for d in json.loads(p.stdout.readline())}]
            server.terminate()
            server.wait(timeout=20)
            while 'far' in ids[-1]:
                ids.append({d['id'] for d in json.loads(p.stdout.readline())})
        finally:
            p.send_signal(signal.SIGINT)
            p.communicate(timeout=20)
        expect(ids[0] >= {'far', '_disk0'} and '_disk0' in ids[-1], ids)
        expect('start' in offload('top', '--once', '--socket', other, status=1), 'misspelt')

    @case('SIGTERM removes all sockets')
    def _():
        SERVERS[0].terminate()
        expect(SERVERS[0].wait(timeout=20) == 0, 'status')
        left = [n for n in os.listdir(DIR) if n.endswith('.sock')]
        expect(not left, left)


def main():
    life()
    if subprocess.run([POLYVISOR, '--probe-kvm'], capture_output=True, check=False).returncode:
        print('skip a guest: /dev/kvm runs none here')
    elif not guest('load'):
        print(f'not ok a guest: no guest-tests of {CHIP} are built')
        FAILED.append('a guest')
    else:
        guests()
    several()
    return 1 if FAILED else 0


try:
    code = main()
finally:
    for s in SERVERS:
        s.kill()
        s.wait()
    shutil.rmtree(DIR, ignore_errors=True)
sys.exit(code)
