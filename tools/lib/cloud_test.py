# SPDX-License-Identifier: Apache-2.0
"""usage: cloud_test.py POLYCLOUD POLYCTL PROGRAMS [GROUP...]

A cloud of this machine's own, with bare-metal guests: `polycloud up` through its API and polyctl, who may see what,
nodes over TLS on loopback, SIGKILL of every part, and bad input to every endpoint of the OpenAPI document. After it
nothing is left. PROGRAMS is the folder with polyvisor. Prints "ok NAME", "not ok NAME: WHY", "skip NAME: WHY".
"""
import faulthandler
import http.client
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
faulthandler.dump_traceback_later(int(os.environ.get("CLOUD_LIMIT", 240)), exit=True)  # nothing here takes that long

import cloud_fuzz  # noqa: E402
import cloud_isolation  # noqa: E402
from cloud_api import Client, Wrong, problem, until  # noqa: E402
from cloud_rig import CHIP, Cloud, free_port, guest  # noqa: E402

POLYCLOUD, POLYCTL, PROGRAMS = map(os.path.abspath, sys.argv[1:4])
GROUPS = sys.argv[4:]
FAILED = []
HAVE_KVM = subprocess.run([f'{PROGRAMS}/polyvisor', '--probe-kvm'], capture_output=True).returncode == 0


class Up(Cloud):
    """`polycloud up`: control plane and node in one process."""

    def __init__(self):
        super().__init__(POLYCLOUD, PROGRAMS)
        self.home = f'{self.folder}/home'
        os.makedirs(f'{self.home}/.ssh')
        with open(f'{self.home}/.ssh/id_test.pub', 'w', encoding='utf-8') as f:
            f.write('ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFkHvQu1DJfMJbJCbWEY4sLc2BjYqhI3Z3Dqk2yq0JqQ test@host\n')
        self.api = Client(self.socket)
        self.chip, self.hidden_kernel = CHIP, guest('spin')

    def databases(self):
        return [f for f in os.listdir(self.folder) if f.endswith(('.db', '.db-wal', '.sqlite', '.sqlite-wal'))]

    def start_control(self):
        self.control = self.spawn('control', 'up', '--data', self.folder, '--socket', self.socket, '--listen',
                                  f'127.0.0.1:{self.port}')
        until('polycloud up answers', lambda: self.alive() and self.api.get('/v1/version'))

    def alive(self):
        if self.control.poll() is not None:
            raise SystemExit(f'polycloud up ended with status {self.control.returncode}: {self.tail("control")}')
        return True

    def spawn(self, name, *args):
        os.environ['HOME'] = self.home
        return super().spawn(name, *args)

    def start(self):
        self.start_control()
        until('the host is online', lambda: [h for h in self.hosts() if h['state'] == 'online'])

    def hosts(self):
        return self.api.get('/v1/hosts').doc['items']

    def make(self, name, image='spin', **more):
        return self.api.post('/v1/instances', {'name': name, 'image': image, 'network': None, **more}, 201).doc

    def instance(self, name):
        return self.api.get(f'/v1/instances/{name}').doc

    def wait(self, name, *states, seconds=30):
        doc = {}

        def there():
            nonlocal doc
            doc = self.instance(name)
            return doc['observed']['state'] in states and doc
        try:
            return until(f'{name} is {" or ".join(states)}', there, seconds)
        except Wrong as e:
            raise Wrong(f'{e}; it is {doc.get("observed")}') from None

    def act(self, name, action, body=None):
        return self.api.post(f'/v1/instances/{name}/actions/{action}', body)

    def gone(self, *names):
        for name in names:
            self.api.delete(f'/v1/instances/{name}', 200, 202, 204, 404)
        for name in names:
            until(f'{name} is gone', lambda n=name: self.api.ask('GET', f'/v1/instances/{n}').status == 404)

    def ctl(self, *words, status=0, stdin=None, timeout=60):
        """polyctl: what it printed, or with another status its one line on stderr."""
        env = dict(os.environ, POLYCLOUD_SOCKET=self.socket, XDG_CONFIG_HOME=f'{self.folder}/config', LC_ALL='C.UTF-8')
        p = subprocess.run([POLYCTL, *words], env=env, capture_output=True, text=True, timeout=timeout,
                           stdin=stdin or subprocess.DEVNULL, errors='replace')
        if p.returncode != status:
            raise Wrong(f'polyctl {" ".join(words)}: status {p.returncode}, said {p.stderr or p.stdout!r}')
        lines = p.stderr.splitlines()
        if status and (len(lines) != 1 or not lines[0].startswith('polyctl: ')):
            raise Wrong(f'polyctl {" ".join(words)}: not one line: {lines}')
        return p.stdout if status == 0 else lines[0]


