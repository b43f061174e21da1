// The connection to the server: made again whenever it is lost.

const PROTOCOL = "poa-dashboard-page";
// The server says something every 2 s at least.
const SILENCE = 7_000;
const FIRST_WAIT = 500;
const LONGEST_WAIT = 15_000;

// Calls back: `message(json)`, `connected()`, `lost({ since, next })`, `locked()`.
export class Feed {
  #path;
  #on;
  #socket;
  #attempts = 0;
  #lostSince;
  #heard;
  #timer;
  #watch;

  constructor(path, callbacks) {
    this.#path = path;
    this.#on = callbacks;
    addEventListener("online", () => this.#hurry());
    addEventListener("offline", () => this.#socket?.close());
    document.addEventListener("visibilitychange", () => document.hidden || this.#hurry());
  }

  // Connects. A server that does not let a browser in cannot tell it so over WebSocket, so it is asked first.
  async connect() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    try {
      const session = await fetch("session", { cache: "no-store", signal: AbortSignal.timeout(SILENCE) });
      if (session.status === 401) return this.#on.locked();
      if (!session.ok) return this.#retry();
    } catch {
      return this.#retry();
    }
    this.#open();
  }

  #open() {
    // Beside the page, wherever a proxy has put that.
    const url = new URL(this.#path.slice(1), document.baseURI);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url, PROTOCOL);
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

  // A connection that died without a word looks like one on which nothing happens.
  #listen(socket) {
    clearTimeout(this.#watch);
    this.#watch = setTimeout(() => {
      socket.close();
      this.#end(socket);
    }, SILENCE);
  }

  #retry() {
    // What is shown is from when the server was heard last: that it is silent shows later.
    this.#lostSince ??= this.isConnected ? this.#heard : Date.now();
    this.isConnected = false;
    const wait = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.#attempts);
    this.#attempts += 1;
    // Pages that lost the same server must not all come back at the same moment.
    const jittered = wait * (0.5 + Math.random() / 2);
    this.#timer = setTimeout(() => this.connect(), jittered);
    this.#on.lost({ since: this.#lostSince, next: Date.now() + jittered });
  }

  #hurry() {
    if (this.#timer !== undefined) this.connect();
  }

  // Tries at once, if it is waiting to.
  retryNow() {
    this.#attempts = 0;
    this.#hurry();
  }
}
