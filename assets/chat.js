// The chat page. It shows a room's log and adds to it, over the public routes alone:
// RoomLog reads (a stream where there is one, else polls), Outbox writes, the rest is the view.

const TAIL_LINES = 200; // loaded when a room is opened
const KEPT_LINES = 500; // in the document while the reader is at its end
const OLDER_BYTES = 32 * 1024; // fetched at the top: some 400 usual lines
const NEW_BYTES = 128 * 1024; // read at once; where more is new, the room is opened anew
const SEARCH_BYTES = 256 * 1024; // read at a time while looking for one's own line

const POLL_MS = 1500; // without a stream: others' lines are to show within 2 s
const HIDDEN_POLL_MS = 10_000; // a hidden tab leaves the browser's six connections to the others
const ANSWER_MS = 12_000; // a request without a whole answer by now has failed
const FIRST_EVENT_MS = 4000; // a stream silent until now is held back by a proxy
const SILENCE_MS = 40_000; // the server pings every 15 s, so a stream silent for this long is dead
const SHORT_STREAM_MS = 5000; // a stream that ends sooner was no success
const STREAM_PAUSE_MS = [2000, 60_000]; // between such streams, at first and at most
const RETRY_MS = [1000, 15_000]; // between attempts to reach the server, at first and at most
const ABSENCE_MS = 2000; // a shorter absence is not worth a word
const FOREVER_MS = 2 ** 31 - 1; // the longest timer there is

const NEAR_END_PX = 100; // nearer to the end, the reader follows new lines
const NEAR_TOP_PX = 600; // nearer to the top, older lines are fetched
const GROUP_MS = 5 * 60_000; // lines of one author within this time stand together

// ---- cursors, lines, requests

const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** Reads a cursor `<epoch>-<length>`, bare or as an ETag; null where there is none. */
function parseCursor(text) {
  const found = /(\w+)-(\d+)/.exec(text ?? '');
  return found && { epoch: found[1], length: Number(found[2]) };
}

/** Writes a cursor as the server spells it. */
function formatCursor({ epoch, length }) {
  return `${epoch}-${length}`;
}

/** Whether two cursors can be of one log; that of an empty log fits every other. */
function sameLog(one, other) {
  return one.epoch === other.epoch || one.length === 0 || other.length === 0;
}

/** Whole lines in bytes that begin at `start` of the log, each with the offset of its end. */
function linesOf(bytes, start) {
  const found = [];
  for (let from = 0, to; (to = bytes.indexOf(10, from)) >= 0; from = to + 1) {
    found.push({ text: decoder.decode(bytes.subarray(from, to)), end: start + to + 1 });
  }
  return found;
}

/** Splits `[2018-02-25 14:00:51] omri: hi` into its parts; null for a line of another form. */
function parseLine(text) {
  const parts = /^\[(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)\] (.+?): (.*)$/s.exec(text);
  const time = Date.parse(parts && `${parts[1]}T${parts[2]}Z`);
  return Number.isNaN(time) ? null : { time, name: parts[3], message: parts[4] };
}

/** The server did not answer, or not as itself: the request may be repeated. */
class Away extends Error {}

/** Asks the server and reads the whole answer; throws Away where none comes in time. */
async function ask(url, init = {}, signal = undefined) {
  const signals = [AbortSignal.timeout(ANSWER_MS), signal].filter(Boolean);
  try {
    const response = await fetch(url, { ...init, cache: 'no-store', signal: AbortSignal.any(signals) });
    const bytes = new Uint8Array(await response.arrayBuffer());
    const cursor = parseCursor(response.headers.get('ETag'));
    const server = response.headers.get('Server-Name');
    if (server) return { status: response.status, cursor, server, bytes };
  } catch {
    // No connection, or not in time.
  }
  throw new Away();
}

/** Asks for the part of the log between two offsets. */
function askRange(url, from, to, headers = {}, signal = undefined) {
  return ask(url, { headers: { ...headers, Range: `bytes=${from}-${to - 1}` } }, signal);
}

/** A pause that doubles with each failure, with jitter so that not all pages come back at once. */
function pauseAfter(failures, [first, most]) {
  return Math.min(most, first * 2 ** failures) * (0.75 + Math.random() / 4);
}