def upload(api, name, kernel):
    """An image of one kernel for this chip."""
    with open(guest(kernel), 'rb') as f:
        api.put(f'/v1/images/{name}/upload?chip={CHIP}&part=kernel&guest=bare-metal', f.read())
    reply = api.post('/v1/images', {'name': name, 'source': {'upload': True}, 'guest': 'bare-metal'})
    if reply.status == 202:
        path = f'/v1/operations/{reply.doc["id"]}'
        until(f'the image {name} is made', lambda: api.get(path).doc['state'] != 'running')
        expect(api.get(path).doc['state'] == 'done', api.get(path))


def check(name, f, *args):
    if GROUPS and not any(g in name for g in GROUPS):
        return
    try:
        f(*args)
        print(f'ok {name}', flush=True)
    except (Wrong, OSError, ValueError, KeyError, IndexError, TypeError, http.client.HTTPException,
            subprocess.TimeoutExpired, RuntimeError) as e:
        where = traceback.extract_tb(e.__traceback__)
        lines = ', '.join(str(t.lineno) for t in where if t.filename == __file__)
        print(f'not ok {name}: {type(e).__name__}: {" ".join(str(e).split())[:900]} (line {lines})', flush=True)
        FAILED.append(name)


def expect(what, why):
    if not what:
        raise Wrong(str(why))


# ---- resources ----

def first_answers(up):
    """What is there without any configuration."""
    expect(up.api.get('/v1/version').doc.get('version'), 'no version')
    doc = up.api.get('/v1/openapi.json').doc
    expect(doc.get('openapi', '').startswith('3.1') and '/v1/instances' in doc['paths'], list(doc))
    names = {kind: [o['name'] for o in up.api.get(f'/v1/{kind}').doc['items']]
             for kind in ('projects', 'networks', 'flavors', 'keys', 'hosts')}
    expect(names['projects'] == ['default'] and names['networks'] == ['default'], names)
    expect(set(names['flavors']) >= {'micro', 'small', 'medium', 'large'}, names)
    expect(len(names['keys']) == 1, f'~/.ssh/id_test.pub was not taken: {names}')
    host = up.hosts()[0]
    for key in ('chip', 'cpu_model', 'features', 'page_size', 'kvm', 'cores', 'memory_mib', 'version', 'allocated'):
        expect(host.get(key) is not None, f'the host has no {key}: {host}')
    expect(host['chip'] == CHIP and host['cores'] == os.cpu_count(), host)
    metrics = up.api.get('/metrics').raw.decode()
    expect('# TYPE' in metrics and 'polycloud_' in metrics, metrics[:300])
    reply = up.api.get('/v1/version', headers={'X-Request-Id': 'from-the-test'})
    expect(reply.headers.get('x-request-id') == 'from-the-test', reply.headers)
    expect(b'<html' in up.api.get('/').raw.lower(), 'no console at /')


def images(up):
    upload(up.api, 'spin', 'spin')
    upload(up.api, 'off', 'power-off')
    doc = up.api.get('/v1/images/spin').doc
    expect([p['chip'] for p in doc['platforms']] == [CHIP] and doc['digest'].startswith('sha256:'), doc)
    up.api.put('/v1/images/bad/upload?chip=vax&part=kernel', b'x', 400, 422)
    up.api.put(f'/v1/images/bad/upload?chip={CHIP}&part=spleen', b'x', 400, 422)
    up.api.post('/v1/images', {'name': 'none', 'source': {'upload': True}}, 400, 404, 409, 422)
    up.api.get('/v1/images/none', 404)
    up.api.delete('/v1/images/none', 404)


def create(up):
    key = {'Idempotency-Key': 'the-same'}
    body = {'name': 'one', 'image': 'spin', 'network': None, 'labels': {'tier': 'web'}, 'memory_mib': 64}
    reply = up.api.post('/v1/instances', body, 201, headers=key)
    expect(reply.headers.get('location', '').endswith(reply.doc['id']), reply.headers)
    expect(reply.headers['etag'].strip('"') == str(reply.doc['revision']), reply.headers)
    again = up.api.post('/v1/instances', body, 201, headers=key)
    expect(again.doc['id'] == reply.doc['id'], 'the same Idempotency-Key made another one')
    up.api.post('/v1/instances', {**body, 'name': 'two'}, 409, 422, headers=key)
    up.api.post('/v1/instances', body, 409)
    doc = up.wait('one', 'running')
    expect(doc['chip'] == CHIP and doc['host'] == up.hosts()[0]['name'], doc)
    expect(doc['image_digest'].startswith('sha256:') and doc['observed']['pid'] > 1, doc)
    expect(doc['desired']['state'] == 'running' and doc['memory_mib'] == 64, doc)
    line = open(f'/proc/{doc["observed"]["pid"]}/cmdline', encoding='utf-8').read()
    expect('polyvisor' in line, line)
    up.api.get('/v1/instances/' + doc['id'])


