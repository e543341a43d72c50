// What all modules share.

// Kept from browsers without script, which could not serve it.
for (const block of document.querySelectorAll('[type="text/html"]')) block.outerHTML = block.textContent;

export const parts = Object.fromEntries([...document.querySelectorAll('[id]')].map((part) => [part.id, part]));
export const room = parts.room.textContent;
export const ownName = () => parts.username.value.trim();
export const spelt = (text) => text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');

export function element(tag, properties, ...children) {
	const made = Object.assign(document.createElement(tag), properties);
	made.append(...children);
	return made;
}

export function remembering(act) {
	try {
		return act(localStorage);
	} catch {}
}

export const recall = (key) => remembering((storage) => storage[key]) ?? '';
export const recallData = (key) => remembering((storage) => JSON.parse(storage[key]));

export function remember(key, text) {
	remembering((storage) => (text ? (storage[key] = text) : delete storage[key]));
}
