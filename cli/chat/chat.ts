/**
 * `chat`: a conversation in the terminal, or one answer for each line of a file or pipe.
 * @module
 */

import type { Tokenizer } from "@peft/webgpu";
import { KVCache } from "@peft/webgpu/model";
import { integer, text } from "../../options/rules.ts";
import { ChatAdapters } from "./chat_adapters.ts";
import { Conversation } from "./conversation.ts";
import { writeAnswer } from "../closed_pipes.ts";
import { type Command, UsageError } from "../command.ts";
import { INTERRUPTED } from "../interrupt.ts";
import { LineReader } from "./lines.ts";
import { MODEL_FLAGS } from "../../jobs/finetune/model_flags.ts";
import { endTokens, load, loadTokenizer } from "../loading.ts";
import { SAMPLING_FLAGS, samplingOptions } from "../sampling_flags.ts";
import { isUserError } from "../../jobs/user_errors.ts";

const flags = {
  ...MODEL_FLAGS,
  system: { rule: text, help: "System message; default: the chat template's own" },
  "max-new-tokens": { rule: integer(1, 1e6), default: 256, help: "Longest answer in tokens" },
  ...SAMPLING_FLAGS,
  sample: {
    ...SAMPLING_FLAGS.sample,
    help: `${SAMPLING_FLAGS.sample.help}; defaults are those of generation_config.json`,
  },
} as const;

const COMMANDS =
  `/adapter FOLDER   answer with this adapter (a folder, a hub id, or one that was loaded); /adapter none without
/adapter          show the adapters
/reset            forget the conversation
/exit             end the program, as does the end of the input`;

/** Fails for a tokenizer without a chat template. */
function checkTemplate(tokenizer: Tokenizer, model: string): void {
  if (tokenizer.chatTemplate !== null) return;
  throw new UsageError(
    `Cannot run chat: a model with a chat template is required, received "${model}" without one; ./run generate continues texts`,
  );
}

/** What Ctrl-C does: ends an answer; a second time, or while nothing is answered twice, the program. */
class Interrupts {
  #answer: AbortController | null = null;
  #pressed = false;
  readonly #terminal: boolean;

  constructor(terminal: boolean) {
    this.#terminal = terminal;
    for (const name of Deno.build.os === "windows" ? ["SIGINT"] as const : ["SIGINT", "SIGTERM"] as const) {
      Deno.addSignalListener(name, this.#press);
    }
  }

  readonly #press = () => {
    if (this.#pressed || !this.#terminal && this.#answer === null) Deno.exit(INTERRUPTED);
    this.#pressed = true;
    if (this.#answer) this.#answer.abort();
    else console.error("\npress Ctrl-C again, or type /exit, to end the program");
  };

  /** Called when a line was read: what was pressed before counts no more. */
  clear(): void {
    this.#pressed = false;
  }

  /** Runs `work` with a signal that Ctrl-C aborts; returns whether it ran to its end. */
  async during(work: (signal: AbortSignal) => Promise<void>): Promise<boolean> {
    this.#answer = new AbortController();
    const { signal } = this.#answer;
    try {
      await work(signal);
      return true;
    } catch (error) {
      if (signal.aborted && error === signal.reason) return false;
      throw error;
    } finally {
      this.#answer = null;
    }
  }
}

/** The command. */
export const chat: Command<typeof flags> = {
  name: "chat",
  summary: "Talk to a chat model, with or without an adapter",
  flags,
  permissions: ["--allow-read"],
  examples: [
    "./run chat --model HuggingFaceTB/SmolLM2-135M-Instruct",
    "./run chat --model model.gguf --adapter out/teach",
    `echo "What is the capital of France?" | ./run chat --model model.gguf`,
  ],
  async run(values) {
    const terminal = Deno.stdin.isTerminal();
    const { model, base, baseName } = await load("chat", values);
    const tokenizer = await loadTokenizer(baseName, values);
    checkTemplate(tokenizer, baseName);
    const conversation = new Conversation(tokenizer, {
      system: values.system,
      maxNewTokens: values["max-new-tokens"],
      maxPositions: base.facts.maxPositions,
      generate: {
        ...samplingOptions(values, values.sample ? base.generationConfig : {}),
        eosTokenId: endTokens(base, tokenizer),
        pastKeyValues: new KVCache(base, base.device, 1, 0), // earlier messages are not computed again
      },
    });
    const adapters = new ChatAdapters(base, model, values.adapter);
    const interrupts = new Interrupts(terminal);
    const lines = new LineReader(Deno.stdin.readable);
    const answers: { message: string; answer: string }[] = [];
    if (terminal) console.error("type a message, or /help");
    for (;;) {
      if (terminal && !values.json) writeAnswer("> ");
      const line = await lines.next();
      if (line === null) break;
      interrupts.clear();
      if (line.trim() === "") continue;
      try {
        const [command, ...rest] = line.trim().split(/\s+/);
        if (command === "/exit") break;
        else if (command === "/reset") conversation.reset();
        else if (command === "/help") console.error(COMMANDS);
        else if (command === "/adapter") console.error(await adapters.choose(rest.join(" ")));
        else if (/^\/[a-z]+$/.test(command)) {
          throw new UsageError(
            `Cannot run "${command}": /adapter, /reset, /exit and /help are known, received another command`,
          );
        } else {
          const parts: string[] = [];
          const show = values.json ? (text: string) => void parts.push(text) : writeAnswer;
          const whole = await interrupts.during((signal) =>
            conversation.answer(adapters.model, line, show, console.error, signal)
          );
          if (values.json) answers.push({ message: line, answer: parts.join("") });
          else writeAnswer("\n");
          if (!whole && !terminal) Deno.exit(INTERRUPTED);
        }
      } catch (error) {
        if (!isUserError(error)) throw error;
        console.error(`error: ${error.message}`); // the conversation goes on
      }
    }
    if (terminal) writeAnswer("\n");
    return { answers };
  },
};
