# SPDX-License-Identifier: Apache-2.0
"""The parts of `tools/bench cloud`: what the control plane and the node cost, on this machine's own KVM.

Requests go over one kept connection of the unix socket, so that the figures are the daemon's and the client's
alone. An instance counts as launched when its tiny guest has powered off and the control plane knows it.
"""
import os
import re
import statistics
import subprocess
import time

from cloud_rig import TREE, Cloud, guest


def memory_mib(pid):
    """Private and shared memory that is the process's part (PSS), and all that is resident, in MiB."""
    text = open(f'/proc/{pid}/smaps_rollup').read()
    pick = lambda k: int(re.search(rf'{k}:\s+(\d+)', text)[1]) / 1024
    return {'pss_mib': round(pick('Pss'), 1), 'rss_mib': round(pick('Rss'), 1)}


def timed(n, call):
    times = []
    begin = time.perf_counter()
    for i in range(n):
        t = time.perf_counter()
        call(i)
        times.append(time.perf_counter() - t)
    whole = time.perf_counter() - begin
    times.sort()
    return {'per_second': round(n / whole), 'median_us': round(statistics.median(times) * 1e6),
            'p99_us': round(times[int(n * 0.99)] * 1e6)}


def requests(cloud, o):
    """1,000 instances that nobody starts, then reads of them."""
    new = lambda i: cloud.call('POST', '/v1/instances', {'name': f'r{i}', 'image': 'tiny', 'network': None, 'state': 'stopped'})
    rows = {'create': timed(1000, new)}
    rows['get'] = timed(o.calls, lambda i: cloud.call('GET', f'/v1/instances/r{i % 1000}'))
    rows['list, a page of 100'] = timed(max(o.calls // 10, 100), lambda i: cloud.call('GET', '/v1/instances?limit=100'))
    rows['control with 1,000 instances'] = {**memory_mib(cloud.control.pid), 'goal': '<= 50 MiB'}
    for i in range(1000):
        cloud.call('DELETE', f'/v1/instances/r{i}')
    cloud.until('their end', lambda: not cloud.every('instances'))
    return rows


def launch(cloud, o):
    """REST call to the end of the tiny guest. What has ended is deleted: until then it keeps its CPU and memory."""
    def ask(name):
        cloud.call('POST', '/v1/instances', {'name': name, 'image': 'tiny', 'network': None, 'restart': 'never', 'memory_mib': 64})

    def ended():
        return [i['name'] for i in cloud.every('instances') if i['observed']['state'] == 'stopped']

    def one(i):
        ask(f's{i}')
        while f's{i}' not in ended():
            time.sleep(0.001)
        cloud.call('DELETE', f'/v1/instances/s{i}')
    one('warm')
    rows = {'one after the other': {**timed(o.pairs * 10, one)}}
    begin = time.perf_counter()
    names = {f'p{i}' for i in range(32)}
    for name in sorted(names):
        ask(name)
    while names:
        for name in names & set(ended()):
            cloud.call('DELETE', f'/v1/instances/{name}')
            names.discard(name)
        time.sleep(0.005)
    seconds = time.perf_counter() - begin
    rows['32 at once'] = {'seconds': round(seconds, 2), 'per_second_and_core': round(32 / seconds / os.cpu_count(), 1), 'goal': '>= 10'}
    rows['node'] = {**memory_mib(cloud.node.pid), 'goal': '<= 20 MiB'}
    return rows


def schedule(cloud, o):
    """Decisions of the scheduler, by its own program."""
    target = 'cloud/control/bench-schedule'
    program = f'{TREE}/build/cloud/{target}'
    subprocess.run(['ninja', '-C', f'{TREE}/build/cloud', target], check=True, stdout=subprocess.DEVNULL)
    rows = {}
    for hosts in (1000, 30000):
        out = subprocess.run([program, str(hosts)], capture_output=True, text=True, check=True).stdout
        rows[f'{hosts} hosts'] = {'decisions_per_second': round(float(out.split()[0]))}
    return rows


def page(cloud, o):
    """What a browser fetches for the console, and what more for a terminal."""
    size = {'console': 0, 'terminal': 0}
    for at, _, names in os.walk(f'{TREE}/cloud/web'):
        for n in names:
            if n.endswith(('.html', '.js', '.css', '.svg')):
                size['terminal' if 'vendor' in at else 'console'] += os.path.getsize(f'{at}/{n}')
    return {k: {'kib': round(v / 1024)} for k, v in size.items()}


def prepare():
    """A cloud with the image; whoever asks closes it."""
    cloud = Cloud()
    try:
        cloud.start()
        cloud.image('tiny', guest('tiny'))
    except BaseException:
        cloud.close()
        raise
    return cloud


def part(measure):
    return lambda o: [{'what': what, **figures} for what, figures in measure(o.cloud, o).items()]


PARTS = {f.__name__: part(f) for f in (requests, launch, schedule, page)}
