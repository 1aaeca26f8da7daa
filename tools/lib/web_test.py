#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The web console in a real headless Chromium, driven through WebDriver (W3C), against a real `polycloud up`.

usage: tools/lib/web_test.py [URL_WITH_TOKEN] [--shots DIR]     (URL: https://127.0.0.1:PORT/#token=...)

Without a URL it makes a cloud of its own. Ends with `N passed, N failed, N skipped`. Needs Debian's chromium and chromium-driver. The instance that the
test makes is called web-test; an image must be there, named by --image.
"""
import argparse
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from cloud_rig import Cloud, guest

ELEMENT = 'element-6066-11e4-a52e-4f735466cecf'


class Browser:
    """One headless Chromium. Waiting is by condition, with a generous end; nothing is timed."""

    def __init__(self, size):
        self.folder = tempfile.mkdtemp(prefix='polyvisor-web-')
        self.driver = subprocess.Popen(['chromedriver', '--port=0'], stdout=subprocess.PIPE, text=True,
                                       stderr=subprocess.DEVNULL, env=dict(os.environ, HOME=self.folder))
        self.port = None
        for line in self.driver.stdout:
            if 'started successfully on port' in line:
                self.port = int(line.split('port')[1].strip(' .\n'))
                break
        args = ['--headless=new', '--disable-gpu', '--no-sandbox', '--disable-dev-shm-usage', f'--window-size={size}',
                f'--user-data-dir={self.folder}/profile', '--lang=en']
        caps = {'capabilities': {'alwaysMatch': {'browserName': 'chrome', 'acceptInsecureCerts': True,
                                                 'goog:chromeOptions': {'args': args}, 'goog:loggingPrefs': {'browser': 'ALL'}}}}
        self.session = ''
        self.session = '/session/' + self.ask('POST', '/session', caps)['sessionId']

    def ask(self, method, path, body=None):
        data = None if method == 'GET' else json.dumps(body or {}).encode()
        request = urllib.request.Request(f'http://127.0.0.1:{self.port}{self.session}{path}', data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)['value']
        except urllib.error.HTTPError as e:
            raise RuntimeError(json.load(e)['value']['message'].splitlines()[0]) from e

    def go(self, url):
        self.ask('POST', '/url', {'url': url})

    def run(self, script, *args):
        return self.ask('POST', '/execute/sync', {'script': script, 'args': list(args)})

    def until(self, what, script, *args, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = self.run(script, *args)
            if value:
                return value
            time.sleep(0.2)
        raise RuntimeError(f'{what} did not come; the page says: {self.text()[-400:]!r}')

    def text(self):
        return self.run('return document.body.innerText')

    def says(self, text, seconds=60):
        self.until(repr(text), 'return document.body.innerText.includes(arguments[0])', text, seconds=seconds)

    def click(self, text):
        """Clicks the button or link that is called so."""
        e = self.until(f'button {text!r}', 'return [...document.querySelectorAll("button, a")].find(e => '
                       'e.innerText.trim() === arguments[0] && !e.disabled && e.offsetParent)', text)
        self.ask('POST', f'/element/{e[ELEMENT]}/click')

    def tab(self, name):
        self.until(f'tab {name}', 'const e = document.querySelector(`[role=tab][data-tab=${arguments[0]}]`); if (e) e.click(); return e', name)

    def type(self, selector, text):
        e = self.until(selector, 'return document.querySelector(arguments[0])', selector)
        self.ask('POST', f'/element/{e[ELEMENT]}/value', {'text': text})

    def keys(self, text):
        """Types where the focus is."""
        strokes = [{'type': t, 'value': c} for c in text for t in ('keyDown', 'keyUp')]
        self.ask('POST', '/actions', {'actions': [{'type': 'key', 'id': 'keys', 'actions': strokes}]})

    def errors(self):
        """What the browser complained of, without the answers that the page itself deals with."""
        return [e['message'] for e in self.ask('POST', '/se/log', {'type': 'browser'})
                if e['level'] == 'SEVERE' and 'Failed to load resource' not in e['message']]

    def shot(self, path):
        with open(path, 'wb') as f:
            f.write(base64.b64decode(self.ask('GET', '/screenshot')))

    def close(self):
        try:
            self.ask('DELETE', '')
        finally:
            self.driver.terminate()
            self.driver.wait()
            shutil.rmtree(self.folder, ignore_errors=True)


def login(b, o):
    b.go(o.url)
    b.says('Fleet')
    b.says('live')
    if '#token' in b.run('return location.href'):
        raise RuntimeError('the one-time token stays in the address')


def fleet(b, o):
    b.until('a host', 'return document.querySelector(".host")')
    b.until('its load', 'return document.querySelectorAll(".host .bar").length >= 3')


def theirs(b, o):
    """The page asks nobody but the server that it came from."""
    there = b.run('return performance.getEntriesByType("resource").map(r => r.name).filter(n => !n.startsWith(location.origin + "/"))')
    if there:
        raise RuntimeError(f'it fetches {there}')


def dark(b, o):
    """It follows what the browser prefers."""
    seen = set()
    for scheme in ('light', 'dark'):
        b.ask('POST', '/goog/cdp/execute', {'cmd': 'Emulation.setEmulatedMedia', 'params': {
            'features': [{'name': 'prefers-color-scheme', 'value': scheme}]}})
        seen.add(b.run('return getComputedStyle(document.body).backgroundColor'))
    if len(seen) < 2:
        raise RuntimeError(f'dark and light are both {seen}')


def make(b, o):
    b.go(o.url.split('#')[0] + '#/create')
    b.type('input[name=name]', 'web-test')
    b.run('const s = document.querySelector("select[name=image]"); s.value = arguments[0]; return s.value', o.image)
    b.click('Where would it run?')
    b.says('It would run on')
    b.run('document.querySelector("form button.main").click()')
    b.says('web-test')
    b.says('running', 120)


def console(b, o):
    b.tab('console')
    b.until('the terminal', 'return document.querySelector(".term .xterm")')
    if o.says:
        b.until('the guest’s words', 'return document.querySelector(".term").innerText.includes(arguments[0])', o.says)


def tabs(b, o):
    b.tab('log')
    b.until('the log', 'return document.querySelector("pre")')
    b.tab('events')
    b.says('created')
    b.tab('diagnose')
    b.until('hops', 'return document.querySelectorAll("[role=tabpanel] tbody tr").length > 2')
    b.tab('overview')
    b.until('graphs', 'return document.querySelectorAll("svg.spark").length == 4')


def actions(b, o):
    b.click('Pause')
    b.says('paused')
    b.click('Resume')
    b.says('running')


def chinese(b, o):
    b.click('中文')
    b.says('运行中')
    if b.run('return document.documentElement.lang') != 'zh-CN':
        raise RuntimeError('the page does not say that it is Chinese')
    b.click('English')


def keyboard(b, o):
    """All that can be clicked can be reached with Tab and shows it."""
    b.run('document.activeElement.blur(); document.getElementById("main").focus()')
    seen = set()
    for _ in range(12):
        b.keys('\ue004')
        seen.add(b.run('const e = document.activeElement; return e.tagName + (e.innerText || "")'))
    if len(seen) < 6:
        raise RuntimeError(f'Tab reaches only {seen}')


def remove(b, o):
    b.click('Delete')
    b.until('the question', 'return document.querySelector("dialog[open] button.danger")')
    b.run('document.querySelector("dialog button.danger").click()')
    b.until('the end of it', 'return location.hash === "#/instances" && !document.body.innerText.includes("web-test")', seconds=90)


def phone(b, o):
    """On a phone nothing is wider than the screen."""
    b.ask('POST', '/window/rect', {'width': 390, 'height': 800})
    for page in ('', 'instances', 'hosts', 'create', 'events'):
        b.run('location.hash = "#/" + arguments[0]', page)
        time.sleep(0.3)
        wide = b.run('return document.documentElement.scrollWidth - document.documentElement.clientWidth')
        if wide > 0:
            raise RuntimeError(f'#/{page} is {wide} pixels too wide')
    b.run('location.hash = "#/"')


def clean(b, o):
    errors = b.errors()
    if errors:
        raise RuntimeError('; '.join(errors)[:400])


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('url', nargs='?')
    p.add_argument('--image', default='spin')
    p.add_argument('--says', help='what the guest prints on its console')
    p.add_argument('--shots', help='keep pictures of the pages here')
    o = p.parse_args()
    if not shutil.which('chromedriver'):
        print('skip web: no chromedriver (tools/setup web)\n0 passed, 0 failed, 1 skipped')
        return 0
    if o.url:
        return test(o)
    cloud = Cloud()
    try:
        cloud.start()
        cloud.image('spin', guest('spin'))
        token = cloud.call('POST', '/v1/tokens', {'name': 'web', 'role': 'admin', 'once': True})
        o.url, o.says = f'https://127.0.0.1:{cloud.port}/#token={token["token"]}', 'spinning'
        return test(o)
    finally:
        cloud.close()


def test(o):
    passed = failed = 0
    b = Browser('1280,900')
    try:
        for step in (login, fleet, theirs, dark, make, console, tabs, actions, chinese, keyboard, remove, phone, clean):
            try:
                step(b, o)
                passed += 1
                print(f'ok web {step.__name__}', flush=True)
            except (RuntimeError, OSError) as e:
                failed += 1
                print(f'not ok web {step.__name__}: {e}', flush=True)
            if o.shots:
                b.shot(f'{o.shots}/{step.__name__}.png')
    finally:
        b.close()
    print(f'{passed} passed, {failed} failed, 0 skipped')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
