// SPDX-License-Identifier: Apache-2.0
// One instance: facts and graphs, its console, log, events and diagnosis; and the form that makes one.
import { h, table, spark, bytes, toast, dialog } from './dom.js';
import { t, ago } from './words.js';
import * as api from './api.js';
import { all, find, recent } from './state.js';
import { act, state, stateOf } from './fleet.js';

const path = i => `/v1/instances/${encodeURIComponent(i.id)}`;
const TABS = ['overview', 'console', 'log', 'events', 'diagnose'];
let tab = 'overview', shown = null, close = () => {};

const ACTIONS = { start: ['stopped', 'crashed', 'failed'], stop: ['running', 'paused', 'starting'], reboot: ['running'],
  pause: ['running'], resume: ['paused'] };

function buttons(i) {
  const s = stateOf(i);
  const action = name => h('button', { disabled: !ACTIONS[name].includes(s),
    onclick: () => act(() => api.call('POST', `${path(i)}/actions/${name}`, {})) }, t(name));
  const drop = async () => {
    const sure = await dialog(done => h('div', {}, h('p', {}, t('sure', i.name)), h('div', { class: 'row' },
      h('button', { class: 'danger', onclick: () => done(true) }, t('delete')), h('button', { onclick: () => done(null) }, t('cancel')))));
    if (sure && await act(() => api.call('DELETE', path(i)))) location.hash = '#/instances';
  };
  return h('div', { class: 'row' }, Object.keys(ACTIONS).map(action), h('button', { class: 'danger', onclick: drop }, t('delete')));
}

const GRAPHS = { cpu: (a, b, s) => (b.cpu_ns - a.cpu_ns) / s / 1e7, memory: (a, b) => (b.memory_mib || 0) * 2 ** 20,
  disk: (a, b, s) => sum(b.disks, 'read_bytes', 'write_bytes', a.disks) / s, network: (a, b, s) => sum(b.nets, 'rx_bytes', 'tx_bytes', a.nets) / s };
const UNIT = { cpu: v => `${v.toFixed(0)} %`, memory: bytes, disk: v => `${bytes(v)}/s`, network: v => `${bytes(v)}/s` };
function sum(list, x, y, before) {
  const total = l => (l || []).reduce((n, d) => n + (d[x] || 0) + (d[y] || 0), 0);
  return Math.max(0, total(list) - total(before));
}

function overview(i, box) {
  const o = i.observed || {};
  const fact = (k, v) => v !== undefined && v !== null && v !== '' && [h('dt', {}, t(k)), h('dd', {}, v)];
  const facts = () => h('dl', {}, fact('reason', o.reason), fact('chip', i.chip),
    fact('host', i.host && h('a', { href: `#/hosts/${encodeURIComponent(i.host)}` }, i.host)), fact('ip', i.ip || o.ip),
    fact('cpu', i.cpus), fact('memory', i.memory_mib && bytes(i.memory_mib * 2 ** 20)), fact('image', i.image),
    fact('digest', i.image_digest && h('code', { class: 'small' }, i.image_digest)), fact('created', ago(i.created_at)),
    i.ip && fact('ssh', h('code', {}, `polyctl ssh ${i.name}`)));
  const graphs = h('div', { class: 'grid', style: 'margin-top:.9em' });
  const series = Object.fromEntries(Object.keys(GRAPHS).map(k => [k, []]));
  let before = null, stopped = false;
  const tick = async () => {
    if (stopped) return;
    try {
      const now = await api.call('GET', `${path(i)}/stats`);
      if (before && now.time_ns > before.time_ns) {
        for (const [k, f] of Object.entries(GRAPHS)) {
          series[k].push(f(before, now, (now.time_ns - before.time_ns) / 1e9) || 0);
          if (series[k].length > 90) series[k].shift();
        }
        graphs.replaceChildren(...Object.entries(series).map(([k, v]) => h('div', { class: 'card' },
          h('div', { class: 'row' }, h('span', { class: 'dim' }, t(k)), h('strong', {}, UNIT[k](v.at(-1)))), spark(v, `${t(k)}: ${UNIT[k](v.at(-1))}`))));
      }
      before = now;
    } catch { before = null; }
    setTimeout(tick, document.hidden ? 10000 : 2000);
  };
  box.replaceChildren(h('div', { class: 'card' }, facts()), graphs);
  tick();
  return () => { stopped = true; };
}

