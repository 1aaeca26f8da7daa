# SPDX-License-Identifier: Apache-2.0
"""The body of tools/check: steps, each a function that yields results, and the count at the end.

A result is (status, name, detail) with status 'ok', 'not ok' or 'skip'. Programs that report several
tests print lines "ok NAME", "not ok NAME: WHY" or "skip NAME: WHY"; results_of() reads them. A step
that dies is one failure. Long steps for different chips run side by side.
"""
import concurrent.futures
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import processes

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LOGS = os.path.join(TREE, 'build', 'check-logs')
CHIPS = ['x86_64', 'arm64', 'riscv64']
FUZZ_SECONDS = 8
PAGE_SECONDS = 300
TESTS = 'plain' if os.uname().machine == 'riscv64' else 'enabled'  # Debian has no Criterion there
# A sanitizer's report is a failure, not a remark.
SANITIZERS = {'CRITERION_VERBOSITY_LEVEL': '1', 'ASAN_OPTIONS': 'detect_leaks=1',
              'UBSAN_OPTIONS': 'halt_on_error=1:print_stacktrace=1',
              'TSAN_OPTIONS': 'halt_on_error=0:second_deadlock_stack=1'}
START = time.time()
PRINT = threading.Lock()


def say(text):
    with PRINT:
        print(f'[{time.time() - START:5.0f}s] {text}', flush=True)


def run(argv, log, timeout=1800, env=None, cwd=TREE):
    """Runs a command with its output in build/check-logs/LOG. Returns (status, output)."""
    os.makedirs(LOGS, exist_ok=True)
    path = os.path.join(LOGS, log + '.log')
    with open(path, 'w', encoding='utf-8', errors='replace') as f:
        try:
            with subprocess.Popen(argv, cwd=cwd, stdin=subprocess.DEVNULL, stdout=f,
                                  stderr=subprocess.STDOUT, env=dict(os.environ, **(env or {}))) as p:
                try:
                    status = p.wait(timeout)
                except subprocess.TimeoutExpired:
                    processes.end_tree(p.pid)  # an emulator that is left would slow down what follows
                    f.seek(0, os.SEEK_END)
                    f.write(f'\ntimed out after {timeout} s\n')
                    status = 124
        except FileNotFoundError as e:
            f.write(f'\n{e}\n')
            status = 127
    with open(path, encoding='utf-8', errors='replace') as f:
        return status, f.read()


def tail(text, lines=25):
    return '\n'.join('    | ' + l for l in text.strip().splitlines()[-lines:])


def results_of(prefix, status, output):
    """Reads result lines; a non-zero end without a "not ok" line is a failure of its own."""
    seen = []
    for line in output.splitlines():
        m = re.match(r'^(ok|not ok|skip) (.+?)(?:: (.*))?$', line.strip())
        if m:
            seen.append((m[1], f'{prefix}: {m[2]}', m[3] or ''))
        elif seen and line.startswith('    | '):  # what the guest said
            seen[-1] = seen[-1][:2] + (f'{seen[-1][2]}\n{line}',)
    if status and not any(s == 'not ok' for s, _, _ in seen):
        seen.append(('not ok', prefix, f'exit status {status}\n{tail(output)}'))
    if not seen:
        seen.append(('not ok', prefix, f'reported no test\n{tail(output)}'))
    return seen


def one(name, argv, log, **kw):
    status, output = run(argv, log, **kw)
    yield ('ok', name, '') if status == 0 else ('not ok', name, tail(output))


# ---- building and unit tests ----

def configure(name, args, env=None):
    where = os.path.join(TREE, 'build', name)
    argv = ['meson', 'setup', where, *args]
    if os.path.exists(os.path.join(where, 'build.ninja')):
        argv.insert(2, '--reconfigure')
    return where, *run(argv, name + '-setup', env=env)


def build(name, args, env=None):
    where, status, output = configure(name, args, env)
    if status == 0:
        status, output = run(['ninja', '-k', '0', '-C', where], name + '-build', timeout=2400)
    if status:
        output = '\n'.join(re.findall(r'^.*(?:error:|ERROR:|FAILED:|undefined reference).*$', output,
                                      re.M)[:25]) or output
    return where, status, output


def unit_results(text):
    """(status, name, detail) of each test that a test program reports, as Criterion does at verbosity 1
    and so does its stand-in; None where the text is of no such program."""
    text = re.sub(r'\x1b\[[0-9;]*m', '', text)
    if 'Synthesis: Tested:' not in text:
        return None
    kinds = {'PASS': 'ok', 'FAIL': 'not ok', 'CRASH': 'not ok', 'SKIP': 'skip'}
    return [(kinds[m[1]], m[2], m[3] or '') for m in
            re.finditer(r'^\[(PASS|FAIL|CRASH|SKIP)\] (\w+::\w+):? *(.*)$', text, re.M)]


