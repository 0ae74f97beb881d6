// The page in a headless Chromium: node page.mjs CHROMIUM URL TOKEN FOLDER
// FOLDER gets the downloads and the screenshots.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { chromium } from 'playwright-core';

const [executablePath, url, token, folder] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
const problems = [];

function watched(page) {
  // A refused token and a refused statement are answers, which the browser reports all the same.
  const expected = /status of (400|401)/;
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type()) && !expected.test(message.text())) problems.push(message.text());
  });
  page.on('pageerror', (error) => problems.push(String(error)));
  page.on('request', (request) => {
    if (!request.url().startsWith(url) && !/^(blob|data):/.test(request.url())) problems.push(`asked for ${request.url()}`);
  });
  return page;
}

const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, acceptDownloads: true, colorScheme: 'light' });
const page = watched(await context.newPage());
page.setDefaultTimeout(30_000);
const picture = (name, of = page) => of.screenshot({ path: path.join(folder, `${name}.png`) });
const idle = () => page.waitForFunction(() => document.querySelector('.grid')?.getAttribute('aria-busy') === 'false');
const run = async (sql) => {
  await page.fill('#sql', sql);
  await page.keyboard.press('Escape');
  await page.focus('#sql');
  await page.keyboard.press('Control+Enter');
  await idle();
};
const cell = (row, column) => page.locator(`[data-at="${row},${column}"]`);

// Sign in: a wrong token, then the right one.
await page.goto(url);
await page.fill('#token', 'gst_wrong');
await page.click('button[type=submit]');
await page.waitForSelector('.error');
await picture('sign-in');
await page.fill('#token', token);
await page.keyboard.press('Enter');
await page.waitForSelector('.cards');
assert.match(await page.textContent('main'), /Datasets/);
assert.equal(await page.evaluate(() => Object.keys(localStorage).length), 0, 'the token is in this tab alone');
await picture('store-light-wide');

// An example, run from the keyboard.
await page.click('nav a[data-view=query]');
await page.waitForSelector('#sql');
await page.selectOption('select[aria-label=Examples]', { label: 'A million numbers' });
await page.focus('#sql');
await page.keyboard.press('Control+Enter');
await idle();
assert.equal(await cell(0, 0).textContent(), '1');
const lines = () => page.locator('.g-row').count();
assert.ok(await lines() < 100, 'only the rows in sight are elements');

// Sort: by the whole result, not by the page.
await page.click('.g-name button >> nth=0');
await idle();
await page.click('.g-name button >> nth=0');
await idle();
assert.equal(await cell(0, 0).textContent(), '1000000');
assert.equal(await page.locator('[role=columnheader] >> nth=0').getAttribute('aria-sort'), 'descending');

// Page: the next one, the count, the last one.
await page.click('.pager >> text=Next');
await idle();
assert.equal(await cell(0, 0).textContent(), '999000');
await page.click('text=Count the rows');
await page.waitForSelector('.pager >> text=of 1,000,000');
await page.click('.pager >> text=Last');
await idle();
assert.equal(await cell(0, 0).textContent(), '1000');
assert.ok(await lines() < 100);

// A share link opens the same statement, order and page in another tab that is signed in.
const link = page.url();
const other = watched(await context.newPage());
await other.addInitScript((value) => sessionStorage.setItem('gstore-token', value), token);
await other.goto(link);
await other.waitForFunction(() => document.querySelector('[data-at="0,0"]')?.textContent === '1000');
await other.close();

// Keyboard: through the cells, and the whole row.
await run('SELECT * FROM pool ORDER BY row');
await cell(0, 0).click();
await page.keyboard.press('ArrowRight');
await page.keyboard.press('ArrowDown');
assert.equal(await page.evaluate(() => document.activeElement.dataset.at), '1,1');
await page.keyboard.press('Enter');
await page.waitForSelector('.detail:not([hidden])');
await picture('query-light-wide');
await page.keyboard.press('Escape');
assert.ok(await page.locator('.detail').isHidden());

