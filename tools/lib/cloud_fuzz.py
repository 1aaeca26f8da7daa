# SPDX-License-Identifier: Apache-2.0
"""Bad input to every endpoint of polycloud's OpenAPI document: each field once wrong in each way, random bodies in and
out of the schemas, names that are paths, HTTP that is none. Seeded and bounded. Each answer is one that its method
may give, refusals are problem documents, and afterwards the process has what it had before."""
import json
import os
import random
import re
import socket
import time

import rest_schema
from cloud_api import Wrong, problem, until

SECONDS = 12
FINE = (200, 201, 202, 204)
REFUSED = (400, 401, 403, 404, 405, 409, 412, 413, 415, 422, 426, 428, 429, 431, 501, 503)
NAMES = ['..', '.', '%2e%2e', '..%2f..%2fetc%2fpasswd', '%00', 'x' * 300, '%ff', '%', 'a%0ab', "'--", '{id}', '%F0%9F%90%A7',
         'i-00000000000000000000000000']
# They end or change what later checks need.
UNTOUCHED = ('/v1/backup', '/v1/nodes/connect')


def expect(what, why):
    if not what:
        raise Wrong(str(why))


def operations(doc):
    for path, item in sorted(doc['paths'].items()):
        for method, row in item.items():
            if method in ('get', 'post', 'put', 'patch', 'delete') and path.startswith('/v1/'):
                yield method.upper(), path, row


def schema_of(doc, row):
    content = row.get('requestBody', {}).get('content', {}).get('application/json', {})
    return rest_schema.resolve(doc, content.get('schema', {}))


def filled(path, word='none-such'):
    return re.sub(r'\{[^}]*\}', lambda _: word, path)


def ask(up, method, path, body=None, headers=None):
    """An answer that is allowed, or Wrong."""
    what = f'{method} {path[:200]} {(body if isinstance(body, bytes) else json.dumps(body).encode())[:300]!r}'
    try:
        reply = up.api.ask(method, path, body, headers)
    except OSError as e:
        raise Wrong(f'{what}: {e}; {up.tail("control")}') from None
    if reply.status not in FINE and reply.status not in REFUSED:
        raise Wrong(f'{what}: {reply}')
    if reply.status >= 400:
        problem(what, reply)
    return reply


def state(up):
    pid = up.control.pid
    return len(os.listdir(f'/proc/{pid}/fd')), len(os.listdir(f'/proc/{pid}/task'))


def everything(up):
    return {kind: sorted(o['id'] for o in up.api.get(f'/v1/{kind}?limit=500').doc['items'])
            for kind in ('instances', 'images', 'volumes', 'networks', 'ports', 'keys', 'projects', 'flavors', 'pools', 'tokens')}


def fields(up, doc):
    """Each field of each body wrong in each way: refused with the field's name, and nothing is made."""
    bases = {'/v1/instances': {'name': 'f', 'image': 'spin', 'network': None}, '/v1/volumes': {'name': 'f', 'size_mib': 1},
             '/v1/keys': {'name': 'f', 'public_key': 'ssh-ed25519 AAAA'}, '/v1/projects': {'name': 'f'},
             '/v1/networks': {'name': 'f'}, '/v1/flavors': {'name': 'f', 'cpus': 1, 'memory_mib': 64, 'root_gib': 1},
             '/v1/tokens': {'name': 'f', 'role': 'admin'}, '/v1/schedule': {'name': 'f', 'image': 'spin'}}
    count = 0
    for method, path, row in operations(doc):
        schema = schema_of(doc, row)
        if schema.get('type') != 'object' or path not in bases or method != 'POST':
            continue
        for where, how, body in rest_schema.wrong_ones(doc, schema, bases[path]):
            reply = ask(up, method, path, body)
            name = where.split('.')[-1]
            expect(reply.status >= 400, f'{path}: {where} {how} was taken: {json.dumps(body)[:300]}')
            expect(how == rest_schema.TOO_BIG or name in reply.raw.decode(errors='replace'),
                   f'{path}: {where} {how}: {reply} does not name it')
            count += 1
        reply = ask(up, method, path, {**bases[path], 'no-such-field': 1})
        expect(reply.status in (400, 422) and 'no-such-field' in reply.raw.decode(), f'{path}: an unknown field: {reply}')
    expect(count > 60, f'the document has only {count} fields to get wrong')


