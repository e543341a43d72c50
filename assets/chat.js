// The chat page: a room's log, over the public routes alone.

import './find.js';
import * as log from './log.js';
import * as outbox from './outbox.js';
import { parts, recall, remember } from './page.js';
import './rooms.js';
import * as unread from './unread.js';
import * as view from './view.js';
import { start } from './write.js';

const ABSENCE_MS = 2000;

const { username, away, countdown, said, finder } = parts;
let lostAt = performance.now();
let retryAt = 0;
let arrived = false;
let server = parts['server-name'].textContent;

function describeAbsence() {
	away.hidden = !lostAt || performance.now() - lostAt < ABSENCE_MS;
	if (away.hidden) return;
	countdown.textContent = `Next try in ${Math.max(0, Math.ceil((retryAt - performance.now()) / 1000))} s.`;
	document.body.className = 'away';
	view.follow();
}

// The host of a server is on the page that it renders, if a proxy picks it.
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

async function visit() {
	const cursor = log.parseCursor(location.hash);
	if (cursor) await view.goTo(cursor).catch(() => say('There is no such line here now.'));
}

async function copy(text) {
	const copied = await navigator.clipboard?.writeText(text).then(() => true, () => false);
	say(copied ? 'Address copied.' : `The address is ${text}`);
}

document.onclick = ({ target }) => {
	const link = target.closest('a[href^="#"]');
	if (link?.hash === location.hash) visit();
	if (link?.matches('.at')) copy(link.href);
	else if (link && innerWidth < 900) finder.hidePopover();
};

document.onvisibilitychange = () => {
	if (document.hidden) view.leave();
	else unread.show(0);
	view.settle();
	log.retry();
};

parts.copy.onclick = () => copy(location.origin + location.pathname);
parts.newer.onclick = () => {
	view.goToEnd();
	parts.message.focus();
};
parts.retry.onclick = ononline = log.retry;
onhashchange = visit;

username.value = recall('catchat:name').slice(0, 64);
username.oninput = () => {
	remember('catchat:name', username.value);
	view.relate();
};

start();
outbox.show();
setInterval(describeAbsence, 500);
log.follow({
	server: showServer,

	opened(found) {
		view.opened(found);
		if (!arrived) visit();
		arrived = true;
	},

	fresh(found) {
		view.fresh(found);
		unread.count(found);
	},

	lost(until) {
		lostAt ||= performance.now();
		retryAt = until;
	},

	reached(live) {
		document.body.className = live ? 'live' : '';
		view.caughtUp();
		if (!lostAt) return;
		lostAt = 0;
		describeAbsence();
		outbox.flush();
	},
});
