// The window onto the log: a bounded stretch of its lines.

import { lineElement } from './line.js';
import * as log from './log.js';
import { reap } from './outbox.js';
import { ownName, parts, recall, remember, room, spelt } from './page.js';

const KEPT_LINES = 500;
const NEAR_END_PX = 100; // nearer, the reader follows new lines
const NEAR_EDGE_PX = 1200;
const GROUP_MS = 300_000;
const SEEN = `catchat:seen:${room}`;

const { scroller, lines, newer, top } = parts;
const days = new Intl.DateTimeFormat(undefined, { dateStyle: 'full' });
let following = true; // the log's end
let epoch; // of the log that is shown
let left = log.parseCursor(recall(SEEN)); // where the reader left off
let unseen = 0;
let scrolledTo = 0;
let frame = 0;
let waiting = []; // for the next frame
let reading = false;

const start = () => Number(lines.firstElementChild?.dataset.start ?? 0);
const end = () => Number(lines.lastElementChild?.dataset.end ?? 0);
const newest = () => waiting[0]?.start ?? log.cursor?.length;
const below = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;

// Who reads further up stays there.
export function opened(found) {
	if (following || epoch !== log.cursor.epoch) show(found);
	settle();
}

export function fresh(found) {
	waiting.push(...found);
	if (document.hidden) settle();
	else frame ||= requestAnimationFrame(settle);
}

export function settle() {
	frame = 0;
	if (waiting.length && log.cursor) {
		look();
		({ epoch } = log.cursor);
		if (end() === newest()) insert(waiting, null, true);
		if (!following) unseen += waiting.length;
		waiting = [];
	}
	reap();
	if (following) trim(true);
	else steady(() => trim(scroller.scrollTop > below()));
	top.hidden = !log.cursor;
	top.className = lines.firstChild ? '' : 'empty';
	if (start()) top.textContent = 'Earlier lines load as you scroll up.';
	else top.textContent = lines.firstChild ? `This is where \u2068${room}\u2069 begins.` : 'Nobody has written here yet. Say hello!';
	follow();
	if (following) unseen = 0;
	newer.hidden = following;
	newer.textContent = `${['Newest', '1 new line'][unseen] ?? `${unseen} new lines`} ↓`;
	if (following && log.cursor && !document.hidden) remember(SEEN, log.formatCursor(log.cursor));
	more();
}

export function follow() {
	if (following) scroller.scrollTop = scroller.scrollHeight;
	scrolledTo = scroller.scrollTop;
}

export function goToEnd() {
	settle();
	following = true;
	history.replaceState(null, '', location.pathname);
	if (end() !== newest()) log.reopen();
	settle();
}

export async function goTo({ epoch, length }) {
	const find = () => epoch === log.cursor.epoch && lines.querySelector(`[data-end="${length}"]`);
	if (!find()) {
		const after = length < log.cursor.length ? log.around(length, true) : [];
		const found = (await Promise.all([log.around(length), after])).flat();
		if (epoch !== log.cursor.epoch || !found.some((line) => line.end === length)) throw new log.Away();
		show(found);
	}
	lines.querySelector('.target')?.classList.remove('target');
	find().classList.add('target');
	following = false;
	find().scrollIntoView({ block: 'center' });
	look();
	settle();
}

export function leave() {
	left = log.parseCursor(recall(SEEN));
	relate();
}

// If nothing came meanwhile, nothing is new.
export function caughtUp() {
	if (!document.hidden && left?.length === log.cursor?.length) left = null;
}

export function relate(nodes = lines.children) {
	const own = ownName();
	const naming = RegExp(`(^|[^\\p{L}\\d])${spelt(own)}($|[^\\p{L}\\d])`, 'iu');
	for (const { dataset, classList, previousElementSibling, lastChild } of nodes) {
		const { name, time, start } = dataset;
		classList.toggle('new', Number(start) === left?.length);
		if (!name) continue;
		const before = previousElementSibling?.dataset;
		const day = days.format(time);
		const sameDay = !!before?.name && days.format(before.time) === day;
		if (sameDay) delete dataset.day;
		else dataset.day = day;
		classList.toggle('more', sameDay && before.name === name && time - before.time < GROUP_MS);
		classList.toggle('own', name === own);
		classList.toggle('named', own && name !== own && naming.test(lastChild.textContent));
	}
}

function show(found) {
	({ epoch } = log.cursor);
	if (left?.epoch !== epoch) left = null; // it is of another log
	following = true;
	unseen = 0;
	waiting = [];
	lines.replaceChildren();
	insert(found);
}

function insert(found, next, news = false) {
	lines.ariaBusy = !news; // so what is old is not read out
	setTimeout(() => (lines.ariaBusy = false));
	const nodes = found.map((line) => lineElement(line, epoch));
	next ? next.before(...nodes) : lines.append(...nodes);
	relate(next ? [...nodes, next] : nodes);
}

function trim(atTop) {
	while (lines.children.length > KEPT_LINES) (atTop ? lines.firstChild : lines.lastChild).remove();
	relate([...lines.children].slice(0, 1));
}

function look() {
	// Lines that came do not stop it.
	const stays = following && scroller.scrollTop >= scrolledTo;
	if (log.cursor) following = end() === newest() && (stays || below() < NEAR_END_PX);
	scrolledTo = scroller.scrollTop;
}

// What the reader looks at stays where it is.
function steady(change) {
	const placeOf = (node) => node?.getBoundingClientRect() ?? {};
	const text = [...lines.children].find((node) => placeOf(node).bottom > placeOf(scroller).top)?.lastChild;
	const before = placeOf(text).top;
	change();
	if (text) scroller.scrollTop += placeOf(text).top - before;
	scrolledTo = scroller.scrollTop;
}

async function more() {
	const up = start() && scroller.scrollTop < NEAR_EDGE_PX;
	const down = end() < newest() && below() < NEAR_EDGE_PX;
	if (reading || !log.cursor || !(up || down)) return;
	reading = true;
	const edge = up ? start : end;
	const at = edge();
	const found = await log.around(at, !up).catch(() => []);
	reading = false;
	if (edge() !== at || !found.length) return;
	steady(() => {
		insert(found, up && lines.firstChild);
		trim(!up);
	});
	look();
	settle();
}

scroller.onscroll = () => {
	look();
	following === newer.hidden ? more() : settle();
};

new ResizeObserver(() => {
	look();
	follow();
}).observe(scroller);