// The terminal is a library of half a megabyte: it is loaded when a console is opened.
let library = null;
function terminal() {
  const script = src => new Promise((ok, bad) => document.head.append(h('script', { src, onload: ok, onerror: bad })));
  library ||= (async () => {
    document.head.append(h('link', { rel: 'stylesheet', href: 'web/vendor/xterm/xterm.css' }));
    await script('web/vendor/xterm/xterm.js');
    await script('web/vendor/xterm/addon-fit.js');
  })();
  return library;
}

function serial(i, box) {
  const div = h('div', { class: 'term', id: 'term' });
  box.replaceChildren(div);
  let socket = null, gone = false, term = null, size = null;
  const connect = () => {
    socket = api.socket(`${path(i)}/console`);
    socket.onmessage = m => term.write(typeof m.data === 'string' ? m.data : new Uint8Array(m.data));
    socket.onclose = () => { socket = null; if (!gone) term.write(`\r\n${t('closed')}\r\n`); };
  };
  terminal().then(() => {
    if (gone) return;
    term = new window.Terminal({ fontSize: 14, cursorBlink: true, scrollback: 5000, screenReaderMode: true, theme: { background: '#0d1117' } });
    const fit = new window.FitAddon.FitAddon();
    term.loadAddon(fit);
    term.open(div);
    fit.fit();
    size = new ResizeObserver(() => fit.fit());
    size.observe(div);
    term.onData(d => { if (!socket) connect(); else if (socket.readyState === 1) socket.send(new TextEncoder().encode(d)); });
    term.focus();
    connect();
  });
  return () => { gone = true; size?.disconnect(); socket?.close(); term?.dispose(); };
}

function log(i, box) {
  const pre = h('pre', { tabindex: 0 });
  box.replaceChildren(pre);
  let stopped = false, said = null;
  const tick = async () => {
    if (stopped) return;
    const text = await act(() => api.text(`${path(i)}/log?tail=500`));
    if (text !== null && text !== said) { pre.textContent = said = text; pre.scrollTop = pre.scrollHeight; }
    if (text !== null) setTimeout(tick, 3000);
  };
  tick();
  return () => { stopped = true; };
}

function history(i, box) {
  act(async () => {
    const doc = await api.call('GET', `${path(i)}/events`);
    const rows = [...recent.filter(e => e.id === i.id && !doc.items.some(x => x.seq === e.seq)), ...doc.items.slice().reverse()];
    box.replaceChildren(table([{ title: t('when'), cell: e => h('time', { class: 'small' }, (e.time || '').replace('T', ' ').slice(0, 19)) },
      { title: t('what'), cell: e => [e.event, e.text].filter(Boolean).join(': ') }, { title: t('who'), cell: e => e.actor, wide: true }], rows));
  });
  return () => {};
}

function diagnose(i, box) {
  box.replaceChildren(h('p', { class: 'dim pulse' }, '…'));
  act(async () => {
    const doc = await api.call('GET', `${path(i)}/diagnose`);
    const bad = doc.hops.find(x => x.ok === false);
    box.replaceChildren(h('p', { class: bad ? 's-bad' : 's-good' }, bad ? t('firstBad', bad.hop) : t('allGood')),
      table([{ title: '', cell: x => h('span', { class: `state ${x.ok === true ? 's-good' : x.ok === false ? 's-bad' : 's-idle'}` }, x.hop) },
        { title: '', cell: x => x.evidence }], doc.hops));
  });
  return () => {};
}

const SHOW = { overview, console: serial, log, events: history, diagnose };

