// The page: which view is shown, and who is signed in.

import { fill, h, say } from './dom.js';
import { session, token } from './client.js';
import * as store from './store.js';
import * as query from './query.js';
import * as why from './why.js';
import * as compare from './compare.js';

const VIEWS = { store, query, why, compare };
const TITLES = { store: 'Store', query: 'SQL', why: 'Why', compare: 'Compare' };
const main = document.getElementById('main');
let leave;

// `#/query?sql=..` as a view and its parameters.
function place() {
  const [path, text] = location.hash.replace(/^#\/?/, '').split('?', 2);
  return { view: Object.hasOwn(VIEWS, path) ? path : 'store', parameters: new URLSearchParams(text ?? '') };
}

async function show() {
  const { view, parameters } = place();
  for (const link of document.querySelectorAll('nav a')) {
    if (link.dataset.view === view) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  document.title = `${TITLES[view]} · gstore`;
  leave?.abort();
  leave = new AbortController();
  main.className = view;
  try {
    fill(main);
    await VIEWS[view].show(main, parameters, leave.signal);
  } catch (error) {
    if (error.code === 'cancelled' || error.code === 'unauthenticated') return;
    main.append(h('p', { class: 'error', role: 'alert' }, error.message));
  }
}

function signIn(message) {
  const input = h('input', { type: 'password', name: 'token', autocomplete: 'off', spellcheck: 'false', required: true, id: 'token' });
  const form = h('form', { class: 'sign', onsubmit: (event) => {
    event.preventDefault();
    token.set(input.value.trim());
    start();
  } },
  h('h2', {}, 'Sign in'),
  h('label', { for: 'token' }, 'Token'), input,
  h('button', { type: 'submit' }, 'Sign in'),
  message && h('p', { class: 'error', role: 'alert' }, message),
  h('p', {}, 'The owner of the server makes one with ', h('code', {}, 'gstore token create NAME --scope read'),
    '. It is kept in this tab alone, until the tab is closed.'));
  leave?.abort();
  main.className = 'sign-in';
  fill(document.getElementById('session'));
  fill(main, form);
  input.focus();
}

function signedIn(known) {
  const out = h('button', { type: 'button', class: 'link', onclick: () => { token.clear(); signIn(); say('Signed out.'); } }, 'Sign out');
  const what = known.datasets ? `${known.token}, ${known.datasets.length} datasets` : known.token;
  fill(document.getElementById('session'), h('span', {}, known.without_tokens ? 'no token needed' : what),
    h('span', { class: 'quiet' }, ` gstore ${known.version} `), !known.without_tokens && out);
}

async function start() {
  try {
    signedIn(await session());
  } catch (error) {
    const wrong = token.get() && error.code === 'unauthenticated';
    if (wrong) token.clear();
    signIn(wrong || error.code !== 'unauthenticated' ? error.message : undefined);
    return;
  }
  window.onhashchange = show;
  await show();
}

document.addEventListener('signed-out', () => { if (main.className !== 'sign-in' && token.get()) signIn('The token does not work any more.'); });
start();
