// The connection to the server, which reconnects when it is lost.

// The server sends an update at least every 2 s.
const SILENCE = 7_000;
const FIRST_WAIT = 500;
const LONGEST_WAIT = 15_000;

// `path` is relative to the page; `protocols()` are those of the WebSocket; `probe(options)` is a request that is answered with 401 when there is
// no access. Calls back: `message(json)`, `connected()`, `lost({ since, next })`, `locked()`.
export class Feed {
  #source;
  #on;
  #socket;
  #attempts = 0;
  #lostSince;
  #heard;
  #timer;
  #watch;

  constructor(source, callbacks) {
    this.#source = source;
    this.#on = callbacks;
    addEventListener("online", () => this.#hurry());
    addEventListener("offline", () => this.#socket?.close());
    document.addEventListener("visibilitychange", () => document.hidden || this.#hurry());
  }

  // Connects. Browsers do not show why a WebSocket was refused, so access is checked by a request first.
  async connect() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    try {
      const answer = await this.#source.probe({ cache: "no-store", signal: AbortSignal.timeout(SILENCE) });
      if (answer.status === 401) return this.#on.locked();
      if (!answer.ok) return this.#retry();
    } catch {
      return this.#retry();
    }
    this.#open();
  }

  #open() {
    // A relative path, because a proxy can serve the page at any path.
    const url = new URL(this.#source.path, document.baseURI);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url, this.#source.protocols());
    this.#socket = socket;
    this.#listen(socket);
    socket.onmessage = ({ data }) => {
      if (this.#socket !== socket) return;
      this.#listen(socket);
      this.#heard = Date.now();
      if (this.#attempts > 0 || this.#lostSince !== undefined || !this.isConnected) this.#begin();
      this.#on.message(JSON.parse(data));
    };
    socket.onclose = () => this.#end(socket);
  }

  isConnected = false;

  #begin() {
    this.isConnected = true;
    this.#attempts = 0;
    this.#lostSince = undefined;
    this.#on.connected();
  }

  #end(socket) {
    if (this.#socket !== socket) return;
    clearTimeout(this.#watch);
    this.#socket = undefined;
    this.#retry();
  }

  // A connection that failed silently looks like an idle one.
  #listen(socket) {
    clearTimeout(this.#watch);
    this.#watch = setTimeout(() => {
      socket.close();
      this.#end(socket);
    }, SILENCE);
  }

  #retry() {
    // The values shown are as old as the last update; the failure is detected later.
    this.#lostSince ??= this.isConnected ? this.#heard : Date.now();
    this.isConnected = false;
    const wait = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.#attempts);
    this.#attempts += 1;
    // Spreads the reconnections of pages that lost the same server.
    const jittered = wait * (0.5 + Math.random() / 2);
    this.#timer = setTimeout(() => this.connect(), jittered);
    this.#on.lost({ since: this.#lostSince, next: Date.now() + jittered });
  }

  #hurry() {
    if (this.#timer !== undefined) this.connect();
  }

  // Reconnects immediately, if it is waiting to.
  retryNow() {
    this.#attempts = 0;
    this.#hurry();
  }
}