// ---- reading

/**
 * Follows one room's log from its last lines on, and hands every line to the view once.
 *
 * One loop serves all cases: read by Range what is new, keep a stream open where that is
 * possible, sleep, and again. Whatever happens elsewhere only wakes the loop.
 */
class RoomLog {
  cursor = null; // of the newest line that was handed over; null until the log could be read
  start = 0; // where in the log the first line that is shown begins

  #url;
  #view;
  #request = new AbortController();
  #failures = 0;
  #stream = null;
  #streamFailures = 0;
  #noStreamBefore = 0;
  #doubted = false;
  #replaced = false;
  #readingOlder = false;
  #wake = () => {};

  constructor(url, view) {
    this.#url = url;
    this.#view = view;
  }

  /** Reads for as long as the page lives. */
  async follow() {
    for (;;) {
      let pause;
      try {
        if (!this.#stream?.live || this.#doubted) await this.#catchUp();
        this.#failures = 0;
        this.#tendStream();
        this.#view.reached(Boolean(this.#stream?.live));
        pause = document.hidden ? HIDDEN_POLL_MS : this.#stream?.live ? FOREVER_MS : POLL_MS;
      } catch (error) {
        if (!(error instanceof Away)) console.error(error);
        this.#closeStream();
        pause = pauseAfter(this.#failures++, RETRY_MS);
        this.#view.lost(Date.now() + pause);
      }
      await this.#sleep(pause);
    }
  }

  /** Looks after the log now: there is reason to think that it, or the connection, changed. */
  check() {
    this.#doubted = true;
    this.#wake();
  }

  /** Starts all over at once, whatever the loop is waiting for. */
  retry() {
    this.#failures = 0;
    this.#streamFailures = 0;
    this.#noStreamBefore = 0;
    this.#request.abort();
    this.check();
  }

  /** Hands the lines before the first shown one to the view. */
  async older() {
    if (this.#readingOlder || this.start === 0) return;
    this.#readingOlder = true;
    const end = this.start;
    let found = null;
    try {
      for (let size = OLDER_BYTES; !found; size *= 4) found = await this.#before(end, size);
    } catch (error) {
      if (!(error instanceof Away)) throw error;
    } finally {
      this.#readingOlder = false;
    }
    if (!found || this.start !== end || this.#replaced) return;
    this.start = found.start;
    this.#view.older(found.lines);
  }

  /** Whole lines among the bytes before `end`; null if the first of them is longer than that. */
  async #before(end, size) {
    const from = Math.max(0, end - size);
    const { status, cursor, bytes } = await askRange(this.#url, from, end);
    if (status !== 206 || cursor?.epoch !== this.cursor.epoch) {
      this.check();
      throw new Away();
    }
    const cut = from === 0 ? 0 : bytes.indexOf(10) + 1;
    if (cut === bytes.length) return null;
    return { start: from + cut, lines: linesOf(bytes.subarray(cut), from + cut) };
  }

  /** Reads what is new, or opens the log where nothing of it is shown yet. */
  async #catchUp() {
    this.#request = new AbortController();
    this.#doubted = false;
    const known = this.cursor;
    if (!known || this.#replaced) return this.#open();
    const condition = { 'If-None-Match': `"${formatCursor(known)}"` };
    const end = known.length + NEW_BYTES;
    const answer = await askRange(this.#url, known.length, end, condition, this.#request.signal);
    const { status, cursor, server, bytes } = answer;
    if (![200, 206, 304, 416].includes(status)) throw new Away();
    if (!this.#stream?.live) this.#view.server(server);
    if (status === 304) return undefined;
    const grown = cursor && sameLog(known, cursor) ? cursor.length - known.length : -1;
    if (grown < 0 || grown > NEW_BYTES) return this.#open();
    // A 200 is the whole log, from a proxy that does not do ranges.
    const fresh = status === 200 ? bytes.subarray(known.length) : bytes;
    if (status !== 416) this.#take(linesOf(fresh, known.length), cursor.epoch);
    return undefined;
  }

  /** Shows the last lines of the log in place of whatever was shown. */
  async #open() {
    const answer = await ask(`${this.#url}?tail=${TAIL_LINES}`, {}, this.#request.signal);
    if (answer.status !== 200 || !answer.cursor) throw new Away();
    this.#closeStream();
    this.#replaced = false;
    this.cursor = answer.cursor;
    this.start = answer.cursor.length - answer.bytes.length;
    this.#view.server(answer.server);
    this.#view.opened(linesOf(answer.bytes, this.start));
  }

  /** Takes lines over once: a poll and the stream may both bring the same ones. */
  #take(found, epoch) {
    const fresh = found.filter(({ end }) => end > this.cursor.length);
    if (fresh.length === 0 || this.#replaced) return;
    this.cursor = { epoch, length: fresh.at(-1).end };
    this.#view.fresh(fresh);
  }

  /** The log is another one now: what is shown goes, and the loop opens it afresh. */
  #replace() {
    this.#replaced = true;
    this.start = 0;
    this.#closeStream();
    this.#view.opened([]);
    this.check();
  }

  /** Opens the stream where it is wanted and missing, closes it in a hidden tab. */
  #tendStream() {
    if (document.hidden) this.#closeStream();
    else if (!this.#stream && Date.now() >= this.#noStreamBefore) this.#openStream();
  }

  #openStream() {
    const source = new EventSource(`${this.#url}?after=${formatCursor(this.cursor)}`);
    const stream = { source, live: false, opened: Date.now(), timer: 0 };
    this.#stream = stream;
    this.#expectEvent(FIRST_EVENT_MS);
    const on = (event, act) => source.addEventListener(event, (message) => {
      if (this.#stream !== stream) return;
      stream.live = true;
      this.#expectEvent(SILENCE_MS);
      this.#view.reached(true);
      act(message);
    });
    on('server', ({ data }) => this.#view.server(data));
    on('reset', () => this.#replace());
    on('ping', ({ data }) => data !== formatCursor(this.cursor) && this.check());
    on('message', ({ data, lastEventId }) => {
      const cursor = parseCursor(lastEventId);
      if (cursor) this.#take([{ text: data, end: cursor.length }], cursor.epoch);
    });
    source.addEventListener('error', () => this.#stream === stream && this.#endStream());
  }

  /** Gives the stream this long to say something. */
  #expectEvent(ms) {
    clearTimeout(this.#stream.timer);
    this.#stream.timer = setTimeout(() => this.#endStream(), ms);
  }

  /** The stream broke: the loop reads on, and opens another, later if this one was of no use. */
  #endStream() {
    const { live, opened } = this.#stream;
    this.#closeStream();
    if (live && Date.now() - opened > SHORT_STREAM_MS) this.#streamFailures = 0;
    else this.#noStreamBefore = Date.now() + pauseAfter(this.#streamFailures++, STREAM_PAUSE_MS);
    setTimeout(() => this.check(), Math.random() * 500);
  }

  #closeStream() {
    clearTimeout(this.#stream?.timer);
    this.#stream?.source.close();
    this.#stream = null;
  }

  /** Sleeps until it is time, or until the log is doubted. */
  async #sleep(ms) {
    if (this.#doubted) return;
    let timer;
    await new Promise((resolve) => {
      this.#wake = resolve;
      timer = setTimeout(resolve, ms);
    });
    clearTimeout(timer);
  }
}

// ---- what this browser remembers

/** Does something with localStorage, which may be full or forbidden: the page works without. */
function remembering(act) {
  try {
    return act(localStorage);
  } catch {
    return null;
  }
}

/** What is remembered under a key. */
function recall(key) {
  return remembering((storage) => storage.getItem(key));
}

/** Remembers a text under a key, or nothing more. */
function remember(key, text) {
  remembering((storage) => (text ? storage.setItem(key, text) : storage.removeItem(key)));
}

// ---- writing

/**
 * Messages on their way: kept until the server has answered for each, sent in order, each once.
 *
 * Each is kept with the newest cursor that was seen when it was written, and goes out with it as
 * `after`, unchanged, until it is answered. So a repeat is harmless, even one by another tab that
 * found the message in the store.
 */
class Outbox {
  items = [];

  #url;
  #prefix;
  #log;
  #view;
  #newest = null;
  #busy = false;
  #failures = 0;
  #timer = 0;

  constructor(room, url, log, view) {
    this.#url = url;
    this.#prefix = `catchat:out:${encodeURIComponent(room)}:`; // no room's begins with another's
    this.#log = log;
    this.#view = view;
    const keys = remembering(Object.keys)?.filter((key) => key.startsWith(this.#prefix)) ?? [];
    this.items = keys.sort().map((key) => ({ ...JSON.parse(recall(key)), key }));
  }

  /** Keeps a message and sends it as soon as it can be. */
  add(username, message) {
    const key = this.#prefix + Date.now().toString(36) + Math.random().toString(36).slice(2, 6);
    const item = { key, username, message, after: this.#seen() };
    this.items.push(item);
    this.#save(item);
    this.#view.pending(this.items);
    this.flush();
  }

  /** Takes a message out, sent or not. */
  remove(item) {
    remember(item.key, null);
    this.items = this.items.filter((other) => other !== item);
    this.#view.pending(this.items);
  }

  /** Lets go of the messages whose lines are shown by now. */
  reap() {
    const { cursor } = this.#log;
    const isShown = ({ posted }) => posted && (!sameLog(posted, cursor) || posted.length <= cursor.length);
    this.items.filter(isShown).forEach((item) => this.remove(item));
  }

  /** Sends what waits, in order; while the server is away, the log finds out when it is back. */
  async flush() {
    if (this.#busy || this.#view.lostAt) return;
    this.#busy = true;
    clearTimeout(this.#timer);
    try {
      for (let item; (item = this.items.find(({ posted, refused }) => !posted && !refused)); ) {
        await this.#post(item);
        this.#failures = 0;
        this.#view.pending(this.items);
      }
    } catch (error) {
      if (!(error instanceof Away)) throw error;
      this.#timer = setTimeout(() => this.flush(), pauseAfter(this.#failures++, RETRY_MS));
      this.#view.pending(this.items, error.message);
      this.#log.check();
    } finally {
      this.#busy = false;
    }
  }

  async #post(item) {
    item.after ??= this.#seen();
    if (!item.after) throw new Away(); // the log could not be read yet
    this.#save(item);
    const { username, message, after } = item;
    const body = new URLSearchParams({ username, message, after });
    const { status, cursor, bytes } = await ask(this.#url, { method: 'POST', body });
    const sentence = decoder.decode(bytes.subarray(0, 400)).trim();
    if ((status === 200 || status === 201) && cursor) this.#posted(item, cursor);
    else if (status === 412 && cursor) await this.#renew(item, cursor);
    else if (status < 400 || status >= 500 || status === 408 || status === 429) throw new Away(sentence);
    else {
      item.refused = sentence || `The server answered ${status}.`;
      this.#save(item);
    }
  }

  /** The message stands in the log, up to `cursor`; it shows as on its way until its line does. */
  #posted(item, cursor) {
    item.posted = cursor;
    this.#newest = cursor;
    remember(item.key, null);
    // The same words again are another message, not to be found in this one's line.
    const again = (other) => !other.posted && other.username === item.username && other.message === item.message;
    for (const other of this.items.filter(again)) {
      other.after = formatCursor(cursor);
      this.#save(other);
    }
    this.reap();
    setTimeout(() => this.items.includes(item) && this.#log.check(), POLL_MS / 3);
  }

  /**
   * The cursor is too far back, or of another log. An earlier attempt may have been written in
   * between, so the message goes out again only where it is not found from there on.
   */
  async #renew(item, now) {
    const then = parseCursor(item.after);
    const found = sameLog(then, now) ? await this.#search(item, then.length, now.length) : 0;
    if (found) return this.#posted(item, { epoch: now.epoch, length: found });
    item.after = formatCursor(now);
    return this.#save(item);
  }

  /** Where in the log, between two offsets, the line of this message ends; 0 where it is not. */
  async #search({ username, message }, from, to) {
    const wanted = `${username}: ${message.replace(/\r\n|[\r\n\v\f\u0085\u2028\u2029]/g, '⏎')}`;
    while (from < to) {
      const { status, bytes } = await askRange(this.#url, from, Math.min(from + SEARCH_BYTES, to));
      if (status !== 206) throw new Away();
      const found = linesOf(bytes, from);
      const line = found.find(({ text }) => text.slice('[2018-02-25 14:00:51] '.length) === wanted);
      if (line) return line.end;
      from = found.at(-1)?.end ?? from + SEARCH_BYTES;
    }
    return 0;
  }

  /** The newest cursor that this page has seen, in the log or in an answer to a post. */
  #seen() {
    const { cursor } = this.#log;
    const newest = this.#newest ?? cursor;
    const ahead = cursor && sameLog(newest, cursor) && newest.length > cursor.length;
    return cursor && formatCursor(ahead ? newest : cursor);
  }

  #save({ key, username, message, after, refused }) {
    remember(key, JSON.stringify({ username, message, after, refused }));
  }
}

// ---- lines on the page

const shortTime = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const fullTime = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'long' });
const dayName = new Intl.DateTimeFormat(undefined, { dateStyle: 'full' });

/** Makes an element with properties and children. */
function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** A hue for a name: the same one everywhere. */
function hueOf(name) {
  let hash = 2166136261;
  for (const character of name) hash = Math.imul(hash ^ character.codePointAt(0), 16777619);
  return (hash >>> 0) % 360;
}

/** A text, with its http(s) addresses made links. */
function textElement(text) {
  const pieces = text.split(/(https?:\/\/[^\s<>"]*[^\s<>"'.,;:!?)\]}])/);
  const indented = /\n(?:  |\t)/.test(text); // so spaces are to have their width
  return element('p', { className: indented ? 'text code' : 'text', dir: 'auto' }, ...pieces.map((piece, index) => {
    if (index % 2 === 0 || !URL.canParse(piece)) return piece;
    return element('a', { href: piece, rel: 'noreferrer noopener', target: '_blank' }, piece);
  }));
}

/** A message with who wrote it and, once it stands in the log, when. */
function messageElement(name, message, time) {
  const head = element('div', { className: 'head' }, element('bdi', { className: 'name' }, name));
  if (time) {
    const date = new Date(time);
    const full = { dateTime: date.toISOString(), title: fullTime.format(date) };
    head.append(' ', element('time', full, shortTime.format(date)));
  }
  const node = element('article', { className: 'line' }, head, textElement(message.replaceAll('⏎', '\n')));
  Object.assign(node.dataset, { name, time, initial: [...name][0].toUpperCase() });
  node.style.setProperty('--hue', hueOf(name));
  return node;
}

/** A line of the log; one that is no message is shown as it is. */
function lineElement({ text, end }) {
  const parts = parseLine(text);
  const node = parts
    ? messageElement(parts.name, parts.message, parts.time)
    : element('article', { className: 'line raw' }, textElement(text));
  node.dataset.end = end;
  return node;
}

/** Settles what a line shows of its author and its day, which depends on the line before it. */
function relate(node) {
  const { name, time } = node.dataset;
  if (!time) return;
  const before = node.previousElementSibling?.dataset;
  const day = dayName.format(time);
  const newDay = !before?.time || dayName.format(before.time) !== day;
  if (newDay) node.dataset.day = day;
  else delete node.dataset.day;
  node.classList.toggle('more', !newDay && before.name === name && time - before.time < GROUP_MS);
  node.classList.toggle('own', name === ownName());
}

// ---- the page

const part = (id) => document.getElementById(id);
const [scroller, lines, pendingList, newer] = ['scroller', 'lines', 'pending', 'newer'].map(part);
const [composer, username, message] = ['composer', 'username', 'message'].map(part);
const room = part('room').textContent;
const draftKey = `catchat:draft:${room}`;
const title = document.title;

/** The name that one writes under. */
function ownName() {
  return username.value.trim();
}

/** What the log and the outbox tell the page. */
const view = {
  following: true, // the reader is at the end, and new lines keep it in sight
  scrolledTo: 0,
  unseen: 0, // lines that came below what the reader looks at
  unread: 0, // lines of others that came while the tab was hidden
  frame: 0, // asked for to settle in
  lostAt: 0,
  retryAt: 0,

  /** The log was opened, or replaced by another one: these lines are all there is. */
  opened(found) {
    lines.replaceChildren();
    this.following = true;
    this.unseen = 0;
    this.insertHistory(found, null);
    this.settle();
    outbox.flush();
  },

  /** New lines. */
  fresh(found) {
    this.look();
    this.insert(found, null);
    if (!this.following) this.unseen += found.length;
    if (document.hidden) this.unread += found.filter(({ text }) => parseLine(text)?.name !== ownName()).length;
    // Lines come singly by the stream, and a burst of them is worth one layout, not one each.
    if (document.hidden) this.settle();
    else this.frame ||= requestAnimationFrame(() => this.settle());
  },

  /** Lines before those that are shown; what the reader looks at stays where it is. */
  older(found) {
    const height = scroller.scrollHeight;
    this.insertHistory(found, lines.firstElementChild);
    this.describeTop();
    scroller.scrollTop += scroller.scrollHeight - height;
    wantOlder();
  },

  /** Inserts lines that are no news, and so not to be read out. */
  insertHistory(found, next) {
    lines.ariaBusy = 'true';
    this.insert(found, next);
    setTimeout(() => (lines.ariaBusy = 'false'));
  },

  insert(found, next) {
    const nodes = found.map(lineElement);
    for (const node of nodes) lines.insertBefore(node, next);
    nodes.forEach(relate);
    if (next) relate(next);
  },

  /** Brings everything around the lines in step with them. */
  settle() {
    this.frame = 0;
    outbox.reap();
    if (this.following) this.trim();
    this.describeTop();
    this.follow();
    newer.hidden = this.unseen === 0;
    newer.textContent = `${this.unseen} new ${this.unseen === 1 ? 'line' : 'lines'} ↓`;
    document.title = this.unread ? `(${this.unread}) ${title}` : title;
    wantOlder();
  },

  /** Keeps the document small however long the room is watched. */
  trim() {
    const surplus = [...lines.children].slice(0, -KEPT_LINES);
    if (surplus.length === 0) return;
    log.start = Number(surplus.at(-1).dataset.end);
    surplus.forEach((node) => node.remove());
    relate(lines.firstElementChild);
  },

  describeTop() {
    const empty = !lines.firstElementChild;
    part('top').hidden = !log.cursor;
    part('top').className = empty ? 'empty' : '';
    if (log.start > 0) part('top').textContent = 'Earlier lines load as you scroll up.';
    else part('top').textContent = empty ? 'Nobody has written here yet. Say hello!' : `This is where ${room} begins.`;
  },

  /** Sees whether the reader has scrolled away, which may be before the browser tells. */
  look() {
    const { scrollTop, scrollHeight, clientHeight } = scroller;
    // Lines that came since it was scrolled to the end are no reason to stop following.
    const up = scrollTop < this.scrolledTo;
    this.following = scrollHeight - scrollTop - clientHeight < NEAR_END_PX || (this.following && !up);
    this.scrolledTo = scrollTop;
  },

  follow() {
    if (this.following) scroller.scrollTop = scroller.scrollHeight;
    this.scrolledTo = scroller.scrollTop;
  },

  /** The messages on their way; `reason` is why the server cannot take them now. */
  pending(items, reason = '') {
    const keys = new Set(items.map(({ key }) => key));
    for (const node of [...pendingList.children]) if (!keys.has(node.dataset.key)) node.remove();
    items.forEach((item, index) => {
      const node = pendingList.children[index] ?? pendingList.appendChild(pendingElement(item));
      node.classList.toggle('refused', Boolean(item.refused));
      node.querySelector('.note').textContent = item.refused ?? (item.posted ? '' : reason);
      node.querySelector('.choice').hidden = !item.refused;
    });
    this.follow();
  },

  /** The name of the server that answers. The host is known of the one that rendered the page. */
  server(name) {
    if (part('server-name').textContent === name) return;
    part('server-name').textContent = name;
    part('server-at').hidden = true;
    showHostOf(name);
  },

  /** The server was not reached; after a moment that is said, calmly. */
  lost(retryAt) {
    this.lostAt ||= Date.now();
    this.retryAt = retryAt;
  },

  /** The server was reached, by a live stream or by polling. */
  reached(live) {
    document.body.className = live ? 'live' : '';
    if (!this.lostAt) return;
    this.lostAt = 0;
    this.describeAbsence();
    outbox.flush();
  },

  describeAbsence() {
    const away = this.lostAt > 0 && Date.now() - this.lostAt >= ABSENCE_MS;
    part('away').hidden = !away;
    if (!away) return;
    const seconds = Math.ceil((this.retryAt - Date.now()) / 1000);
    part('countdown').textContent = seconds > 0 ? `Next try in ${seconds} s.` : 'Trying …';
    document.body.className = 'away';
    this.follow();
  },
};

const log = new RoomLog(composer.action, view);
const outbox = new Outbox(room, composer.action, log, view);

/** A message on its way, with what one can do about it if it was refused. */
function pendingElement(item) {
  const node = messageElement(item.username, item.message, 0);
  const button = (label, onclick) => element('button', { type: 'button', onclick }, label);
  const choices = [button('Edit', () => editAgain(item)), ' ', button('Discard', () => outbox.remove(item))];
  node.append(element('p', { className: 'note', role: 'status' }), element('p', { className: 'choice' }, ...choices));
  node.classList.add('own');
  node.dataset.key = item.key;
  return node;
}

/** Puts a refused message back into the field, before what is there. */
function editAgain(item) {
  message.value = [item.message, message.value].filter(Boolean).join('\n');
  keepDraft();
  outbox.remove(item);
  message.focus();
}

/** Asks for the page, which names server and host, and shows the host if it is this server's. */
async function showHostOf(name) {
  const answer = await ask(location.pathname).catch(() => null);
  const page = new DOMParser().parseFromString(decoder.decode(answer?.bytes), 'text/html');
  const names = [page.getElementById('server-name'), part('server-name')].map((node) => node?.textContent);
  if (names.some((other) => other !== name)) return;
  part('server-host').textContent = page.getElementById('server-host').textContent;
  part('server-at').hidden = false;
}

/** Fetches older lines where the reader comes near the first one. */
function wantOlder() {
  if (scroller.scrollTop < NEAR_TOP_PX) log.older();
}

/** Remembers what is being written, and gives it the room that it needs. */
function keepDraft() {
  remember(draftKey, message.value);
  message.style.height = 'auto';
  message.style.height = `${message.scrollHeight}px`;
  view.follow();
}

/** Goes to the newest line, and stays with what comes. */
function goToEnd() {
  view.following = true;
  view.unseen = 0;
  view.settle();
  message.focus();
}

composer.addEventListener('submit', (event) => {
  event.preventDefault();
  const text = message.value.trimEnd();
  if (!ownName()) username.focus();
  if (!ownName() || !text) return;
  outbox.add(ownName(), text);
  message.value = '';
  keepDraft();
  goToEnd();
});

message.addEventListener('keydown', (event) => {
  const composing = event.isComposing || event.keyCode === 229; // which is how Safari says it
  const breaksLine = event.shiftKey || matchMedia('(pointer: coarse)').matches;
  if (event.key !== 'Enter' || composing || breaksLine) return;
  event.preventDefault();
  if (message.value.trim()) composer.requestSubmit();
});

message.addEventListener('input', keepDraft);

username.addEventListener('input', () => {
  remember('catchat:name', username.value);
  [...lines.children].forEach(relate);
});

scroller.addEventListener('scroll', () => {
  view.look();
  if (view.following && view.unseen) {
    view.unseen = 0;
    view.settle();
  }
  wantOlder();
});

document.addEventListener('visibilitychange', () => {
  if (!document.hidden) view.unread = 0;
  view.settle();
  log.retry();
});

newer.addEventListener('click', goToEnd);
part('retry').addEventListener('click', () => log.retry());
addEventListener('online', () => log.retry());
new ResizeObserver(() => {
  view.look();
  view.follow();
}).observe(scroller);
setInterval(() => view.describeAbsence(), 500);

username.value = recall('catchat:name') ?? '';
message.value = recall(draftKey) ?? '';
keepDraft();
view.pending(outbox.items);
if (!matchMedia('(pointer: coarse)').matches) (username.value ? message : username).focus();
log.follow();
