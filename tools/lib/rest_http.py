# SPDX-License-Identifier: Apache-2.0
"""Checks of the HTTP side of a running VMM: each takes a rest.Vmm, and raises rest.Wrong."""
import os
import socket
import time

import rest_schema
from rest import Closed, V1, Wrong, expect


def methods(vmm):
    """Every endpoint × every method that it has not, and paths that are none."""
    for path, item in vmm.openapi()['paths'].items():
        path = path.replace('{id}', 'x')
        for method in ('GET', 'PUT', 'POST', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE'):
            if method.lower() in item:
                continue
            reply = vmm.call(method, path)
            expect(f'{method} {path}', reply, 405)
            if not set(reply[1].get('allow', '').lower().replace(',', ' ').split()) & set(item):
                raise Wrong(f'{method} {path}: Allow is {reply[1].get("allow")!r}')
    for path in ('/', '/api', '/api/v1', '/api/v1/', '/api/v1/vm', '/api/v2/vm.info', '/api/v1/vm.infos',
                 '/api/v1/vm.inf', '//api/v1/vm.info', '/api/v1/../v1/vm.info', '/api/v1/vm%2einfo',
                 '/api/v1/vm.devices/', '/api/v1/vm.devices/none', '/API/V1/VM.INFO', '/%00',
                 '/api/v1/vm.devices/' + 'x' * 900, '/api/v1/vm.devices/%ff', '*', '/é'):
        expect(f'GET {path[:60]}', vmm.call('GET', path), 400, 404)


def framing(vmm):
    """Requests that are not HTTP, or that contradict themselves: an error reply or a closed connection."""
    ping = f'GET {V1}vmm.ping HTTP/1.1\r\nHost: x\r\n'.encode()
    put = f'PUT {V1}vm.resize HTTP/1.1\r\nHost: x\r\n'.encode()
    wrong = [b'\r\n\r\n\r\n', b'\0' * 100 + b'\r\n\r\n', b'GET\r\n\r\n', b'GET / HTTP/9.9\r\n\r\n',
             b'\xff\xfe\xfd / HTTP/1.1\r\n\r\n', b'\x16\x03\x01\x02\x00\x01' * 20 + b'\r\n\r\n',
             b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', b'GET / HTTP/1.1\n\n\n',
             put + b'Content-Length: -1\r\n\r\n', put + b'Content-Length: 99999999999999999999\r\n\r\n',
             put + b'Content-Length: 1x\r\n\r\n', put + b'Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef',
             put + b'Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n',
             put + b'Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n',
             put + b'Transfer-Encoding: chunked\r\n\r\nzz\r\n',
             ping + b'X' * 70000 + b': y\r\n\r\n', ping + b'X: ' + b'y' * 70000 + b'\r\n\r\n',
             ping + b'X: y\r\n' * 20000 + b'\r\n', b'GET /' + b'x' * 70000 + b' HTTP/1.1\r\n\r\n',
             b'G' * 70000, ping + b'No colon here\r\n\r\n', ping + b': empty\r\n\r\n']
    for data in wrong:
        with vmm.client() as c:
            try:
                c.send(data)
                c.sock.shutdown(socket.SHUT_WR)
                while True:
                    expect(f'{data[:50]!r}', c.reply(), 200, 204, 400, 404, 405, 408, 409, 413, 414, 431, 501, 505)
            except (Closed, BrokenPipeError, ConnectionResetError):
                pass
    # Several requests in one send are answered in their order; one in a thousand pieces is answered.
    with vmm.client() as c:
        c.send((ping + b'\r\n') * 50)
        for _ in range(50):
            expect('pipelined', c.reply(), 200)
    with vmm.client() as c:
        for byte in ping + b'\r\n':
            c.send(bytes([byte]))
        expect('byte by byte', c.reply(), 200)
    with vmm.client() as c:
        expect('keep-alive, HEAD', c.call('GET', V1 + 'vmm.ping', extra='X: 1\r\n'), 200)
        expect('with a query', c.call('GET', V1 + 'vmm.ping?x=1'), 200)


def bodies(vmm):
    """Bodies that are no JSON, or not an object, to every endpoint that takes one."""
    deep = 200000
    wrong = [b'', b'{', b'}', b'[]', b'null', b'1', b'"x"', b'true', b'{}x', b'{"a":}', b"{'a':1}", b'nul',
             b'{"a":NaN}', b'{"a":1e999}', b'{"a":01}', b'\xff\xfe{}', b'{"kernel":"\xc3\x28"}', b'\0', b'{}\0',
             b'{"path":"\xed\xa0\x80"}', b'{"path":"a\\u0000b"}', b'{"path":"\\ud800"}', b'[' * deep, b'{"a":' * deep,
             b'[' * deep + b']' * deep, b'{"a":' * deep + b'1' + b'}' * deep, b' ' * 100000,
             b'{"x":"' + b'y' * (5 << 20) + b'"}', b'{"' + b'k' * 100000 + b'":1}']
    for path, schema in rest_schema.with_body(vmm.openapi()):
        if 'vm.add-' in path or 'vm.create' in path or schema.get('required'):
            for data in wrong:
                expect(f'{path} {data[:20]!r}… of {len(data)}', vmm.call('PUT', path, data),
                       400, 404, 409, 413, 501)


def descriptors(vmm):
    """Descriptors that nobody asked for, with whole and half requests."""
    with open('/dev/null', 'rb') as null:
        for n in (1, 4, 16, 17, 64, 253):
            with vmm.client() as c:
                try:
                    expect(f'{n} descriptors', c.call('GET', V1 + 'vmm.ping', fds=[null.fileno()] * n), 200, 400)
                except Closed:
                    if n <= 16:
                        raise
            with vmm.client() as c:
                c.send(b'GET ', fds=[null.fileno()] * n)
            with vmm.client() as c:
                try:
                    for byte in b'GET /api/v1/vmm.ping HTTP/1.1\r\n\r\n':
                        c.send(bytes([byte]), fds=[null.fileno()] * n)
                    expect('with each byte', c.reply(), 200, 400)
                except (Closed, OSError):
                    pass
        with vmm.client() as c:
            for _ in range(30):
                expect('kept alive', c.call('GET', V1 + 'vmm.ping', fds=[null.fileno()]), 200, 400)


def slow(vmm):
    """Half requests: from one that stays, from one that leaves, and from many; others are answered at once."""
    half = f'PUT {V1}vm.create HTTP/1.1\r\nContent-Length: 100\r\n\r\n{{"a"'.encode()
    clients = [vmm.client(30) for _ in range(200)]
    for i, c in enumerate(clients):
        c.send(half[:1 + i % len(half)])
    start = time.time()
    for _ in range(20):
        expect('ping beside', vmm.call('GET', 'vmm.ping'), 200)
    if time.time() - start > 5:
        raise Wrong('others wait for a slow client')
    for c in clients[1:100]:
        c.close()
    try:
        expect('half a request', clients[150].reply(), 408)
    except Closed:
        pass
    for c in clients:
        c.close()
    # Asks for much, reads nothing.
    c = vmm.client()
    c.sock.setblocking(False)
    try:
        for _ in range(5000):
            c.sock.send(b'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n' * 10)
    except BlockingIOError:
        pass
    except (BrokenPipeError, ConnectionResetError):
        pass
    expect('ping beside one that does not read', vmm.call('GET', 'vmm.ping'), 200)
    c.close()


def full_house(vmm):
    """As many clients as are ever served at once, each with an answer."""
    clients = []
    try:
        for _ in range(2048):
            clients.append(vmm.client())
            try:
                clients[-1].call('GET', V1 + 'vmm.ping')
            except Closed:
                break
    finally:
        for c in clients:
            c.close()


def crowd(vmm):
    """A thousand clients that each get an answer, then more than are allowed."""
    clients = [vmm.client() for _ in range(1000)]
    for c in clients:
        expect('one of a thousand', c.call('GET', V1 + 'vmm.ping'), 200)
    for c in clients:
        c.send(f'GET {V1}vm.info HTTP/1.1\r\nHost: x\r\n\r\n'.encode())
    for c in clients:
        expect('all at once', c.reply(), 200)
    used = vmm.ticks()
    guest = vmm.ticks('vcpu')
    time.sleep(1)
    idle = (vmm.ticks() - used) - (vmm.ticks('vcpu') - guest)
    if idle > os.sysconf('SC_CLK_TCK') / 10:
        raise Wrong(f'a thousand idle clients cost {idle} ticks a second')
    refused = 0
    try:
        while len(clients) < 2200:
            c = vmm.client()
            clients.append(c)
            try:
                refused += c.call('GET', V1 + 'vmm.ping')[0] == 503
            except Closed:
                refused += 1
    finally:
        for c in clients:
            c.close()
    if not refused:
        raise Wrong('2200 clients and none refused')
