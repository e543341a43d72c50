// What comes while the tab is hidden, counted and told.

import { parseLine } from './line.js';
import { ownName, parts, recall, remember, room } from './page.js';

const icon = document.querySelector('link[rel=icon]');
const { href } = icon;
const { title } = document;
const { notify, sound, denied } = parts;
let unread = 0;
let audio;

export function count(found) {
	const others = found.map(({ text }) => parseLine(text)).filter(({ name }) => name !== ownName());
	if (!document.hidden || !others.length) return;
	show(unread + others.length);
	if (sound.checked) ring();
	const { name, message } = others.at(-1);
	try {
		if (notify.checked) new Notification(room, { body: `${name} ${message}`, tag: room, icon: href }).onclick = () => focus();
	} catch {}
}

export function show(number) {
	unread = number;
	document.title = unread ? `(${unread}) ${title}` : title;
	icon.href = unread ? badged() : href;
}

function badged() {
	const canvas = document.createElement('canvas');
	canvas.width = canvas.height = 64;
	const pen = canvas.getContext('2d');
	pen.drawImage(document.images[0], 0, 0, 64, 64);
	pen.fillStyle = '#b3261e';
	pen.fillRect(16, 26, 48, 38);
	pen.fillStyle = '#fff';
	pen.font = 'bold 36px sans-serif';
	pen.textAlign = 'center';
	pen.fillText(Math.min(unread, 99), 40, 58);
	return canvas.toDataURL();
}

function ring() {
	audio ??= new AudioContext();
	const [tone, volume] = [audio.createOscillator(), audio.createGain()];
	volume.gain.value = 0.1;
	volume.gain.setTargetAtTime(0, audio.currentTime, 0.1);
	tone.connect(volume).connect(audio.destination);
	tone.start();
	tone.stop(audio.currentTime + 0.5);
}

for (const choice of [notify, sound]) {
	const key = `catchat:${choice.id}`;
	choice.checked = recall(key);
	choice.onchange = async () => {
		if (sound.checked && choice === sound) ring();
		else if (choice.checked) denied.hidden = choice.checked = (await window.Notification?.requestPermission()) === 'granted';
		remember(key, choice.checked && 'yes');
	};
}
