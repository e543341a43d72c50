// Lines of the log as elements of the page.

import { element } from './page.js';

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
	const pieces = text.split(/(https?:\/\/[^\s<>"]*[^\s<>"'.,;:!?)\]}])/).map((href, index) => {
		if (index % 2 === 0 || !URL.canParse(href)) return href;
		return element('a', { href, rel: 'noreferrer noopener', target: '_blank' }, href);
	});
	return element('p', { className: /\n(  |\t)/.test(text) ? 'text code' : 'text', dir: 'auto' }, ...pieces);
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
	const at = element('a', { className: 'at', href: `#${epoch}-${end}`, ariaLabel: name ? null : 'Address' }, name && timeElement(time));
	const node = name ? messageElement(name, message, at) : element('article', { className: 'line raw' }, at, textElement(text));
	Object.assign(node.dataset, { time, start, end });
	return node;
}