def paths(up, doc):
    """Names that are none, at every place that takes one; methods that are not there."""
    for method, path, _ in operations(doc):
        if path in UNTOUCHED:
            continue
        if '{' in path:
            for name in NAMES:
                reply = ask(up, method, filled(path, name), {} if method in ('POST', 'PUT', 'PATCH') else None)
                expect(reply.status >= 400, f'{method} {filled(path, name)}: {reply}')
    for path in ('/v1', '/v1/', '/v1/none', '/v2/instances', '//', '/v1/instances/', '/v1/instances//console', '/v1/../etc/passwd',
                 '/../../../../etc/passwd', '/%2e%2e/%2e%2e/etc/passwd', '/v1/instances/one/fly', '/v1/images/%2e%2e%2fx/upload?chip=x86_64&part=root'):
        for method in ('GET', 'PUT', 'POST', 'DELETE', 'PATCH'):
            reply = ask(up, method, path) if path != '//' else up.api.ask(method, path)
            expect(b'root:' not in reply.raw and reply.status != 200 or path in ('//', '/v1/instances/'), f'{method} {path}: {reply}')
    for method in ('BREW', 'TRACE', 'CONNECT', 'OPTIONS'):
        expect(up.api.ask(method, '/v1/instances').status in (200, 204, 400, 404, 405, 501), method)


def bodies(up, doc):
    """Random ones for as long as SECONDS says; what gets made is deleted."""
    make = rest_schema.Maker(doc, 7, likely={'image': ['spin'], 'name': ['r1', 'r2', 'r3'], 'chip': ['any'], 'size_mib': [1, 2],
                                             'state': ['stopped'], 'cpus': [1], 'memory_mib': [64]},
                             only={'oci': [f'{up.folder}/none'], 'dir': [f'{up.folder}/none'], 'path': [f'{up.folder}/none/x'],
                                   'root_gib': [1], 'size_gib': [1], 'role': ['project'], 'network': [None], 'disks': [[]],
                                   'confirm': [False]})
    dice = random.Random(7)
    rows = [(m, p, schema_of(doc, r)) for m, p, r in operations(doc)
            if m in ('POST', 'PATCH', 'PUT') and p not in UNTOUCHED and not p.endswith('/upload')]
    end, count, taken = time.monotonic() + SECONDS, 0, 0
    while time.monotonic() < end:
        method, path, schema = dice.choice(rows)
        try:
            body = make.value(schema) if schema.get('type') == 'object' else {}
        except StopIteration:  # a pattern that the maker has no word for
            continue
        if dice.random() < 0.4:
            body = make.spoil(body)
        data = json.dumps(body).encode('utf-8', 'surrogatepass')
        if dice.random() < 0.1:
            data = data[:dice.randrange(len(data) + 1)]
        reply = ask(up, method, filled(path, dice.choice(['r1', 'r2', 'none-such'])), data)
        count += 1
        taken += reply.status in FINE
    expect(count > 100, f'only {count} bodies in {SECONDS} s')


