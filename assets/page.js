for (const block of document.querySelectorAll('[type="text/html"]')) block.outerHTML = block.textContent;

export const parts = Object.fromEntries([...document.querySelectorAll('[id]')].map((part) => [part.id, part]));
export const room = parts.room.textContent;
export const ownName = () => parts.username.value.trim();
export const spelt = (text) => text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');

export function element(tag, properties, ...children) {
	const made = Object.assign(document.createElement(tag), properties);
	made.append(...children);
	return made;
}

export function remembering(act) {
	try {
		return act(localStorage);
	} catch {}
}

export const recall = (key) => remembering((storage) => storage[key]) ?? '';
export const recallData = (key) => remembering((storage) => JSON.parse(storage[key]));

export function remember(key, text) {
	remembering((storage) => (text ? (storage[key] = text) : delete storage[key]));
}

const shortTime = new Intl.DateTimeFormat(undefined, { timeStyle: 'short' });
const fullTime = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'long' });

// A line of another form than `[2018-02-25 14:00:51] omri: hi` has no name.
export function parseLine(text) {
	const parts = /^\[(\S{10}) (\S{8})\] (.+?): (.*)$/s.exec(text);
	const time = Date.parse(parts && `${parts[1]}T${parts[2]}Z`);
	const [name, message] = time ? parts.slice(3) : ['', text];
	return { time, name, message: message.replaceAll('⏎', '\n') };
}

function textElement(text) {
	// With balanced parentheses, and no punctuation at its end.
	const pieces = text.split(/(\bhttps?:\/\/[^\s<>"()]*(?:\([^\s<>"()]*\)[^\s<>"()]*)*(?<=[^\p{P}]|[)/#&%@_-]))/iu).map((href, index) => {
		if (index % 2 === 0 || !URL.canParse(href)) return href;
		return element('a', { href, rel: 'noreferrer noopener', target: '_blank' }, href);
	});
	return element('p', { className: /```|\n(|.*[^.!?])(  |\t)/.test(text) ? 'text code' : 'text', dir: 'auto' }, ...pieces);
}

export function timeElement(time) {
	const dateTime = new Date(time).toISOString();
	return element('time', { dateTime, title: fullTime.format(time) }, shortTime.format(time));
}

export function messageElement(name, message, at = '') {
	const head = element('div', { className: 'head' }, element('bdi', { className: 'name' }, name), ' ', at);
	const hue = [...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt()) % 360, 0);
	const node = element('article', { className: 'line', style: `--hue: ${hue}` }, head, textElement(message));
	Object.assign(node.dataset, { name, initial: [...name][0].toUpperCase() });
	return node;
}

export function lineElement({ text, start, end }, epoch) {
	const { time, name, message } = parseLine(text);
	const shown = name && timeElement(time);
	const at = element('a', { className: 'at', href: `#${epoch}-${end}`, tabIndex: -1, ariaLabel: shown.title ?? 'Address' }, shown);
	const node = name ? messageElement(name, message, at) : element('article', { className: 'line raw' }, at, textElement(text));
	Object.assign(node.dataset, { time, start, end });
	return node;
}
