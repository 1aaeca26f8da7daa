# SPDX-License-Identifier: Apache-2.0
"""The parts of `tools/bench rest`: what the REST socket of one instance costs.

The socket is handed over as a listening descriptor and the first request waits in it before the program
starts, so that nothing here polls: the reply itself is the end of the measurement.
"""
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import tempfile
import time

import rest
from rest import V1

HELLO = '#include <unistd.h>\nint main(void) { return write(1, "hello\\n", 6) != 6; }\n'


class Started:
    """polyvisor with a socket by fd=N, whose first request is already there."""

    def __init__(self, o, folder):
        self.path = os.path.join(folder, 'bench.sock')
        if os.path.exists(self.path):
            os.unlink(self.path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
            listening.bind(self.path)
            listening.listen(8)
            self.client = rest.Client(self.path)
            self.client.send(f'GET {V1}vmm.ping HTTP/1.1\r\nHost: localhost\r\n\r\n'.encode())
            self.began = time.perf_counter()
            self.process = subprocess.Popen([o.polyvisor, '--api-socket', f'fd={listening.fileno()}'],
                                            pass_fds=[listening.fileno()], stdin=subprocess.DEVNULL,
                                            stdout=subprocess.DEVNULL)
        status = self.client.reply()[0]
        self.answered = time.perf_counter() - self.began
        if status != 200:
            raise SystemExit(f'bench: vmm.ping answered {status}')

    def do(self, what, body=None, method='PUT'):
        status, _, text = self.client.call(method, what if what[0] == '/' else V1 + what, body)
        if status not in (200, 204):
            raise SystemExit(f'bench: {what} answered {status}: {text[:200]!r}')

    def ended(self):
        """Seconds from the start to the end of the process."""
        if self.process.wait(30):
            raise SystemExit(f'bench: ended with {self.process.returncode}')
        self.client.close()
        return time.perf_counter() - self.began

    def kill(self):
        self.client.close()
        self.process.kill()
        self.process.wait()


def config(kernel, ram=128 << 20):
    return {'payload': {'kernel': kernel}, 'memory': {'size': ram}, 'serial': {'mode': 'Null'},
            'console': {'mode': 'Off'}}


def ratio(what, a, b, n, **more):
    """A row of two things measured in turn, after one of each to warm up."""
    a(), b()
    ta, tb = [], []
    for _ in range(n):
        ta.append(a())
        tb.append(b())
    return {'what': what, 'a_ms': round(statistics.median(ta) * 1e3, 2),
            'b_ms': round(statistics.median(tb) * 1e3, 2),
            'ratio': round(statistics.median(x / y for x, y in zip(ta, tb)), 3), 'pairs': n, **more}


def bench_ping(o):
    """exec to vmm.ping answered, against a static program that writes one line."""
    with tempfile.TemporaryDirectory() as folder:
        hello = os.path.join(folder, 'hello')
        cc = subprocess.run(['gcc', '-O2', '-static', '-x', 'c', '-', '-o', hello], input=HELLO, text=True,
                            capture_output=True)
        if cc.returncode:
            return [{'what': 'exec to vmm.ping', 'skipped': f'no static program: {cc.stderr[-200:]}'}]

        def ours():
            s = Started(o, folder)
            s.kill()
            return s.answered

        def floor():
            start = time.perf_counter()
            p = subprocess.Popen([hello], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
            p.stdout.read(6)
            took = time.perf_counter() - start
            p.wait()
            p.stdout.close()
            return took

        return [ratio('exec to vmm.ping answered, over a static hello', ours, floor, o.pairs)]


def bench_boot(o):
    """exec to the end of the tiny guest: by vm.create and vm.boot, against the command line."""
    tiny = rest.guest(o.chip, 'tiny')
    with tempfile.TemporaryDirectory() as folder:
        def by_rest():
            s = Started(o, folder)
            s.do('vm.create', config(tiny))
            s.do('vm.boot')
            return s.ended()

        def by_flags():
            start = time.perf_counter()
            subprocess.run([o.polyvisor, '--kernel', tiny, '--memory', 'size=128M', '--serial', 'null'],
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
            return time.perf_counter() - start

        return [ratio('tiny guest over REST, against the command line', by_rest, by_flags, o.pairs,
                      goal='<= 1.2')]


# Each row: calls made in turn, so that the machine is back where it was at the end of the row.
CALLS = [['GET vmm.ping'], ['GET vm.info'], ['GET vm.counters'], ['GET /metrics'], ['GET /openapi.json'],
         ['GET /api/v1/vm.devices/DEVICE'], ['PUT vm.pause', 'PUT vm.resume'], ['PUT vm.reboot'],
         ['PUT vm.shutdown', 'PUT vm.boot'],
         ['PUT vm.delete', 'PUT vm.create', 'PUT vm.add-disk', 'PUT vm.boot']]


def bench_calls(o):
    """Median and 99th percentile of each call, one after another on one connection."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        disk = os.path.join(folder, 'disk.raw')
        with open(disk, 'wb') as f:
            f.truncate(1 << 20)
        bodies = {'vm.create': config(rest.guest(o.chip, 'spin')), 'vm.add-disk': {'path': disk}}
        s = Started(o, folder)
        s.do('vm.create', bodies['vm.create'])
        s.do('vm.boot')
        names = json.loads(s.client.call('GET', V1 + 'vm.info')[2]).get('device_tree') or {}
        for calls in CALLS:
            took = {call: [] for call in calls}
            for _ in range(o.calls):
                for call in calls:
                    method, what = call.split()
                    if 'DEVICE' in what and not names:
                        continue
                    start = time.perf_counter()
                    s.do(what.replace('DEVICE', next(iter(names), '')), bodies.get(what), method)
                    took[call].append(time.perf_counter() - start)
            for call, t in took.items():
                if t and not any(r['what'] == call for r in rows):
                    t.sort()
                    rows.append({'what': call, 'median_us': round(statistics.median(t) * 1e6),
                                 'p99_us': round(t[int(len(t) * 0.99)] * 1e6), 'calls': len(t)})
        s.kill()
    return rows


def bench_memory(o):
    """What is not the guest's, with the API on: alone, and with a thousand clients that do nothing."""
    folder = tempfile.mkdtemp()
    vmm = rest.Vmm(o.polyvisor, folder)
    clients = []
    try:
        vmm.do('vm.create', config(rest.guest(o.chip, 'spin')))
        vmm.do('vm.boot')
        vmm.info()
        time.sleep(1)
        alone = vmm.rss(128 << 20)
        quiet = idle_ticks(vmm)
        clients = [vmm.client() for _ in range(1000)]
        for c in clients:
            c.call('GET', V1 + 'vmm.ping')
        crowd = vmm.rss(128 << 20)
        busy = idle_ticks(vmm)
        took = []
        for _ in range(200):
            start = time.perf_counter()
            vmm.call('GET', 'vmm.ping')
            took.append(time.perf_counter() - start)
    finally:
        for c in clients:
            c.close()
        vmm.end()
        shutil.rmtree(folder)
    return [{'what': 'RSS that is not the guest\'s, API on, KiB', 'value': alone, 'goal': '<= 3072'},
            {'what': 'the same with 1000 idle clients, KiB', 'value': crowd},
            {'what': 'CPU time of idle threads, ms/s', 'value': quiet, 'with_1000_clients': busy},
            {'what': 'connect and vmm.ping beside 1000 clients, us',
             'value': round(statistics.median(took) * 1e6)}]


def idle_ticks(vmm):
    """CPU time of all but the vCPUs in a second, in ms."""
    before, guest = vmm.ticks(), vmm.ticks('vcpu')
    time.sleep(1)
    ticks = (vmm.ticks() - before) - (vmm.ticks('vcpu') - guest)
    return round(ticks * 1000 / os.sysconf('SC_CLK_TCK'))


def prepare():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))


PARTS = {'ping': bench_ping, 'boot': bench_boot, 'calls': bench_calls, 'memory': bench_memory}
