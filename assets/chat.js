import * as log from './log.js';
import { element, ownName, parseLine, parts, recall, recallData, remember, room, spelt, timeElement } from './page.js';
import * as view from './view.js';
import { flush, show, start } from './write.js';

const ABSENCE_MS = 2000;
const PIECE_BYTES = 524_288;
const MOST_HITS = 500;

const { username, away, countdown, said, finder, found, hits, text: wanted, notify, sound } = parts;
let lostAt;
let arrived = false;
let server = parts['server-name'].textContent;
let search = 0;
const icon = document.querySelector('link[rel=icon]');
const { href } = icon;
const { title } = document;
let cat = '';
fetch(href).then(async (answer) => (cat = await answer.text()), () => {});
let unread = 0;
let audio;

function describeAbsence() {
	away.hidden = !lostAt || Date.now() - lostAt < ABSENCE_MS;
	if (away.hidden) return;
	const wait = Math.ceil((log.retryAt - Date.now()) / 1000);
	countdown.textContent = wait > 0 ? `Next try in ${wait} s.` : 'Trying …';
	document.body.className = 'away';
}

// A server's host is on its page, if a proxy picks it.
async function showServer(name) {
	if (name === server) return;
	parts['server-name'].textContent = server = name;
	parts['server-at'].textContent = '';
	for (let tries = 9; tries-- && name === server; ) {
		const { bytes } = await log.ask(location.pathname).catch(() => ({}));
		const page = new DOMParser().parseFromString(log.decoder.decode(bytes), 'text/html');
		const [from, at] = page.querySelectorAll('#server *');
		if (from?.textContent === server) return parts['server-at'].replaceChildren(...at.childNodes);
	}
}

function say(text) {
	said.textContent = text;
	setTimeout(() => said.textContent === text && said.replaceChildren(), 5000);
}

function visit(cursor = log.cursorOf(location.hash)) {
	if (cursor?.length) view.goTo(cursor).catch(({ message }) => say(message ? 'There is no such line now.' : 'The server cannot be reached.'));
}

async function copy(text) {
	const copied = await navigator.clipboard?.writeText(text).then(() => true, () => false);
	say(copied ? 'Address copied.' : `The address is ${text}`);
}

async function find(pattern, to) {
	const mine = ++search;
	const tell = (more) => (found.textContent = `Lines found: ${hits.children.length}${more}`);
	found.textContent = 'Searching …';
	try {
		while (to > 0 && hits.children.length < MOST_HITS && finder.matches(':popover-open')) {
			const lines = await log.lines(to - PIECE_BYTES, to);
			if (mine !== search) return;
			to = lines[0]?.start ?? to - PIECE_BYTES;
			for (const { text, end } of lines.reverse()) {
				const line = parseLine(text);
				if (pattern.test(`${line.name}\n${line.message}`)) hits.append(hit(line, end, pattern));
			}
		}
		tell(to > 0 ? ' and more.' : '.');
	} catch {
		tell(' so far. Try again.');
	}
}

function hit({ name, time, message }, end, pattern) {
	const { 0: text, index } = pattern.exec(message) ?? { 0: '', index: 0 };
	const before = message.slice(Math.max(0, index - 40), index);
	const after = message.slice(index + text.length, index + 200);
	const head = name ? [element('b', {}, name), ' ', timeElement(time)] : [];
	const shown = element('p', { dir: 'auto' }, before, element('mark', {}, text), after);
	return element('li', {}, element('a', { href: `#${log.cursor.epoch}-${end}` }, ...head, shown));
}

function count(found, before = unread) {
	const others = found.map(({ text }) => parseLine(text)).filter(({ name }) => name !== ownName());
	if (!document.hidden || !others.length) return;
	showUnread(Math.max(unread, before + others.length));
	if (sound.checked) ring();
	const { name, message } = others.at(-1);
	try {
		if (notify.checked) new Notification(room, { body: `${name} ${message}`, tag: room, icon: href }).onclick = () => focus();
	} catch {}
}

function showUnread(number) {
	unread = number;
	document.title = unread ? `(${unread}) ${title}` : title;
	const badge = `<path fill="#b3261e" d="M16 26h48v38H16z"/><text x="40" y="58" fill="#fff" style="font:700 36px sans-serif" text-anchor="middle">${Math.min(unread, 99)}</text></svg>`;
	icon.href = unread ? `data:image/svg+xml,${encodeURIComponent(cat.replace('</svg>', badge))}` : href;
}

function ring() {
	audio ??= new AudioContext();
	const [tone, volume] = [audio.createOscillator(), new GainNode(audio, { gain: 0.1 })];
	volume.gain.setTargetAtTime(0, audio.currentTime, 0.1);
	tone.connect(volume).connect(audio.destination);
	tone.start();
	tone.stop(audio.currentTime + 0.5);
}

document.onclick = (event) => {
	const link = event.target.closest('a[href^="#"]');
	if (link?.matches('.at')) {
		event.preventDefault();
		history.replaceState(null, '', link.hash);
		copy(link.href);
	} else if (link) {
		if (link.hash === location.hash) visit();
		if (innerWidth < 900) finder.hidePopover();
	}
};

document.onvisibilitychange = () => {
	if (document.hidden) view.leave();
	else showUnread(0);
	view.settle();
	log.retry();
};

parts.copy.onclick = () => copy(location.origin + location.pathname);
parts.newer.onclick = () => {
	if (view.missed) return visit(view.left);
	view.goToEnd();
	parts.message.focus();
};
parts.retry.onclick = ononline = log.retry;
onhashchange = () => visit();

const address = (name) => `/${encodeURIComponent(name)}`;
const others = [recallData('catchat:rooms') ?? []].flat().filter((name) => name !== room);
remember('catchat:rooms', JSON.stringify([room, ...others].slice(0, 12)));
parts.lately.append(...others.map((name) => element('li', {}, element('a', { href: address(name), dir: 'auto' }, name))));
parts.go.onsubmit = (event) => {
	event.preventDefault();
	location = address(parts.to.value.trim());
};
parts.private.onclick = () => (location = crypto.getRandomValues(new Uint32Array(4)).join('-'));

parts.find.onsubmit = (event) => {
	event.preventDefault();
	hits.replaceChildren();
	if (log.cursor) find(RegExp(spelt(wanted.value), 'iu'), log.cursor.length);
};

for (const choice of [notify, sound]) {
	const key = `catchat:${choice.id}`;
	choice.checked = recall(key);
	choice.onchange = async () => {
		if (sound.checked && choice === sound) ring();
		else if (choice.checked) parts.denied.hidden = choice.checked = (await window.Notification?.requestPermission()) === 'granted';
		remember(key, choice.checked && 'yes');
	};
}

username.value = recall('catchat:name').slice(0, 64);
username.oninput = () => {
	remember('catchat:name', username.value);
	view.relate();
};

start();
show();
setInterval(describeAbsence, 500);
log.follow({
	server: showServer,

	opened(found) {
		view.opened(found);
		count(found.filter(({ end }) => end > view.left?.length), 0);
		arrived ||= !visit();
	},

	fresh(found) {
		view.fresh(found);
		count(found);
	},

	lost() {
		lostAt ||= Date.now();
	},

	reached(live) {
		document.body.className = live ? 'live' : '';
		view.caughtUp();
		if (lostAt === 0) return;
		lostAt = 0;
		describeAbsence();
		flush();
	},
});
