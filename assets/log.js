// Reading the log.

const PAGE_LINES = 50; // more, and scrolling jerks
const PAGE_BYTES = 8192;
const NEW_BYTES = 131_072; // where more is new, it opens anew
export const POLL_MS = 1500;
const HIDDEN_POLL_MS = 10_000;
const LIVE_POLL_MS = 3_600_000;
const ANSWER_MS = 12_000;
const FIRST_EVENT_MS = 4000; // later, a proxy holds it back
const SILENCE_MS = 40_000; // the server pings every 15 s
const STREAM_PAUSE_MS = 30_000;

export const url = document.forms.composer.action;
export let cursor;
export let anew = true;
export let retryAt = 0;

let page;
let request = new AbortController();
export let failures = 0;
let stream;
let noStreamBefore = 0;
let doubted = false;
let wake = () => {};

export const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

export function cursorOf(text) {
	const [, epoch, length] = /(\w+)-(\d+)/.exec(text) ?? [];
	return epoch && { epoch, length: Number(length) };
}

export const token = ({ epoch, length }) => `${epoch}-${length}`;

// The cursor of an empty log fits every other.
export const sameLog = (one, other) => one.epoch === other.epoch || !one.length || !other.length;

function linesOf(bytes, start) {
	const found = [];
	for (let from = 0, to; (to = bytes.indexOf(10, from)) >= 0; from = to + 1) {
		found.push({ text: decoder.decode(bytes.subarray(from, to)), start: start + from, end: start + to + 1 });
	}
	return found;
}

export async function ask(address, init, ...signals) {
	const signal = AbortSignal.any([AbortSignal.timeout(ANSWER_MS), ...signals]);
	try {
		const { headers, status, body } = await fetch(address, { ...init, cache: 'no-store', signal });
		const bytes = new Uint8Array(await new Response(body).arrayBuffer());
		const server = headers.get('Server-Name');
		if (server) return { status, server, bytes, cursor: cursorOf(headers.get('ETag')) };
	} catch {}
	throw Error();
}

export const pauseAfter = (failed) => Math.min(15_000, 1000 * 2 ** failed) * (0.75 + Math.random() / 4);

// One loop: read what is new, see to the stream, sleep. All else wakes it.
export async function follow(told) {
	for (page = told; ; ) {
		let pause;
		retryAt = 0;
		try {
			if (!stream?.live || doubted) await catchUp();
			failures = 0;
			if (document.hidden) closeStream();
			else if (!stream && Date.now() >= noStreamBefore) openStream();
			page.reached(stream?.live);
			pause = document.hidden ? HIDDEN_POLL_MS : stream?.live ? LIVE_POLL_MS : POLL_MS;
		} catch (error) {
			if (error.message) console.error(error);
			closeStream();
			pause = pauseAfter(failures++);
			retryAt = Date.now() + pause;
			page.lost();
		}
		if (!doubted) await new Promise((resolve) => setTimeout((wake = resolve), pause));
	}
}

export function check(lost) {
	if (lost) page.lost();
	doubted = true;
	wake();
}

export function retry() {
	failures = noStreamBefore = 0;
	request.abort();
	check();
}

export function reopen() {
	anew = true;
	closeStream();
	check();
}

export async function lines(from, to) {
	const start = Math.max(0, from - 1); // does a line begin at `from`?
	const answer = await ask(url, { headers: { Range: `bytes=${start}-${to - 1}` } });
	if (answer.status !== 206 || !cursor || !sameLog(answer.cursor, cursor)) {
		check();
		throw Error('The log has changed.');
	}
	const cut = from > 0 ? answer.bytes.indexOf(10) + 1 || to : 0;
	return linesOf(answer.bytes.subarray(cut), start + cut);
}

export async function around(at, after) {
	for (let size = PAGE_BYTES; ; size *= 4) {
		const found = after ? await lines(at, at + size) : await lines(at - size, at);
		if (found.length || size > cursor.length) return after ? found.slice(0, PAGE_LINES) : found.slice(-PAGE_LINES);
	}
}

async function catchUp() {
	request = new AbortController();
	doubted = false;
	if (anew) return open();
	const { epoch, length } = cursor;
	const headers = { Range: `bytes=${Math.max(0, length - 1)}-${length + NEW_BYTES - 1}`, 'If-None-Match': `"${epoch}-${length}"` };
	const { status, server, bytes, cursor: now } = await ask(url, { headers }, request.signal);
	if (status > 400 && status !== 416) throw Error();
	if (!stream?.live) page.server(server);
	const follows = status === 206 && sameLog({ epoch, length }, now) && (!length || bytes[0] === 10);
	if (follows && now.length <= length + NEW_BYTES) take(linesOf(bytes.subarray(length && 1), length), now.epoch);
	else if (status !== 304) await open();
}

async function open() {
	const answer = await ask(`${url}?tail=100`, {}, request.signal);
	if (answer.status !== 200 || !answer.cursor) throw Error();
	closeStream();
	({ cursor } = answer);
	anew = false;
	page.server(answer.server);
	page.opened(linesOf(answer.bytes, cursor.length - answer.bytes.length));
}

function take(found, epoch) {
	const fresh = found.filter(({ end }) => end > cursor.length);
	if (!fresh.length) return;
	cursor = { epoch, length: fresh.at(-1).end };
	page.fresh(fresh);
}

function openStream() {
	const mine = (stream = new EventSource(`${url}?after=${token(cursor)}`));
	expectEvent(FIRST_EVENT_MS);
	const on = (event, act) => mine.addEventListener(event, ({ data, lastEventId }) => {
		if (stream !== mine) return;
		stream.live = true;
		expectEvent(SILENCE_MS);
		page.reached(true);
		act(data, cursorOf(lastEventId));
	});
	on('server', page.server);
	on('reset', () => endStream((anew = true)));
	on('ping', (data) => data !== token(cursor) && check());
	on('message', (text, at) => at && take([{ text, start: cursor.length, end: at.length }], at.epoch));
	mine.onerror = () => stream === mine && endStream();
}

function expectEvent(ms) {
	clearTimeout(stream.timer);
	stream.timer = setTimeout(endStream, ms);
}

function endStream() {
	noStreamBefore = Date.now() + (stream.live ? POLL_MS : STREAM_PAUSE_MS);
	closeStream();
	setTimeout(check, Math.random() * 500);
}

function closeStream() {
	clearTimeout(stream?.timer);
	stream?.close();
	stream = null;
}
