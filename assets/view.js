// The window onto the log: a bounded stretch of its lines.

import * as log from './log.js';
import { lineElement, ownName, parts, recall, remember, room, spelt } from './page.js';
import { reap } from './write.js';

const KEPT_LINES = 500;
const NEAR_END_PX = 100;
const NEAR_EDGE_PX = 1200;
const GROUP_MS = 300_000;
const SEEN = `catchat:seen:${room}`;

const { scroller, lines, pending, newer, top } = parts;
const days = new Intl.DateTimeFormat(undefined, { dateStyle: 'full' });
let following = true;
let epoch;
export let left = log.cursorOf(recall(SEEN)); // where the reader did
export let missed;
let back = true;
let unseen = 0;
let scrolledTo = 0;
let frame;
let waiting = [];
let reading = false;

const start = () => Number(lines.firstChild?.dataset.start ?? 0);
const end = () => Number(lines.lastChild?.dataset.end ?? 0);
const newest = () => waiting[0]?.start ?? log.cursor?.length;
const placeOf = (node) => node?.getBoundingClientRect() ?? {};
const firstShown = () => [...lines.children].find((node) => placeOf(node).bottom > placeOf(scroller).top);
const below = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;

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
	if (waiting.length && !log.anew) {
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
	if (start()) top.textContent = 'Loading …';
	else top.textContent = lines.firstChild ? `This is where \u2068${room}\u2069 begins.` : 'Nobody has written here yet. Say hello!';
	follow();
	if (following) unseen = 0;
	else back = false;
	missed = back && left?.length < start() && left.length;
	newer.hidden = following && !missed;
	newer.textContent = missed ? 'New since you left ↑' : `${['Newest', '1 new line'][unseen] ?? `${unseen} new lines`} ↓`;
	if (following && log.cursor && !document.hidden) remember(SEEN, log.token(log.cursor));
	more();
}

export function follow() {
	relate(pending.children);
	if (following) scroller.scrollTop = scroller.scrollHeight;
	scrolledTo = scroller.scrollTop;
}

export function goToEnd() {
	settle();
	back = false;
	following = true;
	history.replaceState(null, '', location.pathname);
	if (end() !== newest()) log.reopen();
	settle();
}

export async function goTo({ epoch, length }) {
	const find = () => epoch === log.cursor.epoch && lines.querySelector(`[data-end="${length}"]`);
	if (!find()) {
		const found = await log.around(length);
		if (length < log.cursor.length) found.push(...(await log.around(length, true)));
		if (epoch !== log.cursor.epoch || !found.some((line) => line.end === length)) throw Error('gone');
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
	left = log.cursorOf(recall(SEEN));
	back = true;
	relate();
}

export function caughtUp() {
	if (!document.hidden && left?.length === log.cursor?.length) left = null;
}

export function relate(nodes = lines.children) {
	const own = ownName();
	const naming = RegExp(`(^|[^\\p{L}\\d])${spelt(own)}($|[^\\p{L}\\d])`, 'iu');
	for (const { dataset, classList, previousSibling, lastChild } of nodes) {
		const { name, time, start } = dataset;
		const before = (previousSibling ?? (start ? null : lines.lastChild))?.dataset;
		const isNew = Number(start) === left?.length;
		classList.toggle('new', isNew);
		if (!name && before) dataset.time = before.time;
		if (!name) continue;
		const day = days.format(time);
		const sameDay = isFinite(before?.time) && days.format(before.time) === day;
		if (sameDay || !start) delete dataset.day;
		else dataset.day = day;
		classList.toggle('more', sameDay && !isNew && before.name === name && time - before.time < GROUP_MS);
		classList.toggle('named', own && name !== own && naming.test(lastChild.textContent));
	}
}

function show(found) {
	({ epoch } = log.cursor);
	if (left && !log.sameLog(left, log.cursor)) left = null;
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
	// Lines without a date pass one on.
	while (next && nodes.push(next) && !next.dataset.name) next = next.nextSibling;
	relate(nodes);
}

function trim(atTop) {
	while (lines.children.length > KEPT_LINES) (atTop ? lines.firstChild : lines.lastChild).remove();
	relate([...lines.children].slice(0, 1));
}

function look() {
	const stays = following && scroller.scrollTop >= scrolledTo;
	if (!log.anew) following = end() === newest() && (stays || below() < NEAR_END_PX);
	scrolledTo = scroller.scrollTop;
}

function steady(change) {
	const text = firstShown()?.lastChild;
	const before = placeOf(text).top;
	change();
	if (text) scroller.scrollTop += placeOf(text).top - before;
	scrolledTo = scroller.scrollTop;
}

async function more() {
	const up = start() && scroller.scrollTop < NEAR_EDGE_PX;
	const down = end() < newest() && below() < NEAR_EDGE_PX;
	if (reading || log.anew || !(up || down)) return;
	reading = true;
	const edge = up ? start : end;
	const at = edge();
	const found = await log.around(at, !up).catch(() => new Promise((resolve) => setTimeout(resolve, 2000)));
	reading = false;
	if (edge() !== at || !found?.length) return found || more();
	steady(() => {
		insert(found, up && lines.firstChild);
		trim(!up);
	});
	look();
	settle();
}

scroller.onscroll = () => {
	const before = following;
	look();
	before === following ? more() : settle();
};

new ResizeObserver(() => {
	look();
	settle();
}).observe(scroller);

// So that the lines are one stop of Tab.
scroller.onkeydown = (event) => {
	const step = { ArrowUp: 'previous', ArrowDown: 'next' }[event.key];
	const from = document.activeElement.closest('.line');
	const to = from ? from[`${step}Sibling`] : firstShown();
	if (!step || !to) return;
	event.preventDefault();
	to.querySelector('.at').focus();
};