def bad_creates(up):
    for more, word in (({'image': 'none'}, 'image'), ({'name': 'A_b'}, 'name'), ({'cpus': 0}, 'cpus'),
                       ({'chip': 'vax'}, 'chip'), ({'memory_mib': -1}, 'memory_mib'), ({'colour': 1}, 'colour'),
                       ({'network': 'none'}, 'network'), ({'flavor': 'none'}, 'flavor'), ({'keys': ['none']}, 'keys'),
                       ({'disks': [{'volume': 'none'}]}, 'volume'), ({'restart': 'now'}, 'restart'),
                       ({'ports': [{'host_port': 2000, 'guest_port': 0}]}, 'port'), ({'labels': {'a': 1}}, 'labels'),
                       ({'name': '../../etc'}, 'name'), ({'image': '../../etc/passwd'}, 'image')):
        reply = up.api.post('/v1/instances', {'name': 'bad', 'image': 'spin', 'network': None, **more}, 400, 404, 409, 422)
        expect(word in json.dumps(reply.doc), f'{more}: {reply} does not name {word}')
    up.api.post('/v1/instances', {'image': 'spin'}, 400, 422)
    up.api.get('/v1/instances/bad', 404)


def lists(up):
    for i in range(5):
        up.make(f'page-{i}', state='stopped', labels={'n': str(i), 'set': 'pages'})
    names = lambda q: [o['name'] for o in up.api.get(f'/v1/instances?{q}').doc['items']]  # noqa: E731
    expect(names('label=set%3Dpages') == [f'page-{i}' for i in range(5)], names('label=set%3Dpages'))
    expect(names('label=n%3D3') == ['page-3'] and names('name=page-2') == ['page-2'], names('label=n%3D3'))
    until('five are stopped', lambda: len(names('state=stopped&label=set%3Dpages')) == 5)
    expect('one' in names('state=running') and 'page-0' not in names('state=running'), names('state=running'))
    expect('one' in names(f'host={up.hosts()[0]["name"]}') and names('host=none') == [], names('host=none'))
    expect('one' in names(f'chip={CHIP}'), names(f'chip={CHIP}'))
    seen, page = [], ''
    while True:
        doc = up.api.get(f'/v1/instances?limit=2&label=set%3Dpages{page}').doc
        expect(len(doc['items']) <= 2, doc)
        seen += [o['name'] for o in doc['items']]
        if not doc['next']:
            break
        page = f'&page={doc["next"]}'
    expect(seen == [f'page-{i}' for i in range(5)], seen)
    for q in ('limit=0', 'limit=x', 'limit=-1', 'page=nonsense', 'label=', 'limit=99999999999999999999'):
        expect(up.api.ask('GET', f'/v1/instances?{q}').status in (200, 400, 422), q)
    up.gone(*(f'page-{i}' for i in range(5)))


def etags(up):
    first = up.api.get('/v1/instances/one')
    tag = first.headers['etag']
    up.api.patch('/v1/instances/one', {'labels': {'tier': 'db'}}, headers={'If-Match': tag})
    up.api.patch('/v1/instances/one', {'labels': {}}, 412, headers={'If-Match': tag})
    up.api.delete('/v1/instances/one', 412, headers={'If-Match': tag})
    doc = up.instance('one')
    expect(doc['labels'] == {'tier': 'db'} and doc['revision'] > first.doc['revision'], doc)
    reply = up.api.ask('GET', '/v1/instances/one', headers={'If-None-Match': up.api.get('/v1/instances/one').headers['etag']})
    expect(reply.status in (200, 304), reply)


def life(up):
    pid = up.instance('one')['observed']['pid']
    up.act('one', 'pause')
    up.wait('one', 'paused')
    up.act('one', 'resume')
    expect(up.wait('one', 'running')['observed']['pid'] == pid, 'another process after resume')
    up.act('one', 'reboot')
    up.wait('one', 'running')
    up.act('one', 'stop', {'force': True})
    doc = up.wait('one', 'stopped')
    expect(doc['desired']['state'] == 'stopped' and not os.path.exists(f'/proc/{pid}'), doc)
    for action in ('pause', 'resume', 'fly'):
        up.api.post(f'/v1/instances/one/actions/{action}', None, 400, 404, 409, 422)
    up.act('one', 'start')
    expect(up.wait('one', 'running')['observed']['pid'] != pid, 'the same process after stop and start')


