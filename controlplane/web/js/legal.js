// The privacy notice and the imprint: static words in both languages, one of them shown.

import { find } from './dom.js';
import { t } from './i18n.js';
import { startPage } from './page.js';

const key = find(document, 'main', HTMLElement).dataset.document === 'imprint.document' ? 'imprint.document' : 'privacy.document';
startPage(() => t(key));