def program_results(name, t):
    """Results of one of meson's tests: the program as a whole, or each test that it reports."""
    text = t.get('stdout', '') + t.get('stderr', '')
    seen = unit_results(text)
    if t['result'] == 'SKIP':
        yield ('skip', name, (text.strip() or 'says no reason').splitlines()[-1])
    elif t['result'] == 'OK' and seen == []:
        yield ('not ok', name, 'has no test in it')
    elif t['result'] == 'OK' and seen is None:
        yield ('ok', name, '')
    else:
        for status, test, detail in seen or []:
            yield (status, f'{name} {test}', '' if status == 'ok' else detail)
        if t['result'] != 'OK' and not any(s == 'not ok' for s, _, _ in seen or []):
            yield ('not ok', name, t['result'])
        if t['result'] != 'OK':
            say(f'{name} said:\n{tail(text, 60)}')


def meson_tests(prefix, where, args=(), env=None):
    log = os.path.join(where, 'meson-logs', 'testlog.json')
    if os.path.exists(log):
        os.unlink(log)
    status, output = run(['meson', 'test', '-C', where, '--no-rebuild', '--timeout-multiplier', '6',
                          *args], prefix + '-tests', env=dict(SANITIZERS, **(env or {})))
    if not os.path.exists(log):
        yield ('not ok', prefix, f'status {status}\n{tail(output)}')
        return
    for line in open(log, encoding='utf-8'):
        t = json.loads(line)
        yield from program_results(f'{prefix}: {t["name"].split(" / ")[-1]}', t)


def step_style():
    """formatting, arrows between layers"""
    files = subprocess.run(['git', 'ls-files', '*.c', '*.h'], cwd=TREE, text=True,
                           capture_output=True).stdout.split()
    if not files:
        yield ('not ok', 'clang-format', 'git names no source files here')
        return
    yield from one('clang-format', ['clang-format', '--dry-run', '--Werror', *files], 'format')
    yield from one('arrows', ['tools/check-arrows'], 'arrows')


def step_unit():
    """unit tests under ASan and UBSan, gcc"""
    where, status, output = build('check-asan', ['-Db_sanitize=address,undefined',
                                                 '-Doptimization=1', '-Dtests=' + TESTS])
    if status:
        yield ('not ok', 'unit: build with gcc', tail(output))
        return
    yield ('ok', 'unit: build with gcc', '')
    yield from meson_tests('unit', where)


def step_tsan():
    """unit tests under TSan"""
    where, status, output = build('check-tsan', ['-Db_sanitize=thread', '-Doptimization=1',
                                                 '-Db_lundef=false'])
    if status:
        yield ('not ok', 'tsan: build', tail(output))
        return
    yield ('ok', 'tsan: build', '')
    yield from meson_tests('tsan', where, ['--suite', 'unit'])