// The page of one instance. The head is drawn again with every change; a tab is left alone while it is shown.
export function instance(name) {
  const i = find('instances', name);
  if (!i) { leave(); return [h('p', {}, t('none'))]; }
  const head = [h('h1', {}, i.name, state(stateOf(i)), i.protected && h('span', { class: 'dim small' }, t('protected'))), buttons(i)];
  const open = which => {
    close();
    tab = which;
    for (const b of tabs.children) b.setAttribute('aria-selected', String(b.dataset.tab === which));
    close = SHOW[which](find('instances', name), body);
  };
  if (shown && shown.name === name && document.contains(shown.body) && shown.tab === tab) {
    shown.head.replaceChildren(...head);
    return null;
  }
  const body = h('div', { role: 'tabpanel' });
  const tabs = h('div', { class: 'tabs', role: 'tablist' }, TABS.map(x => h('button', { role: 'tab', 'data-tab': x,
    onclick: () => { open(x); shown.tab = x; } }, t(x))));
  const box = h('div', {}, head);
  queueMicrotask(() => open(tab));
  shown = { name, tab, head: box, body };
  return [box, tabs, body];
}
export function leave() { close(); close = () => {}; shown = null; }

const draft = {};
export function create() {
  const field = (k, label, input) => { if (draft[k] !== undefined) input.value = draft[k];
    input.name = k; input.addEventListener('input', () => { draft[k] = input.value; }); return h('label', {}, h('span', {}, label), input); };
  const pick = (values, label) => h('select', {}, values.map(v => h('option', { value: v }, label ? label(v) : v)));
  const answer = h('div', { role: 'status' });
  const body = () => {
    const f = Object.fromEntries(new FormData(form)), doc = { name: f.name, image: f.image, chip: f.chip, flavor: f.flavor };
    if (f.user_data) doc.user_data = f.user_data;
    const ports = (f.ports || '').split(/[\s,]+/).filter(Boolean).map(p => p.split(':').map(Number));
    if (ports.length) doc.ports = ports.map(([host_port, guest_port]) => ({ host_port, guest_port: guest_port || host_port }));
    return doc;
  };
  const explain = () => act(async () => {
    const doc = await api.call('POST', '/v1/schedule', body());
    answer.replaceChildren(h('p', { class: doc.host ? 's-good' : 's-bad' }, doc.host ? t('chosen', doc.host) : t('nothingFits')),
      table([{ title: t('host'), cell: c => c.host }, { title: '', cell: c => c.fits ? '✓' : '✗' },
        { title: t('reason'), cell: c => (c.reasons || []).join('; ') }], doc.candidates || []));
  });
  const form = h('form', { class: 'card', style: 'max-width:34em', onsubmit: e => {
    e.preventDefault();
    act(async () => { const made = await api.call('POST', '/v1/instances', body()); delete draft.name; toast(made.name); location.hash = `#/instances/${made.name}`; });
  } },
  field('name', t('name'), h('input', { required: true, pattern: '[a-z0-9]([a-z0-9\\-]{0,61}[a-z0-9])?', autocomplete: 'off' })),
  field('image', t('image'), pick(all('images').map(i => i.name))),
  field('chip', t('chip'), pick(['any', 'x86_64', 'arm64', 'riscv64'], v => v === 'any' ? t('any') : v)),
  field('flavor', t('flavor'), pick(all('flavors').map(f => f.name), n => { const f = find('flavors', n); return `${n}: ${f.cpus} CPU, ${bytes(f.memory_mib * 2 ** 20)}`; })),
  field('ports', t('ports'), h('input', { autocomplete: 'off' })),
  field('user_data', t('userData'), h('textarea', { rows: 4, spellcheck: 'false' })),
  h('div', { class: 'row' }, h('button', { class: 'main' }, t('create')), h('button', { type: 'button', onclick: explain }, t('whyNot'))), answer);
  if (draft.flavor === undefined && find('flavors', 'small')) form.elements.flavor.value = 'small';
  return [h('h1', {}, t('create')), form];
}