// Numbers that are none of the browser's are shown as they are.
if (!process.env.GSTORE_MOCK) {
  await run("SELECT 9007199254740993 AS n, CAST('NaN' AS DOUBLE) AS f");
  assert.equal(await cell(0, 0).textContent(), '9007199254740993');
  assert.equal(await cell(0, 1).textContent(), 'NaN');
  // A field or a column that is called like the mark of such a number is none, and a row is copied as it is shown.
  await run("SELECT named_struct('$number', '7') AS s, '8' AS \"$number\", -9007199254740993 AS n, CAST('inf' AS DOUBLE) AS f");
  assert.deepEqual(await Promise.all([0, 1, 2].map((i) => cell(0, i).textContent())), ['{"$number":"7"}', '8', '-9007199254740993']);
  await page.evaluate(() => { navigator.clipboard.writeText = async (text) => { window.copied = text; }; });
  await cell(0, 0).click();
  await page.keyboard.press('Enter');
  await page.click('text=Copy row');
  const row = '{\n  "s": {\n    "$number": "7"\n  },\n  "$number": "8",\n  "n": -9007199254740993,\n  "f": inf\n}';
  assert.equal(await page.evaluate(() => window.copied), row);
  await page.keyboard.press('Escape');
  await page.click('text=Copy link');
  await page.waitForFunction(() => /^The link is copied/.test(document.getElementById('said').textContent));
  // What hides or reorders text is shown.
  await run("SELECT 'live\u202eevil\u200b' AS t");
  assert.equal(await cell(0, 0).textContent(), 'live\\u{202e}evil\\u{200b}');
}

// So it is everywhere, but for lines and joined emoji, and for what is copied or edited.
const texts = await page.evaluate(async () => {
  const { cut, h, shown, whole } = await import('/dom.js');
  const text = 'a\r\nb\t\u001b\ufeff\u{1f469}\u200d\u{1f680}';
  const more = cut(text, 2);
  more.querySelector('button').click();
  return [h('p', { title: text }, text).textContent, more.firstChild.textContent, shown(text), whole(text), h('textarea', {}, text).value];
});
const seen = 'a\r\nb\t\\u{1b}\\u{feff}\u{1f469}\u200d\u{1f680}';
const copied = 'a\r\nb\t\u001b\ufeff\u{1f469}\u200d\u{1f680}';
assert.deepEqual(texts, [seen, seen, seen.replace(/\s+/g, ' '), copied, copied.replace('\r\n', '\n')]);

// A line of a sample may be any JSON, and any value may be called so.
const records = await page.evaluate(async () => {
  const [{ recordOf }, { Exact }] = await Promise.all([import('/why.js'), import('/dom.js')]);
  const lines = ['5', '"a"', 'true', '[1]', '{"messages":[null]}', 5, true, { a: 1 }, new Exact('inf'), null];
  return lines.map((line) => recordOf(line).textContent);
});
assert.deepEqual(records, ['5', '"a"', 'true', '[1]', '', '5', 'true', '{"a":1}', 'inf', 'The line of this row is not stored.']);

// An error names its place, which is then selected.
await run('SELECT nothing FROM pool');
assert.match(await page.textContent('pre.error'), /nothing/);
assert.equal(await page.evaluate(() => getSelection().toString() || document.activeElement.value.slice(document.activeElement.selectionStart, document.activeElement.selectionEnd)), 'nothing');

// Completion.
await page.fill('#sql', '');
await page.type('#sql', 'SELECT * FROM gstore.data');
await page.waitForSelector('#completions li');
await picture('completion');
await page.keyboard.press('Tab');
assert.equal(await page.inputValue('#sql'), 'SELECT * FROM gstore.datasets');

// Cancel: the statement ends, and the page goes on.
await page.fill('#sql', process.env.GSTORE_SLOW ?? 'SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b');
await page.keyboard.press('Escape');
await page.keyboard.press('Control+Enter');
await page.waitForFunction(() => /Running/.test(document.querySelector('.state-line').textContent));
await page.click('text=Cancel');
await page.waitForFunction(() => document.querySelector('.state-line').textContent === 'Cancelled.');

// Downloads.
await run('SELECT row, id FROM pool ORDER BY row LIMIT 3');
for (const [label, ending, begins] of [['CSV', 'csv', undefined], ['Parquet', 'parquet', 'PAR1'], ['Arrow', 'arrow', 'ARROW1']]) {
  const [download] = await Promise.all([page.waitForEvent('download'), page.selectOption('select[aria-label=Download]', { label })]);
  assert.equal(download.suggestedFilename(), `result.${ending}`);
  const to = path.join(folder, `result.${ending}`);
  await download.saveAs(to);
  if (begins && !process.env.GSTORE_MOCK) assert.equal(readFileSync(to).subarray(0, begins.length).toString(), begins);
}