def clean(up, before):
    """What the random bodies made, taken away again."""
    for kind in ('instances', 'volumes', 'ports', 'networks', 'images', 'keys', 'tokens', 'pools', 'flavors', 'projects'):
        within = kind in ('instances', 'volumes', 'ports', 'networks', 'images', 'keys')
        for project in [p['name'] for p in up.api.get('/v1/projects?limit=500').doc['items']] if within else ['default']:
            for o in up.api.get(f'/v1/{kind}?limit=500&project={project}').doc['items']:
                if o['id'] in before[kind] or o.get('name') in ('default', 'one', 'spin', 'off'):
                    continue
                if o.get('protected'):
                    up.api.patch(f'/v1/{kind}/{o["id"]}?project={project}', {'protected': False})
                up.api.delete(f'/v1/{kind}/{o["id"]}?project={project}', 200, 202, 204, 404)
        if kind in ('instances', 'volumes'):
            until(f'{kind} are gone', lambda k=kind: everything(up)[k] == before[k])
    after = everything(up)
    expect(after == before, f'left behind: { {k: sorted(set(v) - set(before[k])) for k, v in after.items() if v != before[k]} }')


def run(up):
    doc = up.api.get('/v1/openapi.json').doc
    before, had = everything(up), state(up)
    fields(up, doc)
    paths(up, doc)
    expect(everything(up) == before, 'wrong fields or paths have made something')
    bodies(up, doc)
    clean(up, before)
    until(f'(descriptors, threads) are {had} again, and not {state(up)}', lambda: state(up)[0] <= had[0] + 2, 15)
    up.wait('one', 'running')


# ---- HTTP that is wrong ----

def send(up, data, wait=5):
    """What comes back for bytes, until the end or silence."""
    s = up.api.plain()
    s.settimeout(wait)
    got = b''
    try:
        s.sendall(data)
        while len(got) < 65536:
            more = s.recv(65536)
            if not more:
                break
            got += more
            if b'\r\n\r\n' in got and wait < 1:
                break
    except (BrokenPipeError, ConnectionResetError, socket.timeout):
        pass
    s.close()
    return got


def wire(up):
    had = state(up)
    head = b'POST /v1/instances HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n'
    for body in (b'{', b'[]', b'"x"', b'null', b'1', b'', b'\xff\xfe', b'{"name":"a","name":"b","image":"spin"}', b'[' * 100000,
                 b'{"a":' * 20000, b'{"name":"a\\u0000b"}', b'\x00' * 100):
        got = send(up, head + b'Content-Length: %d\r\n\r\n' % len(body) + body)
        expect(got.split(b' ')[1:2] in ([b'400'], [b'413'], [b'422']), f'{body[:30]!r}: {got[:200]!r}')
    got = send(up, head + b'Content-Length: %d\r\n\r\n' % (64 << 20) + b'x' * (2 << 20))
    expect(got == b'' or got.split(b' ')[1] in (b'413', b'400'), f'64 MiB: {got[:200]!r}')
    for data in (b'\r\n\r\n', b'GET\r\n\r\n', b'GET / HTTP/9.9\r\n\r\n', b'\x16\x03\x01\x02\x00\x01' + bytes(500), b'GET /v1/version HTTP/1.1\r\n'
                 + b'A: ' + b'b' * 100000 + b'\r\n\r\n', b'GET ' + b'/' * 100000 + b' HTTP/1.1\r\nHost: x\r\n\r\n',
                 head + b'Content-Length: -1\r\n\r\n', head + b'Transfer-Encoding: chunked\r\n\r\nzz\r\n',
                 head + b'Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}', b'GET /v1/events HTTP/1.1\r\nHost: x\r\n' * 3):
        send(up, data, wait=0.5)
    for _ in range(50):  # who asks and leaves
        s = up.api.plain()
        s.sendall(b'GET /v1/instances HTTP/1.1\r\nHost: x\r\n\r\n')
        s.close()
    idle = [up.api.plain() for _ in range(100)]  # who says nothing, and half of a request
    for s in idle[:50]:
        s.sendall(b'GET /v1/vers')
    expect(up.api.get('/v1/version'), 'no answer beside idle clients')
    for s in idle:
        s.close()
    until(f'(descriptors, threads) are {had} again, and not {state(up)}', lambda: state(up)[0] <= had[0] + 2, 15)