def protect(up):
    up.api.patch('/v1/instances/one', {'protected': True})
    up.api.delete('/v1/instances/one', 409)
    expect(up.instance('one')['desired']['state'] == 'running', 'delete of a protected one did something')
    up.api.patch('/v1/instances/one', {'protected': False})


def restarts(up):
    up.make('off', 'off')
    doc = up.wait('off', 'stopped', seconds=20)
    expect(doc['observed']['exit'] == 0, doc['observed'])
    up.gone('off')
    pid = up.wait('one', 'running')['observed']['pid']
    os.kill(pid, signal.SIGKILL)
    until('it runs again', lambda: up.instance('one')['observed'].get('pid') not in (None, pid) and
          up.wait('one', 'running')['observed']['restarts'] >= 1)
    up.make('never', restart='never')
    os.kill(up.wait('never', 'running')['observed']['pid'], signal.SIGKILL)
    doc = up.wait('never', 'crashed', 'failed', 'stopped')
    expect(doc['observed']['reason'], doc['observed'])
    up.gone('never')


def consoles(up):
    path = '/v1/instances/one/console'
    ws = up.api.websocket(path)
    ws.read_until(b'spinning')
    ws.send(b'hello\r')
    ws.send(b'', opcode=9)
    ws.close()
    s, left = up.api.raw(path)
    while b'spinning' not in left:
        data = s.recv(65536)
        expect(data, f'raw console closed after {left!r}')
        left += data
    s.close()
    expect(b'spinning' in up.api.get('/v1/instances/one/log').raw, 'the log lacks the console')
    expect(len(up.api.get('/v1/instances/one/log?tail=4').raw) <= 4, 'tail=4 is longer')
    reply = up.api.ask('GET', path)
    expect(reply.status in (400, 426), f'{path} without Upgrade: {reply}')
    problem(path, reply)
    for _ in range(20):  # clients that leave at once
        up.api.upgrade(path, 'polycloud-stream')[0].close()
    bad = up.api.websocket(path)
    bad.send(b'not masked', mask=False)
    until('a client that does not mask is closed', lambda: bad.frame()[0] in (None, 8))
    bad.close()
    up.wait('one', 'running')


def tunnels(up):
    for path in ('/v1/instances/one/tunnel?port=0', '/v1/instances/one/tunnel?port=65536', '/v1/instances/one/tunnel',
                 '/v1/instances/none/tunnel?port=22', '/v1/instances/one/tunnel?port=x'):
        s, status, _, _ = up.api.upgrade(path, 'polycloud-stream')
        s.close()
        expect(400 <= status < 600, f'{path}: {status}')
    s, status, _, left = up.api.upgrade('/v1/instances/one/tunnel?port=22', 'polycloud-stream')
    if status == 101:  # it has no network: nothing comes
        s.settimeout(10)
        expect(not left and not s.recv(1), 'a port answers without a network')
    s.close()


