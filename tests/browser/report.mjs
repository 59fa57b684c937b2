// The report of saal-load on a phone: wide tables scroll in their own boxes, the page does not. The pages are those that
// `cargo test -p saal-tools --test report` leaves in target/tmp.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { launch, openTab } from './lib.mjs';

const repository = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const target = process.env.CARGO_TARGET_DIR ?? join(repository, 'target');
const PHONE = { width: 390, height: 844 };

describe('the report of a load on a phone', () => {
  let chromium, page;
  before(async () => {
    chromium = await launch('chromium', { viewport: PHONE });
    ({ page } = await openTab(chromium));
  });
  after(() => chromium?.close());

  const reports = readdirSync(join(target, 'tmp')).filter((name) => /^report-.*\.html$/.test(name));
  test('there are reports', () => assert.ok(reports.length > 1));
  for (const report of reports) {
    test(report, async () => {
      await page.goto(pathToFileURL(join(target, 'tmp', report)).href);
      await page.evaluate(() => document.querySelectorAll('details').forEach((details) => { details.open = true; }));
      const { width, wide } = await page.evaluate(() => ({
        width: document.scrollingElement.scrollWidth,
        wide: [...document.querySelectorAll('table')].filter((table) => table.offsetWidth > table.parentElement.clientWidth).map((table) => getComputedStyle(table.parentElement).overflowX),
      }));
      assert.equal(width, PHONE.width);
      assert.ok(wide.every((overflow) => overflow === 'auto'), `${wide}`);
      if (process.env.PICTURES) await page.screenshot({ path: join(process.env.PICTURES, report.replace('html', 'png')), fullPage: true });
    });
  }
});
