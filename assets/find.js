// Finding a text in the whole log, from its end.

import { parseLine, timeElement } from './line.js';
import * as log from './log.js';
import { element, parts, spelt } from './page.js';

const PIECE_BYTES = 524_288;
const MOST_HITS = 500;

const { find: form, text: field, hits, found } = parts;
let search = 0;

async function find(wanted, to) {
	const mine = ++search;
	const tell = (more) => (found.textContent = `Lines found: ${hits.children.length}${more}`);
	try {
		while (to > 0 && hits.children.length < MOST_HITS) {
			tell(`, ${Math.round(100 - (100 * to) / log.cursor.length)} % searched …`);
			const lines = await log.lines(to - PIECE_BYTES, to);
			if (mine !== search) return;
			to = lines[0]?.start ?? to - PIECE_BYTES;
			for (const { text, end } of lines.reverse()) {
				const line = parseLine(text);
				if (wanted.test(`${line.name}\n${line.message}`)) hits.append(hit(line, end, wanted));
			}
		}
		tell(to > 0 ? ' and more.' : '.');
	} catch {
		tell(' so far; the server cannot be reached.');
	}
}

function hit({ name, time, message }, end, wanted) {
	const { 0: text, index } = wanted.exec(message) ?? { 0: '', index: 0 };
	const before = message.slice(Math.max(0, index - 40), index);
	const after = message.slice(index + text.length, index + 200);
	const head = name ? [element('b', {}, name), ' ', timeElement(time)] : [];
	const shown = element('p', { dir: 'auto' }, before, element('mark', {}, text), after);
	return element('li', {}, element('a', { href: `#${log.cursor.epoch}-${end}` }, ...head, shown));
}

form.onsubmit = (event) => {
	event.preventDefault();
	hits.replaceChildren();
	if (log.cursor) find(RegExp(spelt(field.value), 'iu'), log.cursor.length);
};
