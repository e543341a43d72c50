// The field one writes in, and the messages on their way.

import { messageElement } from './line.js';
import { add, remove } from './outbox.js';
import { element, ownName, parts, recall, remember, room } from './page.js';
import { follow, goToEnd } from './view.js';

const DRAFT = `catchat:draft:${room}`;

const { composer, lines, message, names, pending, username } = parts;
const touch = matchMedia('(pointer: coarse)');
let typed = ''; // of a name
let offered = [];

export function showPending(items, reason) {
	pending.replaceChildren(...items.map((item) => {
		const { username, message, refused, posted } = item;
		const node = messageElement(username, message);
		node.classList.add('own');
		const note = refused ?? (!posted && reason);
		if (note) node.append(element('p', { className: 'note', role: 'status' }, note));
		if (refused) node.append(element('p', { className: 'choice' }, button('Edit', () => edit(item)), ' ', button('Discard', () => remove(item))));
		return node;
	}));
	follow();
}

const button = (label, onclick) => element('button', { type: 'button', onclick }, label);

function edit(item) {
	remove(item);
	write([item.message, message.value].filter(Boolean).join('\n'));
	message.focus();
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
	[typed] = /(?<=(^|\s)@)[^@\n]*$/.exec(message.value.slice(0, message.selectionStart).toLowerCase()) ?? [];
	const begins = (name) => typed !== undefined && name && name !== ownName() && name.toLowerCase().startsWith(typed);
	const seen = new Set([...lines.children].map(({ dataset }) => dataset.name).reverse());
	offer([...seen].filter(begins).slice(0, 6));
}

// The first name is the chosen one; arrows turn the list.
function offer(found) {
	offered = found;
	const onpointerdown = (event) => event.preventDefault(); // the field keeps the focus
	names.replaceChildren(...found.map((name, index) => {
		const onclick = () => take(name);
		return element('li', { id: `name-${index}`, role: 'option', ariaSelected: !index, dir: 'auto', onpointerdown, onclick }, name);
	}));
	names.hidden = !found.length;
	message.setAttribute('aria-activedescendant', found.length ? 'name-0' : '');
}

function take(name) {
	const { selectionStart } = message;
	message.setRangeText(`${name} `, selectionStart - typed.length, selectionStart, 'end');
	changed();
}

const offerKeys = {
	ArrowDown: () => offer([...offered.slice(1), offered[0]]),
	ArrowUp: () => offer([offered.at(-1), ...offered.slice(0, -1)]),
	Escape: () => offer([]),
	Enter: () => take(offered[0]),
	Tab: () => take(offered[0]),
};
const fieldKeys = {
	Enter: () => message.value.trim() && composer.requestSubmit(),
	Escape: () => write(''),
	ArrowUp: () => write([...document.querySelectorAll('.own .text')].at(-1)?.textContent ?? ''),
};

message.onkeydown = (event) => {
	const { key, shiftKey, isComposing, keyCode } = event;
	if (isComposing || keyCode === 229) return;
	const edits = key === 'Enter' ? shiftKey || touch.matches : key === 'ArrowUp' && message.value;
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
	write('');
	goToEnd();
	message.focus();
};

document.onkeydown = (event) => {
	if (event.key !== '/' || event.ctrlKey || event.metaKey || event.target.matches('input, textarea')) return;
	event.preventDefault();
	message.focus();
};

message.oninput = changed;
message.onblur = () => offer([]);

export function start() {
	write(recall(DRAFT));
	if (!touch.matches) (ownName() ? message : username).focus();
}
