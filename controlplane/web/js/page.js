// What every page has around its content: language switch, icons, and the way to be forgotten.

import { fillIcons } from './dom.js';
import { language, onLanguage, setLanguage, t, translate } from './i18n.js';
import { anythingStored, wipe } from './settings.js';

/** @param {() => string} title of the document, in the language of the moment */
export function startPage(title) {
  fillIcons(document);
  translate(document);
  const showTitle = () => { document.title = title(); };
  showTitle();
  onLanguage(showTitle);
  offerLanguages(document);
  offerForgetting();
}

/** @param {ParentNode} root */
export function offerLanguages(root) {
  const buttons = [...root.querySelectorAll('button[data-set-language]')];
  const show = () => {
    for (const choice of buttons) choice.setAttribute('aria-pressed', String(choice.getAttribute('data-set-language') === language()));
  };
  for (const choice of buttons) {
    choice.addEventListener('click', () => setLanguage(choice.getAttribute('data-set-language') === 'de' ? 'de' : 'en'));
  }
  onLanguage(show);
  show();
}

function offerForgetting() {
  const button = document.querySelector('[data-forget]');
  const done = document.querySelector('[data-forgotten]');
  if (!(button instanceof HTMLButtonElement) || !done) return;
  const show = () => { button.hidden = !anythingStored(); };
  onLanguage(show);
  show();
  button.addEventListener('click', async () => {
    await wipe();
    show();
    done.textContent = t('forgotten');
  });
}
