// Messages on their way. Each goes out with the newest cursor that was seen when it was written,
// unchanged, until it is answered: so a repeat is harmless, in any tab.

import * as log from './log.js';
import { recallData, remember, remembering, room } from './page.js';
import { showPending } from './write.js';

const SEARCH_BYTES = 262_144;
const PREFIX = `catchat:out:${encodeURIComponent(room)}:`;

const keys = remembering(Object.keys) ?? [];
let items = keys.filter((key) => key.startsWith(PREFIX)).sort().map((key) => ({ ...recallData(key), key }));
items = items.filter(({ username, message }) => username?.trim && message?.trim);
let newest = null; // cursor in an answer to a post
let busy = false;
let failures = 0;
let timer = 0;

export const show = () => showPending(items);

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
		showPending(items, error.message);
		log.check();
	} finally {
		busy = false;
	}
}

async function post(item) {
	const { username, message, after = seen() } = item;
	if (!after) throw new log.Away();
	save(item, after);
	const body = new URLSearchParams({ username, message, after });
	const { status, cursor, bytes } = await log.ask(log.url, { method: 'POST', body });
	const sentence = log.decoder.decode(bytes.subarray(0, 400)).trim();
	if ((status === 200 || status === 201) && cursor) posted(item, cursor);
	else if (status === 412 && cursor) await renew(item, cursor);
	else if (status < 400 || status >= 500 || status === 408 || status === 429) throw new log.Away(sentence);
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
	for (const other of items.filter(again)) save(other, log.formatCursor(cursor));
	reap();
	setTimeout(() => items.includes(item) && log.check(), log.POLL_MS / 3);
}

// The cursor is of another log, or too far back: an earlier attempt may stand after it.
async function renew(item, now) {
	const then = log.parseCursor(item.after);
	const wanted = `${item.username}: ${item.message.replace(/\r\n|[\r\n\v\f\u0085\u2028\u2029]/g, '⏎')}`;
	for (let from = log.sameLog(then, now) ? then.length : now.length; from < now.length; ) {
		const found = await log.lines(from, Math.min(from + SEARCH_BYTES, now.length));
		const line = found.find(({ text }) => text.slice('[2018-02-25 14:00:51] '.length) === wanted);
		if (line) return posted(item, { ...now, length: line.end });
		from = found.at(-1)?.end ?? from + SEARCH_BYTES;
	}
	save(item, log.formatCursor(now));
}

function seen() {
	const { cursor } = log;
	const ahead = cursor && newest && log.sameLog(newest, cursor) && newest.length > cursor.length;
	return cursor ? log.formatCursor(ahead ? newest : cursor) : undefined;
}

function save(item, after) {
	item.after = after;
	remember(item.key, JSON.stringify({ ...item, key: undefined }));
}
