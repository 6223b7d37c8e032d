/**
 * Sockets for the NATS client, by `node:net` and `node:tls`, which Deno, Node and Bun have.
 *
 * Every socket is listened to from its first moment to its last: an error that nobody hears ends the whole process, and a
 * broker that is just ending resets connections at any moment. (`@nats-io/transport-node` takes all listeners away between
 * two phases of connecting.)
 * @module
 */

import { connect, isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { ConnectionOptions, NatsConnection, Server } from "@nats-io/nats-core";
import {
  checkOptions,
  deferred,
  extractProtocolMessage,
  INFO,
  NatsConnectionImpl,
  setTransportFactory,
  TimeoutError,
  type Transport,
} from "@nats-io/nats-core/internal";

/** Milliseconds that a connection that ends has for what was sent. */
const FLUSH_MS = 2000;

/** Certificates in PEM. */
interface Certificates {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

/** A server's first line: what it wants of a connection. */
type ServerInfo = Parameters<typeof checkOptions>[0];

/** One connection to a NATS server, as the client drives it. */
class SocketTransport implements Transport {
  readonly lang = "nats.js";
  readonly version = "3.4.0"; // of @nats-io/nats-core
  closeError?: Error;
  #socket?: Socket;
  #isEncrypted = false;
  /** Set once the client owns the connection: before it, a failure is `connect`'s. */
  #isConnected = false;
  #isDone = false;
  #frames: Uint8Array[] = [];
  readonly #closed = deferred<void | Error>();
  /** Resolved by the next frame or the end. */
  #news = deferred<void>();

  get isClosed(): boolean {
    return this.#isDone;
  }

  async connect(server: Server, options: ConnectionOptions): Promise<void> {
    const certificates: Certificates | undefined = options.tls ?? undefined;
    const { hostname, port } = server;
    const socket = connect({ host: hostname, port });
    socket.setNoDelay(true);
    this.#follow(socket);
    try {
      const info = await this.#firstLine();
      checkOptions(info, options);
      // said here, as the server's own refusal comes after the handshake, where a write may fail before it is read
      if (info.tls_verify && !certificates?.cert) {
        throw new Error("the server asks for a certificate of the client's own");
      }
      if (info.tls_required || info.tls_available) await this.#encrypt(socket, hostname, certificates);
      this.#checkOpen(); // it may have ended while the first line was read
      this.#isConnected = true;
    } catch (error) {
      this.discard();
      const { code } = error as { code?: string };
      throw code === "ECONNREFUSED" ? new Error("connection refused", { cause: error }) : error;
    }
  }

  /** Takes what comes from a socket, and its end, from now on. */
  #follow(socket: Socket): void {
    this.#socket = socket;
    socket.on("data", (frame: Uint8Array) => {
      if (socket !== this.#socket) return; // TLS reads it
      this.#frames.push(frame);
      this.#tell();
    });
    socket.on("error", (error: Error) => {
      this.closeError ??= error;
    });
    socket.on("close", () => {
      this.#finish();
    });
  }

  #tell(): void {
    const before = this.#news;
    this.#news = deferred();
    before.resolve();
  }

  /** @throws what ended the connection */
  #checkOpen(): void {
    if (this.#isDone) throw this.closeError ?? new Error("connection closed by the server");
  }

  /** Waits for the next frame. @throws what ended the connection */
  async #wait(): Promise<void> {
    if (!this.#isDone) await this.#news;
    this.#checkOpen();
  }

  /** The server's first line; its bytes stay for the client, which reads it too. */
  async #firstLine(): Promise<ServerInfo> {
    for (;;) {
      await this.#wait();
      const bytes = new Uint8Array(await new Blob(this.#frames as Uint8Array<ArrayBuffer>[]).arrayBuffer());
      const line = extractProtocolMessage(bytes);
      if (line === "") continue;
      const [, json] = INFO.exec(line) ?? [];
      if (json === undefined) throw new Error("unexpected response from server");
      return JSON.parse(json);
    }
  }

  /** Goes on by TLS over a connected socket. */
  async #encrypt(socket: Socket, hostname: string, { ca, cert, key }: Certificates = {}): Promise<void> {
    const options = { socket, ca, cert, key, rejectUnauthorized: true };
    const secure = connectTls(
      isIP(hostname) ? { ...options, host: hostname } : { ...options, servername: hostname },
    );
    const ready = new Promise<void>((resolve) => secure.once("secureConnect", resolve));
    this.#follow(secure);
    await Promise.race([ready, this.#wait()]);
    this.#isEncrypted = true;
  }

  async *[Symbol.asyncIterator](): AsyncIterableIterator<Uint8Array> {
    for (;;) {
      const frames = this.#frames;
      this.#frames = [];
      yield* frames;
      if (this.#frames.length > 0) continue;
      if (this.#isDone) return;
      await this.#news;
    }
  }

  isEncrypted(): boolean {
    return this.#isEncrypted;
  }

  send(frame: Uint8Array): void {
    // a write that fails closes the socket, which is heard there
    if (!this.#isDone) this.#socket?.write(frame);
  }

  /** Ends the connection: what was sent goes out first, unless the other side takes nothing for two seconds. */
  async close(error?: Error): Promise<void> {
    this.closeError ??= error;
    const socket = this.#socket;
    this.#finish();
    if (!socket || socket.destroyed) return;
    const closed = new Promise((resolve) => socket.once("close", resolve));
    const timer = setTimeout(() => socket.destroy(), FLUSH_MS);
    socket.end(() => socket.destroy());
    await closed;
    clearTimeout(timer);
  }

  disconnect(): void {
    void this.close();
  }

  closed(): Promise<void | Error> {
    return this.#closed;
  }

  /** Drops the connection; the client is not told. */
  discard(): void {
    this.#isConnected = false;
    this.#socket?.destroy();
    this.#finish();
  }

  #finish(): void {
    this.#isDone = true;
    this.#tell();
    if (this.#isConnected) this.#closed.resolve(this.closeError);
  }
}

/**
 * Connects the NATS client by a socket, with TLS where the server has it.
 *
 * @throws what ended the last socket, where the client itself only knows that its time was over
 */
export async function connectSocket(options: ConnectionOptions): Promise<NatsConnection> {
  let last: SocketTransport | undefined;
  setTransportFactory({ factory: () => last = new SocketTransport() });
  try {
    return await NatsConnectionImpl.connect(options);
  } catch (error) {
    throw error instanceof TimeoutError ? last?.closeError ?? error : error;
  }
}
