// Ways to other rooms.

import { element, parts, recallData, remember, room } from './page.js';

const address = (name) => `/${encodeURIComponent(name)}`;
const others = [recallData('catchat:rooms') ?? []].flat().filter((name) => name !== room);
remember('catchat:rooms', JSON.stringify([room, ...others].slice(0, 12)));
parts.lately.append(...others.map((name) => element('li', {}, element('a', { href: address(name), dir: 'auto' }, name))));

parts.go.onsubmit = (event) => {
	event.preventDefault();
	location = address(parts.to.value.trim());
};

parts.private.onclick = () => {
	location = address(crypto.getRandomValues(new Uint32Array(4)).join('-'));
};
