// What one writes goes out with the cursor that was the newest then, unchanged, until it is
// answered: so a repeat is harmless, in any tab.

import * as log from './log.js';
import { element, messageElement, ownName, parts, recall, recallData, remember, remembering, room } from './page.js';
import { follow, goToEnd } from './view.js';

const SEARCH_BYTES = 262_144;
const DRAFT = `catchat:draft:${room}`;
const SENT = `catchat:sent:${room}`;
const PREFIX = `catchat:out:${encodeURIComponent(room)}:`;

const { composer, lines, message, names, pending, username } = parts;
const panelIsOpen = () => document.querySelector(':popover-open');
const touch = matchMedia('(pointer: coarse)');
let typed;
let caret;
let offered;
let chosen;
let items = (remembering(Object.keys) ?? []).filter((key) => key.startsWith(PREFIX)).sort();
items = items.map((key) => ({ ...recallData(key), key })).filter(({ username, message }) => username?.trim && message?.trim);
let newest;
let busy = false;
let failures = 0;
let timer;

export function show(reason) {
	const { id } = document.activeElement;
	pending.replaceChildren(...items.map((item) => {
		const { username, message, refused, posted } = item;
		const node = messageElement(username, message);
		node.dataset.time = Date.now();
		const note = refused ?? (!posted && reason);
		if (note) node.append(element('p', { className: 'note', role: 'status' }, note));
		if (note) node.append(element('p', { className: 'choice' }, button('Edit', edit, item), ' ', button('Discard', remove, item)));
		return node;
	}));
	document.getElementById(id)?.focus();
	follow();
}

const button = (label, act, item) => element('button', { type: 'button', id: label + item.key, onclick: () => message.focus(act(item)) }, label);

function edit(item) {
	remove(item);
	write([item.message, message.value].filter(Boolean).join('\n'));
}

function write(text) {
	message.value = text;
	changed();
}

function changed() {
	remember(DRAFT, message.value);
	message.style.height = 'auto';
	message.style.height = `${message.scrollHeight}px`;
	follow();
	offer();
}

function complete() {
	changed();
	caret = message.selectionStart;
	const after = /(?<=(^|\s)@)[^@\n]*$/.exec(message.value.slice(0, caret));
	if (!after) return;
	[typed] = after;
	const begins = (name) => name !== ownName() && name?.toLowerCase().startsWith(typed.toLowerCase());
	const isWhole = (name) => name.length === typed.length;
	const seen = new Set([...lines.children].map(({ dataset }) => dataset.name).reverse());
	offer([...seen].filter(begins).sort((one, other) => isWhole(other) - isWhole(one)).slice(0, 6));
}

function offer(found = [], at = 0) {
	[offered, chosen] = [found, at];
	const option = (name, index) => element('li', { id: `name-${index}`, role: 'option', ariaSelected: index === at, dir: 'auto' }, name);
	names.replaceChildren(...found.map(option));
	names.hidden = !found.length;
	message.setAttribute('aria-activedescendant', found.length ? `name-${chosen}` : '');
}

function take(name = offered[chosen]) {
	message.setRangeText(`${name} `, caret - typed.length, caret, 'end');
	changed();
}

const offerKeys = {
	ArrowDown: () => offer(offered, (chosen + 1) % offered.length),
	ArrowUp: () => offer(offered, (chosen || offered.length) - 1),
	Escape: offer,
	Enter: take,
	Tab: take,
};
const fieldKeys = {
	Enter: () => message.value.trim() && composer.requestSubmit(),
	ArrowUp: () => write(recall(SENT)),
	Escape() {
		message.select();
		document.execCommand('delete');
	},
};

message.onkeydown = (event) => {
	const { key, shiftKey, isComposing, keyCode } = event;
	if (isComposing || keyCode === 229) return;
	const edits = key === 'Enter' ? shiftKey || touch.matches : key === 'ArrowUp' ? message.value : panelIsOpen();
	const act = names.hidden ? !edits && fieldKeys[key] : !shiftKey && offerKeys[key];
	if (!act) return;
	event.preventDefault();
	act();
};

