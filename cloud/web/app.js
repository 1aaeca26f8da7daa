// SPDX-License-Identifier: Apache-2.0
// The page: which view the address names, the bar above it, and logging in.
import { h, toast } from './dom.js';
import { t, language, setLanguage } from './words.js';
import * as api from './api.js';
import * as fleet from './fleet.js';
import * as one from './instance.js';
import { begin, onChange, isLive } from './state.js';

const PAGES = ['fleet', 'instances', 'images', 'volumes', 'networks', 'hosts', 'events'];
const main = document.getElementById('main');
let at = null;

function where() {
  const [page, name] = location.hash.replace(/^#\/?/, '').split('/').map(decodeURIComponent);
  return { page: page || 'fleet', name };
}

// Draws the view again. What is typed in a form or shown in a tab stays: those views say null or keep
// their own state, and the focus goes back to where it was.
function draw() {
  const now = where(), fresh = !at || at.page !== now.page || at.name !== now.name;
  if (!fresh && now.page === 'create') return bar();
  if (fresh && at?.page === 'instances' && at.name) one.leave();
  at = now;
  const id = document.activeElement?.id, caret = document.activeElement?.selectionStart;
  let view;
  if (!api.loggedIn()) view = loginForm();
  else if (now.page === 'instances' && now.name) view = one.instance(now.name);
  else if (now.page === 'hosts' && now.name) view = fleet.host(now.name);
  else if (now.page === 'create') view = one.create();
  else view = (PAGES.includes(now.page) ? fleet[now.page] : fleet.fleet)(draw);
  if (view) main.replaceChildren(...view.flat().filter(Boolean));
  if (id && main.querySelector(`#${CSS.escape(id)}`)) {
    const e = document.getElementById(id);
    e.focus();
    if (caret !== undefined && caret !== null) e.setSelectionRange(caret, caret);
  } else if (fresh) main.focus({ preventScroll: true });
  bar();
}

function bar() {
  document.documentElement.lang = language() === 'zh' ? 'zh-CN' : 'en';
  document.querySelectorAll('[data-t]').forEach(e => { e.textContent = t(e.dataset.t); });
  document.getElementById('nav').replaceChildren(...(api.loggedIn() ? PAGES : []).map(p =>
    h('a', { href: p === 'fleet' ? '#/' : `#/${p}`, 'aria-current': where().page === p ? 'page' : null }, t(p))));
  document.getElementById('lang').textContent = language() === 'zh' ? 'English' : '中文';
  document.getElementById('theme').textContent = dark() ? t('light') : t('dark');
  const out = document.getElementById('logout');
  out.hidden = !api.loggedIn();
  out.textContent = t('logout');
  document.getElementById('live').textContent = !api.loggedIn() ? '' : isLive ? t('live') : t('reconnecting');
}

function loginForm() {
  const input = h('input', { type: 'password', required: true, autocomplete: 'off', id: 'token', 'aria-label': t('token') });
  return [h('form', { class: 'card login', onsubmit: async e => {
    e.preventDefault();
    try { await api.login(input.value.trim()); } catch (x) { return toast(x.message, true); }
    run();
  } }, h('h1', {}, 'polycloud'), h('p', { class: 'dim' }, t('loginHelp'), h('br'), h('code', {}, 'polyctl token create NAME --role admin --once')),
  h('label', {}, h('span', {}, t('token')), input), h('button', { class: 'main' }, t('login')))];
}

const dark = () => (document.documentElement.dataset.theme || (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')) === 'dark';
document.getElementById('lang').onclick = () => { setLanguage(language() === 'zh' ? 'en' : 'zh'); one.leave(); at = null; draw(); };
document.getElementById('theme').onclick = () => {
  localStorage.setItem('polycloud-theme', document.documentElement.dataset.theme = dark() ? 'light' : 'dark');
  bar();
};
document.getElementById('logout').onclick = () => { api.logout(); location.reload(); };
if (localStorage.getItem('polycloud-theme')) document.documentElement.dataset.theme = localStorage.getItem('polycloud-theme');
addEventListener('hashchange', draw);
onChange(draw);

async function run() {
  at = null;
  draw();
  try { await begin(); } catch (e) { toast(e.message, true); }
  at = null;
  draw();
}
try { await api.tokenOfAddress(); } catch (e) { toast(e.message, true); }
if (api.loggedIn()) run(); else draw();
