// SPDX-License-Identifier: Apache-2.0
// The fleet by chip and host, and the pages that are one table each.
import { h, table, toast, bytes } from './dom.js';
import { t, ago } from './words.js';
import * as api from './api.js';
import { all, recent, load } from './state.js';

const GOOD = ['running', 'online', 'available', 'ready', 'done'], BAD = ['crashed', 'failed', 'offline', 'fenced'];
const IDLE = ['stopped', 'unknown', 'cordoned'];
const tone = s => GOOD.includes(s) ? 's-good' : BAD.includes(s) ? 's-bad' : IDLE.includes(s) ? 's-idle' : 's-warn';
export const stateOf = i => i.observed?.state || 'pending';
export const state = s => h('span', { class: `state ${tone(s)}` }, t(s));
const to = (page, name) => h('a', { href: `#/${page}/${encodeURIComponent(name)}` }, name);

export async function act(f) {
  try { return await f(); } catch (e) { toast(e.message, true); return null; }
}

const percent = (a, b) => `${b ? Math.min(100, 100 * a / b) : 0}%`;
function bar(label, used, of, text) {
  return h('div', { class: 'small' }, h('span', { class: 'dim' }, `${label}: ${text}`),
    h('div', { class: 'bar', role: 'img', 'aria-label': `${label}: ${text}` }, h('i', { style: `width:${percent(used, of)}` })));
}

function hostBox(host, instances) {
  const a = host.allocated || {};
  return h('section', { class: 'host' },
    h('div', { class: 'row' }, h('strong', {}, to('hosts', host.name)), state(host.state),
      h('span', { class: 'dim small' }, t('instancesHere', instances.length))),
    bar(t('cores'), a.cpus || 0, host.cores, t('free', a.cpus || 0, host.cores)),
    host.load !== undefined && bar(t('load'), host.load, host.cores, host.load.toFixed(2)),
    bar(t('memory'), a.memory_mib || 0, host.memory_mib,
      t('free', bytes((a.memory_mib || 0) * 2 ** 20), bytes((host.memory_mib || 0) * 2 ** 20))),
    h('div', { class: 'cells' }, instances.map(i => h('a', { class: `cell ${tone(stateOf(i))}`,
      href: `#/instances/${encodeURIComponent(i.name)}`, title: `${i.name}: ${t(stateOf(i))}`, 'aria-label': `${i.name}: ${t(stateOf(i))}` }))));
}

export function fleet() {
  const hosts = all('hosts'), instances = all('instances');
  const chips = [...new Set([...hosts.map(x => x.chip), ...instances.map(i => i.chip)])].filter(c => c && c !== 'any').sort();
  const count = {};
  for (const i of instances) count[stateOf(i)] = (count[stateOf(i)] || 0) + 1;
  const homeless = instances.filter(i => !i.host);
  return [
    h('h1', {}, t('fleet'), h('a', { class: 'button', href: '#/create' }, t('create'))),
    h('p', { class: 'row' }, Object.entries(count).map(([s, n]) => h('span', {}, state(s), ` ${n}`))),
    homeless.length > 0 && h('div', { class: 'card' }, homeless.map(i => h('div', {}, to('instances', i.name), ' ',
      state(stateOf(i)), ' ', h('span', { class: 'dim small' }, i.observed?.reason || '')))),
    h('div', { class: 'grid' }, chips.map(chip => h('div', { class: 'card' }, h('h2', { style: 'margin-top:0' }, chip),
      hosts.filter(x => x.chip === chip).map(x => hostBox(x, instances.filter(i => i.host === x.name || i.host === x.id))),
      !hosts.some(x => x.chip === chip) && h('p', { class: 'dim' }, t('noHosts'))))),
    hosts.length === 0 && chips.length === 0 && h('p', { class: 'dim' }, t('noHosts')),
  ];
}

let filter = '';
export function instances(redraw) {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = all('instances').filter(i => {
    const text = [i.name, i.chip, i.image, i.host, stateOf(i), ...Object.entries(i.labels || {}).map(l => l.join('='))].join(' ').toLowerCase();
    return words.every(w => text.includes(w));
  });
  return [
    h('h1', {}, t('instances'), h('a', { class: 'button', href: '#/create' }, t('create'))),
    h('input', { id: 'filter', class: 'filter', type: 'search', placeholder: t('filter'), 'aria-label': t('filter'), value: filter,
      oninput: e => { filter = e.target.value; redraw(); } }),
    rows.length ? table([
      { title: t('name'), cell: i => to('instances', i.name) },
      { title: t('state'), cell: i => state(stateOf(i)) },
      { title: t('chip'), cell: i => i.chip },
      { title: t('host'), cell: i => i.host, wide: true },
      { title: t('ip'), cell: i => i.ip || i.observed?.ip, wide: true },
      { title: t('image'), cell: i => i.image, wide: true },
      { title: t('reason'), cell: i => h('span', { class: 'small dim' }, i.observed?.reason || ''), wide: true },
      { title: t('created'), cell: i => h('time', { datetime: i.created_at, title: i.created_at }, ago(i.created_at)), wide: true },
    ], rows) : h('p', { class: 'dim' }, t('none')),
  ];
}

