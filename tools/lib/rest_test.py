# SPDX-License-Identifier: Apache-2.0
"""usage: rest_test.py POLYVISOR CHIP [SEED]

Bad input to a real polyvisor over its REST socket: HTTP that is wrong, slow, too much or too many, calls
that are illegal in the state, bodies made from the OpenAPI document in and out of its schemas. After each
group the process has as many descriptors and threads as before and has not grown, and its guest has
run on. Prints "ok NAME", "not ok NAME: WHY", "skip NAME: WHY". What needs a running guest is skipped
where /dev/kvm gives none.
"""
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rest  # noqa: E402
import rest_http  # noqa: E402
import rest_schema  # noqa: E402
from rest import Closed, Hung, Unharmed, V1, Wrong, expect, until  # noqa: E402

BINARY, CHIP = os.path.abspath(sys.argv[1]), sys.argv[2]
SEED = int(sys.argv[3]) if len(sys.argv) > 3 else 1
DIR = tempfile.mkdtemp(prefix='polyvisor-rest-')
FAILED = []
RAM = 64 << 20
HAVE_KVM = subprocess.run([BINARY, '--probe-kvm'], capture_output=True).returncode == 0
# In a network of its own, for what random configurations may ask of taps.
OWN_NET = ['unshare', '--net'] if os.geteuid() == 0 else []


def say(status, name, why=''):
    print(f'{status} {name}' + (f': {why}' if why else ''), flush=True)
    if status == 'not ok':
        FAILED.append(name)


def config(kernel):
    return {'payload': {'kernel': kernel}, 'cpus': {'boot_vcpus': 1, 'max_vcpus': 1},
            'memory': {'size': RAM}, 'serial': {'mode': 'Null'}, 'console': {'mode': 'Off'}}


def spinning(name, **kw):
    vmm = rest.Vmm(BINARY, DIR, name, **kw)
    vmm.do('vm.create', config(rest.guest(CHIP, 'spin')))
    vmm.do('vm.boot')
    return vmm


