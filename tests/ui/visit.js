'use strict';

// Opens pages of the web UI one after another: `node visit.js PLAN.json`. The plan has the browser's path, the UI's
// address, a folder for screenshots, and pages, each with a name, a path, buttons to press, and texts that must come to
// be seen. Prints a JSON object for each page: what was not seen, refused calls, and errors of the page's own.

const fs = require('node:fs');
const path = require('node:path');
const { chromium } = require('playwright-core');

const TEXT_MS = 15_000;
const SETTLE_MS = 500;

/** All that can be read on the page, its frames and its fields, in one line of lower case. */
async function readable(page) {
  const texts = await Promise.all(
    page.frames().map((frame) =>
      frame
        .evaluate(() => {
          const fields = [...document.querySelectorAll('input, textarea')].map((field) => field.value);
          return [document.body?.innerText ?? '', ...fields].join(' ');
        })
        .catch(() => ''),
    ),
  );
  return texts.join(' ').replace(/\s+/g, ' ').toLowerCase();
}

/** The texts that do not come to be seen in time. */
async function unseen(page, texts) {
  const giveUp = Date.now() + TEXT_MS;
  for (;;) {
    const shown = await readable(page);
    const left = texts.filter((text) => !shown.includes(text.toLowerCase()));
    if (!left.length || Date.now() > giveUp) {
      return left;
    }
    await page.waitForTimeout(100);
  }
}

async function visit(context, plan, { name, path: where, presses, texts }) {
  const page = await context.newPage();
  const refused = [];
  const errors = [];
  page.on('response', async (response) => {
    if (response.status() >= 400) {
      const body = await response.text().catch(() => '');
      refused.push(`${response.request().method()} ${response.url()} ${response.status()} ${body.slice(0, 300)}`);
    }
  });
  page.on('pageerror', (error) => errors.push(String(error)));
  const missing = [];
  await page.goto(plan.address + where, { waitUntil: 'domcontentloaded' });
  for (const button of presses) {
    await page
      .getByRole('button', { name: button })
      .first()
      .click({ timeout: TEXT_MS })
      .catch(() => missing.push(`the button ${button}`));
  }
  missing.push(...(await unseen(page, texts)));
  await page.waitForTimeout(SETTLE_MS);
  await page.screenshot({ path: path.join(plan.folder, `${name}.png`) });
  await page.close();
  return { name, missing, refused, errors };
}

async function main() {
  const plan = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
  const browser = await chromium.launch({
    executablePath: plan.browser,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'],
  });
  const context = await browser.newContext({ viewport: { width: 1400, height: 1100 } });
  for (const page of plan.pages) {
    console.log(JSON.stringify(await visit(context, plan, page)));
  }
  await browser.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