// Why: proponents and opponents, then one row; then a ranking as a whole.
const views = [
  ['why', '#/why?pool=pool&target=target&k=5.5', '.cards-list .card'],
  ['why-row', '#/why?pool=pool&target=target&id=ID', '.sides .record'],
  ['why-kind', '#/why?pool=pool&target=pool&kind=embed-mean&k=5', '.cards-list .card'],
  ['compare', '#/compare?pool=pool&target=target&other=target&column=source&k=20.5', 'section:nth-of-type(3) figure'],
  ['compare-few', '#/compare?pool=pool&target=target&other=target&k=120', '[aria-label="Overlap of two rankings"] figure'],
  ['compare-tenth', '#/compare?pool=pool&target=target&other=target', '[aria-label="Overlap of two rankings"] figure'],
];
// Rankings of fewer rows than are asked for, as of a pool in which some have no score.
const fewer = (route) => {
  const asked = route.request().postDataJSON();
  route.continue({ postData: JSON.stringify({ ...asked, sql: asked.sql.replaceAll('k => $4)', 'k => $4) WHERE row >= 20') }) });
};
let id;
for (const [name, hash, ready] of views) {
  if (name === 'compare-few') await page.route('**/sql', fewer);
  await page.goto(url + hash.replace('ID', id));
  await page.waitForSelector(ready);
  await page.waitForFunction(() => !/Scoring…/.test(document.querySelector('main').textContent));
  assert.equal(await page.locator('main .error').count(), 0, await page.textContent('main'));
  id ??= await page.locator('.cards-list .card a').first().textContent();
  if (name === 'why') {
    assert.equal(await page.locator('[aria-label=Proponents] .below, [aria-label=Opponents] .above').count(), 0, 'each side has its sign');
  }
  if (name === 'why-row') {
    const checkpoints = await page.locator('main tbody th').allTextContents();
    assert.ok(checkpoints.length > 0 && checkpoints.every((text) => / \(weight [0-9.]+\)$/.test(text)), `names and weights: ${checkpoints}`);
  }
  if (name === 'compare') {
    const figure = page.locator('[aria-label=Scores] figure');
    const said = await figure.locator('figcaption').textContent();
    const cells = (await figure.locator('tbody td').allTextContents()).map((text) => Number(text.replaceAll(',', '')));
    const [, floor, rows] = said.match(/noise floor(?: of|,) (\d+(?:\.\d+)?(?:e-\d+)?) \(median of (\d+) rows\)/).map(Number);
    assert.ok(rows > 10, said);
    const drawn = [floor, -floor].filter((at) => at >= cells[0] && at <= cells.at(-2)).length;
    assert.ok(said.includes(['outside of this range', 'the dashed line is', 'the dashed lines are'][drawn]), said);
  }
  if (name === 'compare-few') {
    assert.match(await page.textContent('main'), /100 of the best 100 rows are in both \(100\.0 %; Jaccard 1\.000\)/);
    await page.unroute('**/sql', fewer);
  }
  if (name === 'compare-tenth') assert.match(await page.textContent('main'), /of the best 12 rows are in both/);
  if (name === 'why-row' && await page.locator('text=Highlight tokens').count()) {
    await page.click('text=Highlight tokens');
    await page.waitForSelector('.token');
  }
  for (const [scheme, width] of [['light', 1280], ['dark', 390]]) {
    await page.emulateMedia({ colorScheme: scheme });
    await page.setViewportSize({ width, height: 900 });
    await page.waitForTimeout(200);
    await picture(`${name}-${scheme}-${width}`);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${name} is not wider than ${width}`);
  }
}
// A question that is refused is told so once.
for (const view of ['why', 'compare']) {
  await page.goto(`${url}#/${view}?pool=target&target=target&other=target&kind=embed-mean`);
  await page.waitForSelector('main .error');
  await page.waitForFunction(() => !/Scoring…/.test(document.querySelector('main').textContent));
  assert.match(await page.locator('main .error').textContent(), /`target` has no `embed-mean` feature/);
}
for (const [view, ready] of [['store', '.cards'], ['constructor', '.cards'], ['query', '#sql']]) {
  await page.goto(`${url}#/${view}`);
  await page.waitForSelector(ready);
  await picture(`${view}-dark-narrow`);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${view} is not wider than the window`);
}

await page.click('text=Sign out');
await page.waitForSelector('#token');
await browser.close();
assert.deepEqual(problems, []);
console.log('all checked');
