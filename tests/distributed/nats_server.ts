/**
 * A nats-server of a test's own: a free port, a store in a folder of its own, and an end with the test.
 * @module
 */

import { freePort } from "../free_port.ts";

/** Waits. */
export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Path of nats-server; null on a machine without it (Debian's package nats-server). */
async function natsPath(): Promise<string | null> {
  for (const folder of ["/usr/sbin", "/usr/local/bin", "/usr/bin", "/opt/homebrew/bin"]) {
    const path = `${folder}/nats-server`;
    if (await Deno.stat(path).then(() => true, () => false)) return path;
  }
  return null;
}

/** The program; tests that need it are skipped, by names that begin with "NATS", where it is null. */
export const NATS_SERVER = await natsPath();

/** Whether a thread of a process has not stopped; false also on systems that do not say. */
async function runsOn(pid: number): Promise<boolean> {
  const folder = `/proc/${pid}/task`;
  const threads = await Array.fromAsync(Deno.readDir(folder)).catch(() => []);
  const stats = await Promise.all(
    threads.map(({ name }) => Deno.readTextFile(`${folder}/${name}/stat`).catch(() => ") T")),
  );
  return stats.some((stat) => !/\) [Tt]/.test(stat));
}

/** A running server. */
export class NatsServer {
  readonly port = freePort();
  readonly #folder: string;
  readonly #config: string;
  #process: Deno.ChildProcess | null = null;

  private constructor(folder: string, config: string) {
    this.#folder = folder;
    this.#config = config;
  }

  /** @param config further lines of its configuration; `FOLDER` stands for its folder */
  static async start(config = "", prepare?: (folder: string) => Promise<void>): Promise<NatsServer> {
    const folder = await Deno.makeTempDir({ prefix: "peft_nats_" });
    await prepare?.(folder);
    const server = new NatsServer(folder, config.replaceAll("FOLDER", folder));
    await server.begin();
    return server;
  }

  /** Its folder. */
  get folder(): string {
    return this.#folder;
  }

  get url(): string {
    return `nats://127.0.0.1:${this.port}`;
  }

  /** Starts it, again after `stop()`. */
  async begin(): Promise<void> {
    const path = `${this.#folder}/server.conf`;
    const jetstream = /^jetstream/m.test(this.#config)
      ? ""
      : `jetstream { store_dir: "${this.#folder}/store" }`;
    await Deno.writeTextFile(path, `host: 127.0.0.1\nport: ${this.port}\n${jetstream}\n${this.#config}\n`);
    await Deno.remove(`${this.#folder}/log`).catch(() => {}); // of a run before this one
    this.#process = new Deno.Command(NATS_SERVER!, {
      args: ["-c", path, "-l", `${this.#folder}/log`],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    for (let i = 0; i < 400; i++) {
      const log = await Deno.readTextFile(`${this.#folder}/log`).catch(() => "");
      const answers = await Deno.connect({ port: this.port }).then(
        (socket) => (socket.close(), true),
        () => false,
      );
      if (answers && log.includes("Server is ready")) return;
      await pause(25);
    }
    throw new Error(`nats-server did not start: ${await Deno.readTextFile(`${this.#folder}/log`)}`);
  }

  /** Ends it as a crash would; its store stays. */
  async stop(): Promise<void> {
    this.#process?.kill("SIGKILL");
    await this.#process?.status;
    this.#process = null;
  }

  /**
   * Lets it answer nobody, though its connections stay, as a machine does whose network is gone. Its threads run on for some
   * milliseconds on a busy machine: it is frozen once all have stopped.
   */
  async freeze(): Promise<void> {
    if (!this.#process) return;
    this.#process.kill("SIGSTOP");
    while (await runsOn(this.#process.pid)) await pause(1);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await Deno.remove(this.#folder, { recursive: true });
  }
}