def step_fuzz():
    """fuzz targets, clang and libFuzzer, a few seconds each"""
    where, status, output = build('check-clang', ['-Dfuzz=true', '-Db_sanitize=address,undefined',
                                                  '-Db_lundef=false', '-Doptimization=1',
                                                  '-Dtests=disabled'], env={'CC': 'clang'})
    if status:
        yield ('not ok', 'fuzz: build with clang', tail(output))
        return
    yield ('ok', 'fuzz: build with clang', '')
    targets = [os.path.join(root, f) for root, _, files in os.walk(where) for f in files
               if f.startswith('fuzz-') and os.access(os.path.join(root, f), os.X_OK)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for results in pool.map(lambda t: list(fuzz_one(where, t)), sorted(targets)):
            yield from results


def fuzz_one(where, target):
    name = os.path.basename(target)
    corpus = os.path.join(where, 'corpus', name)
    os.makedirs(corpus, exist_ok=True)
    yield from one(f'fuzz: {name} for {FUZZ_SECONDS} s',
                   [target, f'-max_total_time={FUZZ_SECONDS}', '-timeout=10', '-rss_limit_mb=1024',
                    f'-artifact_prefix={corpus}-', '-print_final_stats=1', corpus], name,
                   timeout=180, env=SANITIZERS)


def step_chips():
    """static programs for three chips"""
    for chip in OPTIONS['chips']:
        yield from one(f'chips: build {chip}', ['tools/build', chip], 'build-' + chip, timeout=2400)


# ---- guests ----

def native_chip():
    return subprocess.run(['bash', '-c', '. tools/lib/common.sh; native_chip'], cwd=TREE, text=True,
                          capture_output=True).stdout.strip()


def step_native():
    """bare-metal guests and bad input on this machine's /dev/kvm"""
    chip = native_chip()
    binary = os.path.join(TREE, 'build', chip, 'polyvisor')
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        # More than a minute in which nothing happens, beside the others.
        outage = pool.submit(run, ['python3', 'tools/lib/offload_test.py', binary, chip, 'outage'], 'outage')
        yield from native_tests(chip, binary)
        yield from results_of('offload', *outage.result())


def native_tests(chip, binary):
    status, output = run([binary, '--probe-kvm'], 'probe')
    if status:
        yield ('skip', 'native: guest tests', 'cannot run guests here: ' + ' '.join(output.split()))
    else:
        yield from guest_tests('native', [], chip)
    yield from results_of('cli', *run(['python3', 'tools/lib/cli_test.py', binary, chip], 'cli'))
    yield from results_of('rest', *run(['python3', 'tools/lib/rest_test.py', binary, chip], 'rest'))
    yield from results_of('polyctl', *run(['python3', 'tools/lib/polyctl_test.py', binary,
                                           os.path.join(os.path.dirname(binary), 'polyctl'), chip], 'polyctl'))
    yield from results_of('offload', *run(['python3', 'tools/lib/polyctl_offload_test.py', binary, *(
        os.path.join(os.path.dirname(binary), p) for p in ('polyvisor-offload', 'polyctl')), chip], 'polyctl-offload'))
    yield from results_of('offload', *run(['python3', 'tools/lib/offload_test.py', binary, chip], 'offload'))
    yield from results_of('offload', *run(['python3', 'tools/lib/auto_test.py', binary, chip], 'auto'))
    yield from results_of('core', *run(['tools/lib/core-check', 'native'], 'core-native'))
    yield from results_of('chip-report', *run(['tools/report/test-bare'], 'report-bare'))


def step_cloud():
    """a cloud of this machine's own, end to end"""
    chip = native_chip()
    status, output = run(['tools/build', chip, 'cloud'], 'build-cloud', timeout=2400)
    if status:
        yield ('not ok', 'cloud: build', tail(output))
        return
    where = os.path.join(TREE, 'build', 'cloud')
    yield from results_of('cloud', *run(['python3', 'tools/lib/cloud_test.py', f'{where}/polycloud', f'{where}/polyctl',
                                         os.path.join(TREE, 'build', chip)], 'cloud', timeout=900))
    yield from results_of('cloud', *run(['python3', 'tools/lib/image_test.py', f'{where}/polycloud'], 'images', timeout=600))
    yield from results_of('cloud', *run(['python3', 'tools/lib/cloud_faults.py'], 'faults', timeout=900))
    yield from results_of('cloud', *run(['python3', 'tools/lib/cloud_takeover.py'], 'takeover', timeout=600))
    yield from results_of('cloud', *run(['python3', 'tools/lib/cloud_full.py'], 'full', timeout=600))
    checked = os.path.join(TREE, 'build', 'check-asan', 'cloud', 'polycloud')  # the unit tests' build, where that is there
    yield from results_of('cloud', *run(['python3', 'tools/lib/cloud_ends.py', checked if os.path.exists(checked) else f'{where}/polycloud'],
                                        'ends', timeout=600))
    yield from results_of('cloud', *run(['python3', 'tools/lib/web_test.py'], 'web', timeout=600))


def step_libvirt():
    """libvirt, built from Debian's source, drives polyvisor by plain virsh"""
    status, output = run(['tools/build', native_chip()], 'build-native', timeout=2400)
    if status:
        yield ('not ok', 'libvirt: build of polyvisor', tail(output))
        return
    yield from results_of('libvirt', *run(['tools/lib/libvirt'], 'libvirt', timeout=2400))


def guest_tests(name, prefix, chip):
    """All guest-tests of a chip, by the runner that chip-report uses."""
    out = os.path.join(LOGS, 'report-' + name)
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    where = '/share' if prefix else out
    runner = 'chip-report' if prefix else os.path.join(TREE, 'build', chip, 'chip-report')
    argv = [*(prefix and [*prefix, '--share', out, '--']), runner, 'run', '--quick', '--out', where]
    status, output = run(argv, 'guests-' + name, timeout=1500)
    report = os.path.join(out, 'report.json')
    if not os.path.exists(report):
        yield ('not ok', f'{name}: chip-report', f'status {status}, no report.json\n{tail(output)}')
        return
    for t in json.load(open(report, encoding='utf-8'))['tests']:
        kind = {'pass': 'ok', 'fail': 'not ok', 'skip': 'skip'}[t['result']]
        yield (kind, f'{name}: {t["name"]}', (t.get('reason') or '') + (evidence(t) if kind == 'not ok' else ''))


def evidence(test):
    """What chip-report kept of a failed test: the end of the guest's serial line, and the crash."""
    crash = test.get('crash_text') or json.dumps(test.get('crash'))[:2000] if test.get('crash') else ''
    return ''.join(f'\n{what}:\n{tail(text)}' for what, text in (('serial', test.get('serial')), ('crash report', crash))
                   if text)


def bare_metal(chip):
    return guest_tests(chip, ['tools/chip-host', chip, '--timeout', '1200'], chip)


def debian(chip):
    return results_of(f'{chip} Debian',
                      *run(['tools/lib/guest-suite', chip], 'debian-' + chip, timeout=2400))


def core(chip):
    return results_of(f'{chip} core', *run(['tools/lib/core-check', chip], 'core-' + chip, timeout=900))


def step_hosts():
    """bare-metal and Debian guests in the chip hosts"""
    # The longest first, so that no host runs alone for long at the end.
    tasks = [(f, chip) for f in (debian, bare_metal, core) for chip in reversed(OPTIONS['chips'])]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        futures = {pool.submit(lambda f, c: list(f(c)), f, c): f'{c} {f.__name__.replace("_", "-")}' for f, c in tasks}
        for done in concurrent.futures.as_completed(futures):
            say(f'  {futures[done]}: done')
            yield from done.result()


# ---- documentation and tools ----

def step_docs():
    """the examples of the documentation"""
    pages = os.path.join(TREE, 'docs', 'first-hour')
    for page in sorted(os.listdir(pages)):
        status, output = run(['tools/doc-run', '--timeout', str(PAGE_SECONDS), os.path.join(pages, page)],
                             'doc-' + page, timeout=PAGE_SECONDS + 60)
        yield from results_of(page, status, output)


def step_tools():
    """the helper commands' own tests, short soaks"""
    yield from results_of('tools', *run(['tools/lib/tools-test'], 'tools-test', timeout=1800))


STEPS = {f.__name__[5:]: f for f in (step_style, step_unit, step_tsan, step_fuzz, step_chips,
                                     step_native, step_cloud, step_libvirt, step_hosts, step_docs, step_tools)}
OPTIONS = {'chips': CHIPS}


def parse(argv):
    steps = list(STEPS)
    it = iter(argv)
    for arg in it:
        if arg == '--list':
            for name, f in STEPS.items():
                print(f'{name:8} {f.__doc__}')
            sys.exit(0)
        elif arg == '--no-setup':
            pass
        elif arg == '--libvirt':
            steps = ['libvirt']
        elif arg in ('--only', '--chip'):
            known = list(STEPS) if arg == '--only' else CHIPS
            words = next(it, '').split(',')
            bad = [w for w in words if w not in known]
            if bad:
                print(f'check: {arg}: {bad[0]!r} is not one of {", ".join(known)}', file=sys.stderr)
                sys.exit(2)
            if arg == '--only':
                steps = [s for s in STEPS if s in words]
            else:
                OPTIONS['chips'] = words
        else:
            print(f'check: unknown argument {arg}; --help lists them', file=sys.stderr)
            sys.exit(2)
    return steps


def hear_signals():
    """A shell's & and nohup have us ignore some, which every child would inherit; tests send them."""
    for s, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL),
                       (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(s) == signal.SIG_IGN:
            signal.signal(s, handler)


def main():
    steps = parse(sys.argv[1:])
    hear_signals()
    counts = {'ok': 0, 'not ok': 0, 'skip': 0}
    for name in steps:
        say(f'{name}: {STEPS[name].__doc__}')
        before = dict(counts)
        try:
            for status, test, detail in STEPS[name]():
                counts[status] += 1
                if status != 'ok':
                    say(f'{status} {test}: {detail}')
        except Exception as e:  # a step that dies is a failure, and the others still run
            counts['not ok'] += 1
            say(f'not ok {name}: {type(e).__name__}: {e}')
        new = [counts[k] - before[k] for k in counts]
        say(f'{name}: {new[0]} passed, {new[1]} failed, {new[2]} skipped')
    say(f'logs are in {os.path.relpath(LOGS, TREE)}')
    print(f'{counts["ok"]} passed, {counts["not ok"]} failed, {counts["skip"]} skipped')
    return 1 if counts['not ok'] or not counts['ok'] else 0


if __name__ == '__main__':
    sys.exit(main())