composer.onsubmit = (event) => {
	event.preventDefault();
	const [name, text] = [ownName(), message.value.trimEnd()];
	if (!name) username.focus();
	if (!name || !text) return;
	add(name, text);
	remember(SENT, text);
	write('');
	goToEnd();
	message.focus();
};

document.onkeydown = (event) => {
	if (event.key !== '/' || event.ctrlKey || event.metaKey || event.target.matches('input, textarea') || panelIsOpen()) return;
	event.preventDefault();
	message.focus();
};

// Another tab is done with it.
onstorage = ({ key, newValue }) => newValue ?? items.filter((item) => item.key === key).forEach(remove);
names.onpointerdown = (event) => event.preventDefault();
names.onclick = ({ target }) => target !== names && take(target.textContent);
message.oninput = complete;
message.onblur = () => offer();
message.onselectionchange = () => message.selectionStart !== caret && offer();

export function start() {
	write(recall(DRAFT));
	if (!touch.matches) (ownName() ? message : username).focus();
}

export function add(username, message) {
	const item = { key: `${PREFIX}${Date.now()}${Math.random()}`, username, message };
	items.push(item);
	save(item, seen());
	show();
	flush();
}

export function remove(item) {
	remember(item.key);
	items = items.filter((other) => other !== item);
	show();
}

export function reap() {
	const isRead = ({ posted }) => posted && (!log.sameLog(posted, log.cursor) || posted.length <= log.cursor.length);
	if (log.cursor) items.filter(isRead).forEach(remove);
}

export async function flush() {
	if (busy || log.failures) return;
	busy = true;
	clearTimeout(timer);
	try {
		for (let item; (item = items.find(({ posted, refused }) => !posted && !refused)); show()) {
			await post(item);
			failures = 0;
		}
	} catch (error) {
		timer = setTimeout(flush, log.pauseAfter(failures++));
		show(error.message || (failures > 1 && 'Not sent yet.'));
		log.check(!error.message && failures < 2);
	} finally {
		busy = false;
	}
}

async function post(item) {
	const { username, message, after = seen() } = item;
	if (!after) throw Error();
	save(item, after);
	const body = new URLSearchParams({ username, message, after });
	const { status, cursor, bytes } = await log.ask(log.url, { method: 'POST', body });
	const sentence = log.decoder.decode(bytes.subarray(0, 400)).trim();
	if ((status === 200 || status === 201) && cursor) posted(item, cursor);
	else if (status === 412 && cursor) await renew(item, cursor);
	else if (status < 400 || status >= 500 || status === 408 || status === 429) throw Error(sentence);
	else {
		item.refused = sentence || `The server answered ${status}.`;
		save(item, after);
	}
}

function posted(item, cursor) {
	item.posted = newest = cursor;
	remember(item.key);
	// The same words again are another message.
	const again = ({ posted, username, message }) => !posted && username === item.username && message === item.message;
	for (const other of items.filter(again)) save(other, log.token(cursor));
	reap();
	setTimeout(() => items.includes(item) && log.check(), log.POLL_MS / 3);
}

// Of another log, or too far back: an earlier attempt may stand after it.
async function renew(item, now) {
	const then = log.cursorOf(item.after);
	const wanted = `${item.username}: ${item.message.replace(/\r\n|[\n-\r\u0085\u2028\u2029]/g, '⏎')}`;
	for (let from = log.sameLog(then, now) ? then.length : now.length; from < now.length; ) {
		const found = await log.lines(from, Math.min(from + SEARCH_BYTES, now.length));
		const line = found.find(({ text }) => text.slice('[2018-02-25 14:00:51] '.length) === wanted);
		if (line) return posted(item, { ...now, length: line.end });
		from = found.at(-1)?.end ?? from + SEARCH_BYTES;
	}
	save(item, log.token(now));
	throw Error();
}

function seen() {
	const { cursor } = log;
	const ahead = cursor && newest && log.sameLog(newest, cursor) && newest.length > cursor.length;
	return cursor && log.token(ahead ? newest : cursor);
}

function save(item, after) {
	item.after = after;
	remember(item.key, JSON.stringify(item));
}