def events(up):
    listed = up.api.get('/v1/events?follow=0').doc['items']
    seqs = [e['seq'] for e in listed]
    expect(seqs == sorted(set(seqs)) and len(seqs) > 5, seqs)
    expect(any(e['kind'] == 'instance' and e['name'] == 'one' and e['event'] == 'created' for e in listed),
           sorted({(e['kind'], e['event']) for e in listed}))
    middle = seqs[len(seqs) // 2]
    up.api.patch('/v1/instances/one', {'labels': {'tier': 'x'}})
    got = []
    for ident, doc in up.api.events(last=middle, seconds=3):
        expect(int(ident) > middle, f'{ident} came again')
        got.append(int(ident))
        if len(got) > len(seqs) // 2:
            break
    expect(got == sorted(set(got)) and got[:1] == [s for s in seqs if s > middle][:1], got)
    mine = [e['name'] for e in up.api.get('/v1/instances/one/events?follow=0').doc['items']]
    expect(mine and set(mine) == {'one'}, mine)
    followers = [up.api.plain() for _ in range(20)]
    for s in followers:
        s.sendall(b'GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n')
    for s in followers:
        s.close()
    for bad in ('x', '-1', '99999999999999999999999'):
        expect(up.api.ask('GET', '/v1/events?follow=0', headers={'Last-Event-ID': bad}).status in (200, 400), bad)


def volumes(up):
    up.api.post('/v1/volumes', {'name': 'data', 'size_mib': 16}, 201)
    up.api.post('/v1/volumes', {'name': 'data', 'size_mib': 16}, 409)
    up.api.post('/v1/volumes', {'name': 'big', 'size_mib': 0}, 400, 422)
    up.make('withdisk', disks=[{'volume': 'data'}])
    up.wait('withdisk', 'running')
    doc = up.api.get('/v1/volumes/data').doc
    expect(doc['attached_to'] and doc['generation'] >= 1, doc)
    up.api.delete('/v1/volumes/data', 409)
    up.api.post('/v1/instances', {'name': 'thief', 'image': 'spin', 'network': None, 'disks': [{'volume': 'data'}]},
                409, 422)
    up.gone('withdisk')
    until('the volume is free', lambda: not up.api.get('/v1/volumes/data').doc['attached_to'])
    up.api.delete('/v1/volumes/data')
    until('the volume is gone', lambda: up.api.ask('GET', '/v1/volumes/data').status == 404)


def networks(up):
    up.api.post('/v1/networks', {'name': 'lab', 'cidr': '10.77.0.0/24'}, 201)
    up.api.post('/v1/networks', {'name': 'odd', 'cidr': '10.77.0.0/99'}, 400, 422)
    if not shutil.which('passt'):
        up.api.delete('/v1/networks/lab')
        print('skip cloud: instances with a network: passt is missing', flush=True)
        return
    up.make('netted', network='lab')
    doc = up.wait('netted', 'running')
    expect(doc['mac'] and doc['ip'].startswith('10.77.0.'), doc)
    up.api.delete('/v1/networks/lab', 409)
    port = free_port()
    up.api.post('/v1/instances/netted/ports', {'host_port': port, 'guest_port': 80, 'address': '127.0.0.1'})
    up.api.post('/v1/instances/netted/ports', {'host_port': port, 'guest_port': 81, 'address': '127.0.0.1'}, 409)
    expect([p['guest_port'] for p in up.instance('netted')['ports']] == [80], up.instance('netted')['ports'])
    expect([p['mac'] for p in up.api.get('/v1/ports').doc['items']] == [doc['mac']], up.api.get('/v1/ports'))
    up.act('netted', 'stop', {'force': True})
    up.wait('netted', 'stopped')
    up.act('netted', 'start')
    expect(up.wait('netted', 'running')['mac'] == doc['mac'] and up.instance('netted')['ip'] == doc['ip'],
           'another MAC or IP after a restart')
    up.api.delete(f'/v1/instances/netted/ports/{port}')
    up.api.delete(f'/v1/instances/netted/ports/{port}', 404)
    up.gone('netted')
    expect(up.api.get('/v1/ports').doc['items'] == [], 'a port outlived its instance')
    up.api.delete('/v1/networks/lab')
    up.api.get('/v1/networks/lab', 404)


def small_ones(up):
    up.api.post('/v1/keys', {'name': 'k', 'public_key': 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFkHvQu1DJfMJbJCbWEY4sLc2BjYqhI3Z3Dqk2yq0JqQ'}, 201)
    up.api.post('/v1/keys', {'name': 'l', 'public_key': 'no key\nroot::0'}, 400, 422)
    up.api.delete('/v1/keys/k')
    up.api.post('/v1/flavors', {'name': 'tiny', 'cpus': 1, 'memory_mib': 32, 'root_gib': 1}, 201)
    up.make('flavored', flavor='tiny', state='stopped')
    expect(up.instance('flavored')['memory_mib'] == 32, up.instance('flavored'))
    up.gone('flavored')
    up.api.delete('/v1/flavors/tiny')
    up.api.post('/v1/pools', {'name': 'all', 'hosts': [up.hosts()[0]['name']]}, 201)
    up.api.get('/v1/pools/all')
    up.api.delete('/v1/pools/all')
    up.api.post('/v1/projects', {'name': 'spare'}, 201)
    up.api.post('/v1/projects', {'name': 'spare'}, 409)
    up.api.delete('/v1/projects/spare')
    up.api.delete('/v1/projects/default', 409, 403)


def schedule(up):
    doc = up.api.post('/v1/schedule', {'name': 'x', 'image': 'spin', 'network': None}, 200).doc
    expect(doc['host'] == up.hosts()[0]['name'] and doc['candidates'][0]['fits'] is True, doc)
    for more in ({'features': ['no-such-feature']}, {'memory_mib': 1 << 20}, {'image': 'spin', 'cpus': 128}):
        doc = up.api.post('/v1/schedule', {'name': 'x', 'image': 'spin', 'network': None, **more}, 200).doc
        expect(doc['host'] is None and doc['candidates'][0]['reasons'], doc)
    up.api.get('/v1/instances/x', 404)
    up.make('unfit', features=['no-such-feature'])
    doc = until('it waits with a reason', lambda: (d := up.instance('unfit'))['observed'].get('reason') and d)
    expect(doc['observed']['state'] == 'pending' and 'no-such-feature' in doc['observed']['reason'], doc['observed'])
    up.gone('unfit')
    name = up.hosts()[0]['name']
    up.api.post(f'/v1/hosts/{name}/actions/cordon')
    doc = up.api.post('/v1/schedule', {'name': 'x', 'image': 'spin', 'network': None}, 200).doc
    expect(doc['host'] is None and 'cordon' in json.dumps(doc['candidates']), doc)
    up.api.post(f'/v1/hosts/{name}/actions/uncordon')
    up.api.post(f'/v1/hosts/{name}/actions/fence', {}, 400, 409, 422)


def diagnose(up):
    doc = up.api.get('/v1/instances/one/diagnose').doc
    expect(doc['hops'] and doc['first_unhealthy'] is None, doc)
    pid = up.instance('one')['observed']['pid']
    os.kill(pid, signal.SIGSTOP)
    try:
        doc = until('diagnose sees a VMM that does not answer', lambda: (
            d := up.api.get('/v1/instances/one/diagnose').doc)['first_unhealthy'] and d)
        expect(doc['first_unhealthy'] == 'vmm', doc)
    finally:
        os.kill(pid, signal.SIGCONT)
    until('healthy again', lambda: up.api.get('/v1/instances/one/diagnose').doc['first_unhealthy'] is None)


def backup(up):
    path = f'{up.folder}/backup.db'
    up.api.post('/v1/backup', {'path': path}, 200, 201, 202, 204)
    until('the backup is there', lambda: os.path.getsize(path) > 0)
    expect(open(path, 'rb').read(15) == b'SQLite format 3', 'not a database')
    up.api.post('/v1/backup', {'path': 'relative'}, 400, 422)
    audit = json.dumps(up.api.get('/v1/audit').doc)
    expect('/v1/backup' in audit or 'backup' in audit, audit[-400:])


def shows(process, word, seconds=15):
    """What a process writes has the word; then it is ended."""
    seen, end = b'', time.monotonic() + seconds
    while word not in seen and select.select([process.stdout], [], [], max(0, end - time.monotonic()))[0]:
        data = os.read(process.stdout.fileno(), 4096)
        if not data:
            break
        seen += data
    process.terminate()
    process.wait(10)
    process.stdout.close()
    expect(word in seen, f'{process.args} showed {seen[-300:]!r}')


def polyctl(up):
    try:
        by_hand(up)
    finally:
        up.gone('cli')


def by_hand(up):
    ctl = up.ctl
    kernel = guest('spin')
    ctl('image', 'upload', 'byctl', '--guest', 'bare-metal', '--chip', CHIP, '--kernel', kernel)
    expect('byctl' in ctl('image', 'list'), ctl('image', 'list'))
    ident = ctl('instance', 'create', 'cli', '--image', 'byctl', '--network', 'none', '--memory', '64M', '--label', 'by=ctl',
                '--wait').strip()
    expect(json.loads(ctl('instance', 'get', 'cli', '--json'))['id'] == ident, ident)
    expect('running' in ctl('instance', 'list', '--label', 'by=ctl'), ctl('instance', 'list'))
    expect(ctl('instance', 'list', '--ids', '--label', 'by=ctl') == 'cli\n', ctl('instance', 'list', '--ids'))
    until('the log has its word', lambda: 'spinning' in ctl('instance', 'log', 'cli'))
    p = subprocess.Popen([POLYCTL, 'console', 'cli', '--socket', up.socket], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    shows(p, b'spinning')
    for verb, state in (('pause', 'paused'), ('resume', 'running'), ('stop', 'stopped'), ('start', 'running')):
        ctl('instance', verb, 'cli', '--wait', *(['--force'] if verb == 'stop' else []))
        expect(up.instance('cli')['observed']['state'] == state, f'{verb}: {up.instance("cli")["observed"]}')
    expect('HOP' in ctl('diagnose', 'cli') and '!' not in ctl('diagnose', 'cli'), ctl('diagnose', 'cli'))
    expect('would run on' in ctl('schedule', '--image', 'spin', '--network', 'none'), ctl('schedule', '--image', 'spin'))
    expect('no host fits' in ctl('schedule', '--image', 'spin', '--feature', 'none-such'), 'fits')
    expect('created' in ctl('events') and 'created' in ctl('instance', 'events', 'cli'), ctl('events'))
    for noun in ('volume', 'network', 'key', 'host', 'flavor', 'project', 'token', 'operation', 'pool', 'port', 'image'):
        json.loads(ctl(noun, 'list', '--json'))
        ctl(noun, 'list')
    expect('none-such' in ctl('instance', 'get', 'none-such', status=1), 'no name')
    ctl('volume', 'create', 'vol', '--size', '16M')
    ctl('volume', 'delete', 'vol')
    ctl('instance', 'delete', 'cli', '--wait')
    ctl('image', 'delete', 'byctl')
    token = f'{up.folder}/admin-token'
    ctl('token', 'create', 'cli-admin', '--role', 'admin', '--file', token)
    expect(os.stat(token).st_mode & 0o777 == 0o600, 'the token file can be read by others')
    ctl('context', 'add', 'tls', f'https://127.0.0.1:{up.port}', '--token-file', token)
    env = {k: v for k, v in os.environ.items() if k != 'POLYCLOUD_SOCKET'}
    env['XDG_CONFIG_HOME'] = f'{up.folder}/config'
    far = lambda *w: subprocess.run([POLYCTL, *w, '--context', 'tls'], env=env, capture_output=True, text=True,  # noqa: E731
                                    timeout=30, stdin=subprocess.DEVNULL)
    p = far('instance', 'list')
    expect(p.returncode == 0 and 'one' in p.stdout, f'over TLS: {p.stderr}')
    p = subprocess.Popen([POLYCTL, 'console', 'one', '--context', 'tls'], env=env, stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE)
    shows(p, b'spinning')
    ctl('context', 'add', 'tls', f'https://127.0.0.1:{up.port}', '--token-file', token, '--fingerprint', 'ab' * 32)
    p = far('instance', 'list')
    expect(p.returncode == 1 and 'fingerprint' in p.stderr, f'another certificate was taken: {p}')
    ctl('token', 'delete', 'cli-admin')


# ---- kills ----

def kills(up):
    """SIGKILL of `polycloud up`: what runs runs on, is found again and is not doubled."""
    pid = up.wait('one', 'running')['observed']['pid']
    up.make('later', state='stopped')
    os.kill(up.control.pid, signal.SIGKILL)
    up.control.wait()
    time.sleep(0.3)
    expect(os.path.exists(f'/proc/{pid}'), 'the VMM ended with polycloud')
    up.start()
    expect(up.wait('one', 'running')['observed']['pid'] == pid, 'it was started a second time')
    vmms = {pid: line for pid, line in up.processes().items() if '/polyvisor ' in line}  # each has a child that supervises
    expect(len(set(vmms.values())) == 1 and len(vmms) <= 2, vmms)
    up.act('later', 'start')
    up.wait('later', 'running')
    up.gone('later')
    up.api.websocket('/v1/instances/one/console').close()


def ends(up):
    """What is not asked for any more leaves nothing behind."""
    up.gone('one')
    until('no process is left', lambda: not up.processes())
    left = up.inventory()
    expect(not [f for f in left['files'] if '/instances/' in f], left)
    expect(not left['cgroups'] and not left['taps'], left)
    up.control.terminate()
    expect(up.control.wait(15) == 0, f'polycloud up ended with {up.control.returncode}: {up.tail("control")}')
    expect(not os.path.exists(up.socket), 'its socket is left')


# ---- a node over TLS ----

def second_node(cloud):
    api = Client(cloud.socket)
    token = f'{cloud.folder}/token'
    made = api.post('/v1/tokens', {'name': 'n2', 'role': 'node', 'host': 'second'}, 201).doc
    at = ('127.0.0.1', cloud.port)
    connect = '/v1/nodes/connect?name={}&chip=' + CHIP + '&version={}'
    version = api.get('/v1/version').doc['version']

    def refused(name, secret, v):
        s, status, _, left = Client(at, secret, made['fingerprint']).upgrade(
            connect.format(name, v), 'polycloud-node/1', f'X-Polycloud-Identity: {"ab" * 32}\r\n')
        s.close()
        expect(400 <= status < 500, f'{name} {v}: {status} {left[:200]!r}')
    refused('second', 'pv_wrong', version)
    refused('second', None, version)
    refused('other', made['token'], version)  # the token is for one name
    refused('second', made['token'], '0.0.1')
    expect([h['name'] for h in api.get('/v1/hosts').doc['items']] == ['here'], api.get('/v1/hosts'))
    text = open(token, encoding='utf-8').read()
    other = cloud.spawn('double', 'node', '--name', 'here', '--control', f'https://127.0.0.1:{cloud.port}',
                        '--token-file', token, '--data', f'{cloud.folder}/double')
    time.sleep(2)
    expect(cloud.online() and len(api.get('/v1/hosts').doc['items']) == 1, 'two nodes of one name')
    other.terminate()
    other.wait(15)
    expect(cloud.online(), 'the double took the first one away')
    file2 = f'{cloud.folder}/token2'
    with open(file2, 'w', encoding='utf-8') as f:
        json.dump({**json.loads(text), 'token': made['token']}, f)
    node = cloud.spawn('second', 'node', '--name', 'second', '--control', f'https://127.0.0.1:{cloud.port}',
                       '--token-file', file2, '--data', f'{cloud.folder}/second')
    try:
        until('the second is online', lambda: api.get('/v1/hosts/second').doc['state'] == 'online')
        placed(cloud, api)
    finally:
        node.terminate()
        node.wait(15)
    until('the second is offline', lambda: api.get('/v1/hosts/second').doc['state'] == 'offline')
    api.delete('/v1/hosts/second')


def placed(cloud, api):
    """On a host that is asked for, and moved by drain."""
    api.post('/v1/instances', {'name': 'there', 'image': 'spin', 'network': None, 'host': 'second'}, 201)
    api.post('/v1/instances', {'name': 'free', 'image': 'spin', 'network': None}, 201)
    at = lambda n: api.get(f'/v1/instances/{n}').doc  # noqa: E731
    for name in ('there', 'free'):
        until(f'{name} runs', lambda n=name: at(n)['observed']['state'] == 'running')
    expect(at('there')['host'] == 'second', at('there'))
    source = at('free')['host']
    api.post('/v1/instances/free/actions/move')
    try:
        until('it has moved', lambda: at('free')['host'] not in (source, None) and at('free')['observed']['state'] == 'running', 50)  # spin does not hear the button
    except Wrong as e:
        raise Wrong(f'{e}: {at("free")["host"]} {at("free")["observed"]} {api.get("/v1/operations").doc["items"][-1]}') from None
    for name in ('there', 'free'):
        api.delete(f'/v1/instances/{name}')
    until('both are gone', lambda: not api.get('/v1/instances').doc['items'])


def node_kills(cloud):
    """SIGKILL of control, then of the node: the guest runs on, and both find it again."""
    cloud.kept = None  # the server has long closed it
    cloud.call('POST', '/v1/instances', {'name': 'stays', 'image': 'spin', 'network': None})
    get = lambda: cloud.call('GET', '/v1/instances/stays')  # noqa: E731
    cloud.until('it runs', lambda: get()['observed']['state'] == 'running')
    pid = get()['observed']['pid']
    for part in ('control', 'node'):
        process = getattr(cloud, part)
        process.kill()
        process.wait()
        time.sleep(0.3)
        expect(os.path.exists(f'/proc/{pid}'), f'the VMM ended with {part}')
        getattr(cloud, f'start_{part}')()
        cloud.until('the node is back', cloud.online)
        cloud.until('it is seen again', lambda: get()['observed']['state'] == 'running')
        expect(get()['observed']['pid'] == pid, f'after {part} it was started a second time')
    cloud.call('DELETE', '/v1/instances/stays')
    cloud.until('nothing is left', lambda: not cloud.every('instances') and not cloud.processes())


def everything(up):
    for f in (first_answers, images, create, bad_creates, lists, etags, life, protect, restarts, consoles, tunnels, events,
              volumes, networks, small_ones, schedule, diagnose, backup, polyctl):
        check('cloud: ' + f.__name__.replace('_', ' '), f, up)
    check('cloud: a project never sees another\'s', cloud_isolation.run, up)
    check('cloud: bodies, fields and paths that are wrong', cloud_fuzz.run, up)
    check('cloud: HTTP that is wrong', cloud_fuzz.wire, up)
    for f in (kills, ends):
        check('cloud: ' + f.__name__.replace('_', ' '), f, up)


def main():
    if not HAVE_KVM:
        print('skip cloud: /dev/kvm gives no virtual machine here')
        return 0
    up = Up()
    try:
        up.start()
        everything(up)
    except Wrong as e:
        check('cloud: starts', lambda: expect(False, f'{e}: {up.tail("control")}'))
    finally:
        up.close()
    cloud = Cloud(POLYCLOUD, PROGRAMS)
    try:
        cloud.start()
        upload(Client(cloud.socket), 'spin', 'spin')
        check('cloud: a second node', second_node, cloud)
        check('cloud: SIGKILL of control and node', node_kills, cloud)
    except (Wrong, RuntimeError, OSError) as e:
        check('cloud: a node over TLS', lambda: expect(False, e))
    finally:
        cloud.close()
    return 1 if FAILED else 0


if __name__ == '__main__':
    sys.exit(main())