const remove = (kind, o) => h('button', { class: 'danger', onclick: () => act(async () => {
  if (!confirm(t('sure', o.name))) return;
  await api.call('DELETE', `/v1/${kind}/${encodeURIComponent(o.id)}`);
  await load(kind);
}) }, t('delete'));
const page = (kind, columns) => () => [h('h1', {}, t(kind)),
  all(kind).length ? table(columns(), all(kind)) : h('p', { class: 'dim' }, t('none'))];

export const images = page('images', () => [
  { title: t('name'), cell: i => i.name }, { title: t('platforms'), cell: i => (i.platforms || []).map(p => p.chip).join(', ') },
  { title: t('digest'), cell: i => h('code', { class: 'small' }, (i.digest || '').slice(0, 19)), wide: true },
  { title: '', cell: i => remove('images', i) }]);
export const volumes = page('volumes', () => [
  { title: t('name'), cell: v => v.name }, { title: t('size'), cell: v => bytes((v.size_mib || v.size_gib * 1024) * 2 ** 20) },
  { title: t('state'), cell: v => v.state && state(v.state) }, { title: t('attached'), cell: v => v.attached_to },
  { title: t('host'), cell: v => v.host, wide: true }, { title: '', cell: v => remove('volumes', v) }]);
export const networks = page('networks', () => [
  { title: t('name'), cell: n => n.name }, { title: t('cidr'), cell: n => n.cidr }, { title: '', cell: n => remove('networks', n) }]);

const hostAction = (host, name) => h('button', { onclick: () => act(async () => {
  await api.call('POST', `/v1/hosts/${encodeURIComponent(host.id)}/actions/${name}`, name === 'fence' ? { confirm: true } : undefined);
  await load('hosts');
}) }, t(name));
export const hosts = page('hosts', () => [
  { title: t('name'), cell: x => to('hosts', x.name) }, { title: t('state'), cell: x => state(x.state) },
  { title: t('chip'), cell: x => x.chip }, { title: t('model'), cell: x => x.cpu_model, wide: true },
  { title: t('cores'), cell: x => x.cores }, { title: t('memory'), cell: x => bytes((x.memory_mib || 0) * 2 ** 20), wide: true },
  { title: t('load'), cell: x => x.load?.toFixed?.(2) ?? x.load, wide: true }, { title: t('kvm'), cell: x => x.kvm, wide: true }]);

export function host(name) {
  const x = all('hosts').find(o => o.name === name || o.id === name);
  if (!x) return [h('p', {}, t('none'))];
  const fact = (label, v) => v !== undefined && v !== null && [h('dt', {}, label), h('dd', {}, String(v))];
  const mine = all('instances').filter(i => i.host === x.name || i.host === x.id);
  return [
    h('h1', {}, x.name, state(x.state)),
    h('div', { class: 'row' }, x.state === 'cordoned' ? hostAction(x, 'uncordon') : hostAction(x, 'cordon'), hostAction(x, 'drain')),
    h('div', { class: 'card', style: 'margin-top:1em' }, h('dl', {}, fact(t('chip'), x.chip), fact(t('model'), x.cpu_model),
      fact(t('kvm'), x.kvm), fact(t('version'), x.version), fact(t('load'), x.load), fact(t('features'), (x.features || []).join(' ')))),
    hostBox(x, mine),
  ];
}

export const events = () => [h('h1', {}, t('events')), recent.length ? table([
  { title: t('when'), cell: e => h('time', { class: 'small', datetime: e.time }, (e.time || '').slice(11, 19)) },
  { title: t('name'), cell: e => e.kind === 'instance' && e.name ? to('instances', e.name) : e.name || e.id },
  { title: t('what'), cell: e => [e.event, e.text].filter(Boolean).join(': ') },
  { title: t('who'), cell: e => e.actor, wide: true }], recent) : h('p', { class: 'dim' }, t('none'))];