def few_descriptors():
    """A process that runs out of descriptors goes on without burning CPU time, and recovers."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))
    vmm = rest.Vmm(BINARY, DIR, 'few', preexec_fn=limit)
    try:
        with Unharmed(vmm, runs=False):
            clients = []
            for _ in range(100):
                try:
                    clients.append(vmm.client(1))
                except (BlockingIOError, ConnectionRefusedError, socket.timeout):
                    break
            before = vmm.ticks()
            time.sleep(2)
            burnt = vmm.ticks() - before
            for c in clients:
                c.close()
            if burnt > os.sysconf('SC_CLK_TCK') / 2:
                raise Wrong(f'burns CPU time: {burnt} ticks in two seconds')
            until(lambda: vmm.call('GET', 'vmm.ping')[0] == 200, 'answers again')
    finally:
        vmm.end()


# ---- the state table ----

# What each state answers to each call: + it happens, or the status of its refusal (0 = 404, 9 = 409, 5 = 501).
STATES = ('none', 'created', 'running', 'paused')
TABLE = {
    'vm.create': '+999', 'vm.boot': '0+99', 'vm.pause': '09+9', 'vm.resume': '099+', 'vm.reboot': '09++',
    'vm.shutdown': '09++', 'vm.delete': '0+++', 'vm.power-button': '09+9', 'vm.nmi': '09+9', 'vm.info': '0+++',
    'vm.counters': '09++', 'vm.add-disk': '0+55', 'vm.add-net': '0+55', 'vm.add-vsock': '0+55',
    'vm.coredump': '09++',
}
REFUSALS = {'0': 404, '9': 409, '5': 501}


def put_into(state):
    vmm = rest.Vmm(BINARY, DIR, 'state', wrap=OWN_NET)
    for what in {'none': (), 'created': ('vm.create',), 'running': ('vm.create', 'vm.boot'),
                 'paused': ('vm.create', 'vm.boot', 'vm.pause')}[state]:
        vmm.do(what, config(rest.guest(CHIP, 'spin')) if what == 'vm.create' else None)
    return vmm


def good_body(what):
    disk, core = os.path.join(DIR, 'disk.raw'), os.path.join(DIR, 'core')
    with open(disk, 'wb') as f:
        f.truncate(1 << 20)
    if os.path.exists(core):
        os.unlink(core)
    return {'vm.create': config(rest.guest(CHIP, 'spin')), 'vm.add-disk': {'path': disk, 'readonly': True},
            'vm.add-net': {'tap': 'pv-rest0'}, 'vm.add-vsock': {'cid': 77, 'socket': os.path.join(DIR, 'vsock')},
            'vm.coredump': {'destination_url': f'file://{core}'}}.get(what)


def ask(vmm, what):
    return vmm.call('GET' if what in ('vm.info', 'vm.counters') else 'PUT', what, good_body(what))


def states():
    """Every cell of the state table over HTTP, each illegal call twice: nothing changes."""
    names = {'none': None, 'created': 'Created', 'running': 'Running', 'paused': 'Paused'}
    for column, state in enumerate(STATES):
        vmm = put_into(state)
        try:
            for what, row in TABLE.items():
                for _ in range(2 if row[column] != '+' else 0):
                    expect(f'{what} when {state}', ask(vmm, what), REFUSALS[row[column]])
            if names[state] and vmm.info()['state'] != names[state]:
                raise Wrong(f'{state} became {vmm.info()["state"]}')
        finally:
            vmm.end()
        for what, row in TABLE.items():
            if row[column] != '+' or (what == 'vm.add-net' and not OWN_NET):
                continue
            vmm = put_into(state)
            try:
                allowed = (200, 204, 501) if what == 'vm.nmi' else (200, 204)
                expect(f'{what} when {state}', ask(vmm, what), *allowed)
            finally:
                vmm.end()


def not_offered(vmm):
    """What comes with later issues says so, whatever the body."""
    for what in ('vm.snapshot', 'vm.restore', 'vm.resize', 'vm.resize-disk', 'vm.resize-zone', 'vm.add-device',
                 'vm.remove-device', 'vm.add-fs', 'vm.add-pmem', 'vm.add-user-device',
                 'vm.send-migration', 'vm.receive-migration'):
        for body in (None, {}, {'id': 'x'}):
            expect(what, vmm.call('PUT', what, body), 501, word=what)


# ---- bodies from the OpenAPI document ----

def fields(vmm):
    """Each field of vm.create once of a wrong type, out of range, not in the list, or missing."""
    base = config(rest.guest(CHIP, 'spin'))
    schema = rest_schema.body(OPENAPI, V1 + 'vm.create')
    count = 0
    for where, how, body in rest_schema.wrong_ones(OPENAPI, schema, base):
        reply = vmm.call('PUT', 'vm.create', body)
        if reply[0] in (200, 204):
            raise Wrong(f'{where} {how} was taken: {json.dumps(body)[:300]}')
        expect(f'{where}: {json.dumps(body)[:200]}', reply, 400, 501,
               word='not JSON' if how == rest_schema.TOO_BIG else where.split('.')[-1])
        count += 1
    if count < 50:
        raise Wrong(f'the document has only {count} fields to get wrong')


def maker():
    """Configurations that now and then work, name only files of ours, and never ask for much memory."""
    disk = os.path.join(DIR, 'random.raw')
    with open(disk, 'wb') as f:
        f.truncate(1 << 20)
    sockets = [os.path.join(DIR, f'socket-{i}') for i in range(3)]
    return rest_schema.Maker(
        OPENAPI, SEED, likely={'boot_vcpus': [1, 2], 'max_vcpus': [2, 4], 'queue_size': [2, 64, 256], 'path': [disk],
                               'id': ['a', 'b', 'c', 'd'], 'model': ['host'], 'tap': ['pv-a', 'pv-b'],
                               'mode': ['Null', 'Off', 'Pty']},
        only={'size': [16 << 20, 64 << 20], 'kernel': [rest.guest(CHIP, 'spin'), disk, DIR, DIR + '/none'],
              'initramfs': [disk, DIR + '/none'], 'file': [disk, DIR + '/new', DIR], 'socket': sockets,
              'src': ['/dev/urandom', disk, DIR], 'fd': [0, 1, 2, 3, 99], 'destination_url': [f'file://{DIR}/none/x'],
              'hugepages': [False], 'prefault': [False]})


def random_bodies(vmm, seconds=8):
    """Random bodies in and out of the schemas: an answer each time, its errors one line each; what is
    created is booted and deleted."""
    make = maker()
    paths = list(rest_schema.with_body(OPENAPI))
    create = (V1 + 'vm.create', rest_schema.body(OPENAPI, V1 + 'vm.create'))
    end, count, created, booted = time.time() + seconds, 0, 0, 0
    while time.time() < end:
        path, schema = paths[count % len(paths)] if count % 4 == 0 else create
        body = make.value(schema)
        if count % 3 == 0:
            body = make.spoil(body)
        count += 1
        what = f'seed {SEED} #{count} {path} {json.dumps(body)[:400]}'
        reply = vmm.call('PUT', path, json.dumps(body).encode('utf-8', 'surrogatepass'))
        expect(what, reply, 200, 204, 400, 404, 409, 500, 501)
        if reply[0] in (200, 204):
            created += 1
            reply = vmm.call('PUT', 'vm.boot')
            expect(what + ' then vm.boot', reply, 200, 204, 400, 404, 409, 500, 501)
            booted += reply[0] in (200, 204)
            expect(what + ' then vm.info', vmm.call('GET', 'vm.info'), 200, 404)
            expect(what + ' then vm.delete', vmm.call('PUT', 'vm.delete'), 200, 204, 404)
    if count < 100 or not created or (HAVE_KVM and not booted):
        raise Wrong(f'only {count} bodies in {seconds} s, {created} of them created, {booted} booted')


# ---- events, dumps, the monitor ----

def pause_and_resume(vmm, times):
    for _ in range(times):
        vmm.do('vm.pause')
        vmm.do('vm.resume')


def deaf_listeners(vmm):
    """Listeners that never read, or leave, while events come."""
    clients = [vmm.client() for _ in range(20)]
    for c in clients:
        c.send(b'GET /api/v1/events HTTP/1.1\r\nHost: x\r\n\r\n')
    for c in clients[:10]:
        c.reply()
    for c in clients[10:15]:
        c.close()
    pause_and_resume(vmm, 150)
    with vmm.client() as c:
        status, headers, _ = c.call('GET', '/api/v1/events')
        if status != 200 or 'text/event-stream' not in headers.get('content-type', ''):
            raise Wrong(f'/api/v1/events answers {status} {headers}')
        vmm.do('vm.pause')
        vmm.do('vm.resume')
        while b'resumed' not in c.left:
            c.more()
    for c in clients:
        c.close()


def left_while_waiting(vmm):
    """Clients that ask and leave before the answer."""
    for i in range(200):
        with vmm.client() as c:
            what = ('vm.info', 'vm.counters', 'vmm.ping')[i % 3]
            c.send(f'GET {V1}{what} HTTP/1.1\r\nHost: x\r\n\r\n'.encode())
    for _ in range(20):
        with vmm.client() as c:
            c.send(f'PUT {V1}vm.pause HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n'.encode())
        until(lambda: vmm.info()['state'] == 'Paused', 'paused, though nobody waits for the answer')
        vmm.do('vm.resume')


def all_at_once(vmm):
    """Calls of all kinds from many threads: each gets an answer that its state allows."""
    wrong = []

    def one(n):
        calls = [('PUT', 'vm.pause'), ('PUT', 'vm.resume'), ('GET', 'vm.info'), ('GET', 'vm.counters'),
                 ('GET', 'vmm.ping'), ('PUT', 'vm.boot'), ('PUT', 'vm.create'), ('GET', '/metrics')]
        try:
            with vmm.client() as c:
                for i in range(60):
                    method, what = calls[(i * 5 + n) % len(calls)]
                    expect(what, c.call(method, what if what[0] == '/' else V1 + what,
                                        {} if what == 'vm.create' else None), 200, 204, 400, 404, 409)
        except (Wrong, Hung, Closed, OSError) as e:
            wrong.append(str(e))

    threads = [threading.Thread(target=one, args=(n,)) for n in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if wrong:
        raise Wrong(wrong[0])
    if vmm.info()['state'] == 'Paused':
        vmm.do('vm.resume')


def bad_dumps(vmm):
    """Core dumps to where none can be written; the guest runs on."""
    taken = os.path.join(DIR, 'taken')
    with open(taken, 'w', encoding='utf-8') as f:
        f.write('mine')
    for url in (f'file://{taken}', f'file://{DIR}', 'file:///nowhere/core', 'http://x/core', 'file://', '', taken,
                'file:///dev/full', 'file:///dev/null', 'file:///' + 'x' * 5000):
        expect(f'core to {url[:40]!r}', vmm.call('PUT', 'vm.coredump', {'destination_url': url}),
               400, 404, 409, 500, 501)
    with open(taken, encoding='utf-8') as f:
        if f.read() != 'mine':
            raise Wrong('a file that was there has been written')
    if vmm.info()['state'] != 'Running':
        raise Wrong(f'the machine is {vmm.info()["state"]} afterwards')


def monitor_stuck():
    """An event monitor that nobody reads, whose pipe is full, whose reader leaves: the guest runs on."""
    fifo = os.path.join(DIR, 'fifo')
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    vmm = spinning('monitor', args=['--event-monitor', f'path={fifo}'])
    try:
        with Unharmed(vmm):
            pause_and_resume(vmm, 250)  # fills the pipe
        if b'"booted"' not in os.read(reader, 65536):
            raise Wrong('the monitor has not seen the boot')
        with Unharmed(vmm):
            pause_and_resume(vmm, 20)
            os.close(reader)
            pause_and_resume(vmm, 20)
        if vmm.end() not in (0, -signal.SIGTERM):
            raise Wrong(f'ended with {vmm.process.returncode}: {vmm.said()}')
    finally:
        vmm.end()


# ---- the socket ----

def sockets():
    """What --api-socket cannot use is refused in one line; a live socket is not taken over; a stale
    one is; none is left behind."""
    def refused(value, *words):
        p = subprocess.run([BINARY, '--api-socket', value], capture_output=True, text=True, timeout=20,
                           stdin=subprocess.DEVNULL)
        lines = p.stderr.strip().splitlines()
        if p.returncode not in (1, 2) or len(lines) != 1 or any(w not in lines[0] for w in words):
            raise Wrong(f'--api-socket {value[:40]}: status {p.returncode}, said {p.stderr[-300:]!r}')

    refused('path=/nowhere/sock', '--api-socket')
    refused('path=' + '/tmp/' + 'x' * 200, '--api-socket')
    refused('fd=77', '--api-socket', '77')
    refused('fd=0', '--api-socket')
    refused('fd=x', '--api-socket', 'fd')
    refused('path=', '--api-socket')
    file = os.path.join(DIR, 'a-file')
    with open(file, 'w', encoding='utf-8') as f:
        f.write('mine')
    refused(f'path={file}', '--api-socket')
    if not os.path.isfile(file):
        raise Wrong('a file was taken for a stale socket')
    vmm = rest.Vmm(BINARY, DIR, 'live')
    try:
        refused(f'path={vmm.path}', '--api-socket')
        expect('the live one', vmm.call('GET', 'vmm.ping'), 200)
        vmm.process.kill()
        vmm.process.wait()
        if not os.path.exists(vmm.path):
            raise Wrong('no stale socket to try')
        vmm = rest.Vmm(BINARY, DIR, 'live')
        expect('vmm.shutdown', vmm.call('PUT', 'vmm.shutdown'), 200, 204)
        if vmm.process.wait(15) != 0 or os.path.exists(vmm.path):
            raise Wrong(f'after vmm.shutdown: status {vmm.process.returncode}, socket there: '
                        f'{os.path.exists(vmm.path)}')
    finally:
        vmm.end()


def no_resources_left():
    """A thousand times create and delete: as many descriptors and as much memory as before."""
    vmm = rest.Vmm(BINARY, DIR, 'again')
    body = config(rest.guest(CHIP, 'spin'))
    body['disks'] = [good_body('vm.add-disk')]
    try:
        for _ in range(20):
            vmm.do('vm.create', body)
            vmm.do('vm.delete')
        with Unharmed(vmm, runs=False):
            for _ in range(1000):
                vmm.do('vm.create', body)
                vmm.do('vm.delete')
    finally:
        vmm.end()


# ---- running it ----

# What makes buffers of all sizes: malloc keeps some, but no more the second time.
FILLS_BUFFERS = {'bodies', 'crowd'}


def group(name, check, vmm=None, runs=True):
    try:
        if vmm and check.__name__ in FILLS_BUFFERS:
            check(vmm)
            until(lambda: vmm.call('GET', 'vmm.ping')[0] == 200, 'answers')
            time.sleep(0.5)
        if vmm:
            with Unharmed(vmm, runs):
                check(vmm)
        else:
            check()
        say('ok', name)
    except (Wrong, Hung, Closed, OSError, subprocess.SubprocessError) as e:
        said = f'; the VMM says {vmm.said()!r}, status {vmm.process.poll()}' if vmm else ''
        say('not ok', name, f'{type(e).__name__}: {e}{said}'.replace('\n', ' '))


def idle_groups():
    """Against a process without a machine."""
    vmm = rest.Vmm(BINARY, DIR, 'idle', wrap=OWN_NET, cwd=DIR)
    try:
        group('fields of vm.create that are wrong', fields, vmm, False)
        group('random bodies', random_bodies, vmm, False)
        group('bodies that are no JSON, no machine', rest_http.bodies, vmm, False)
        group('what is not offered', not_offered, vmm, False)
    finally:
        vmm.end()
    for check in (sockets, few_descriptors, no_resources_left):
        group(check.__doc__.partition(':')[0].partition(';')[0].partition('.')[0], check)


RUNNING = [('methods and paths', rest_http.methods), ('requests that are no HTTP', rest_http.framing),
           ('bodies that are no JSON', rest_http.bodies),
           ('descriptors that were not asked for', rest_http.descriptors), ('slow clients', rest_http.slow),
           ('a thousand clients, then too many', rest_http.crowd), ('what is not offered, running', not_offered),
           ('listeners that do not listen', deaf_listeners), ('clients that leave', left_while_waiting),
           ('calls all at once', all_at_once), ('core dumps that cannot be', bad_dumps)]


def main():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
    idle_groups()
    if not HAVE_KVM:
        for name, _ in RUNNING:
            say('skip', name, '/dev/kvm runs no guest here')
    else:
        vmm = spinning('running')
        try:
            for _ in range(50):  # warm: what is kept once made
                vmm.call('GET', 'vm.info')
            rest_http.full_house(vmm)  # and a heap as large as it may become
            for name, check in RUNNING:
                if vmm.process.poll() is not None:
                    vmm = spinning('running')
                group(name, check, vmm)
        finally:
            vmm.end()
        group('calls illegal in the state', states)
        group('an event monitor that nobody reads', monitor_stuck)
    return 1 if FAILED else 0


try:
    with_doc = rest.Vmm(BINARY, DIR, 'document')
    try:
        OPENAPI = json.loads(with_doc.call('GET', '/openapi.json')[2])
    finally:
        with_doc.end()
    code = main()
finally:
    shutil.rmtree(DIR, ignore_errors=True)
sys.exit(code)
